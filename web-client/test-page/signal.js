/**
 * The signaling socket: JSON messages tagged with `type`, and replies that can be awaited.
 * It knows nothing of media.
 */

/** How long a reply may take, in milliseconds. */
const REPLY_MS_MAX = 20_000;

/** What the server refused, in its own words. */
export class Refusal extends Error {
  /** @param {{code: string, message: string}} error */
  constructor({ code, message }) {
    super(message);
    this.name = 'Refusal';
    this.code = code;
  }
}

export class Signal {
  #socket;
  /** Who waits for which message: {accepts(message), resolve, reject, timer}. */
  #waiting = new Set();

  /**
   * @param {string} url
   * @param {{message: (message: any) => void, closed: (reason: string) => void}} handlers
   */
  constructor(url, handlers) {
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = (event) => this.#handle(JSON.parse(event.data), handlers.message);
    this.#socket.onclose = (event) => {
      const reason = event.reason || 'the connection to the server was lost';
      for (const wait of this.#waiting) this.#settle(wait, () => wait.reject(new Error(reason)));
      handlers.closed(reason);
    };
  }

  /** Sends without waiting. What is sent on a closed socket is lost, as its reader is. */
  send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /**
   * The next message of `type` that `matches`; rejects on an `error` that names `request`.
   * @param {string} type
   * @param {{request?: string, matches?: (message: any) => boolean}} [options]
   * @returns {Promise<any>}
   */
  next(type, { request, matches = () => true } = {}) {
    return new Promise((resolve, reject) => {
      const wait = { type, request, matches, resolve, reject, timer: undefined };
      wait.timer = setTimeout(
        () => this.#settle(wait, () => reject(new Error('the server did not answer in time'))),
        REPLY_MS_MAX,
      );
      this.#waiting.add(wait);
    });
  }

  close() {
    this.#socket.close();
  }

  #handle(message, deliver) {
    for (const wait of this.#waiting) {
      if (message.type === wait.type && wait.matches(message)) {
        this.#settle(wait, () => wait.resolve(message));
      } else if (message.type === 'error' && wait.request && message.replyTo === wait.request) {
        this.#settle(wait, () => wait.reject(new Refusal(message)));
        return;
      }
    }
    deliver(message);
  }

  #settle(wait, then) {
    clearTimeout(wait.timer);
    this.#waiting.delete(wait);
    then();
  }
}
