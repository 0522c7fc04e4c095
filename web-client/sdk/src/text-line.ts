/**
 * The thread over HTTPS (docs/protocol.md, section 5): for when no socket can be held, for images, and for what could not be
 * sent before the visit was over. Shows the secret of this device, which is neither used up nor replaced by it.
 */
import { noteServerTime } from './clock.ts';
import { Refusal } from './signal.ts';
import type { Attachment, EndReason, LineOutcome, LineWords, Problem, ThreadPage, ThreadReply, VisitState } from './wire.ts';

/** How long a request may take, in milliseconds; one that waits for news takes up to 25 seconds by design. */
const REQUEST_MS_MAX = 20_000;
const POLL_MS_MAX = 40_000;
const UPLOAD_MS_MAX = 170_000;

/** The session is over: how it ended. */
export class SessionOver extends Refusal {
  constructor(
    message: string,
    readonly reason: EndReason | null,
  ) {
    super('session_over', message, false);
  }
}

export class TextLine {
  readonly #base: string;
  readonly #secret: () => string | null;

  /** @param secret that of now: it is replaced whenever a socket is welcomed */
  constructor(base: string, secret: () => string | null) {
    this.#base = base;
    this.#secret = secret;
  }

  /** How the visit stands, as a welcome says it. */
  async visit(signal: AbortSignal): Promise<VisitState> {
    const response = await this.#ask('thread/visit', {}, within(REQUEST_MS_MAX, signal));
    return (await response.json()) as VisitState;
  }

  /** What was said after a position, now or when there is something. */
  async poll(after: number, signal: AbortSignal): Promise<ThreadPage> {
    const response = await this.#ask(`thread?after=${after}`, {}, within(POLL_MS_MAX, signal));
    return (await response.json()) as ThreadPage;
  }

  /** Says a line; whether it was said, or the visit is over and it goes to the provider's desk. */
  async say(words: LineWords, givenUp?: AbortSignal): Promise<LineOutcome['state']> {
    const signal = givenUp && within(REQUEST_MS_MAX, givenUp);
    const { lines } = await this.#post<ThreadReply>({ lines: [words] }, signal);
    const outcome = lines.find(({ clientId }) => clientId === words.clientId);
    if (!outcome) throw new Refusal('unreachable', 'nothing was said of the line', true);
    if (outcome.state === 'refused') throw new Refusal(outcome.code ?? 'refused', 'the line is refused', false);
    return outcome.state;
  }

  /** An image of a line. */
  async image(digest: string): Promise<Blob> {
    return (await this.#ask(`thread/images/${digest}`)).blob();
  }

  /** Sends an image for a line to come, unless it is given up; tells how much of it is there, from 0 to 1. */
  upload(image: Blob, progress: (part: number) => void, givenUp: AbortSignal): Promise<Attachment> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open('POST', `${this.#base}/v1/thread/images`);
      request.setRequestHeader('authorization', `Bearer ${this.#secret() ?? ''}`);
      request.setRequestHeader('content-type', 'application/octet-stream');
      request.timeout = UPLOAD_MS_MAX;
      request.upload.onprogress = ({ loaded, total }) => progress(total > 0 ? loaded / total : 0);
      request.onerror = request.ontimeout = request.onabort = () => reject(unreachable());
      givenUp.addEventListener('abort', () => request.abort());
      request.onload = () => {
        const body = parsed(request.responseText);
        if (request.status === 201) resolve(body as Attachment);
        else reject(refusal(request.status, body as Partial<Problem>));
      };
      request.send(image);
    });
  }

  async #post<Reply>(body: object, signal?: AbortSignal): Promise<Reply> {
    const headers = { 'content-type': 'application/json' };
    const response = await this.#ask('thread', { method: 'POST', headers, body: JSON.stringify(body) }, signal);
    return (await response.json()) as Reply;
  }

  async #ask(path: string, init: RequestInit = {}, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${this.#base}/v1/${path}`, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${this.#secret() ?? ''}` },
        signal: signal ?? AbortSignal.timeout(REQUEST_MS_MAX),
      });
    } catch {
      throw unreachable();
    }
    noteServerTime(response.headers.get('date'));
    if (response.ok) return response;
    throw refusal(response.status, (await response.json().catch(() => ({}))) as Partial<Problem>);
  }
}

function refusal(status: number, problem: Partial<Problem>): Refusal {
  const words = problem.detail ?? `the server said ${status}`;
  if (problem.code === 'session_over') return new SessionOver(words, problem.reason ?? null);
  // A proxy in between may answer in its own words.
  const retryable = problem.code === undefined || status >= 500 || status === 429 || status === 408;
  return new Refusal(problem.code ?? 'unreachable', words, retryable);
}

/** Aborts with `signal`, and after so long; where a browser joins none, by the signal alone. */
function within(milliseconds: number, signal: AbortSignal): AbortSignal {
  return AbortSignal.any?.([signal, AbortSignal.timeout(milliseconds)]) ?? signal;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function unreachable(): Refusal {
  return new Refusal('unreachable', 'the server cannot be reached', true);
}
