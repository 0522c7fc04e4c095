/**
 * One participant in one session: joins by a token, waits, is admitted, comes back after a lost line, leaves.
 *
 * What is sent is held here, and put on the line only while admitted: who waits sends nothing.
 */
import { Door, DoorError } from './api.ts';
import { Emitter } from './emitter.ts';
import { Refusal, Signal } from './signal.ts';
import { Transport } from './transport.ts';
import type { Seat, Tracks } from './transport.ts';
import type {
  ChatLine,
  DenyReason,
  EndReason,
  IceServer,
  Participant,
  ParticipantState,
  PublishKind,
  ServerFrame,
  SessionState,
} from './wire.ts';

/** When a lost socket is opened anew, in milliseconds after each failure; the last is repeated. */
const RETRY_MS = [300, 1_000, 2_000, 4_000, 5_000];
/** So that not everybody comes back at the same moment. */
const RETRY_JITTER = 0.3;
/** How long a broken path may mend by itself before ICE is restarted, in milliseconds. */
const RESTART_ICE_MS = 2_000;
/** When descriptions that the server had no time for are exchanged again, in milliseconds. */
const RECONNECT_MS = 2_000;

/** Where this participant is. */
export type Phase =
  /** Getting in. */
  | { name: 'joining' }
  /** In front of the door. */
  | { name: 'waiting'; position: number | null; providerPresent: boolean }
  /** In. */
  | { name: 'admitted' }
  /** The line is lost; it tries again by itself. */
  | { name: 'reconnecting' }
  /** Over, for good. */
  | { name: 'over'; why: Over };

/** Why it is over for this participant. */
export type Over =
  | { name: 'ended'; reason: EndReason }
  | { name: 'left' }
  | { name: 'denied'; reason: DenyReason }
  | { name: 'superseded' }
  /** The door does not open any more. */
  | { name: 'refused'; error: DoorError | Refusal };

/** Somebody waits to be let in. */
export interface Knock {
  participant: Participant;
  /** They were in before and use the bare link again. */
  newDevice: boolean;
}

export interface SessionEvents {
  /** Anything that is readable here is different. */
  change: undefined;
  knock: Knock;
  chat: ChatLine;
  /** Something did not work, and what it was stays as it was. */
  problem: Error;
}

export interface SessionOptions {
  /** The join token of the link. */
  token: string;
  microphone?: MediaStreamTrack | null;
  camera?: MediaStreamTrack | null;
  /** Seats to offer, in place of what the server says. */
  people?: number;
  screens?: number;
  iceServers?: IceServer[];
  /** Where the server is; the page's own when left out. */
  base?: string;
}

export class Session extends Emitter<SessionEvents> {
  phase: Phase = { name: 'joining' };
  /** This participant, as the others see it. */
  you: Participant | null = null;
  session: SessionState | null = null;
  /** Those this participant may see, in the order of joining. */
  participants: Participant[] = [];
  /** Who waits to be let in; for providers. */
  knocks: Knock[] = [];
  chat: ChatLine[] = [];
  /** Whether the microphone or camera is meant not to be heard or seen. */
  readonly muted = { audio: false, camera: false };

  readonly #door: Door;
  readonly #options: SessionOptions;
  readonly #tracks: Tracks;
  #signal: Signal | null = null;
  #transport: Transport | null = null;
  #attempt = 0;
  #retrying = false;
  #timers = new Set<ReturnType<typeof setTimeout>>();

  constructor(options: SessionOptions) {
    super();
    this.#options = options;
    this.#door = new Door(options.token, options.base);
    this.#tracks = { microphone: options.microphone ?? null, camera: options.camera ?? null, screen: null };
  }

  /** The transport of now; another one after a lost line. */
  get peerConnection(): RTCPeerConnection | null {
    return this.#transport?.peerConnection ?? null;
  }

  get seats(): readonly Seat[] {
    return this.#transport?.seats ?? [];
  }

  /** Offers made on the transport of now: seats change without any. */
  get negotiations(): number {
    return this.#transport?.negotiations ?? 0;
  }

  get offerBytes(): number {
    return this.#transport?.offerBytes ?? 0;
  }

  /** Whether this participant is in. */
  get isIn(): boolean {
    return this.phase.name === 'admitted';
  }

