/**
 * One participant in one session: comes in by a token, or back by the secret that was kept, waits, is admitted, leaves.
 *
 * What is sent is held here, and put on the line only while admitted: who waits sends nothing. While the signaling line
 * is away everything stays as it is: media flows on without it.
 */
import { Door, DoorError } from './api.ts';
import { Emitter } from './emitter.ts';
import { ASK_MS_MAX, LineWatch } from './line-watch.ts';
import type { LineLook } from './line-watch.ts';
import { Outbox } from './outbox.ts';
import type { Carrier, UnsaidLine } from './outbox.ts';
import { bestStore } from './outbox-store.ts';
import type { OutboxStore } from './outbox-store.ts';
import { Redundancy } from './redundancy.ts';
import { isAlike } from './sdp.ts';
import type { AudioEncoding } from './sdp.ts';
import { Refusal, Signal } from './signal.ts';
import type { Line } from './signal.ts';
import { tabStore } from './store.ts';
import type { ResumeStore } from './store.ts';
import { SessionOver, TextLine } from './text-line.ts';
import { Thread } from './thread.ts';
import { Transport } from './transport.ts';
import type { Seat, Tracks } from './transport.ts';
import type {
  BandwidthProfile,
  ChatLine,
  ConsentType,
  DenyReason,
  EndReason,
  IceServer,
  Participant,
  ParticipantState,
  Policy,
  PublishKind,
  QualityLevel,
  QualityReason,
  ServerFrame,
  SessionState,
  SlotWish,
  Stretch,
  TierChange,
  TierReason,
  VisitState,
} from './wire.ts';

/** How long a broken path may mend by itself before ICE is restarted, in milliseconds. */
const RESTART_ICE_MS = 2_000;
/** After so long without the server, on the socket or by media, the visit goes on in writing, in milliseconds, unless the clinic has it sooner. */
const CUT_OFF_MS = 15_000;
/** For so long nothing may be heard before it is noticed, in milliseconds: a browser takes five seconds for media. */
const UNNOTICED_MS_MAX = 10_000;
/** When descriptions that the server had no time for are exchanged again, in milliseconds. */
const RECONNECT_MS = 2_000;
/** How long a socket may be away before what is written passes over HTTPS instead, in milliseconds. */
const TEXT_AFTER_MS = 2_000;
/** When what could not be sent or asked for is tried again, in milliseconds. */
const TEXT_RETRY_MS = 3_000;

/** Where this participant is. */
export type Phase =
  /** Getting in. */
  | { name: 'joining' }
  /** In front of the door. */
  | {
      name: 'waiting';
      position: number | null;
      providerPresent: boolean;
      /** Somebody sees to the patients of this provider, here or elsewhere. */
      deskAttended: boolean;
      /** In already on another device, which goes on: this one is let in in its place. */
      newDevice: boolean;
      /** Was in, and was sent back. */
      sentBack: boolean;
    }
  /** In. */
  | { name: 'admitted' }
  /** Over, for good. */
  | { name: 'over'; why: Over };

/** What somebody knows who waits. */
type Place = Pick<Extract<Phase, { name: 'waiting' }>, 'position' | 'providerPresent' | 'deskAttended'>;

/** Why it is over for this participant. */
export type Over =
  | { name: 'ended'; reason: EndReason }
  | { name: 'left' }
  | { name: 'denied'; reason: DenyReason; newDevice: boolean }
  /** Taken out: the link does not open the door any more. */
  | { name: 'removed' }
  | { name: 'superseded' }
  /** The door does not open any more. */
  | { name: 'refused'; error: DoorError | Refusal };

/** Somebody waits to be let in. One whose state is `lost` cannot be, just now. */
export interface Knock {
  participant: Participant;
  /** They came before, and this may be another device. */
  newDevice: boolean;
  /** Names that device: nobody else is let in, or not, than who knocked. */
  device: string;
  /** They are in on the device of before, which goes on until this one is let in. They may be this participant. */
  isIn: boolean;
}

/** How good somebody's connection is, and why it is no better. */
export interface Quality {
  level: QualityLevel;
  reason: QualityReason | null;
}

/** How a seat's video is wanted. */
export type SeatWish = Pick<SlotWish, 'maxHeight' | 'priority'>;

/** How somebody's connection was. */
export interface Timeline {
  /** While media flowed. */
  stretches: Stretch[];
  /** What it was used for from when on. */
  tiers: TierChange[];
}

/** What a line is used for, and why no more: `unreachable` is what this device found out by itself. */
export interface Tier {
  profile: BandwidthProfile;
  reason: TierReason | 'unreachable' | null;
}

const GOOD: Quality = { level: 'good', reason: null };

/** How what is written passes just now; `none`: it waits on the device. */
export type Writing = 'socket' | 'https' | 'none';

export interface SessionEvents {
  /** Anything that is readable here is different. */
  change: undefined;
  knock: Knock;
  chat: ChatLine;
  /** A line was confirmed after the visit was over: it goes to the provider's desk. */
  handedOver: string;
  /** These lines were not sent before it was over, and nobody takes them any more. */
  undelivered: readonly UnsaidLine[];
  /** Something did not work, and what it was stays as it was. */
  problem: Error;
}

