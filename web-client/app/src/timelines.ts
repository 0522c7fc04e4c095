/**
 * How connections were, for as long as somebody looks at it. The server tells it whole or not at all: it is asked when the
 * look begins, and of one person again where there is news of theirs; meanwhile it goes on as it was.
 */
import type { Participant, Quality, Session, Stretch } from '../../sdk/src/index.ts';

/** How long it goes on without being asked for, in milliseconds: how bad a bad stretch was may have changed unsaid. */
const FRESH_MS = 60_000;

type Person = Pick<Participant, 'id' | 'state'>;

/** What was told of somebody, and how they were when it was asked for. */
interface Told {
  stretches: Stretch[];
  askedAt: number;
  quality: Quality;
  state: Participant['state'];
}

export class Timelines {
  readonly #session: Pick<Session, 'timeline' | 'quality'>;
  readonly #told = new Map<string, Told>();

  constructor(session: Pick<Session, 'timeline' | 'quality'>) {
    this.#session = session;
  }

  /** Of each of these people as it is now, by their ids; `now` is in milliseconds, of any clock that goes on. */
  async look(people: readonly Person[], now: number): Promise<Record<string, Stretch[]>> {
    await Promise.all(people.filter((person) => this.#isDue(person, now)).map((person) => this.#ask(person, now)));
    return Object.fromEntries(people.map((person) => [person.id, this.#upTo(now, person)]));
  }

  #isDue({ id, state }: Person, now: number): boolean {
    const told = this.#told.get(id);
    if (!told || now - told.askedAt >= FRESH_MS) return true;
    // What is said of somebody is another object each time.
    if (told.quality !== this.#session.quality(id) || told.state !== state) return true;
    // The server measures in steps, and the one in which it became so was not over yet.
    return state === 'active' && !isLike(told.stretches.at(-1), told.quality);
  }

  async #ask({ id, state }: Person, now: number): Promise<void> {
    const quality = this.#session.quality(id);
    try {
      this.#told.set(id, { stretches: await this.#session.timeline(id), askedAt: now, quality, state });
    } catch {
      // What was told before stays, and it is due again.
    }
  }

  #upTo(now: number, { id, state }: Person): Stretch[] {
    const told = this.#told.get(id);
    const last = told?.stretches.at(-1);
    if (!told || !last) return [];
    // Of who is not connected nothing is measured.
    if (state !== 'active' || now <= told.askedAt) return told.stretches;
    const until = new Date(Date.parse(last.until) + now - told.askedAt).toISOString();
    return [...told.stretches.slice(0, -1), { ...last, until }];
  }
}

function isLike(stretch: Stretch | undefined, { level, reason }: Quality): boolean {
  return stretch?.level === level && stretch.reason?.code === reason?.code;
}
