/**
 * One call: one signaling socket and one PeerConnection, as docs of the protocol say. The browser always offers.
 * It knows nothing of the page's elements; what changes is told by events: `participants`, `seats`, `state`, `ended`,
 * `problem`.
 */
import { iceCredentials, slimOffer, withIceCredentials } from './sdp.js';
import { Signal } from './signal.js';

/** Simulcast encodings, low to high. */
const CAMERA_ENCODINGS = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: 'L1T1' },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: 'L1T1' },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000, scalabilityMode: 'L1T1' },
];

const CODECS = { audio: ['audio/opus'], video: ['video/vp8', 'video/rtx'] };

/**
 * @typedef {object} Seat
 * @property {number} id              the server's number of the seat
 * @property {boolean} screen         whether it shows screens
 * @property {number | null} participant  who sits in it
 * @property {string} layer           the rid asked for
 * @property {MediaStream} stream     what to play
 * @property {RTCRtpTransceiver | null} audio
 * @property {RTCRtpTransceiver} video
 */

export class Call extends EventTarget {
  /** @type {RTCPeerConnection} */
  pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
  /** @type {Seat[]} */
  seats = [];
  /** @type {{id: number, name: string, sources: string[]}[]} */
  participants = [];
  /** This participant's id; `null` before the server said it. */
  you = null;
  /** Offers made so far: seats change without any. */
  negotiations = 0;
  /** Size of the last offer: it has to cross thin lines. */
  offerBytes = 0;

  #signal;
  #answer = '';
  /** One change of descriptions at a time. */
  #turn = Promise.resolve();
  #senders;
  #ended = false;