  /** Gets a ticket, says hello, and exchanges descriptions; ICE and DTLS go on by themselves. */
  async join(): Promise<void> {
    const ticket = await this.#door.ticket();
    if (this.#isOver()) return;
    const signal: Signal = new Signal(this.#door.base, {
      message: (frame) => {
        if (this.#signal === signal) this.#receive(frame);
      },
      closed: () => {
        if (this.#signal === signal) this.#lost();
      },
    });
    this.#signal = signal;
    try {
      await signal.request({ type: 'hello', ticket });
    } catch (error) {
      if (this.#signal === signal) this.#signal = null;
      signal.close();
      throw error;
    }
    if (this.#isOver()) {
      // Left meanwhile: the server is told, or it would wait for somebody who is gone.
      await signal.request({ type: 'leave' }).catch(() => undefined);
      return signal.close();
    }
    this.#attempt = 0;
    window.addEventListener('online', this.#rerouted);
    connection()?.addEventListener('change', this.#rerouted);
    await this.#connect();
  }

  /** Sends another microphone's track, or nothing. */
  setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    return this.#send('microphone', track);
  }

  /** Sends another camera's track, or nothing. */
  setCamera(track: MediaStreamTrack | null): Promise<void> {
    return this.#send('camera', track);
  }

  /** Shares a screen's track, or none. */
  setScreen(track: MediaStreamTrack | null): Promise<void> {
    return this.#send('screen', track);
  }

  /** Says whether microphone or camera are meant to be heard or seen, and sends nothing of a muted one. */
  async setMuted(what: 'audio' | 'camera', muted: boolean): Promise<void> {
    this.muted[what] = muted;
    await this.#put(what === 'audio' ? 'microphone' : 'camera');
    this.#changed();
    await this.#publish(what);
  }

  /** Lets somebody in. */
  admit(participantId: string): Promise<void> {
    return this.#ask({ type: 'admit', participantId });
  }

  /** Does not let somebody in now. */
  deny(participantId: string, reason: DenyReason): Promise<void> {
    return this.#ask({ type: 'deny', participantId, reason });
  }

  /** Says a line to everybody who is in. */
  sendChat(text: string): Promise<void> {
    return this.#ask({ type: 'chat', clientId: crypto.randomUUID?.() ?? String(Math.random()), text });
  }

  /** Ends the session for everybody. */
  end(): Promise<void> {
    return this.#ask({ type: 'end' });
  }

  /** Leaves on purpose; it is over at once, whether the server hears of it or not. */
  async leave(): Promise<void> {
    const signal = this.#signal;
    const said = signal?.request({ type: 'leave' }).catch(() => undefined);
    this.#finish({ name: 'left' }, true);
    await said;
    signal?.close();
  }

  /** Asks for another encoding in a seat, by its rid. */
  selectLayer(seat: number, layer: string): Promise<void> {
    return this.#ask({ type: 'subscribe', slots: [{ seat, layer }] });
  }

  /** Asks for somebody else in a seat; null empties it. */
  setSeat(seat: number, participant: string | null): Promise<void> {
    return this.#ask({ type: 'subscribe', slots: [{ seat, participant }] });
  }

  /** Looks for another path to the server, in the same PeerConnection. */
  async restartIce(): Promise<void> {
    await this.#transport?.restartIce();
  }

  /** What the server counts about this transport. */
  async serverStats(): Promise<unknown> {
    const reply = await this.#request({ type: 'stats' });
    return reply.type === 'stats' ? reply.stats : null;
  }

  // --- getting in and coming back --------------------------------------------------------------------------------

  async #connect(): Promise<void> {
    const offered = this.#offered ?? { people: 1, screens: 1 };
    const counts = {
      people: this.#options.people ?? offered.people,
      screens: this.#options.screens ?? offered.screens,
    };
    const transport: Transport = new Transport(
      {
        offer: async (sdp, negotiation) => {
          const reply = await this.#request({ type: 'offer', sdp, negotiation });
          if (reply.type !== 'answer') throw new Error(`${reply.type} is no answer`);
          return reply;
        },
        restart: async (credentials) => {
          const reply = await this.#request({ type: 'restart', ...credentials });
          if (reply.type !== 'restarted') throw new Error(`${reply.type} is no answer to a restart`);
          return reply;
        },
      },
      this.#options.iceServers ?? [],
      counts,
    );
    this.#transport?.close();
    this.#transport = transport;
    this.#watch(transport);
    try {
      for (const what of ['microphone', 'camera', 'screen'] as const) await this.#put(what);
      await transport.negotiate();
    } catch (error) {
      // Another one has taken its place meanwhile, or none is needed any more.
      if (this.#transport !== transport) return;
      throw error;
    }
    for (const kind of ['audio', 'camera'] as const) if (this.muted[kind]) await this.#publish(kind);
    this.#seat(this.#seated);
  }

  /** Another transport over the same socket, tried again while the server has no time for it. */
  #reconnect(): void {
    const signal = this.#signal;
    this.#connect().catch((error: unknown) => {
      if (error instanceof Refusal && error.retryable && signal === this.#signal) {
        this.#later(RECONNECT_MS, () => {
          if (signal && signal === this.#signal) this.#reconnect();
        });
      } else this.#problem(error);
    });
  }

