/** The signaling socket: numbered requests and their replies, and everything else the server says. It knows no media. */
import { SUBPROTOCOL } from './wire.ts';
import type { ClientFrame, ClientMessage, ServerFrame } from './wire.ts';

/** How long a reply may take, in milliseconds. */
const REPLY_MS_MAX = 20_000;
/** How often the server is asked whether it is still there: a dead line does not say so by itself for minutes. */
const HEARTBEAT_MS = 10_000;
/** How long it may take to answer when there is reason to think that the line is another, in milliseconds. */
const PROBE_MS_MAX = 6_000;
/** A timer this late, in milliseconds, says that the device slept, not that the server is gone. */
const SLEPT_MS = 5_000;

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

/** Why a socket was closed. */
export interface Closed {
  code: number;
  reason: string;
}

interface Waiting {
  resolve: (frame: ServerFrame) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export interface SignalHandlers {
  message: (frame: ServerFrame) => void;
  closed: (why: Closed) => void;
}

export class Signal {
  readonly #socket: WebSocket;
  readonly #handlers: SignalHandlers;
  readonly #waiting = new Map<number, Waiting>();
  readonly #heartbeat: ReturnType<typeof setInterval>;
  readonly #open: Promise<void>;
  #lastId = 0;
  #heardAt = 0;

  constructor(base: string, handlers: SignalHandlers) {
    const url = new URL('/v1/signal', base);
    url.protocol = url.protocol.replace('http', 'ws');
    this.#handlers = handlers;
    this.#socket = new WebSocket(url, SUBPROTOCOL);
    this.#socket.onmessage = ({ data }) => this.#handle(JSON.parse(data as string) as ServerFrame);
    this.#open = new Promise((resolve, reject) => {
      this.#socket.onopen = () => resolve();
      this.#socket.onclose = ({ code, reason }) => reject(this.#closed({ code, reason }));
    });
    // Whoever asks hears of it; nobody may have asked yet.
    this.#open.catch(() => undefined);
    this.#heartbeat = setInterval(() => void this.#listen(REPLY_MS_MAX), HEARTBEAT_MS);
  }

  /** Sends a request and waits for its reply; rejects with a {@link Refusal}. */
  async request(message: ClientMessage, limitMs = REPLY_MS_MAX): Promise<ServerFrame> {
    await this.#open;
    if (this.#socket.readyState !== WebSocket.OPEN) throw new Refusal('unreachable', 'the connection is closed', true);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const late = () => this.#settle(id)?.reject(new Refusal('timeout', 'the server did not answer in time', true));
      this.#waiting.set(id, { resolve, reject, timer: setTimeout(late, limitMs) });
      const frame: ClientFrame = { ...message, id };
      // On a socket that closes meanwhile this is lost, and `onclose` says so.
      this.#socket.send(JSON.stringify(frame));
    });
  }

  /** The network is another one: is this still a line? If not, it is closed now rather than minutes later. */
  probe(): void {
    void this.#listen(PROBE_MS_MAX);
  }

  close(): void {
    clearInterval(this.#heartbeat);
    this.#socket.close();
  }

  /** Asks for a sign of life; silence closes the line. */
  async #listen(limitMs: number): Promise<void> {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const askedAt = Date.now();
    try {
      await this.request({ type: 'ping' }, limitMs);
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== 'timeout') return;
      const slept = Date.now() - askedAt > limitMs + SLEPT_MS;
      if (slept || this.#heardAt > askedAt) return;
      // A dead line takes long to close, too: it is over now.
      this.#socket.onclose = null;
      this.#socket.close();
      this.#closed({ code: 1006, reason: 'the server was silent for too long' });
    }
  }

  #closed(why: Closed): Refusal {
    clearInterval(this.#heartbeat);
    const error = new Refusal('unreachable', why.reason || 'the connection to the server was lost', true);
    for (const id of [...this.#waiting.keys()]) this.#settle(id)?.reject(error);
    this.#handlers.closed(why);
    return error;
  }

  #handle(frame: ServerFrame): void {
    this.#heardAt = Date.now();
    const id = 'replyTo' in frame ? frame.replyTo : null;
    if (id === null) return this.#handlers.message(frame);
    // The welcome is a reply and news; it is handled before whoever asked goes on.
    if (frame.type === 'welcome' || frame.type === 'answer') this.#handlers.message(frame);
    const waiting = this.#settle(id);
    if (frame.type === 'error') waiting?.reject(new Refusal(frame.code, frame.message, frame.retryable));
    else waiting?.resolve(frame);
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting) clearTimeout(waiting.timer);
    this.#waiting.delete(id);
    return waiting;
  }
}
