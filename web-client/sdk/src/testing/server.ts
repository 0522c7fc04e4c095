/**
 * The server's side of the signaling line as docs/protocol.md has it, in memory and in the test's own time: one
 * participant, numbered messages, a log, secrets. A test breaks the line where it likes.
 */
import type { ChatLine, ClientFrame, Participant, Policy, ServerFrame, ServerMessage } from '../wire.ts';

/** How long a frame is on its way, in milliseconds. */
const TRIP_MS = 5;

export const person = (id: string, more: Partial<Participant> = {}): Participant => ({
  id,
  role: 'provider',
  name: id,
  state: 'active',
  media: { audio: 'live', camera: 'live', screen: 'off' },
  tier: 'video',
  tierReason: null,
  lostUntil: null,
  ...more,
});

/** A WebSocket whose other end is a {@link FakeServer}. */
export class FakeSocket {
  static readonly OPEN = 1;
  readyState = 0;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  sent: ClientFrame[] = [];
  /** Nothing passes either way any more, and neither side knows. */
  isDead = false;

  constructor(
    readonly url: URL,
    readonly server: FakeServer,
  ) {
    server.sockets.push(this);
    server.openedAt.push(Date.now());
    setTimeout(() => {
      if (this.isDead || server.swallows) return;
      if (!server.isUp) return this.closedBy(1006);
      this.readyState = FakeSocket.OPEN;
      this.onopen?.();
    }, TRIP_MS);
  }

  send(text: string): void {
    const frame = JSON.parse(text) as ClientFrame;
    this.sent.push(frame);
    setTimeout(() => {
      if (!this.isDead && this.readyState === FakeSocket.OPEN) this.server.hear(this, frame);
    }, TRIP_MS);
  }

  close(): void {
    this.isDead = true;
    this.readyState = 3;
  }

  /** The server closes it, or the network does. */
  closedBy(code: number): void {
    if (this.isDead) return;
    this.close();
    this.onclose?.({ code, reason: '' });
  }

  says(frame: object): void {
    const data = JSON.stringify(frame);
    setTimeout(() => {
      if (!this.isDead) this.onmessage?.({ data });
    }, TRIP_MS);
  }
}

export class FakeServer {
  readonly sockets: FakeSocket[] = [];
  /** When each socket was opened. */
  readonly openedAt: number[] = [];
  isUp = true;
  /** Nothing that is sent to it comes through, and nobody hears of that. */
  swallows = false;
  you = person('me');
  newDevice = false;
  /** It is over. */
  ended = false;
  tickets = 0;
  /** Requests that were carried out, over all incarnations. */
  readonly done: ClientFrame[] = [];
  /** What was said to everybody. */
  readonly chat: ChatLine[] = [];
  /** What `restart` and the like are answered with, if not with `done`. */
  answer: (frame: ClientFrame) => ServerMessage | null = () => null;
  /** Requests are heard, and never answered. */
  isMute = false;
  /** Nor are those of this kind. */
  mutes: ClientFrame['type'] | null = null;
  /** Lines a welcome has at the most. */
  chatMax = 200;
  /** And a page of the thread. */
  pageMax = 50;
  /** Messages kept for who missed them. */
  logMax = 100;
  secrets: string[] = [];
  policy: Policy = {
    graceReconnectSeconds: 60,
    textGraceMinutes: 30,
    recordingAllowed: false,
    communication: 'speech',
    audioMinKbps: 32,
    audioLossMaxPercent: 25,
    audioHoldMs: 15_000,
  };
  #secretsMade = 0;
  #life = 1;
  #incarnations = 0;
  incarnation = '';
  #log: ServerFrame[] = [];
  #seq = 0;
  #heard = 0;
  #socket: FakeSocket | null = null;

  /** How the visit stands. */
  get visit() {
    return {
      you: this.you,
      session: { id: 's', status: 'active', version: 1, startedAt: null },
      participants: [person('other')],
      policy: this.policy,
    };
  }