  /** How many seats the server asked for in its welcome. */
  #offered: { people: number; screens: number } | null = null;
  /** Who sits where, as the server said last: it may say so before the answer is in place. */
  #seated: { seat: number; participant: string | null }[] = [];

  #watch(transport: Transport): void {
    const { peerConnection } = transport;
    const isCurrent = () => this.#transport === transport && this.phase.name !== 'over';
    peerConnection.onconnectionstatechange = () => {
      if (isCurrent()) this.#changed();
    };
    peerConnection.oniceconnectionstatechange = () => {
      const broken = () => ['disconnected', 'failed'].includes(peerConnection.iceConnectionState);
      if (!broken()) return;
      const wait = peerConnection.iceConnectionState === 'failed' ? 0 : RESTART_ICE_MS;
      this.#later(wait, () => {
        // If there is no way at all the server says so, and a fresh transport is made then.
        if (isCurrent() && broken()) transport.restartIce().catch(() => undefined);
      });
    };
  }

  /** The network is back, or another one: the paths of before may be dead without anybody having noticed. */
  readonly #rerouted = (): void => {
    this.#signal?.probe();
    if (this.#signal) this.#transport?.restartIce().catch(() => undefined);
  };

  #lost(): void {
    if (this.phase.name === 'over') return;
    this.#signal = null;
    this.#transport?.close();
    this.#transport = null;
    this.participants = [];
    this.knocks = [];
    // Before the first welcome it is the caller of `join` who hears of it.
    if (this.you === null) return;
    this.#setPhase({ name: 'reconnecting' });
    this.#retry();
  }

  #retry(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    const wait = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)] ?? 5_000;
    this.#attempt += 1;
    this.#later(wait * (1 + RETRY_JITTER * Math.random()), () => {
      this.#retrying = false;
      this.join().catch((error: unknown) => {
        if (this.#isOver()) return;
        if (isFinal(error)) this.#finish({ name: 'refused', error });
        else if (this.#signal === null) this.#retry();
        else this.#reconnect();
      });
    });
  }

  // --- what the server says --------------------------------------------------------------------------------------

  #receive(frame: ServerFrame): void {
    if (this.#isOver()) return;
    switch (frame.type) {
      case 'welcome':
        this.you = frame.you;
        this.session = frame.session;
        this.participants = frame.participants;
        this.chat = frame.chat;
        this.knocks = [];
        this.#offered = frame.seats;
        this.#seated = [];
        if (frame.you.state === 'waiting') {
          this.#setPhase({ name: 'waiting', position: null, providerPresent: false });
        } else this.#setPhase({ name: 'admitted' });
        break;
      case 'waiting':
        this.#stand('waiting');
        this.#seated = [];
        this.#seat([]);
        this.participants = [];
        this.#setPhase({ name: 'waiting', position: frame.position, providerPresent: frame.providerPresent });
        this.#putAll();
        break;
      case 'admitted':
        this.#stand('admitted');
        this.participants = frame.participants;
        this.chat = frame.chat;
        this.#setPhase({ name: 'admitted' });
        this.#putAll();
        break;
      case 'knock':
        this.#knock(frame);
        break;
      case 'participant':
        this.#participant(frame.participantId, frame.participant);
        break;
      case 'seats':
        this.#seated = frame.seats;
        this.#seat(frame.seats);
        if (this.#options.people === undefined) {
          this.#grow(frame.people);
        }
        break;
      case 'session':
        if (this.session) {
          this.session = { ...this.session, status: frame.status, version: frame.version, startedAt: frame.startedAt };
        }
        break;
      case 'chat':
        this.chat = [...this.chat, frame];
        this.emit('chat', frame);
        break;
      case 'disconnected':
        this.#reconnect();
        break;
      case 'denied':
        this.#finish({ name: 'denied', reason: frame.reason });
        break;
      case 'superseded':
        this.#finish({ name: 'superseded' });
        break;
      case 'ended':
        this.#finish({ name: 'ended', reason: frame.reason });
        break;
      case 'error':
        this.#problem(new Refusal(frame.code, frame.message, frame.retryable));
        break;
      default:
        break;
    }
    this.#changed();
  }

  #stand(state: ParticipantState): void {
    if (this.you) this.you = { ...this.you, state };
  }

  #grow(people: number): void {
    const transport = this.#transport;
    transport?.growTo(people).then(
      () => this.#seat(this.#seated),
      (error: unknown) => {
        if (transport === this.#transport) this.#problem(error);
      },
    );
  }

  #knock({ participant, newDevice }: Knock): void {
    const others = this.knocks.filter((knock) => knock.participant.id !== participant.id);
    const knock = { participant, newDevice };
    this.knocks = [...others, knock];
    this.emit('knock', knock);
  }

  #participant(id: string, participant: Participant | null): void {
    const known = this.participants.some((other) => other.id === id);
    if (!participant) this.participants = this.participants.filter((other) => other.id !== id);
    else if (known) this.participants = this.participants.map((other) => (other.id === id ? participant : other));
    else this.participants = [...this.participants, participant];
    if (participant?.state !== 'waiting') {
      this.knocks = this.knocks.filter((knock) => knock.participant.id !== id);
    }
  }

  #seat(seats: { seat: number; participant: string | null }[]): void {
    for (const ours of this.seats) {
      ours.participant = seats.find(({ seat }) => seat === ours.id)?.participant ?? null;
    }
    this.#changed();
  }

  // --- what is sent ----------------------------------------------------------------------------------------------

  async #send(what: keyof Tracks, track: MediaStreamTrack | null): Promise<void> {
    this.#tracks[what] = track;
    await this.#put(what);
    this.#changed();
  }

  #putAll(): void {
    for (const what of ['microphone', 'camera', 'screen'] as const) {
      this.#put(what).catch((error: unknown) => this.#problem(error));
    }
  }

  /** Puts a track on the line if it may be there. */
  async #put(what: keyof Tracks): Promise<void> {
    // A muted microphone goes on sending silence: the others hear no gap when it comes back, and it costs little.
    const microphone = this.#tracks.microphone;
    if (microphone) microphone.enabled = !this.muted.audio;
    const silent = !this.isIn || (what === 'camera' && this.muted.camera);
    await this.#transport?.send(what, silent ? null : this.#tracks[what]);
  }

  async #publish(kind: 'audio' | 'camera'): Promise<void> {
    if (!this.#signal || this.you === null) return;
    await this.#ask({ type: 'publish', kind: kind satisfies PublishKind, muted: this.muted[kind] });
  }

  // --- small things ----------------------------------------------------------------------------------------------

  async #ask(message: Parameters<Signal['request']>[0]): Promise<void> {
    await this.#request(message);
  }

  #request(message: Parameters<Signal['request']>[0]): Promise<ServerFrame> {
    const signal = this.#signal;
    if (!signal) return Promise.reject(new Refusal('unreachable', 'there is no connection to the server', true));
    return signal.request(message);
  }

  #later(milliseconds: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }

  /** It is over. `keepSocket`: something is still to be said on it. */
  #finish(why: Over, keepSocket = false): void {
    if (this.phase.name === 'over') return;
    this.phase = { name: 'over', why };
    window.removeEventListener('online', this.#rerouted);
    connection()?.removeEventListener('change', this.#rerouted);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#transport?.close();
    this.#transport = null;
    if (!keepSocket) this.#signal?.close();
    this.participants = [];
    this.knocks = [];
    this.#changed();
  }

  #isOver(): boolean {
    return this.phase.name === 'over';
  }

  #setPhase(phase: Phase): void {
    this.phase = phase;
    this.#changed();
  }

  #problem(error: unknown): void {
    if (this.phase.name !== 'over') this.emit('problem', error instanceof Error ? error : new Error(String(error)));
  }

  #changed(): void {
    this.emit('change', undefined);
  }
}

/** Whether coming back is in vain. A ticket that was not taken is none: the next one may be. */
function isFinal(error: unknown): error is DoorError | Refusal {
  if (error instanceof Refusal) return !error.retryable && error.code !== 'ticket_invalid';
  return error instanceof DoorError && !error.retryable;
}

/** Tells of another network, where the browser does (Network Information API). */
function connection(): EventTarget | undefined {
  return (navigator as { connection?: EventTarget }).connection;
}
