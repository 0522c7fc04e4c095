/**
 * The signaling line: numbered requests and their replies, and everything else the server says, in order, once. It is one
 * line over many sockets: where a socket is lost the next one goes on from there (docs/protocol.md, section 3). It knows
 * no media.
 */
import { DoorError } from './api.ts';
import { SUBPROTOCOL } from './wire.ts';
import type { ClientFrame, ClientMessage, ServerFrame } from './wire.ts';

/** How long a reply may take, in milliseconds. */
const REPLY_MS_MAX = 20_000;
/**
 * How long a socket may take until it is open, in milliseconds: the first time, and every second one after it, long enough for
 * TLS on a line of a few kilobits; in between less. Where nothing comes through each attempt is silent for longer and longer
 * (TCP waits twice as long each time), and a line that is there again is found by a fresh one.
 */
const OPEN_MS_MAX = 12_000;
const OPEN_MS_MAX_BRIEF = 6_000;
/** How long the server may take to say who this is, and how the visit stands. */
const HELLO_MS_MAX = 10_000;
/** How often the server is asked whether it is still there: a dead line does not say so by itself for minutes. */
const HEARTBEAT_MS = 10_000;
/** How long it may take to answer that, in milliseconds. */
const SILENCE_MS_MAX = 10_000;
/** How long when there is reason to think that the line is another: a socket too many costs next to nothing. */
const PROBE_MS_MAX = 2_000;
/** A timer this late, in milliseconds, says that the device slept, not that the server is gone. */
const SLEPT_MS = 5_000;
/** When a lost socket is opened anew, in milliseconds after the last attempt began; the last is repeated. */
const RETRY_MS = [0, 300, 1_000, 2_000, 4_000, 5_000];
/** So that not everybody comes back at the same moment. */
const RETRY_JITTER = 0.3;
/** A socket that lived this long, in milliseconds, was no failure. */
const STEADY_MS = 5_000;
/** An attempt this old, in milliseconds, may have been made on a network that is gone. */
const STALE_MS = 1_000;
/** The server closes with it when the same participant is in elsewhere. */
const SUPERSEDED = 4001;

/** What the server refused. Nothing was changed. */
export class Refusal extends Error {
  override name = 'Refusal';

  constructor(
    readonly code: string,
    message: string,
    /** Whether the same may work a moment later. */
    readonly retryable: boolean,
  ) {
    super(message);
  }
}

/** Whether there is a socket to the server just now. While there is none, another is tried by itself. */
export type Line = 'open' | 'reconnecting';

/**
 * What becomes of a request while the line is away. The rest is of the moment: somebody who presses *admit* sees that it
 * does not work and presses again, or does not want it any more when the line is back.
 */
const PATIENCE: Partial<Record<ClientMessage['type'], 'socket' | 'lasting' | 'brief'>> = {
  // As long as the socket it is said on, and no longer: whoever keeps it says it again, perhaps by another way.
  chat: 'socket',
  // Good whenever it comes: waits for the line, however long, and then for a reply.
  offer: 'lasting',
  restart: 'lasting',
  publish: 'lasting',
  consent: 'lasting',
  tier: 'lasting',
  // Waits for the line as long as for a reply.
  leave: 'brief',
};
type Welcome = Extract<ServerFrame, { type: 'welcome' }>;
type Resumed = Extract<ServerFrame, { type: 'resumed' }>;

export interface SignalHandlers {
  /** An incarnation begins: what it says replaces everything. */
  welcome: (frame: Welcome) => void;
  /** The line is open again, and nothing was missed: that follows. */
  resumed: () => void;
  message: (frame: ServerFrame) => void;
  line: (line: Line) => void;
  /** Coming back is in vain. */
  over: (error: DoorError | Refusal) => void;
}

export interface SignalOptions {
  /** Where the server is, as in `https://visit.example.org`. */
  base: string;
  /** Gets a ticket; rejects with a {@link DoorError}. */
  ticket: () => Promise<string>;
  /** The secret of before, to come in by that and nothing else. */
  secret?: string | null;
  /** Keeps the secret of now, or none. */
  keep: (secret: string | null) => void;
}

/** A request whose reply is still to come. */
interface Pending {
  message: ClientMessage;
  resolve: (frame: ServerFrame) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** It was said on the socket of now, or on the one that is doubted. */
  isSaid: boolean;
}

