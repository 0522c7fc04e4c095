/** As much of a browser as a session needs: a PeerConnection without a network, a page's events, storage. */
import { vi } from 'vitest';

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
  onconnectionstatechange: (() => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  #mids = 0;

  constructor() {
    peerConnections.push(this);
  }

  addTransceiver(): object {
    const index = this.#mids;
    this.#mids += 1;
    this.sent.push(null);
    const replaceTrack = (track: unknown) => {
      this.sent[index] = track;
      return Promise.resolve();
    };
    return { mid: String(index), sender: { replaceTrack }, receiver: { track: {} }, setCodecPreferences: () => undefined };
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
    this.remotes.push(sdp);
    return Promise.resolve();
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
}

/** Puts it in place of what Node does not have. */
export function stubBrowser(): FakePage {
  peerConnections.length = 0;
  const page: FakePage = {
    window: new EventTarget(),
    document: Object.assign(new EventTarget(), { visibilityState: 'visible' }),
    connection: new EventTarget(),
    storage: new FakeStorage(),
  };
  vi.stubGlobal('window', page.window);
  vi.stubGlobal('document', page.document);
  vi.stubGlobal('navigator', { connection: page.connection });
  vi.stubGlobal('sessionStorage', page.storage);
  vi.stubGlobal('RTCPeerConnection', FakePeerConnection);
  vi.stubGlobal('RTCRtpReceiver', { getCapabilities: () => ({ codecs: [] }) });
  vi.stubGlobal('MediaStream', class {});
  vi.stubGlobal('CustomEvent', CustomEvent);
  return page;
}
