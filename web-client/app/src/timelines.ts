/** How connections were, for as long as somebody looks at it: asked for whole at first, and then what is new of it. */
import type { Session, Stretch } from '../../sdk/src/index.ts';

export class Timelines {
  readonly #session: Pick<Session, 'timeline'>;
  readonly #told = new Map<string, Stretch[]>();

  constructor(session: Pick<Session, 'timeline'>) {
    this.#session = session;
  }

  /** Of each of these people as it is now, by their ids. */
  async look(ids: readonly string[]): Promise<Record<string, Stretch[]>> {
    await Promise.all(ids.map((id) => this.#ask(id)));
    return Object.fromEntries(ids.map((id) => [id, this.#told.get(id) ?? []]));
  }

  async #ask(id: string): Promise<void> {
    const told = this.#told.get(id) ?? [];
    try {
      const news = await this.#session.timeline(id, told.at(-1)?.until);
      const [first] = news;
      // The last one may have grown.
      if (first) this.#told.set(id, [...told.filter((stretch) => stretch.from < first.from), ...news]);
    } catch {
      // What was told before stays, and the next look asks for what is missing.
    }
  }
}
