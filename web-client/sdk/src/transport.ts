/**
 * One PeerConnection and its m-lines (docs/protocol.md, section 4): the browser offers, the server answers, seats change
 * without SDP. It knows nothing of people; the session tells it who sits where.
 */
import type { LineLook } from './line-watch.ts';
import { firstCodec, iceCredentials, slimOffer, withCodec, withIceCredentials, withVoice } from './sdp.ts';
import type { AudioEncoding, IceCredentials } from './sdp.ts';
import type { IceServer, SeatCounts, SeatMids, VideoCodec, VideoKind } from './wire.ts';

type ScalableEncoding = RTCRtpEncodingParameters & { scalabilityMode?: string };

/** Layers of each encoding where every size is an encoding: it can be had at half and at a quarter of its pictures. */
const ENCODING_LAYERS = 'L1T3';
/** Simulcast encodings, low to high. The server drops temporal layers before it drops spatial ones. */
const CAMERA_ENCODINGS: ScalableEncoding[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: ENCODING_LAYERS },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: ENCODING_LAYERS },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000, scalabilityMode: ENCODING_LAYERS },
];
/** Those of a shared screen: whoever's line is slow sees a smaller one rather than none. */
const SCREEN_ENCODINGS: ScalableEncoding[] = [
  { rid: 'q', scaleResolutionDownBy: 2, maxBitrate: 250_000, scalabilityMode: ENCODING_LAYERS },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000, scalabilityMode: ENCODING_LAYERS },
];
const ENCODINGS: Record<VideoKind, ScalableEncoding[]> = { camera: CAMERA_ENCODINGS, screen: SCREEN_ENCODINGS };
/**
 * Offers only what the server forwards, in the order in which it is wanted: an offer must cross a thin line. A voice
 * is plain Opus, and may come with redundancy (RFC 2198) where packets get lost: on the way up it is asked for as the rest of
 * the voice is, on the way down the server makes it.
 */
const CODECS = {
  audio: ['audio/opus', 'audio/red'],
  video: ['video/vp8', 'video/vp9', 'video/h264', 'video/av1', 'video/rtx'],
};
/** Of what a codec has several of, what the server forwards; what is not said is its only or first kind. */
const PROFILES: Record<string, RegExp> = {
  'video/vp9': /^(?!.*profile-id=[^0])/,
  'video/h264': /^(?=.*packetization-mode=1)(?=.*profile-level-id=42[ce]0)/i,
  'video/av1': /^(?!.*(^|;)profile=[^0])/,
};
/** Codecs that carry all sizes in one stream of layers, of which the server picks. Others send each size on its own. */
const LAYERED = new Set<string>(['VP9', 'AV1'] satisfies VideoCodec[]);

/** Where one participant, or one shared screen, is played. */
export interface Seat {
  /** The server's number; null before the first answer. */
  id: number | null;
  readonly screen: boolean;
  /** Who sits in it. */
  participant: string | null;
  /** What to show in a `<video>`. */
  readonly picture: MediaStream;
  /**
   * What to play in an `<audio>`; null of a screen. In a `<video>` it would not be heard before the first picture, and there
   * may be none. Browsers keep the two in step all the same.
   */
  readonly voice: MediaStream | null;
  readonly audio: RTCRtpTransceiver | null;
  readonly video: RTCRtpTransceiver;
}

/** What is sent; null sends nothing. */
export interface Tracks {
  microphone: MediaStreamTrack | null;
  camera: MediaStreamTrack | null;
  screen: MediaStreamTrack | null;
}

const VOICE_AS_IT_LIKES: AudioEncoding = { maxBitrateBps: null, frameMs: null, redundant: false };

/** Of `getStats`, what tells of the line. */
type LineStats = RTCStats & {
  nominated?: boolean;
  availableOutgoingBitrate?: number;
  kind?: string;
  packetsReceived?: number;
  packetsLost?: number;
  fractionLost?: number;
  responsesReceived?: number;
};