export interface SessionOptions {
  /** The join token of the link. */
  token: string;
  microphone?: MediaStreamTrack | null;
  camera?: MediaStreamTrack | null;
  /** The most that they want of their line, as they chose before a reload. */
  chosen?: BandwidthProfile;
  /** Seats to offer, in place of what the server says. */
  people?: number;
  screens?: number;
  iceServers?: IceServer[];
  /** Where the server is; the page's own when left out. */
  base?: string;
  /** Where the secret to come back with is kept; in this tab when left out. */
  store?: ResumeStore;
  /** Where lines wait that are not sent; on this device, sealed, when left out. */
  outbox?: Promise<OutboxStore>;
}

export class Session extends Emitter<SessionEvents> {
  phase: Phase = { name: 'joining' };
  /** Whether there is a signaling line just now; while it is away it is tried again, and nothing else changes. */
  line: Line = 'open';
  /** This participant, as the others see it. */
  you: Participant | null = null;
  session: SessionState | null = null;
  policy: Policy | null = null;
  /** Those this participant may see, in the order of joining. */
  participants: Participant[] = [];
  /** Who waits to be let in; for providers, and for whoever is to be replaced by another device of theirs. */
  knocks: Knock[] = [];
  /** Whether what is written passes while there is no signaling line. */
  #httpsCarries = false;
  #isCutOff = false;
  /** Whether the session is being recorded. */
  recording = false;
  /** Who spoke last; it may be this participant. */
  speaker: string | null = null;
  /** Whether the microphone or camera is meant not to be heard or seen. */
  readonly muted = { audio: false, camera: false };

  readonly #door: Door;
  readonly #options: SessionOptions;
  readonly #store: ResumeStore;
  readonly #tracks: Tracks;
  #signal: Signal | null = null;
  readonly #thread = new Thread();
  #outbox: Outbox | null = null;
  readonly #textLine: TextLine;
  #secret: string | null = null;
  /** Of what is said over HTTPS. */
  #saying: AbortController | null = null;
  /** Of the asks over HTTPS, while there are some. */
  #polling: AbortController | null = null;
  /** Something is being written. */
  #drafts = false;
  /** What the server was told of that. */
  #composes = false;
  #transport: Transport | null = null;
  /** The first exchange of descriptions: whoever joins waits for it. */
  #connected: Promise<void> | null = null;
  /** The network is another one, and the server could not be told yet. */
  #restartDue = false;
  #listening = new AbortController();
  #timers = new Set<ReturnType<typeof setTimeout>>();
  /** By participant, where it was said. */
  #qualities = new Map<string, Quality>();
  #unheardSince: number | null = null;
  /** What is sent for the server alone to look at. */
  #rehearses: BandwidthProfile | null = null;
  #chosen: BandwidthProfile;
  /** How seats are wanted, where it was said. */
  #wishes = new Map<number, SeatWish>();
  /** Whether the voice is to have redundancy: over all transports, as the line is the same. */
  readonly #redundancy = new Redundancy(() => this.#settleVoice());
  readonly #lineWatch = new LineWatch();
  /** How the server asks for the voice. */
  #voiceAsked: Omit<AudioEncoding, 'redundant'> = { maxBitrateBps: null, frameMs: null };
  /** How it was asked of the transport last, and of which. */
  #voice: AudioEncoding | null = null;
  #voiceOn: Transport | null = null;

  constructor(options: SessionOptions) {
    super();
    this.#options = options;
    this.#chosen = options.chosen ?? 'video';
    this.#store = options.store ?? tabStore;
    this.#door = new Door(options.token, options.base);
    this.#textLine = new TextLine(this.#door.base, () => this.#secret);
    this.#tracks = { microphone: options.microphone ?? null, camera: options.camera ?? null, screen: null };
  }

  /** What was written, as far as it is known here, in order. */
  get chat(): readonly ChatLine[] {
    return this.#thread.lines;
  }

  /** What this participant wrote and the server has not confirmed: it waits on the device until it is. */
  get unsaid(): readonly UnsaidLine[] {
    return this.#outbox?.lines ?? [];
  }

  /** Whether the visit is over for this participant, and what they wrote is still being sent. */
  get sendsOn(): boolean {
    return this.#sendsAfterEnd && this.unsaid.length > 0;
  }

  /** How what is written passes just now. */
  get writing(): Writing {
    if (this.line === 'open') return 'socket';
    return this.#httpsCarries ? 'https' : 'none';
  }

