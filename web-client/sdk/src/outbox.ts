/**
 * Lines and images this participant composed and the server has not confirmed: kept on the device, sent in the order they
 * were written, each until it is confirmed, and deleted from the device then. Words wait for no image that was to go before
 * them: on a slow line it takes minutes. It knows no line; whoever owns it says when there is one, and sends.
 */
import type { Credential, OutboxStore, WaitingLine } from './outbox-store.ts';
import { Refusal } from './signal.ts';
import type { Attachment, LineState as Outcome, LineWords } from './wire.ts';

/** Lines that wait, and bytes of their images. */
export const OUTBOX_LINES_MAX = 200;
export const OUTBOX_BYTES_MAX = 30 * 1024 * 1024;

/** What becomes of a line. */
export type LineState =
  /** It waits for the line. */
  | 'queued'
  /** It is on its way. */
  | 'sending'
  /** The server refused it: it is sent again only by hand. */
  | 'failed';

/** A line that is not confirmed. */
export interface UnsaidLine {
  clientId: string;
  text: string;
  image: Blob | null;
  state: LineState;
  /** How much of its image is sent, from 0 to 1. */
  progress: number;
  /** Why it failed. */
  reason: Refusal | null;
}

/** How lines are sent, when they can be. */
export interface Carrier {
  /** Rejects with a {@link Refusal}: one that is retryable says that there is no line just now. */
  say: (words: LineWords) => Promise<Outcome>;
  upload: (image: Blob, progress: (part: number) => void, givenUp: AbortSignal) => Promise<Attachment>;
}

/** What the outbox tells. */
export interface OutboxHandlers {
  /** Anything is different. */
  change: () => void;
  /** A line is confirmed; `handed_over`: the visit was over, and it goes to the provider's desk. */
  confirmed: (clientId: string, outcome: Outcome) => void;
}

/** How far it came. */
export type Flushed =
  /** All is confirmed, or failed. */
  | 'done'
  /** There is no line just now. */
  | 'later'
  /** Nothing is taken of this participant any more. */
  | 'over';

interface Entry {
  line: WaitingLine;
  shown: UnsaidLine;
  /** It is given up: its image is not sent on. */
  givenUp: AbortController;
  /** Who waits for it to be confirmed. */
  resolve: () => void;
  reject: (why: Refusal) => void;
}

/** What is sent beside the other: images, and words with what is there of their images. */
type Way = 'words' | 'images';