/** The signaling a transport needs. */
export interface Exchange {
  offer: (sdp: string, negotiation: number) => Promise<{ sdp: string; seats: SeatMids[] }>;
  restart: (credentials: IceCredentials) => Promise<IceCredentials>;
}

export class Transport {
  readonly peerConnection: RTCPeerConnection;
  readonly seats: Seat[] = [];
  /** Offers made so far: seats change without any. */
  negotiations = 0;
  /** Size of the last offer: it has to cross thin lines. */
  offerBytes = 0;

  readonly #exchange: Exchange;
  readonly #transceivers: Record<keyof Tracks, RTCRtpTransceiver>;
  /** The server's last answer, with its credentials of now. */
  #answer = '';
  /** The rids of what is wanted, of those kinds of which it was said. */
  readonly #wanted = new Map<VideoKind, string[]>();
  /** The codecs that are to be sent, of those kinds of which it was said. */
  readonly #codecs = new Map<VideoKind, VideoCodec>();
  #rehearses = false;
  #voice = VOICE_AS_IT_LIKES;
  /** One change of a sender's parameters at a time. */
  #parametersTurn: Promise<unknown> = Promise.resolve();
  /** One change of descriptions at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** The restart that waits for its turn. */
  #restart: Promise<void> | null = null;

  constructor(exchange: Exchange, iceServers: IceServer[], seats: SeatCounts) {
    this.#exchange = exchange;
    this.peerConnection = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.#transceivers = {
      microphone: this.#addSender('audio'),
      camera: this.#addSender('video', CAMERA_ENCODINGS),
      screen: this.#addSender('video', SCREEN_ENCODINGS),
    };
    this.#addSeats(seats.people, false);
    this.#addSeats(seats.screens, true);
  }

  /** Exchanges descriptions; ICE and DTLS go on by themselves. */
  negotiate(): Promise<void> {
    return this.#inTurn(async () => {
      this.negotiations += 1;
      await this.peerConnection.setLocalDescription();
      const offer = slimOffer(this.peerConnection.localDescription?.sdp ?? '');
      this.offerBytes = offer.length;
      const { sdp, seats } = await this.#exchange.offer(offer, this.negotiations);
      this.#answer = sdp;
      await this.#takeAnswer();
      for (const { seat, video } of seats) {
        const ours = this.seats.find((candidate) => candidate.video.mid === video);
        if (ours) ours.id = seat;
      }
      this.#setParameters();
    });
  }

  /** More seats for people, by a new offer; those there are stay as they are. */
  async growTo(people: number): Promise<void> {
    const missing = people - this.seats.filter(({ screen }) => !screen).length;
    if (missing <= 0) return;
    this.#addSeats(missing, false);
    await this.negotiate();
  }

  /** An ICE restart without SDP on the wire: only credentials go each way. One that waits for its turn will do for all. */
  restartIce(): Promise<void> {
    this.#restart ??= this.#inTurn(async () => {
      this.#restart = null;
      const { peerConnection } = this;
      await peerConnection.setLocalDescription(await peerConnection.createOffer({ iceRestart: true }));
      try {
        const mine = iceCredentials(peerConnection.localDescription?.sdp ?? '');
        this.#answer = withIceCredentials(this.#answer, await this.#exchange.restart(mine));
      } catch (error) {
        await peerConnection.setLocalDescription({ type: 'rollback' });
        throw error;
      }
      await this.#takeAnswer();
      this.#setParameters();
    });
    return this.#restart;
  }

  /** Sends the lowest encoding of the camera alone: the server looks at it, and nobody else does. Or as before. */
  rehearse(on: boolean): void {
    if (on === this.#rehearses) return;
    this.#rehearses = on;
    this.#activate('camera');
  }

  /** What is seen of the line now. */
  async look(): Promise<LineLook> {
    const look: LineLook = { uplinkKbps: null, packets: 0, lost: 0, voiceLost: null, answers: 0 };
    (await this.peerConnection.getStats()).forEach((entry: LineStats) => {
      if (entry.type === 'inbound-rtp') {
        look.packets += entry.packetsReceived ?? 0;
        look.lost += entry.packetsLost ?? 0;
      }
      if (entry.type === 'remote-inbound-rtp' && entry.kind === 'audio') look.voiceLost = entry.fractionLost ?? null;
      if (entry.type === 'candidate-pair') look.answers += entry.responsesReceived ?? 0;
      if (entry.type !== 'candidate-pair' || !entry.nominated || !entry.availableOutgoingBitrate) return;
      look.uplinkKbps = Math.round(entry.availableOutgoingBitrate / 1000);
    });
    return look;
  }

  /** Sends these encodings, by rid, and no others, or as many layers of one: nobody is shown the rest. */
  want(kind: VideoKind, active: string[]): void {
    this.#wanted.set(kind, active);
    this.#activate(kind);
  }

  /** Sends a kind of picture in this codec from now on: the answer of before asks for it, taken anew. */
  async encodeVideo(kind: VideoKind, codec: VideoCodec): Promise<void> {
    this.#codecs.set(kind, codec);
    await this.#takeAnswerAnew(() => this.#codecs.get(kind) === codec);
    this.#setParameters();
  }

  /** Encodes the voice as said. Nothing goes over the wire: what the server answered last is taken anew, and asks for it. */
  async encodeVoice(voice: AudioEncoding): Promise<void> {
    this.#voice = voice;
    await this.#takeAnswerAnew(() => this.#voice === voice);
    this.#setParameters();
  }

  /** Sends a track, or nothing. */
  async send(what: keyof Tracks, track: MediaStreamTrack | null): Promise<void> {
    await this.#transceivers[what].sender.replaceTrack(track);
    if (what === 'microphone') this.#limitVoice();
    else this.#activate(what);
  }

  close(): void {
    this.peerConnection.close();
  }

  #takeAnswer(): Promise<void> {
    let sdp = withVoice(this.#answer, this.#voice);
    for (const [kind, codec] of this.#codecs) sdp = withCodec(sdp, this.#midOf(kind), codec);
    return this.peerConnection.setRemoteDescription({ type: 'answer', sdp });
  }

  /** Takes the last answer once more, as what is wished changes it; unless another wish has come since. */
  #takeAnswerAnew(isWished: () => boolean): Promise<void> {
    return this.#inTurn(async () => {
      // The first answer brings it along.
      if (!this.#answer || !isWished()) return;
      const { peerConnection } = this;
      await peerConnection.setLocalDescription();
      try {
        await this.#takeAnswer();
      } catch {
        // There are more seats already than were answered: the next answer brings it along.
        await peerConnection.setLocalDescription({ type: 'rollback' });
      }
    });
  }

  #midOf(kind: VideoKind): string {
    return this.#transceivers[kind].mid ?? '';
  }

  /** What is wished of senders: with each answer that it takes, Chromium has all encodings active. */
  #setParameters(): void {
    this.#activate('camera');
    this.#activate('screen');
    this.#limitVoice();
  }

  /**
   * Sends those encodings that are wanted; of a codec with layers one stream of as many. Without a track none is active: Chromium pads
   * one that is, by some 20 kbit/s, though there is nothing to send.
   */
  #activate(kind: VideoKind): void {
    const wanted = this.#wanted.get(kind);
    const codec = this.#codecs.get(kind) ?? firstCodec(this.#answer, this.#midOf(kind));
    const mayBeLayered = codec !== null && LAYERED.has(codec);
    const rehearses = kind === 'camera' && this.#rehearses;
    const { sender } = this.#transceivers[kind];
    this.#change(sender, (encodings) => {
      const sends = sender.track !== null;
      for (const [at, encoding] of (encodings as ScalableEncoding[]).entries()) {
        encoding.active = sends;
        // One without a rid is the only one there is.
        if (!encoding.rid) continue;
        // One without a mode is of a browser that makes no layers: it sends each size beside the others in every codec.
        const isLayered = mayBeLayered && encoding.scalabilityMode !== undefined;
        // The lowest stands first.
        encoding.active &&= isLayered || rehearses ? at === 0 : (wanted?.includes(encoding.rid) ?? true);
        const isStream = isLayered && at === 0 && !rehearses;
        if (encoding.scalabilityMode) Object.assign(encoding, isStream ? layers(kind, wanted?.length) : ENCODINGS[kind][at]);
      }
    });
  }

  /** Sends a voice of no more than is wanted; without a track none, as of pictures. */
  #limitVoice(): void {
    const { sender } = this.#transceivers.microphone;
    this.#change(sender, (encodings) => {
      for (const encoding of encodings) {
        encoding.active = sender.track !== null;
        if (this.#voice.maxBitrateBps === null) delete encoding.maxBitrate;
        else encoding.maxBitrate = this.#voice.maxBitrateBps;
      }
    });
  }

  /**
   * Changes a sender's parameters, one after the other: what was read is void after the next change, or a new description: so it is
   * tried twice. A sender that has none yet gets them with the answer; where they cannot be set it sends as before.
   */
  #change(sender: RTCRtpSender, change: (encodings: RTCRtpEncodingParameters[]) => void): void {
    const set = async (): Promise<void> => {
      const parameters = sender.getParameters();
      if (!parameters.encodings?.length) return;
      const before = JSON.stringify(parameters.encodings);
      change(parameters.encodings);
      if (JSON.stringify(parameters.encodings) !== before) await sender.setParameters(parameters);
    };
    this.#parametersTurn = this.#parametersTurn.then(set).catch(set).catch(() => undefined);
  }

  #addSender(kind: 'audio' | 'video', sendEncodings?: RTCRtpEncodingParameters[]): RTCRtpTransceiver {
    const transceiver = this.peerConnection.addTransceiver(kind, {
      direction: 'sendonly',
      ...(sendEncodings && { sendEncodings }),
    });
    preferCodecs(transceiver, kind, CODECS[kind]);
    return transceiver;
  }

  #addSeats(count: number, screen: boolean): void {
    const add = (kind: 'audio' | 'video'): RTCRtpTransceiver => {
      const transceiver = this.peerConnection.addTransceiver(kind, { direction: 'recvonly' });
      preferCodecs(transceiver, kind, CODECS[kind]);
      return transceiver;
    };
    for (let index = 0; index < count; index += 1) {
      const audio = screen ? null : add('audio');
      const video = add('video');
      const [picture, voice] = [new MediaStream([video.receiver.track]), audio && new MediaStream([audio.receiver.track])];
      this.seats.push({ id: null, screen, participant: null, picture, voice, audio, video });
    }
  }

  /** Runs `change` after the changes of descriptions that were asked for before it. */
  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(change);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