  /** For `vi.stubGlobal('WebSocket', …)`. */
  get socketClass(): typeof WebSocket {
    const open = (url: URL) => new FakeSocket(url, this);
    const made = function (url: URL) {
      return open(url);
    };
    return made as unknown as typeof WebSocket;
  }

  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('no socket was opened');
    return socket;
  }

  ticket = (): Promise<string> => {
    this.tickets += 1;
    return Promise.resolve(`ticket-${this.tickets}`);
  };

  /** The next line of the thread. */
  line(clientId: string, text: string, from = this.you.id): ChatLine {
    return { position: this.chat.length + 1, from, name: from, clientId, text, attachment: null, at: '' };
  }

  /** Somebody else says a line. */
  hearsOf(text: string): void {
    const line = this.line(text, text, 'other');
    this.chat.push(line);
    this.say({ type: 'chat', ...line });
  }

  /** Says something to the participant, whether or not there is a socket. */
  say(message: ServerMessage): void {
    this.#seq += 1;
    const frame = { ...message, seq: this.#seq } as ServerFrame;
    this.#log.push(frame);
    this.#socket?.says(frame);
  }

  /** The machine is started anew: it knows secrets, and nothing of incarnations. */
  restart(): void {
    this.#life += 1;
    this.#log = [];
    this.#socket?.closedBy(1006);
    this.#socket = null;
  }

  hear(socket: FakeSocket, frame: ClientFrame): void {
    if (frame.type === 'hello') return this.#hello(socket, frame);
    if (socket !== this.#socket) return;
    this.#heard = Math.max(this.#heard, frame.id ?? 0);
    if (this.isMute || frame.type === this.mutes) return;
    if (frame.type === 'ping') this.#log = this.#log.filter(({ seq }) => seq > (frame.lastSeq ?? 0));
    else this.done.push(frame);
    const replyTo = frame.id ?? null;
    const own = this.answer(frame);
    if (frame.type === 'thread') {
      const lines = this.chat.filter(({ position }) => position > frame.after).slice(0, this.pageMax);
      const upTo = lines.at(-1)?.position ?? this.chat.length;
      return this.say({ type: 'thread', lines, upTo, more: upTo < this.chat.length, replyTo });
    }
    if (own) return this.say({ ...own, ...('replyTo' in own && { replyTo }) } as ServerMessage);
    this.say({ type: 'done', replyTo });
    if (frame.type !== 'chat' || this.chat.some(({ clientId }) => clientId === frame.clientId)) return;
    const line = this.line(frame.clientId, frame.text ?? '');
    this.chat.push(line);
    this.say({ type: 'chat', ...line });
  }

  #hello(socket: FakeSocket, hello: Extract<ClientFrame, { type: 'hello' }>): void {
    const lastSeq = hello.lastSeq ?? 0;
    if (hello.resume !== undefined && !this.secrets.includes(hello.resume)) {
      const words = { type: 'error', code: 'resume_invalid', message: 'void', retryable: false, replyTo: null };
      socket.says({ ...words, seq: lastSeq });
      return;
    }
    if (this.ended) {
      socket.says({ type: 'ended', reason: 'provider_ended', seq: lastSeq });
      setTimeout(() => socket.closedBy(1000), 2 * TRIP_MS);
      return;
    }
    this.#socket?.close();
    this.#socket = socket;
    this.#secretsMade += 1;
    const resume = `secret-${this.#secretsMade}`;
    // The one that was used stays good until the new one is.
    this.secrets = hello.resume === undefined ? [resume] : [hello.resume, resume];
    const isKept = this.#log.length <= this.logMax && (this.#log[0]?.seq ?? lastSeq + 1) <= lastSeq + 1;
    if (hello.resume !== undefined && hello.incarnation === `${this.incarnation}` && this.#isOfThisLife() && isKept) {
      socket.says({ type: 'resumed', resume, heard: this.#heard, replyTo: null, seq: lastSeq });
      for (const frame of this.#log) if (frame.seq > lastSeq) socket.says(frame);
      return;
    }
    this.#incarnations += 1;
    this.incarnation = `${this.#life}.${this.#incarnations}`;
    this.#log = [];
    this.#seq = this.#heard = 0;
    socket.says({
      type: 'welcome',
      ...this.visit,
      newDevice: this.newDevice,
      seats: { people: 1, screens: 1 },
      chat: this.chat.slice(-this.chatMax),
      resume,
      incarnation: this.incarnation,
      replyTo: null,
      seq: 0,
    });
  }

  #isOfThisLife(): boolean {
    return this.incarnation.startsWith(`${this.#life}.`);
  }
}
