/** As much of a browser as a session needs: a PeerConnection without a network, a page's events, storage. */
import { vi } from 'vitest';

interface Encoding {
  rid?: string;
  active?: boolean;
  maxBitrate?: number;
  scalabilityMode?: string;
  scaleResolutionDownBy?: number;
}

/** Those that were made, in order. */
export const peerConnections: FakePeerConnection[] = [];

export class FakePeerConnection {
  connectionState = 'new';
  iceConnectionState = 'new';
  signalingState = 'stable';
  localDescription: { sdp: string } | null = null;
  remotes: string[] = [];
  sent: (unknown | null)[] = [];
  restarts = 0;
  /** Of each sender, in the order of the m-lines; none before the first answer. */
  parameters: { encodings: Encoding[] }[] = [];
  /** What each m-line offers, in their order. */
  codecs: string[][] = [];
  /** A remote description that cannot be taken. */
  refuses: ((sdp: string) => boolean) | null = null;
  /** What is told of it. */
  stats: object[] = [];
  onconnectionstatechange: (() => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  #mids = 0;

  constructor() {
    peerConnections.push(this);
  }

  addTransceiver(_kind?: string, { sendEncodings }: { sendEncodings?: Encoding[] } = {}): object {
    const index = this.#mids;
    this.#mids += 1;
    this.sent.push(null);
    const replaceTrack = (track: unknown) => {
      this.sent[index] = track;
      return Promise.resolve();
    };
    this.parameters.push({ encodings: structuredClone(sendEncodings ?? [{}]) });
    let read = false;
    const getParameters = () => {
      read = true;
      return structuredClone(this.remotes.length > 0 ? this.parameters[index] : { encodings: [] });
    };
    const setParameters = async (parameters: { encodings: Encoding[] }) => {
      // As browsers do: they are to be read anew each time.
      if (!read) throw new Error('not read');
      read = false;
      await Promise.resolve();
      this.parameters[index] = parameters;
    };
    const { sent } = this;
    const sender = {
      replaceTrack,
      getParameters,
      setParameters,
      get track() {
        return sent[index];
      },
    };
    const setCodecPreferences = (codecs: { mimeType: string }[]) => {
      this.codecs[index] = codecs.map(({ mimeType }) => mimeType);
    };
    return { mid: String(index), sender, receiver: { track: {} }, setCodecPreferences };
  }

  createOffer(): Promise<object> {
    this.restarts += 1;
    return Promise.resolve({});
  }

  setLocalDescription(): Promise<void> {
    this.localDescription = { sdp: `a=ice-ufrag:u${this.restarts}\r\na=ice-pwd:p${this.restarts}\r\n` };
    return Promise.resolve();
  }

  setRemoteDescription({ sdp }: { sdp: string }): Promise<void> {
    if (this.refuses?.(sdp)) return Promise.reject(new Error('refused'));
    this.remotes.push(sdp);
    // As Chromium does with each answer.
    for (const { encodings } of this.parameters) for (const encoding of encodings) encoding.active = true;
    return Promise.resolve();
  }

  getStats(): Promise<object[]> {
    return Promise.resolve(this.stats);
  }

  goes(state: 'connected' | 'disconnected' | 'failed'): void {
    this.connectionState = this.iceConnectionState = state;
    this.oniceconnectionstatechange?.();
    this.onconnectionstatechange?.();
  }

  close(): void {
    this.connectionState = 'closed';
  }
}

/** What it can receive, in an order of its own. */
const CODECS: Record<string, string[]> = {
  audio: ['audio/red', 'audio/G722', 'audio/opus', 'audio/telephone-event'],
  video: ['video/AV1', 'video/VP8', 'video/rtx', 'video/VP9'],
};

export class FakeStorage {
  readonly kept = new Map<string, string>();
  getItem = (key: string) => this.kept.get(key) ?? null;
  setItem = (key: string, value: string) => void this.kept.set(key, value);
  removeItem = (key: string) => void this.kept.delete(key);
}

export interface FakePage {
  window: EventTarget;
  document: EventTarget & { visibilityState: string };
  connection: EventTarget;
  storage: FakeStorage;
  /** By kind, what a connection can receive. */
  codecs: Record<string, string[]>;
}

/** Puts it in place of what Node does not have. */
export function stubBrowser(): FakePage {
  peerConnections.length = 0;
  const page: FakePage = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: 'visible' }),
    connection: new EventTarget(),
    storage: new FakeStorage(),
    codecs: structuredClone(CODECS),
  };
  vi.stubGlobal('window', page.window);
  vi.stubGlobal('document', page.document);
  vi.stubGlobal('navigator', { connection: page.connection });
  vi.stubGlobal('sessionStorage', page.storage);
  vi.stubGlobal('RTCPeerConnection', FakePeerConnection);
  vi.stubGlobal('RTCRtpReceiver', {
    getCapabilities: (kind: string) => ({ codecs: (page.codecs[kind] ?? []).map((mimeType) => ({ mimeType })) }),
  });
  vi.stubGlobal('MediaStream', class {});
  vi.stubGlobal('CustomEvent', CustomEvent);
  return page;
}
