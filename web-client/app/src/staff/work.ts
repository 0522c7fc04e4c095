/** One request after the other, in the order they were asked for: none is dropped, and each button knows of its own. */
import { SvelteSet } from 'svelte/reactivity';

export class Work {
  readonly #names = new SvelteSet<string>();
  #last: Promise<void> = Promise.resolve();
  #stopped = false;

  /** Whether it is under way, or waits for its turn. */
  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Carries it out when what was asked for before is done. What is under way already is not asked for twice. */
  async run(name: string, work: () => Promise<void>): Promise<void> {
    if (this.#names.has(name)) return;
    this.#names.add(name);
    const turn = this.#last.then(() => (this.#stopped ? undefined : work()));
    this.#last = turn.catch(() => undefined);
    try {
      await turn;
    } finally {
      this.#names.delete(name);
    }
  }

  /** What waits is not carried out any more: it may be somebody else who is signed in next. */
  stop(): void {
    this.#stopped = true;
  }
}
