/** The door over HTTP (docs/protocol.md, section 2): from a join token to a connection ticket. It knows no socket. */
import { noteServerTime } from './clock.ts';
import type { ConsentAnswer, ConsentForm, EndReason, JoinReply, Problem, Ticket } from './wire.ts';

/** Why the door did not do what was asked; `code` is for programs, `message` for people who write them. */
export class DoorError extends Error {
  override name = 'DoorError';
  readonly code: string;
  /** With `join_window_not_open`: when it opens. */
  readonly opensAt: Date | null;
  /** With `session_over`: how it ended. */
  readonly reason: EndReason | null;
  /** Whether asking again may help: the server was not reached, or could not. */
  readonly retryable: boolean;

  constructor(code: string, message: string, problem: Partial<Problem> = {}) {
    super(message);
    this.code = code;
    this.opensAt = problem.opensAt ? new Date(problem.opensAt) : null;
    this.reason = problem.reason ?? null;
    this.retryable = code === 'unreachable' || (problem.status ?? 0) >= 500;
  }
}

/** Requests to one server's door. */
export class Door {
  readonly #base: string;
  readonly #token: string;

  /** @param base where the server is, as in `https://visit.example.org` */
  constructor(token: string, base: string = location.origin) {
    this.#token = token;
    this.#base = base;
  }

  get base(): string {
    return this.#base;
  }

  /** Who am I, to what, and what is still needed. Changes nothing. */
  open(): Promise<JoinReply> {
    return this.#post('join', {});
  }

  /** Says yes or no to consents; gives back those still to be asked for. */
  async consent(consents: ConsentAnswer[]): Promise<ConsentForm[]> {
    return (await this.#post<{ consents: ConsentForm[] }>('join/consents', { consents })).consents;
  }

  /** A ticket for one signaling socket, good for a minute. */
  async ticket(): Promise<string> {
    return (await this.#post<Ticket>('join/ticket', {})).ticket;
  }

  async #post<Reply>(path: string, body: object): Promise<Reply> {
    let response: Response;
    try {
      response = await fetch(`${this.#base}/v1/${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token: this.#token, ...body }),
      });
    } catch {
      throw new DoorError('unreachable', 'the server cannot be reached');
    }
    noteServerTime(response.headers.get('date'));
    if (response.ok) return (await response.json()) as Reply;
    // A proxy in between may answer in its own words.
    const problem = (await response.json().catch(() => ({}))) as Partial<Problem>;
    const status = { status: response.status, ...problem };
    throw new DoorError(problem.code ?? 'unreachable', problem.detail ?? `the server said ${response.status}`, status);
  }
}