  /**
   * @param {object} options
   * @param {string} options.room
   * @param {MediaStream | null} [options.media]  camera and microphone; without them only seats are offered
   * @param {number} [options.people]   seats for people
   * @param {number} [options.screens]  seats for screens
   */
  constructor({ room, media = null, people = 3, screens = 1 }) {
    super();
    this.#senders = this.#addSenders(media);
    this.#addSeats(people, screens);
    this.pc.onconnectionstatechange = () => this.#tell('state', this.pc.connectionState);
    this.pc.oniceconnectionstatechange = () => {
      if (this.pc.iceConnectionState === 'failed') this.restartIce().catch((error) => this.#problem(error));
    };
    const url = new URL('/signal', location.href);
    url.protocol = url.protocol.replace('http', 'ws');
    url.searchParams.set('room', room);
    this.#signal = new Signal(url.href, {
      message: (message) => this.#receive(message),
      closed: (reason) => this.#end(reason),
    });
  }

  /** Joins; resolves when the descriptions are exchanged, before ICE and DTLS are. */
  async join() {
    await this.#signal.next('welcome');
    await this.#negotiate();
  }

  /** Asks for another encoding in a seat. */
  selectLayer(seat, rid) {
    this.#subscribe({ seat, layer: rid });
    this.#seat(seat).layer = rid;
    this.#tell('seats', this.seats);
  }

  /** Asks for another participant in a seat; `null` empties it. The server's `seats` says when it is so. */
  setSeat(seat, participant) {
    this.#seat(seat);
    this.#subscribe({ seat, participant });
  }

  /** An ICE restart without SDP on the wire: only credentials go each way. */
  restartIce() {
    return this.#inTurn(async () => {
      await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart: true }));
      const mine = iceCredentials(this.pc.localDescription?.sdp ?? '');
      const reply = this.#signal.next('restarted', { request: 'restart' });
      this.#signal.send({ type: 'restart', ...mine });
      try {
        this.#answer = withIceCredentials(this.#answer, await reply);
      } catch (error) {
        await this.pc.setLocalDescription({ type: 'rollback' });
        throw error;
      }
      await this.pc.setRemoteDescription({ type: 'answer', sdp: this.#answer });
    });
  }

  /** What the server counts about this participant's transport. */
  async serverStats() {
    const reply = this.#signal.next('stats', { request: 'stats' });
    this.#signal.send({ type: 'stats' });
    return (await reply).stats;
  }

  setMuted(muted) {
    const { track } = this.#senders.audio.sender;
    if (track) track.enabled = !muted;
  }

  /** Replaces the camera's track; `null` sends nothing. */
  setCamera(track) {
    return this.#senders.camera.sender.replaceTrack(track);
  }

  /** Replaces the screen's track; `null` sends nothing. */
  setScreen(track) {
    return this.#senders.screen.sender.replaceTrack(track);
  }

  leave() {
    this.#signal.send({ type: 'leave' });
    this.#end('you left');
  }

  #addSenders(media) {
    const direction = /** @type {const} */ ('sendonly');
    const add = (kind, track, sendEncodings) => {
      const transceiver = this.pc.addTransceiver(track ?? kind, { direction, ...(sendEncodings && { sendEncodings }) });
      preferCodecs(transceiver, kind);
      return transceiver;
    };
    return {
      audio: add('audio', media?.getAudioTracks()[0]),
      camera: add('video', media?.getVideoTracks()[0], CAMERA_ENCODINGS),
      screen: add('video', null),
    };
  }

  #addSeats(people, screens) {
    const add = (kind) => {
      const transceiver = this.pc.addTransceiver(kind, { direction: 'recvonly' });
      preferCodecs(transceiver, kind);
      return transceiver;
    };
    for (let id = 0; id < people + screens; id += 1) {
      const screen = id >= people;
      const audio = screen ? null : add('audio');
      const video = add('video');
      const tracks = [audio, video].flatMap((transceiver) => transceiver?.receiver.track ?? []);
      this.seats.push({ id, screen, participant: null, layer: 'f', stream: new MediaStream(tracks), audio, video });
    }
  }

  #negotiate() {
    return this.#inTurn(async () => {
      this.negotiations += 1;
      const negotiation = this.negotiations;
      await this.pc.setLocalDescription();
      const reply = this.#signal.next('answer', {
        request: 'offer',
        matches: (message) => message.negotiation === negotiation,
      });
      const offer = slimOffer(this.pc.localDescription?.sdp ?? '');
      this.offerBytes = offer.length;
      this.#signal.send({ type: 'offer', negotiation, sdp: offer });
      const { sdp, seats } = await reply;
      await this.pc.setRemoteDescription({ type: 'answer', sdp });
      this.#answer = sdp;
      for (const { seat, video } of seats) {
        const ours = this.seats.find((candidate) => candidate.video.mid === video);
        if (ours) ours.id = seat;
      }
    });
  }

  #receive(message) {
    switch (message.type) {
      case 'welcome':
        this.you = message.you;
        this.participants = message.participants;
        this.#tell('participants', this.participants);
        break;
      case 'participants':
        this.participants = message.participants;
        this.#tell('participants', this.participants);
        break;
      case 'seats':
        for (const { seat, participant } of message.seats) {
          const ours = this.seats.find((candidate) => candidate.id === seat);
          if (ours) ours.participant = participant;
        }
        this.#tell('seats', this.seats);
        break;
      case 'error':
        this.#problem(new Error(message.message));
        break;
      case 'disconnected':
        this.#end(message.message);
        break;
      default:
        break;
    }
  }

  #subscribe(wish) {
    this.#signal.send({ type: 'subscribe', seats: [wish] });
  }

  #seat(id) {
    const seat = this.seats.find((candidate) => candidate.id === id);
    if (!seat) throw new RangeError(`there is no seat ${id}`);
    return seat;
  }

  /** Runs `change` after the changes of descriptions that were asked for before it. */
  #inTurn(change) {
    const result = this.#turn.then(change);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  #end(reason) {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal.close();
    this.pc.close();
    this.#tell('ended', reason);
  }

  #problem(error) {
    if (!this.#ended) this.#tell('problem', error.message);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Offers only what the server forwards: an offer must cross a thin line. */
function preferCodecs(transceiver, kind) {
  const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => CODECS[kind].includes(mimeType.toLowerCase())));
}