export class Outbox {
  readonly owner: string;
  readonly #store: OutboxStore;
  readonly #handlers: OutboxHandlers;
  #entries: Entry[] = [];
  /** What runs of each, and what is to run after it. */
  readonly #turns: Record<Way, { now: Promise<Flushed> | null; next: Promise<Flushed> | null }> = {
    words: { now: null, next: null },
    images: { now: null, next: null },
  };
  #lastWrittenAt = 0;

  constructor(owner: string, store: OutboxStore, handlers: OutboxHandlers) {
    this.owner = owner;
    this.#store = store;
    this.#handlers = handlers;
  }

  get lines(): UnsaidLine[] {
    return this.#entries.map(({ shown }) => shown);
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Takes over what waits on the device since an earlier page. */
  async load(): Promise<void> {
    const known = new Set(this.#entries.map(({ line }) => line.clientId));
    const waiting = (await this.#store.load(this.owner)).filter(({ clientId }) => !known.has(clientId));
    // Who wrote them is gone.
    const nobody = () => undefined;
    const entries = waiting.map((line) => entryOf(line, nobody, nobody));
    this.#entries = [...entries, ...this.#entries];
    if (waiting.length > 0) this.#handlers.change();
  }

  /**
   * Takes a line, and keeps it on the device. Rejects with `outbox_full` if no more fit. `said` is done when the server
   * confirms it, and rejects if it is refused or given up.
   */
  async add(text: string, image: Blob | null = null): Promise<{ clientId: string; said: Promise<void> }> {
    const bytes = this.#entries.reduce((sum, { line }) => sum + (line.image?.size ?? 0), image?.size ?? 0);
    if (this.#entries.length >= OUTBOX_LINES_MAX || bytes > OUTBOX_BYTES_MAX) {
      throw new Refusal('outbox_full', 'too much waits to be sent already', false);
    }
    // Written in one millisecond, they keep their order all the same.
    const writtenAt = Math.max(Date.now(), this.#lastWrittenAt + 1);
    this.#lastWrittenAt = writtenAt;
    const clientId = crypto.randomUUID?.() ?? `${writtenAt}-${Math.random()}`;
    const line = { owner: this.owner, clientId, writtenAt, text, image, attachment: null };
    const said = new Promise<void>((resolve, reject) => {
      this.#entries.push(entryOf(line, resolve, reject));
    });
    // Nobody has to wait for it.
    said.catch(() => undefined);
    this.#handlers.change();
    // A device that keeps nothing sends it all the same.
    await this.#store.put(line).catch(() => undefined);
    return { clientId, said };
  }

  /** Sends a line anew that was refused. */
  retry(clientId: string): void {
    this.#show(clientId, { state: 'queued', reason: null });
  }

  /** Gives a line up. */
  async discard(clientId: string): Promise<void> {
    const entry = this.#take(clientId);
    entry?.givenUp.abort();
    entry?.reject(GIVEN_UP);
    this.#handlers.change();
    await this.#forget(clientId);
  }

  /** The server has a line, as it told everybody. */
  heard(clientId: string): void {
    if (this.#entries.some(({ line }) => line.clientId === clientId)) void this.#confirm(clientId, 'said');
  }

  /** Keeps on the device how to send what waits, for a page that comes later. */
  async keep(credential: Credential): Promise<void> {
    if (!this.isEmpty) await this.#store.keep(this.owner, credential).catch(() => undefined);
  }

  /** Gives all of it up. What another page of theirs wrote meanwhile is that page's. */
  async clear(): Promise<void> {
    await Promise.all(this.#entries.map(({ line }) => this.discard(line.clientId)));
  }

  /** There is a line: sends what waits, in order, until all is confirmed or there is none any more. */
  async flush(carrier: Carrier): Promise<Flushed> {
    const came = await Promise.all([this.#run('words', carrier), this.#run('images', carrier)]);
    return came.includes('over') ? 'over' : came.includes('later') ? 'later' : 'done';
  }

  /** One at a time of each; once more for who asked meanwhile. */
  #run(way: Way, carrier: Carrier): Promise<Flushed> {
    const turn = this.#turns[way];
    if (turn.now) {
      return (turn.next ??= turn.now.then(() => {
        turn.next = null;
        return this.#run(way, carrier);
      }));
    }
    return (turn.now = this.#flush(way, carrier).finally(() => (turn.now = null)));
  }

  async #flush(way: Way, carrier: Carrier): Promise<Flushed> {
    for (;;) {
      const next = this.#entries.find((entry) => entry.shown.state !== 'failed' && wayOf(entry.line) === way);
      if (!next) return 'done';
      const { clientId } = next.line;
      this.#show(clientId, { state: 'sending' });
      try {
        if (way === 'words') await this.#confirm(clientId, await carrier.say(wordsOf(next.line)));
        else {
          await this.#upload(next, carrier);
          const said = await this.#run('words', carrier);
          if (said !== 'done') return said;
        }
      } catch (error) {
        const refusal = error instanceof Refusal ? error : new Refusal('unreachable', String(error), true);
        if (refusal.retryable || ENDS.has(refusal.code)) {
          this.#show(clientId, { state: 'queued' });
          return refusal.retryable ? 'later' : 'over';
        }
        this.#show(clientId, { state: 'failed', reason: refusal });
        next.reject(refusal);
      }
    }
  }

  async #upload({ line, givenUp: { signal } }: Entry, carrier: Carrier): Promise<void> {
    if (!line.image) return;
    const show = (progress: number) => this.#show(line.clientId, { progress });
    line.attachment = (await carrier.upload(line.image, show, signal)).digest;
    if (!signal.aborted) await this.#store.put(line).catch(() => undefined);
  }

  async #confirm(clientId: string, outcome: Outcome): Promise<void> {
    const entry = this.#take(clientId);
    if (!entry) return;
    entry.resolve();
    this.#handlers.confirmed(clientId, outcome);
    this.#handlers.change();
    await this.#forget(clientId);
  }

  async #forget(clientId: string): Promise<void> {
    await this.#store.remove(this.owner, clientId).catch(() => undefined);
  }

  #take(clientId: string): Entry | undefined {
    const entry = this.#entries.find(({ line }) => line.clientId === clientId);
    this.#entries = this.#entries.filter((other) => other !== entry);
    return entry;
  }

  #show(clientId: string, change: Partial<UnsaidLine>): void {
    const entry = this.#entries.find(({ line }) => line.clientId === clientId);
    if (!entry) return;
    entry.shown = { ...entry.shown, ...change };
    this.#handlers.change();
  }
}

const GIVEN_UP = new Refusal('given_up', 'the line is not sent any more', false);

/** What says nothing of the line, but that nothing can be sent any more by who asks. */
const ENDS = new Set(['resume_invalid', 'not_admitted', 'removed', 'session_over', 'superseded']);

function entryOf(line: WaitingLine, resolve: Entry['resolve'], reject: Entry['reject']): Entry {
  const { clientId, text, image } = line;
  const shown: UnsaidLine = { clientId, text, image, state: 'queued', progress: 0, reason: null };
  return { line, shown, givenUp: new AbortController(), resolve, reject };
}

function wayOf({ image, attachment }: WaitingLine): Way {
  return image && attachment === null ? 'images' : 'words';
}

function wordsOf({ clientId, text, attachment }: WaitingLine): LineWords {
  return { clientId, ...(text && { text }), ...(attachment !== null && { attachment }) };
}
