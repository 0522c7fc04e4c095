/** Typed events, on what the platform has. */

export class Emitter<Events extends object> {
  readonly #target = new EventTarget();

  /** Calls `listener` at each event of that name; the answer takes it back. */
  on<Name extends keyof Events & string>(name: Name, listener: (detail: Events[Name]) => void): () => void {
    const handle = (event: Event) => listener((event as CustomEvent<Events[Name]>).detail);
    this.#target.addEventListener(name, handle);
    return () => this.#target.removeEventListener(name, handle);
  }

  protected emit<Name extends keyof Events & string>(name: Name, detail: Events[Name]): void {
    this.#target.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
