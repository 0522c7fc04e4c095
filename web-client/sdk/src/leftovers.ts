/** Sends what an earlier page composed and could not send, whatever visit it was of, when a page is opened again. */
import { Outbox } from './outbox.ts';
import type { UnsaidLine } from './outbox.ts';
import { bestStore } from './outbox-store.ts';
import type { Credential, OutboxStore } from './outbox-store.ts';
import { Refusal } from './signal.ts';
import { TextLine } from './text-line.ts';

/** What came of it. */
export interface Leftovers {
  /** Lines that came after the visit was over, and went to the provider's desk. */
  handedOver: number;
  /** Lines that nobody takes any more. They stay on the device for their writer to read, until {@link Leftovers.forget}. */
  lost: readonly UnsaidLine[];
  /** Lines that are still to be sent as soon as there is a way. */
  waiting: number;
  /** Deletes from the device what is lost. */
  forget: () => Promise<void>;
}

/** What says that nothing of this participant is taken any more. */
const GONE = new Set(['resume_invalid', 'removed', 'session_over']);
/** A secret that is void is not shown again: that looks like guessing. Who comes into that visit again brings another. */
const VOID = '';

/** Sends all of it that can be; what cannot be just now stays. `waiting` hears how many lines are still to be sent. */
export async function sendLeftovers(store?: OutboxStore, waiting: (lines: number) => void = () => undefined): Promise<Leftovers> {
  const kept = store ?? (await bestStore());
  const owners = [...(await kept.owners())];
  const boxes = await Promise.all(owners.map(([owner, credential]) => Box.open(owner, credential, kept)));
  const count = () => boxes.reduce((sum, box) => sum + box.waiting, 0);
  const tell = () => waiting(count());
  for (const box of boxes) box.onChange = tell;
  tell();
  for (const box of boxes) await box.send();
  tell();
  return {
    handedOver: boxes.reduce((sum, { handedOver }) => sum + handedOver, 0),
    lost: boxes.flatMap(({ lost }) => lost),
    waiting: count(),
    forget: async () => void (await Promise.all(boxes.map((box) => box.forget()))),
  };
}

/** What one participant of one visit left. */
class Box {
  handedOver = 0;
  onChange: () => void = () => undefined;
  readonly #outbox: Outbox;
  readonly #credential: Credential;
  readonly #store: OutboxStore;
  #isGone: boolean;
  /** Its writer waits in front of the door: it stays until they are in, and send it themselves. */
  #isKept = false;

  static async open(owner: string, credential: Credential, store: OutboxStore): Promise<Box> {
    const box = new Box(owner, credential, store);
    await box.#outbox.load();
    return box;
  }

  private constructor(owner: string, credential: Credential, store: OutboxStore) {
    this.#credential = credential;
    this.#store = store;
    this.#isGone = credential.secret === VOID;
    this.#outbox = new Outbox(owner, store, {
      change: () => this.onChange(),
      confirmed: (_, outcome) => (this.handedOver += outcome === 'handed_over' ? 1 : 0),
    });
  }

  /** Those that nobody takes: all of them, or what was refused. */
  get lost(): UnsaidLine[] {
    return this.#outbox.lines.filter(({ state }) => this.#isGone || state === 'failed');
  }

  get waiting(): number {
    return this.#isKept ? 0 : this.#outbox.lines.length - this.lost.length;
  }

  async send(): Promise<void> {
    if (this.#isGone) return;
    const { base, secret } = this.#credential;
    const line = new TextLine(base, () => secret);
    const flushed = await this.#outbox.flush({
      say: (words) => this.#watched(line.say(words)),
      upload: (image, progress, givenUp) => this.#watched(line.upload(image, progress, givenUp)),
    });
    if (this.#isGone) await this.#voids(base, secret);
    else this.#isKept = flushed === 'over';
  }

  /** Unless they came into the visit meanwhile, and brought another. */
  async #voids(base: string, shown: string): Promise<void> {
    const owners = await this.#store.owners().catch(() => new Map<string, Credential>());
    if (owners.get(this.#outbox.owner)?.secret === shown) await this.#outbox.keep({ base, secret: VOID });
  }

  async forget(): Promise<void> {
    await Promise.all(this.lost.map(({ clientId }) => this.#outbox.discard(clientId)));
  }

  async #watched<Reply>(reply: Promise<Reply>): Promise<Reply> {
    try {
      return await reply;
    } catch (error) {
      this.#isGone ||= error instanceof Refusal && GONE.has(error.code);
      throw error;
    }
  }
}