export class Signal {
  readonly #options: SignalOptions;
  readonly #handlers: SignalHandlers;
  /** By their numbers, which grow. */
  readonly #pending = new Map<number, Pending>();
  readonly #begun: Promise<void>;
  #begin: { resolve: () => void; reject: (error: Error) => void } = { resolve: () => undefined, reject: () => undefined };
  #secret: string | null;
  /** Whether a welcome was heard. */
  #wasIn = false;
  #isOver = false;
  #incarnation = '';
  #lastSeq = 0;
  #lastId = 0;

  #socket: WebSocket | null = null;
  /** The one before, which is silent and not closed: if it answers before the one of now says hello, it goes on. */
  #doubted: WebSocket | null = null;
  #saidHello = false;
  /** Whether the socket of now was welcomed. */
  #isOpen = false;
  #attempt = 0;
  /** When the socket of now was begun or, once it was, welcomed. */
  #since = 0;
  #heardAt = 0;
  /** The first of what was asked on the socket of now that is not answered. */
  #owed: { id: number; since: number } | null = null;
  /** The next attempt, or the end of patience with the one of now. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heartbeat: ReturnType<typeof setInterval> | undefined;

  constructor(options: SignalOptions, handlers: SignalHandlers) {
    this.#options = options;
    this.#handlers = handlers;
    this.#secret = options.secret ?? null;
    // Whoever asks hears of it; nobody may have asked yet.
    this.#begun = new Promise((resolve, reject) => (this.#begin = { resolve, reject }));
    this.#begun.catch(() => undefined);
  }

  /**
   * Opens the line, and waits for the first welcome. By a ticket it is tried once: whoever asks can ask again. By the
   * secret of before it is tried until there is an answer.
   */
  begin(): Promise<void> {
    void this.#dial();
    return this.#begun;
  }

