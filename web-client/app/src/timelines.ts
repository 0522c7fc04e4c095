/** How connections were, for as long as somebody looks at it: asked for whole at first, and then what is new of it. */
import type { Session, Timeline } from '../../sdk/src/index.ts';

const NOTHING: Timeline = { stretches: [], tiers: [] };

export class Timelines {
  readonly #session: Pick<Session, 'timeline'>;
  readonly #told = new Map<string, Timeline>();

  constructor(session: Pick<Session, 'timeline'>) {
    this.#session = session;
  }

  /** Of each of these people as it is now, by their ids. */
  async look(ids: readonly string[]): Promise<Record<string, Timeline>> {
    await Promise.all(ids.map((id) => this.#ask(id)));
    return Object.fromEntries(ids.map((id) => [id, this.#told.get(id) ?? NOTHING]));
  }

  async #ask(id: string): Promise<void> {
    const { stretches, tiers } = this.#told.get(id) ?? NOTHING;
    const since = stretches.at(-1)?.until;
    try {
      const news = await this.#session.timeline(id, since);
      const first = news.stretches.at(0)?.from;
      this.#told.set(id, {
        // The last one may have grown.
        stretches: [...stretches.filter(({ from }) => first === undefined || from < first), ...news.stretches],
        // While no media flow there are no stretches, and what changed meanwhile is told each time.
        tiers: [...tiers.filter((change) => since !== undefined && change.since <= since), ...news.tiers],
      });
    } catch {
      // What was told before stays, and the next look asks for what is missing.
    }
  }
}