/**
 * So many of the sizes, from the lowest, as layers of one stream, in the first of the encodings (Chromium makes them in no other):
 * each refers to the next lower in keyframes alone.
 */
function layers(kind: VideoKind, wanted = Infinity): ScalableEncoding {
  const sizes = ENCODINGS[kind].slice(0, Math.max(wanted, 1));
  const { scaleResolutionDownBy = 1, scalabilityMode = ENCODING_LAYERS } = sizes.at(-1) ?? {};
  const maxBitrate = sizes.reduce((sum, size) => sum + (size.maxBitrate ?? 0), 0);
  return { scaleResolutionDownBy, maxBitrate, scalabilityMode: sizes.length > 1 ? `L${sizes.length}T3_KEY` : scalabilityMode };
}

/** Offers these codecs and no others, as far as the browser has them, in their order. */
function preferCodecs(transceiver: RTCRtpTransceiver, kind: 'audio' | 'video', mimeTypes: string[]): void {
  // A browser that cannot be asked offers what it has: the answer takes what is forwarded.
  const codecs = RTCRtpReceiver.getCapabilities?.(kind)?.codecs ?? [];
  const wanted = mimeTypes.flatMap((mimeType) => {
    const isForwarded = ({ sdpFmtpLine = '' }: RTCRtpCodec): boolean => PROFILES[mimeType]?.test(sdpFmtpLine) ?? true;
    return codecs.filter((codec) => codec.mimeType.toLowerCase() === mimeType && isForwarded(codec));
  });
  transceiver.setCodecPreferences?.(wanted);
}