  /** Those who are in, without this participant; one who lost the line within the time to come back included. */
  get others(): Participant[] {
    const waits = (id: string) => this.knocks.some(({ participant, isIn }) => participant.id === id && !isIn);
    return this.participants.filter(
      ({ id, state }) => state === 'admitted' || state === 'active' || (state === 'lost' && !waits(id)),
    );
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

  /** How good somebody's connection is: this participant's own and, for providers, that of all who are in. */
  quality(participantId: string): Quality {
    return this.#qualities.get(participantId) ?? GOOD;
  }

  /**
   * The server has not been heard for a while, or cannot be while too much of a voice is lost for one: what is written waits
   * on the device.
   */
  get cutOff(): boolean {
    return this.#isCutOff || this.#lineWatch.isLost;
  }

  /** What this participant's line is used for: as the server says, or in writing alone while it cannot be heard. */
  get tier(): Tier {
    // What is written may get through over HTTPS all the same; and of a voice that is given up here the line may go on.
    const goesOn = this.line === 'open' && !this.#isCutOff;
    const reason = this.#httpsCarries ? 'https_only' : goesOn ? 'downlink_loss' : 'unreachable';
    if (this.cutOff) return { profile: 'async_text', reason };
    return { profile: this.you?.tier ?? 'video', reason: this.you?.tierReason ?? null };
  }

  /** Whether a picture is sent, or the server is to look whether it could be. Else the camera may be let go of. */
  get usesCamera(): boolean {
    const tier = lower(this.tier.profile, this.#chosen);
    return !this.isIn || tier === 'video' || (this.#rehearses === 'video' && this.#chosen === 'video');
  }

  /**
   * Whether a voice is sent, or may be wanted at any moment: where the line alone is why they write, it is rehearsed unasked. Who
   * chose to write may have the microphone let go of.
   */
  get usesMicrophone(): boolean {
    return !this.isIn || this.#chosen !== 'async_text';
  }

  /** Whether this participant is in. */
  get isIn(): boolean {
    return this.phase.name === 'admitted';
  }

  /** Comes by the link: gets a ticket, says hello, and exchanges descriptions; ICE and DTLS go on by themselves. */
  join(): Promise<void> {
    this.#store.forget();
    return this.#enter(null);
  }

  /** Whether a secret is kept by which {@link comeBack} may work. */
  get mayComeBack(): boolean {
    return this.#store.load(this.#options.token) !== null;
  }

  /**
   * Comes back by the secret of before, as after a reload: whoever was in is in, and whoever waited keeps their place.
   * It is tried until there is an answer. Rejects with `resume_invalid` if the link has to be used.
   */
  comeBack(): Promise<void> {
    const secret = this.#store.load(this.#options.token);
    if (secret === null) return Promise.reject(new Refusal('resume_invalid', 'no secret is kept', false));
    return this.#enter(secret);
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
    return this.#ask({ type: 'admit', participantId, ...this.#knocked(participantId) });
  }

  /** Does not let somebody in now. */
  deny(participantId: string, reason: DenyReason): Promise<void> {
    return this.#ask({ type: 'deny', participantId, reason, ...this.#knocked(participantId) });
  }

  /** Has somebody wait again who was let in. */
  sendBack(participantId: string): Promise<void> {
    return this.#ask({ type: 'sendBack', participantId });
  }

  /** Takes somebody out for good: the links they have open nothing any more. */
  remove(participantId: string): Promise<void> {
    return this.#ask({ type: 'remove', participantId });
  }

  /**
   * Says a line, shows an image, or both, to everybody who is in. It is kept on the device at once, and in `unsaid` until the
   * server confirms it; nobody has to wait for that. Rejects with `outbox_full` if too much waits already.
   */
  async sendChat(text: string, image: Blob | null = null): Promise<void> {
    const outbox = this.#outbox;
    if (!outbox) throw new Refusal('not_admitted', 'you are not in', false);
    const { said } = await outbox.add(text, image);
    this.#keepCredential();
    this.#flush();
    return said;
  }

  /** Sends a line again that failed. */
  retryChat(clientId: string): void {
    this.#outbox?.retry(clientId);
    this.#flush();
  }

  /** Gives up a line that is not confirmed. */
  async discardChat(clientId: string): Promise<void> {
    await this.#outbox?.discard(clientId);
  }

  /** An image of a line. */
  image(digest: string): Promise<Blob> {
    return this.#textLine.image(digest);
  }

  /**
   * Whether the person is writing. If their line is lost then, the visit waits for them as for somebody who went on in
   * writing.
   */
  setComposing(on: boolean): void {
    this.#drafts = on;
    this.#sayComposing();
  }

  /** The patient gives or withdraws a consent. */
  consent(consentType: ConsentType, version: string, granted: boolean): Promise<void> {
    return this.#ask({ type: 'consent', consentType, version, granted });
  }

  /** What this participant wants of their line. */
  async chooseTier(want: BandwidthProfile): Promise<void> {
    const before = this.#chosen;
    this.#choose(want);
    this.#untold = want;
    try {
      await this.#ask({ type: 'tier', want });
      if (this.#untold === want) this.#untold = null;
    } catch (error) {
      if (!(error instanceof Refusal) || !error.retryable) {
        if (this.#untold === want) this.#untold = null;
        if (this.#chosen === want) this.#choose(before);
        throw error;
      }
      // The server hears of it as soon as it can, unless they chose something else meanwhile.
      this.#later(RECONNECT_MS, () => {
        if (this.#chosen === want && this.isIn) this.chooseTier(want).catch((error: unknown) => this.#problem(error));
      });
    }
  }

  /** Less is sent at once, whether the server can be told or not. */
  #choose(want: BandwidthProfile): void {
    this.#chosen = want;
    this.#putAll();
    this.#changed();
  }

  /** The most that this participant wants of their line. */
  get chosen(): BandwidthProfile {
    return this.#chosen;
  }

  /** What they chose that the server has not confirmed. */
  #untold: BandwidthProfile | null = null;

  /** The server knows of less that they chose, as on another device before: that holds here, too, unless they chose since. */
  #hearChosen(): void {
    const { you } = this;
    if (you?.tierReason === 'chosen' && this.#chosen === 'video' && this.#untold === null) this.#chosen = you.tier;
  }

  /** A server that begins anew, or that let them in anew, knows nothing of what they chose. */
  #chooseAgain(): void {
    if (this.#chosen === 'video' || this.you?.tier === this.#chosen || !this.isIn) return;
    this.#ask({ type: 'tier', want: this.#chosen }).catch(() => undefined);
  }

  /** Ends the session for everybody. */
  end(): Promise<void> {
    return this.#ask({ type: 'end' });
  }

  /** Leaves on purpose; it is over at once, and the server hears of it if it can be reached within a while. */
  leave(): Promise<void> {
    return this.#goAs({ name: 'left' });
  }

  /**
   * Says how a seat's video is wanted: the height in pixels that no encoding is to exceed, best 1.5 times the height at which
   * it is shown (null: as high as there is; 0: not at all), and who goes first where the line does not carry everything. What
   * is left out stays as it is; a fresh transport hears of it anew.
   */
  async wish(seat: number, wish: SeatWish): Promise<void> {
    const before = this.#wishes.get(seat) ?? {};
    const after = { ...before, ...wish };
    if (after.maxHeight === before.maxHeight && after.priority === before.priority) return;
    this.#wishes.set(seat, after);
    try {
      await this.#ask({ type: 'subscribe', slots: [{ seat, ...wish }] });
    } catch (error) {
      // It is not so, and may be asked for again.
      if (this.#wishes.get(seat) === after) this.#wishes.delete(seat);
      throw error;
    }
  }

  /**
   * How somebody's connection was, in the stretches that end after `since`, and what it was used for, as far as that changed
   * after it. The first of the stretches may have been told before, and have grown. For providers.
   */
  async timeline(participantId: string, since?: string): Promise<Timeline> {
    const reply = await this.#request({ type: 'timeline', participantId, ...(since && { since }) });
    return reply.type === 'timeline' ? reply : { stretches: [], tiers: [] };
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

  async #enter(secret: string | null): Promise<void> {
    this.#signal?.close();
    this.#secret = secret;
    const current = <Heard extends unknown[]>(handle: (...heard: Heard) => void) => {
      return (...heard: Heard) => {
        if (this.#signal === signal && !this.#isOver()) handle(...heard);
      };
    };
    const signal: Signal = new Signal(
      {
        base: this.#door.base,
        ticket: () => this.#door.ticket(),
        secret,
        keep: (secret) => {
          // What is still to be said after the end is said by the last one.
          if (secret !== null) this.#secret = secret;
          this.#keepCredential();
          if (secret === null || this.#isOver()) this.#store.forget();
          else this.#store.save(this.#options.token, secret);
        },
      },
      {
        welcome: current((frame) => this.#welcomed(frame)),
        resumed: current(() => this.#resumed()),
        message: current((frame) => this.#receive(frame)),
        line: current((line) => this.#lineIs(line)),
        over: current((error) => this.#finish(whyOver(error))),
      },
    );
    this.#signal = signal;
    this.#listen();
    try {
      await signal.begin();
    } catch (error) {
      this.#listening.abort();
      if (this.#isOver()) return;
      throw error;
    }
    await this.#connected;
  }

  /** Notices another network, and a page that is looked at again. */
  #listen(): void {
    this.#listening.abort();
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    window.addEventListener('online', this.#rerouted, { signal });
    window.addEventListener('offline', () => this.#signal?.nudge(ASK_MS_MAX), { signal });
    connection()?.addEventListener('change', this.#rerouted, { signal });
    // Browsers let a page go without a word to the server, and the others would look at a still picture for seconds.
    window.addEventListener('pagehide', () => this.#transport?.close(), { signal });
    const look = () => {
      if (document.visibilityState !== 'visible') return;
      this.#signal?.nudge();
      this.#flush();
    };
    document.addEventListener('visibilitychange', look, { signal });
  }

  /** A fresh transport over the line there is, tried again while the server has no time for it. */
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
    this.#restartDue = false;
    this.#lineWatch.begin();
    this.#voiceAsked = { maxBitrateBps: null, frameMs: null };
    this.#settleVoice();
    transport.rehearse(this.#rehearses === 'video');
    this.#watch(transport);
    this.#lookAtLine(transport);
    const isCurrent = () => this.#transport === transport && !this.#isOver();
    try {
      for (const what of ['microphone', 'camera', 'screen'] as const) await this.#put(what);
      await transport.negotiate();
    } catch (error) {
      // Another one has taken its place meanwhile, or none is needed any more.
      if (!isCurrent()) return;
      if (!(error instanceof Refusal) || !error.retryable) throw error;
      return this.#later(RECONNECT_MS, () => {
        if (isCurrent()) this.#reconnect();
      });
    }
    for (const kind of ['audio', 'camera'] as const) if (this.muted[kind]) await this.#publish(kind);
    this.#wishAgain();
    this.#seat(this.#seated);
  }

  /**
   * A fresh transport has the seats of before, and no wishes. Who waits may say none: they are said again when who waited is
   * let in, as the transport may be another than that of before.
   */
  #wishAgain(): void {
    const known = new Set(this.seats.map(({ id }) => id));
    const slots = [...this.#wishes].filter(([seat]) => known.has(seat)).map(([seat, wish]) => ({ seat, ...wish }));
    if (slots.length > 0 && this.isIn) this.#ask({ type: 'subscribe', slots }).catch(() => undefined);
  }

  #reconnect(): void {
    this.#connect().catch((error: unknown) => this.#problem(error));
  }

  /** How many seats the server asked for in its welcome. */
  #offered: { people: number; screens: number } | null = null;
  /** Who sits where, as the server said last: it may say so before the answer is in place. */
  #seated: { seat: number; participant: string | null }[] = [];

  #lookAtLine(transport: Transport): void {
    this.#later(this.#lineWatch.nextLookMs, () => {
      if (this.#transport !== transport || this.#isOver()) return;
      const look = this.isIn ? transport.look().then((seen) => this.#saw(seen)) : Promise.resolve();
      void look.catch(() => undefined).then(() => this.#lookAtLine(transport));
    });
  }

  #saw(look: LineLook): void {
    const watch = this.#lineWatch;
    const [held, rested, wasLost] = [watch.holds, watch.rests, watch.isLost];
    const isInWriting = this.you?.tier === 'async_text';
    const { say, ask } = watch.saw(look, {
      now: Date.now(),
      use: isInWriting ? (this.#rehearses === null ? 'writing' : 'rehearsal') : 'media',
      sendsCamera: this.#tracks.camera !== null && !this.muted.camera && this.#carries('camera'),
      heardAt: this.#signal?.heardAt ?? 0,
      owedSince: this.#signal?.owedSince ?? null,
    });
    if (this.line === 'open') {
      if (say !== null) this.#ask({ type: 'line', uplinkKbps: say }).catch(() => undefined);
      if (ask !== null) this.#signal?.nudge(ask);
    }
    // What was waited for in a line that was full is asked for anew in one that is not. A socket that is being opened is let be.
    if (watch.holds && !held && this.line === 'open') this.#signal?.nudge(ASK_MS_MAX);
    if (watch.isLost !== wasLost) this.#changed();
    if (watch.holds !== held) this.#putAll();
    else if (watch.rests !== rested) this.#put('microphone').catch((error: unknown) => this.#problem(error));
    this.#settleVoice();
  }

  /** Whether the server can be heard is looked at when it may have changed. */
  #settleCutOff(): void {
    const heard = () => this.line === 'open' || this.peerConnection?.connectionState === 'connected' || !this.isIn;
    if (heard()) {
      this.#unheardSince = null;
      this.#isCutOff = false;
      return;
    }
    if (this.#unheardSince !== null) return;
    // A device that slept heard nothing for long, and may be heard in a moment.
    const since = Math.max(this.#signal?.heardAt ?? 0, this.#lineWatch.cameAt, Date.now() - UNNOTICED_MS_MAX);
    this.#unheardSince = since;
    const patience = Math.min(CUT_OFF_MS, this.policy?.audioHoldMs ?? CUT_OFF_MS);
    this.#later(Math.max(0, since + patience - Date.now()), () => {
      if (this.#unheardSince !== since || heard()) return;
      this.#isCutOff = true;
      this.#changed();
    });
  }

  #watch(transport: Transport): void {
    const { peerConnection } = transport;
    const isCurrent = () => this.#transport === transport && this.phase.name !== 'over';
    peerConnection.onconnectionstatechange = () => {
      if (!isCurrent()) return;
      // Where no media came nobody has asked whether the server is there still; and where they do again, it is.
      if (peerConnection.connectionState !== 'connected' || this.line !== 'open') this.#signal?.nudge(ASK_MS_MAX);
      this.#settleCutOff();
      this.#changed();
    };
    peerConnection.oniceconnectionstatechange = () => {
      const broken = () => ['disconnected', 'failed'].includes(peerConnection.iceConnectionState);
      if (!broken()) return;
      const wait = peerConnection.iceConnectionState === 'failed' ? 0 : RESTART_ICE_MS;
      this.#later(wait, () => {
        if (isCurrent() && broken()) this.#restart();
      });
    };
  }

  /** The network is back, or another one: the paths of before may be dead without anybody having noticed. */
  readonly #rerouted = (): void => {
    this.#restart();
    this.#signal?.nudge();
    this.#flush();
  };

  /**
   * Looks for other paths, once the server can be told of it: what a browser finds before, it may find on a network that
   * is gone. If there is no way at all the server says so, and a fresh transport is made then.
   */
  #restart(): void {
    this.#restartDue = this.line !== 'open';
    if (!this.#restartDue) this.#transport?.restartIce().catch(() => undefined);
  }

  // --- what the server says --------------------------------------------------------------------------------------

  #welcomed(frame: Extract<ServerFrame, { type: 'welcome' }>): void {
    // Another device has taken over while this one was away: it does not ask to have it back by itself.
    const wasNew = this.phase.name === 'waiting' && this.phase.newDevice;
    if (frame.newDevice && this.#connected && !wasNew) return void this.#goAs({ name: 'superseded' });
    this.you = frame.you;
    this.#hearChosen();
    this.session = frame.session;
    this.policy = frame.policy;
    this.#lineWatch.limits = frame.policy;
    this.participants = frame.participants;
    this.knocks = [];
    this.recording = false;
    this.speaker = null;
    this.#rehearses = null;
    this.#qualities.clear();
    this.#redundancy.hear(GOOD);
    this.#offered = frame.seats;
    this.#seated = [];
    if (frame.you.state === 'waiting') {
      const { newDevice } = frame;
      const nobody = { position: null, providerPresent: false, deskAttended: false };
      this.#setPhase({ name: 'waiting', ...nobody, newDevice, sentBack: false });
    } else this.#setPhase({ name: 'admitted' });
    this.#hasThread(frame.chat);
    this.#chooseAgain();
    if (this.#connected) return this.#reconnect();
    this.#connected = this.#connect();
    // Whoever joins hears of it.
    this.#connected.catch(() => undefined);
  }

  #resumed(): void {
    const state = this.peerConnection?.iceConnectionState ?? '';
    if (this.#restartDue || ['disconnected', 'failed'].includes(state)) this.#restart();
    // Who was let in by a socket that was doubted could not say any.
    this.#wishAgain();
    this.#catchUp();
    this.#sayComposing();
    this.#flush();
  }

  #receive(frame: ServerFrame): void {
    switch (frame.type) {
      case 'waiting':
        this.#sentBack(frame);
        break;
      case 'admitted':
        this.#stand('admitted');
        this.participants = frame.participants;
        this.#setPhase({ name: 'admitted' });
        this.#hasThread(frame.chat);
        this.#chooseAgain();
        this.#putAll();
        this.#wishAgain();
        break;
      case 'knock':
        this.#knock(frame);
        break;
      case 'knockOver':
        this.knocks = this.knocks.filter(({ participant }) => participant.id !== frame.participantId);
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
        if (this.#thread.hear(frame)) this.#heard(frame);
        break;
      case 'recording':
        this.recording = frame.on;
        break;
      case 'tier':
        if (this.you) this.you = { ...this.you, tier: frame.profile, tierReason: frame.profile === 'video' ? null : frame.reason };
        this.#hearChosen();
        this.#putAll();
        break;
      case 'encodings':
        this.#transport?.want(frame.kind, frame.active);
        break;
      case 'rehearse':
        this.#rehearses = frame.profile;
        this.#transport?.rehearse(frame.profile === 'video');
        this.#putAll();
        break;
      case 'videoCodec':
        this.#transport?.encodeVideo(frame.kind, frame.codec).catch((error: unknown) => this.#problem(error));
        break;
      case 'audioEncoding':
        this.#voiceAsked = { maxBitrateBps: frame.maxBitrateBps, frameMs: frame.frameMs };
        this.#settleVoice();
        break;
      case 'speaker':
        this.speaker = frame.participantId;
        break;
      case 'quality':
        this.#qualities.set(frame.participantId, { level: frame.level, reason: frame.reason });
        if (frame.participantId === this.you?.id) this.#redundancy.hear(frame);
        break;
      case 'disconnected':
        this.#reconnect();
        break;
      case 'denied':
        this.#finish({
          name: 'denied',
          reason: frame.reason,
          newDevice: this.phase.name === 'waiting' && this.phase.newDevice,
        });
        break;
      case 'removed':
        this.#finish({ name: 'removed' });
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

  // --- what is written -------------------------------------------------------------------------------------------

  /** What was said is known up to now, and what is not sent can be. */
  #hasThread(lines: ChatLine[]): void {
    if (!this.isIn) return this.#thread.clear();
    if (this.#thread.welcome(lines)) this.#readOlder();
    this.#findOutbox();
    this.#composes = false;
    this.#sayComposing();
    this.#flush();
  }

  #catchUp(): void {
    if (this.isIn && this.#thread.hasGap) this.#readOlder();
  }

  /** What is before the lines of a welcome, as far as it is not known. */
  #readOlder(): void {
    this.#request({ type: 'thread', after: this.#thread.upTo }).then(
      (reply) => {
        if (reply.type !== 'thread') return;
        this.#thread.page(reply);
        this.#changed();
        if (reply.more) this.#readOlder();
      },
      // With the next welcome or when the line goes on; and if the server had no time for it, a little later.
      (error: unknown) => {
        if (error instanceof Refusal && error.retryable && this.line === 'open') this.#later(TEXT_RETRY_MS, () => this.#catchUp());
      },
    );
  }

  #heard(line: ChatLine): void {
    if (line.from === this.you?.id) this.#outbox?.heard(line.clientId);
    this.emit('chat', line);
  }

  #findOutbox(): void {
    if (this.#outbox || !this.session || !this.you) return;
    const owner = `${this.session.id}/${this.you.id}`;
    const options = this.#options;
    const outbox = new Outbox(owner, late(() => (options.outbox ??= bestStore())), {
      change: () => this.#changed(),
      confirmed: (clientId, outcome) => {
        if (outcome === 'handed_over' && outbox === this.#outbox) this.emit('handedOver', clientId);
      },
    });
    this.#outbox = outbox;
    outbox.load().then(
      () => {
        // What an earlier page kept with them is replaced with each page.
        this.#keepCredential();
        this.#flush();
      },
      () => undefined,
    );
  }

  /** Sends what waits, over the line there is. */
  #flush(): void {
    const outbox = this.#outbox;
    const ended = this.#sendsAfterEnd;
    if (!outbox || outbox.isEmpty || !(this.isIn || ended)) return;
    void outbox.flush(this.#carrier).then((flushed) => {
      if (outbox !== this.#outbox) return;
      // While the visit goes on it may be of this page alone, or of its secret: it waits until it is heard again.
      if (flushed !== 'later') return ended ? this.#giveUp(outbox) : undefined;
      if (this.#flushTimer === undefined) {
        this.#flushTimer = setTimeout(() => {
          this.#flushTimer = undefined;
          this.#flush();
        }, TEXT_RETRY_MS);
      }
    });
  }

  #flushTimer: ReturnType<typeof setTimeout> | undefined;

  /** Another session of this page sends from now on what this one could not, and says what came of it. */
  letGo(): void {
    clearTimeout(this.#flushTimer);
    this.#outbox = null;
  }

  /** What nobody takes any more, or what was refused, stays on no device, and the person reads what it was. */
  #giveUp(outbox: Outbox): void {
    if (outbox.isEmpty || outbox !== this.#outbox) return;
    this.emit('undelivered', outbox.lines);
    void outbox.clear();
  }

  readonly #carrier: Carrier = {
    say: async (words) => {
      if (this.line !== 'open' || this.#isOver()) {
        this.#saying = new AbortController();
        return this.#textLine.say(words, this.#saying.signal);
      }
      await this.#ask({ type: 'chat', ...words });
      return 'said';
    },
    upload: (image, progress, givenUp) => this.#textLine.upload(image, progress, givenUp),
  };

  #lineIs(line: Line): void {
    this.line = line;
    // What is under way over HTTPS is on the way of before: it is said again on the socket, and known by its id.
    if (line === 'open') {
      this.#stopPolling();
      this.#saying?.abort();
    } else this.#later(TEXT_AFTER_MS, () => this.#startPolling());
    this.#settleCutOff();
    this.#changed();
  }

  #startPolling(): void {
    const mayBeIn = this.isIn || this.phase.name === 'joining';
    if (this.line === 'open' || this.#polling || this.#secret === null || !mayBeIn) return;
    this.#polling = new AbortController();
    void this.#poll(this.#polling.signal);
  }

  #stopPolling(): void {
    this.#polling?.abort();
    this.#polling = null;
    this.#httpsCarries = false;
  }

  /** Asks for news over HTTPS, again and again, until there is a socket. */
  async #poll(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#stands(await this.#textLine.visit(signal));
        const page = await this.#textLine.poll(this.#thread.upTo, signal);
        if (signal.aborted) return;
        this.#httpsCarries = true;
        for (const line of this.#thread.page(page)) this.#heard(line);
        this.#changed();
        this.#flush();
      } catch (error) {
        if (signal.aborted) return;
        this.#httpsCarries = false;
        this.#changed();
        if (error instanceof SessionOver) return this.#finish({ name: 'ended', reason: error.reason ?? 'provider_ended' });
        if (error instanceof Refusal && error.code === 'removed') return this.#finish({ name: 'removed' });
        if (error instanceof Refusal && error.code === 'not_admitted' && this.isIn) {
          this.#sentBack({ position: null, providerPresent: true, deskAttended: true });
        }
        if (error instanceof Refusal && error.code === 'resume_invalid') {
          // To show it again and again looks like guessing; a socket brings another, or says what to do without.
          this.#secret = null;
          return this.#stopPolling();
        }
        await new Promise<void>((resolve) => this.#later(TEXT_RETRY_MS, resolve));
      }
    }
  }

  /** How the visit stands while it is told by HTTPS alone; for a page that comes back this is the way in. */
  #stands({ you, session, participants, policy }: VisitState): void {
    if (this.line === 'open' || this.#isOver()) return;
    [this.you, this.session, this.participants] = [you, session, participants];
    [this.policy, this.#lineWatch.limits] = [policy, policy];
    this.#hearChosen();
    this.#httpsCarries = true;
    if (!this.isIn) {
      this.#isCutOff = true;
      this.phase = { name: 'admitted' };
      this.#findOutbox();
      this.#flush();
    }
    this.#changed();
  }

  /** Tells the server whether there is something to come, while it can be told. */
  #sayComposing(): void {
    const composes = this.#drafts;
    if (composes === this.#composes || !this.isIn || this.line !== 'open') return;
    this.#composes = composes;
    this.#ask({ type: 'composing', on: composes }).catch(() => {
      if (this.#composes === composes) this.#composes = !composes;
    });
  }

  /** A page that comes later may send what waits, after this one is gone. */
  #keepCredential(): void {
    if (this.#secret !== null) void this.#outbox?.keep({ base: this.#door.base, secret: this.#secret });
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

  /** Waits: for the first time, or again. */
  #sentBack(place: Place): void {
    this.#stand('waiting');
    this.speaker = null;
    for (const id of this.#qualities.keys()) if (id !== this.you?.id) this.#qualities.delete(id);
    this.#seated = [];
    this.#seat([]);
    this.participants = [];
    // Who is let in again begins with all they want.
    if (this.you) this.you = { ...this.you, tier: 'video', tierReason: null };
    this.#rehearses = null;
    this.#transport?.rehearse(false);
    this.#setPhase(this.#waiting(place));
    this.#putAll();
  }

  #waiting({ position, providerPresent, deskAttended }: Place): Phase {
    const before = this.phase.name === 'waiting' ? this.phase : { newDevice: false, sentBack: this.isIn };
    const { newDevice, sentBack } = before;
    return { name: 'waiting', position, providerPresent, deskAttended, newDevice, sentBack };
  }

  /** On which device somebody knocks, if they do. */
  #knocked(participantId: string): { device?: string } {
    const knock = this.knocks.find(({ participant }) => participant.id === participantId);
    return knock ? { device: knock.device } : {};
  }

  #knock({ participant, newDevice, device }: Omit<Knock, 'isIn'>): void {
    const { id } = participant;
    const before = this.knocks.find((knock) => knock.participant.id === id);
    const known = this.participants.find((other) => other.id === id);
    // A device that waits, of somebody who is known not to: who is in, or was when they were lost.
    const isIn = newDevice && participant.state === 'waiting' && known?.state !== 'waiting';
    const knock = { participant, newDevice, device, isIn };
    this.knocks = [...this.knocks.filter((other) => other !== before), knock];
    if (!before || device !== before.device) this.emit('knock', knock);
  }