  /** Sends a request and waits for its reply; rejects with a {@link Refusal}. */
  request(message: ClientMessage): Promise<ServerFrame> {
    const patience = PATIENCE[message.type];
    const waits = patience === 'lasting' || patience === 'brief';
    if (this.#isOver || (!this.#isOpen && !waits)) return Promise.reject(unreachable());
    return new Promise((resolve, reject) => {
      const pending: Pending = { message, resolve, reject, timer: undefined, isSaid: false };
      const id = this.#add(pending);
      if (this.#isOpen) this.#put(id, pending);
      else if (patience === 'brief') this.#limit(id, pending);
    });
  }

  /** There is reason to think that the line is another: is this still one, or is there one again? */
  nudge(limitMs = PROBE_MS_MAX): void {
    if (this.#isOver) return;
    if (this.#isOpen) return this.#listen(limitMs);
    const isUnderWay = this.#socket !== null && Date.now() - this.#since < STALE_MS;
    if (!isUnderWay && (this.#wasIn || this.#secret !== null)) void this.#dial();
  }

  /** When anything was heard last, in milliseconds. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** Since when the server owes an answer, in milliseconds; null: it owes none. */
  get owedSince(): number | null {
    return this.#owed?.since ?? null;
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#drop();
    this.#forgetDoubted();
    const error = unreachable();
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(error);
    this.#begin.reject(error);
  }

  // --- one socket after the other --------------------------------------------------------------------------------

  async #dial(): Promise<void> {
    this.#drop();
    this.#since = Date.now();
    const timer = this.#within(HELLO_MS_MAX);
    let hello: ClientMessage;
    try {
      hello = this.#secret === null ? { type: 'hello', ticket: await this.#options.ticket() } : this.#resume(this.#secret);
    } catch (error) {
      if (this.#timer === timer) this.#failed(error instanceof DoorError ? error : unreachable(String(error)));
      return;
    }
    // Another attempt has taken its place, or none is needed any more.
    if (this.#timer !== timer) return;
    const url = new URL('/v1/signal', this.#options.base);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url, SUBPROTOCOL);
    this.#socket = socket;
    this.#within(this.#attempt % 2 === 0 ? OPEN_MS_MAX : OPEN_MS_MAX_BRIEF);
    socket.onopen = () => {
      this.#within(HELLO_MS_MAX);
      // It belongs to the socket, not to the requests of an incarnation: it has no number.
      socket.send(JSON.stringify(hello));
      this.#saidHello = true;
    };
    socket.onmessage = ({ data }) => this.#heard(socket, JSON.parse(data as string) as ServerFrame);
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#doubted) this.#doubted = null;
      else this.#closed(code, reason);
    };
  }

  /** What is under way is given up after so long. */
  #within(milliseconds: number): ReturnType<typeof setTimeout> {
    clearTimeout(this.#timer);
    return (this.#timer = setTimeout(() => this.#failed(unreachable('the server did not answer in time')), milliseconds));
  }

  #resume(secret: string): ClientMessage {
    const heard = this.#incarnation ? { incarnation: this.#incarnation, lastSeq: this.#lastSeq } : {};
    return { type: 'hello', resume: secret, ...heard };
  }

  /** Lets go of the socket of now. */
  #drop(): void {
    clearTimeout(this.#timer);
    clearInterval(this.#heartbeat);
    this.#timer = undefined;
    this.#isOpen = this.#saidHello = false;
    this.#owed = null;
    letGo(this.#socket);
    this.#socket = null;
  }

  #forgetDoubted(): void {
    letGo(this.#doubted);
    this.#doubted = null;
  }

  #closed(code: number, reason: string): void {
    if (code === SUPERSEDED) this.#end(new Refusal('superseded', 'this participant is in elsewhere', false));
    else if (this.#isOpen) this.#lost();
    else this.#failed(unreachable(reason));
  }

  /** The socket of now is silent: another is opened, and this one kept as long. */
  #doubt(): void {
    this.#forgetDoubted();
    this.#doubted = this.#socket;
    this.#socket = null;
    this.#lost();
  }

  /** One that was silent answers, and the one in its place has not said hello yet: it goes on as if nothing had been. */
  #goesOn(socket: WebSocket): void {
    this.#drop();
    this.#doubted = null;
    this.#socket = socket;
    this.#opened();
    this.#handlers.line('open');
    for (const [id, pending] of this.#pending) {
      if (pending.isSaid) this.#limit(id, pending);
      else this.#put(id, pending);
    }
    this.#handlers.resumed();
  }

  /** The socket of now is of no use any more, though it was. */
  #lost(): void {
    if (Date.now() - this.#since >= STEADY_MS) this.#attempt = 0;
    this.#drop();
    for (const [id, pending] of this.#pending) {
      const patience = PATIENCE[pending.message.type];
      if (this.#doubted === null) pending.isSaid = false;
      if (patience === 'lasting') clearTimeout(pending.timer);
      if (patience === 'socket') this.#settle(id)?.reject(unreachable());
    }
    this.#handlers.line('reconnecting');
    this.#retry();
  }

  /** The socket of now did not come to be of use. */
  #failed(error: DoorError | Refusal): void {
    this.#drop();
    const bySecret = this.#secret !== null;
    if (error.code === 'resume_invalid') {
      this.#keep(null);
      if (this.#wasIn) void this.#dial();
      else this.#end(error);
    } else if (!error.retryable && error.code !== 'ticket_invalid') this.#end(error);
    else if (!this.#wasIn && !bySecret) this.#end(error);
    else {
      if (!this.#wasIn) this.#handlers.line('reconnecting');
      this.#retry();
    }
  }

  #retry(): void {
    const apart = (RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)] ?? 0) * (1 + RETRY_JITTER * Math.random());
    const wait = apart - (Date.now() - this.#since);
    this.#attempt += 1;
    if (wait <= 0) void this.#dial();
    else this.#timer = setTimeout(() => void this.#dial(), wait);
  }

  #end(error: DoorError | Refusal): void {
    this.#begin.reject(error);
    this.close();
    if (this.#wasIn) this.#handlers.over(error);
  }

  // --- what the server says --------------------------------------------------------------------------------------

  #heard(socket: WebSocket, frame: ServerFrame): void {
    if (socket === this.#doubted) {
      // What it says then comes again by the other, or by one after it.
      if (this.#saidHello) return this.#forgetDoubted();
      this.#heardAt = Date.now();
      // That the server comes through says nothing of the way to it.
      if (replyTo(frame) === null) return this.#take(frame);
      this.#goesOn(socket);
    }
    this.#handle(frame);
  }

  #handle(frame: ServerFrame): void {
    this.#heardAt = Date.now();
    if (this.#isOpen) this.#take(frame);
    else this.#answered(frame);
  }

  #take(frame: ServerFrame): void {
    // Heard before: it comes again where a socket was lost with it on its way.
    if (frame.seq <= this.#lastSeq) return;
    // Something is missing: the server has it still.
    if (frame.seq > this.#lastSeq + 1) return this.#isOpen ? this.#lost() : this.#forgetDoubted();
    this.#lastSeq = frame.seq;
    const id = replyTo(frame);
    if (id === null) return this.#handlers.message(frame);
    if (this.#owed && id >= this.#owed.id) this.#owed = null;
    const pending = this.#settle(id);
    if (frame.type === 'error') pending?.reject(new Refusal(frame.code, frame.message, frame.retryable));
    else pending?.resolve(frame);
  }

  /** What a `hello` is answered with. */
  #answered(frame: ServerFrame): void {
    if (frame.type === 'error') return this.#failed(new Refusal(frame.code, frame.message, frame.retryable));
    // It may be over instead.
    if (frame.type !== 'welcome' && frame.type !== 'resumed') return this.#handlers.message(frame);
    // Before anything else: with the next hello the secret of before may be void.
    if (frame.resume !== null) this.#keep(frame.resume);
    this.#forgetDoubted();
    this.#opened();
    if (frame.type === 'welcome') this.#welcomed(frame);
    else this.#resumed(frame);
  }

  #opened(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isOpen = true;
    this.#since = Date.now();
    this.#heartbeat = setInterval(() => this.#listen(SILENCE_MS_MAX), HEARTBEAT_MS);
  }

  #welcomed(frame: Welcome): void {
    this.#wasIn = true;
    this.#incarnation = frame.incarnation;
    this.#lastSeq = frame.seq;
    this.#lastId = 0;
    const before = [...this.#pending.values()];
    for (const id of [...this.#pending.keys()]) this.#settle(id);
    // Who left does not want to be in again.
    const isKept = ({ message: { type } }: Pending) => type === 'leave';
    for (const pending of before) if (!isKept(pending)) pending.reject(unreachable());
    this.#handlers.line('open');
    this.#handlers.welcome(frame);
    for (const pending of before) if (isKept(pending)) this.#put(this.#add(pending), pending);
    this.#begin.resolve();
  }

  #resumed({ heard }: Resumed): void {
    this.#handlers.line('open');
    // What is at or below was handled; its reply follows.
    for (const [id, pending] of this.#pending) {
      if (id > heard) this.#put(id, pending);
      else this.#limit(id, pending);
    }
    this.#handlers.resumed();
  }

  #keep(secret: string | null): void {
    this.#secret = secret;
    this.#options.keep(secret);
  }

  /** Asks for a sign of life, and waits so long for any, and as long as for a heartbeat for the answer. */
  #listen(limitMs: number): void {
    const askedAt = Date.now();
    this.#lastId += 1;
    const id = this.#lastId;
    this.#send({ type: 'ping', lastSeq: this.#lastSeq, id });
    this.#expect(limitMs, () => this.#heardAt > askedAt);
    if (this.#owed) return;
    this.#owed = { id, since: askedAt };
    this.#expect(SILENCE_MS_MAX, () => this.#owed?.id !== id);
  }

  /** Doubts the socket of now if this is not so then. */
  #expect(withinMs: number, isSo: () => boolean): void {
    const [socket, from] = [this.#socket, Date.now()];
    setTimeout(() => {
      if (socket !== this.#socket || isSo()) return;
      const slept = Date.now() - from > withinMs + SLEPT_MS;
      if (!slept) return this.#doubt();
      this.#owed = null;
      this.#listen(PROBE_MS_MAX);
    }, withinMs);
  }

  // --- requests --------------------------------------------------------------------------------------------------

  #add(pending: Pending): number {
    this.#lastId += 1;
    this.#pending.set(this.#lastId, pending);
    return this.#lastId;
  }

  #put(id: number, pending: Pending): void {
    this.#limit(id, pending);
    pending.isSaid = true;
    // On a socket that is lost meanwhile it is not heard, and said again on the next.
    this.#send({ ...pending.message, id });
    // Who writes waits for it.
    if (pending.message.type === 'chat') this.#listen(SILENCE_MS_MAX);
  }

  /** A reply takes so long and no longer: on the line of now for what lasts, and from the asking for the rest. */
  #limit(id: number, pending: Pending): void {
    const patience = PATIENCE[pending.message.type];
    if (patience === 'socket' || (patience !== 'lasting' && pending.timer !== undefined)) return;
    clearTimeout(pending.timer);
    const late = () => this.#settle(id)?.reject(new Refusal('timeout', 'the server did not answer in time', true));
    pending.timer = setTimeout(late, REPLY_MS_MAX);
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending) {
      clearTimeout(pending.timer);
      pending.timer = undefined;
    }
    return pending;
  }

  #send(frame: ClientFrame): void {
    this.#socket?.send(JSON.stringify(frame));
  }
}

/** The request that a message answers; null: none. */
function replyTo(frame: ServerFrame): number | null {
  return 'replyTo' in frame ? frame.replyTo : null;
}

/** Lets go of a socket: a dead one takes long to close, and nothing it says counts any more. */
function letGo(socket: WebSocket | null): void {
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}

function unreachable(why = 'there is no connection to the server'): Refusal {
  return new Refusal('unreachable', why || 'the connection to the server was lost', true);
}
