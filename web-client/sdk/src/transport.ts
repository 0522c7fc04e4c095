/**
 * One PeerConnection and its m-lines (docs/protocol.md, section 4): the browser offers, the server answers, seats change
 * without SDP. It knows nothing of people; the session tells it who sits where.
 */
import { iceCredentials, slimOffer, withIceCredentials } from './sdp.ts';
import type { IceCredentials } from './sdp.ts';
import type { IceServer, SeatCounts, SeatMids } from './wire.ts';

/** Simulcast encodings, low to high. */
const CAMERA_ENCODINGS: (RTCRtpEncodingParameters & { scalabilityMode: string })[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: 'L1T1' },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: 'L1T1' },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000, scalabilityMode: 'L1T1' },
];
/** Offers only what the server forwards: an offer must cross a thin line. */
const CODECS = { audio: ['audio/opus'], video: ['video/vp8', 'video/rtx'] };

/** Where one participant, or one shared screen, is played. */
export interface Seat {
  /** The server's number; null before the first answer. */
  id: number | null;
  readonly screen: boolean;
  /** Who sits in it. */
  participant: string | null;
  /** What to play. */
  readonly stream: MediaStream;
  readonly audio: RTCRtpTransceiver | null;
  readonly video: RTCRtpTransceiver;
}

/** What is sent; null sends nothing. */
export interface Tracks {
  microphone: MediaStreamTrack | null;
  camera: MediaStreamTrack | null;
  screen: MediaStreamTrack | null;
}

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
  readonly #senders: Record<keyof Tracks, RTCRtpSender>;
  #answer = '';
  /** One change of descriptions at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** The restart that waits for its turn. */
  #restart: Promise<void> | null = null;

  constructor(exchange: Exchange, iceServers: IceServer[], seats: SeatCounts) {
    this.#exchange = exchange;
    this.peerConnection = new RTCPeerConnection({ iceServers, bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.#senders = {
      microphone: this.#addSender('audio'),
      camera: this.#addSender('video', CAMERA_ENCODINGS),
      screen: this.#addSender('video'),
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
      await this.peerConnection.setRemoteDescription({ type: 'answer', sdp });
      this.#answer = sdp;
      for (const { seat, video } of seats) {
        const ours = this.seats.find((candidate) => candidate.video.mid === video);
        if (ours) ours.id = seat;
      }
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
      await peerConnection.setRemoteDescription({ type: 'answer', sdp: this.#answer });
    });
    return this.#restart;
  }

  /** Sends a track, or nothing. */
  send(what: keyof Tracks, track: MediaStreamTrack | null): Promise<void> {
    return this.#senders[what].replaceTrack(track);
  }

  close(): void {
    this.peerConnection.close();
  }

  #addSender(kind: 'audio' | 'video', sendEncodings?: RTCRtpEncodingParameters[]): RTCRtpSender {
    const transceiver = this.peerConnection.addTransceiver(kind, {
      direction: 'sendonly',
      ...(sendEncodings && { sendEncodings }),
    });
    preferCodecs(transceiver, kind);
    return transceiver.sender;
  }

  #addSeats(count: number, screen: boolean): void {
    const add = (kind: 'audio' | 'video'): RTCRtpTransceiver => {
      const transceiver = this.peerConnection.addTransceiver(kind, { direction: 'recvonly' });
      preferCodecs(transceiver, kind);
      return transceiver;
    };
    for (let index = 0; index < count; index += 1) {
      const audio = screen ? null : add('audio');
      const video = add('video');
      const tracks = [audio, video].flatMap((transceiver) => transceiver?.receiver.track ?? []);
      this.seats.push({ id: null, screen, participant: null, stream: new MediaStream(tracks), audio, video });
    }
  }

  /** Runs `change` after the changes of descriptions that were asked for before it. */
  #inTurn<Result>(change: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(change);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

function preferCodecs(transceiver: RTCRtpTransceiver, kind: 'audio' | 'video'): void {
  const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => CODECS[kind].includes(mimeType.toLowerCase())));
}