  #participant(id: string, participant: Participant | null): void {
    const known = this.participants.some((other) => other.id === id);
    if (!participant) this.#qualities.delete(id);
    if (!participant) this.participants = this.participants.filter((other) => other.id !== id);
    else if (known) this.participants = this.participants.map((other) => (other.id === id ? participant : other));
    else this.participants = [...this.participants, participant];
    // What is said of somebody who is in is not said of the device that waits to take their place.
    if (participant) {
      this.knocks = this.knocks.map((knock) =>
        knock.participant.id === id && !knock.isIn ? { ...knock, participant } : knock,
      );
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
    const had = this.#tracks[what] !== null;
    this.#tracks[what] = track;
    await this.#put(what);
    if (what === 'camera' && had !== (track !== null) && this.#signal) await this.#publish('camera').catch(() => undefined);
    this.#changed();
  }

  /** Whether the line is used for it, or the server is to look whether it could be. */
  #carries(what: keyof Tracks): boolean {
    if (this.#lineWatch.holds || (what === 'microphone' && this.#lineWatch.rests)) return false;
    const tier = lower(this.you?.tier ?? 'video', this.#chosen);
    if (what === 'microphone') return tier !== 'async_text' || this.#rehearses !== null;
    return tier === 'video' || (what === 'camera' && this.#rehearses === 'video' && this.#chosen === 'video');
  }

  #putAll(): void {
    for (const what of ['microphone', 'camera', 'screen'] as const) {
      this.#put(what).catch((error: unknown) => this.#problem(error));
    }
  }

  /** Puts a track on the line if it may be there. */
  async #put(what: keyof Tracks): Promise<void> {
    // A muted microphone goes on sending silence: the others hear no gap when it comes back, and it costs little.
    const { microphone, camera } = this.#tracks;
    // What the line is not used for is not taken, either.
    if (microphone) microphone.enabled = !this.muted.audio && (!this.isIn || this.#carries('microphone'));
    if (camera) camera.enabled = !this.isIn || this.#carries('camera');
    const silent = !this.isIn || !this.#carries(what) || (what === 'camera' && this.muted.camera);
    await this.#transport?.send(what, silent ? null : this.#tracks[what]);
  }

  /**
   * Sends the voice as the server asks for it, or as this end finds its way to be, whichever takes less. Where either spares the
   * line nothing goes twice ({@link withVoice}).
   */
  #settleVoice(): void {
    const [asked, own] = [this.#voiceAsked, this.#lineWatch.voice];
    const least = own && own.maxBitrateBps < (asked.maxBitrateBps ?? Infinity) ? own : asked;
    const voice = { ...least, redundant: this.#redundancy.isWanted };
    if (this.#voiceOn === this.#transport && this.#voice && isAlike(this.#voice, voice)) return;
    [this.#voiceOn, this.#voice] = [this.#transport, voice];
    this.#transport?.encodeVoice(voice).catch((error: unknown) => this.#problem(error));
  }

  async #publish(kind: 'audio' | 'camera'): Promise<void> {
    if (this.you === null) return;
    // Of a camera that is gone nothing is to be waited for.
    const muted = this.muted[kind] || (kind === 'camera' && this.#tracks.camera === null);
    await this.#ask({ type: 'publish', kind: kind satisfies PublishKind, muted });
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

  /** Is gone at once, and says so as soon as it can. */
  async #goAs(why: Over): Promise<void> {
    const signal = this.#signal;
    const said = signal?.request({ type: 'leave' }).catch(() => undefined);
    this.#finish(why, true);
    await said;
    signal?.close();
  }

  /** It is over. `keepSocket`: something is still to be said on it. */
  #finish(why: Over, keepSocket = false): void {
    if (this.phase.name === 'over') return;
    this.phase = { name: 'over', why };
    this.#listening.abort();
    this.#store.forget();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#redundancy.stop();
    this.#transport?.close();
    this.#transport = null;
    if (!keepSocket) this.#signal?.close();
    this.participants = [];
    this.knocks = [];
    this.#stopPolling();
    this.#settleOutbox(why);
    this.#changed();
  }

  /** What becomes of what is not sent. It stays on no device whose person is done with the visit. */
  #settleOutbox(why: Over): void {
    const outbox = this.#outbox;
    // It goes to the provider's desk where it may.
    if (this.#sendsAfterEnd) this.#flush();
    // Who is not let in now may be later: it is sent then.
    else if (why.name === 'denied') return;
    // Who leaves does so knowing that it goes; who is taken out is told.
    // Where the device keeps nothing, it is what this page knows.
    else void outbox?.load().catch(() => undefined).then(() => (why.name === 'left' ? outbox.clear() : this.#giveUp(outbox)));
  }

  /** Whether it is over in a way after which the server may still take what was written. */
  get #sendsAfterEnd(): boolean {
    return this.phase.name === 'over' && ['ended', 'refused', 'superseded'].includes(this.phase.why.name);
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

/** Why somebody who was in, or waited, cannot come back. */
function whyOver(error: DoorError | Refusal): Over {
  if (error.code === 'superseded') return { name: 'superseded' };
  if (error.code === 'removed' || error.code === 'join_token_revoked') return { name: 'removed' };
  return { name: 'refused', error };
}

/** A store that is found when it is first needed. */
function late(find: () => Promise<OutboxStore>): OutboxStore {
  return {
    load: async (owner) => (await find()).load(owner),
    put: async (line) => (await find()).put(line),
    remove: async (owner, clientId) => (await find()).remove(owner, clientId),
    keep: async (owner, credential) => (await find()).keep(owner, credential),
    owners: async () => (await find()).owners(),
  };
}

/** Tells of another network, where the browser does (Network Information API). */
function connection(): EventTarget | undefined {
  return (navigator as { connection?: EventTarget }).connection;
}

/** The lower of two: less is sent. */
function lower(one: BandwidthProfile, other: BandwidthProfile): BandwidthProfile {
  const order: BandwidthProfile[] = ['video', 'audio_only', 'async_text'];
  return order.indexOf(one) > order.indexOf(other) ? one : other;
}
