/** The server's side of the thread over HTTPS, beside a {@link FakeServer} and with its lines. */
import type { ChatLine, LineWords } from '../wire.ts';
import type { FakeServer } from './server.ts';

/** How long a poll waits for news, in milliseconds. */
const WAIT_MS = 25_000;
const TRIP_MS = 5;

export class FakeThread {
  isUp = true;
  /** So many answers are lost on the way. */
  losesAnswers = 0;
  /** The visit is over. */
  over = false;
  /** This participant is in. */
  admits = true;
  /** What is sent after the end is taken: a patient's is. */
  takesLate = true;
  refusesImages: string | null = null;
  readonly handedOver: string[] = [];
  polls = 0;
  readonly #server: FakeServer;
  readonly #waiting = new Set<() => void>();

  constructor(server: FakeServer) {
    this.#server = server;
  }

  /** Somebody else says a line, whatever the sockets do. */
  hearsOf(text: string): void {
    this.#server.hearsOf(text);
    for (const wake of this.#waiting) wake();
  }

  fetch = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const { pathname, searchParams } = new URL(url);
    if (pathname.startsWith('/v1/join')) return Response.json({ ticket: 't', expiresAt: '' }, { status: 201 });
    await pause(TRIP_MS);
    if (!this.isUp) throw new TypeError('no way');
    const answer = await this.#answer(init, pathname, Number(searchParams.get('after') ?? 0));
    await pause(TRIP_MS);
    init.signal?.throwIfAborted();
    if (!this.isUp) throw new TypeError('no way back');
    if (this.losesAnswers > 0) {
      this.losesAnswers -= 1;
      throw new TypeError('lost on the way back');
    }
    return answer;
  };

  async #answer(init: RequestInit, path: string, after: number): Promise<Response> {
    const secret = new Headers(init.headers).get('authorization')?.replace('Bearer ', '') ?? '';
    if (!this.#server.secrets.includes(secret)) return problem(401, 'resume_invalid');
    if (!this.admits) return problem(409, 'not_admitted');
    if (init.method === 'POST') return this.#say(JSON.parse(init.body as string) as { lines: LineWords[] });
    if (this.over) return problem(410, 'session_over', { reason: 'reconnect_expired' });
    if (path.endsWith('/visit')) return Response.json(this.#server.visit);
    this.polls += 1;
    if (this.#after(after).length === 0) await this.#news();
    const lines = this.#after(after);
    return Response.json({ lines, upTo: lines.at(-1)?.position ?? after, more: false });
  }

  #say({ lines }: { lines: LineWords[] }): Response {
    if (this.over && !this.takesLate) return problem(410, 'session_over', { reason: 'provider_ended' });
    const outcomes = lines.map(({ clientId, text }) => {
      if (this.over) this.handedOver.push(text ?? '');
      else if (!this.#server.chat.some((line) => line.clientId === clientId)) {
        const line = this.#server.line(clientId, text ?? '');
        this.#server.chat.push(line);
        this.#server.say({ type: 'chat', ...line });
        for (const wake of this.#waiting) wake();
      }
      return { clientId, state: this.over ? 'handed_over' : 'said', code: null };
    });
    return Response.json({ lines: outcomes });
  }

  #after(position: number): ChatLine[] {
    return this.#server.chat.filter((line) => line.position > position);
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.add(resolve);
      setTimeout(resolve, WAIT_MS);
    });
  }

  /** For `vi.stubGlobal('XMLHttpRequest', …)`. */
  get requestClass(): typeof XMLHttpRequest {
    const thread = this;
    class FakeRequest {
      status = 0;
      responseText = '';
      timeout = 0;
      upload: { onprogress?: (event: { loaded: number; total: number }) => void } = {};
      onload?: () => void;
      onerror?: () => void;
      open = () => undefined;
      setRequestHeader = () => undefined;

      abort = () => this.onerror?.();

      send(image: Blob): void {
        setTimeout(() => this.upload.onprogress?.({ loaded: image.size / 2, total: image.size }), 1);
        setTimeout(() => {
          if (!thread.isUp) return this.onerror?.();
          this.status = thread.refusesImages === null ? 201 : 415;
          const described = { digest: `digest-${image.size}`, mediaType: 'image/png', width: 1, height: 1, bytes: image.size };
          this.responseText = JSON.stringify(thread.refusesImages === null ? described : { code: thread.refusesImages });
          this.onload?.();
        }, 4 * TRIP_MS);
      }
    }
    return FakeRequest as unknown as typeof XMLHttpRequest;
  }
}

function problem(status: number, code: string, more: object = {}): Response {
  return Response.json({ status, code, ...more }, { status });
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
