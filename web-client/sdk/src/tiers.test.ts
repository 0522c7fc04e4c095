/** What a session sends and says as its line is used for more or less. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { MemoryStore } from './outbox-store.ts';
import { Session } from './session.ts';
import type { SessionOptions } from './session.ts';
import { peerConnections, stubBrowser } from './testing/browser.ts';
import { FakeServer, person } from './testing/server.ts';
import type { BandwidthProfile, ClientFrame, TierReason } from './wire.ts';

const MICROPHONE = { enabled: true } as MediaStreamTrack;
const CAMERA = {} as MediaStreamTrack;

let server: FakeServer;
let session: Session;
/** Packets of media that came, and those that come each second. */
let come: number;
let estimate: number | null;

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const connection = () => {
  const last = peerConnections.at(-1);
  if (!last) throw new Error('there is none');
  return last;
};
const fresh = (more: Partial<SessionOptions> = {}) => {
  const outbox = Promise.resolve(new MemoryStore());
  return new Session({ token: 'token', base: 'https://visit.example.org', outbox, microphone: MICROPHONE, camera: CAMERA, ...more });
};
/** What is sent of microphone and camera. */
const sends = () => connection().sent.slice(0, 2);
const active = () => connection().parameters[1]?.encodings.map((encoding) => encoding.active ?? true);
const asked = (type: ClientFrame['type']) => server.done.filter((frame) => frame.type === type);

function tier(profile: BandwidthProfile, reason: TierReason): void {
  server.say({ type: 'tier', profile, reason, since: '' });
  server.say({ type: 'participant', participantId: 'me', participant: person('me', { tier: profile, tierReason: reason }) });
}

/** Seconds in which so many packets come each. */
async function seconds(count: number, packets: number): Promise<void> {
  for (let second = 0; second < count; second += 1) {
    come += packets;
    connection().stats = [
      { type: 'inbound-rtp', packetsReceived: come },
      { type: 'candidate-pair', nominated: true, responsesReceived: second + come * 100, availableOutgoingBitrate: estimate === null ? undefined : estimate * 1_000 },
    ];
    await pass(1_000);
  }
}

/** Nothing comes through any more, and after five seconds the browser says that no media do. */
async function isCut(): Promise<void> {
  server.isUp = false;
  server.socket.isDead = true;
  await seconds(5, 0);
  connection().goes('disconnected');
}

beforeEach(async () => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  [come, estimate] = [0, null];
  server = new FakeServer();
  server.answer = (frame) => {
    if (frame.type === 'restart') return { type: 'restarted', ufrag: 'other', pwd: 'other', replyTo: null };
    if (frame.type !== 'offer') return null;
    const seats = [{ seat: 0, audio: '3', video: '4' }];
    return { type: 'answer', sdp: 'a=ice-ufrag:server\r\na=ice-pwd:server\r\n', negotiation: frame.negotiation, seats, replyTo: null };
  };
  stubBrowser();
  vi.stubGlobal('WebSocket', server.socketClass);
  vi.stubGlobal('fetch', (url: string) =>
    url.includes('/v1/thread') ? Promise.reject(new Error('no way')) : Promise.resolve(Response.json({ ticket: 't', expiresAt: '' }, { status: 201 })),
  );
  session = fresh();
  const joined = session.join();
  await pass(60);
  await joined;
  connection().goes('connected');
});

afterEach(() => {
  void session.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe('what is sent', () => {
  test('a line that carries no picture is sent none, and all again when it does', async () => {
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
    tier('audio_only', 'downlink_rate');
    await pass(20);
    expect(sends()).toEqual([MICROPHONE, null]);
    expect(session.tier).toMatchObject({ profile: 'audio_only', reason: 'downlink_rate' });
    tier('async_text', 'uplink_loss');
    await pass(20);
    expect(sends()).toEqual([null, null]);
    tier('video', 'recovered');
    await pass(20);
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
  });

  test('of a picture that is rehearsed the lowest is sent alone, and of a voice nothing else', async () => {
    tier('async_text', 'silence');
    server.say({ type: 'rehearse', profile: 'audio_only' });
    await pass(20);
    expect(sends()).toEqual([MICROPHONE, null]);
    tier('audio_only', 'recovered');
    server.say({ type: 'rehearse', profile: 'video' });
    await pass(20);
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
    expect(active()).toEqual([true, false, false]);
    server.say({ type: 'rehearse', profile: null });
    tier('video', 'recovered');
    await pass(20);
    expect(active()).toEqual([true, true, true]);
  });

  test('a microphone that is muted stays so through it all', async () => {
    await Promise.all([session.setMuted('audio', true), pass(20)]);
    tier('async_text', 'silence');
    await pass(20);
    tier('video', 'recovered');
    await pass(20);
    expect(MICROPHONE.enabled).toBe(false);
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
    await Promise.all([session.setMuted('audio', false), pass(20)]);
  });
});

describe('who begins anew', () => {
  test('who is sent back and let in again is sent all of theirs', async () => {
    tier('async_text', 'uplink_loss');
    await pass(20);
    expect(sends()).toEqual([null, null]);
    server.say({ type: 'waiting', position: null, providerPresent: true, deskAttended: true });
    server.say({ type: 'admitted', participants: [person('other')], chat: [] });
    await pass(20);
    expect(session.tier.profile).toBe('video');
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
  });

  test('less than before is sent at once, though the server cannot be told just now', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    await pass(10);
    const chosen = session.chooseTier('audio_only');
    await pass(20);
    expect([sends(), session.chosen]).toEqual([[MICROPHONE, null], 'audio_only']);
    // A server that begins anew has not heard of it.
    server.restart();
    server.isUp = true;
    await pass(10_000);
    await chosen;
    expect([session.chosen, asked('tier').at(-1)]).toMatchObject(['audio_only', { want: 'audio_only' }]);
    expect(sends()).toEqual([MICROPHONE, null]);
  });

  test('more than before is asked for again where the server could not be told', async () => {
    await Promise.all([session.chooseTier('audio_only'), pass(20)]);
    tier('audio_only', 'chosen');
    await pass(20);
    server.isUp = false;
    server.socket.closedBy(1006);
    const chosen = session.chooseTier('video');
    await pass(20);
    server.logMax = -1;
    server.isUp = true;
    await pass(20_000);
    await chosen;
    expect(asked('tier').at(-1)).toMatchObject({ want: 'video' });
  });

  test('what somebody chose before a reload holds after it', async () => {
    void session.leave();
    session = fresh({ chosen: 'audio_only' });
    const joined = session.join();
    await pass(60);
    await joined;
    expect(sends()).toEqual([MICROPHONE, null]);
    expect(asked('tier')).toMatchObject([{ want: 'audio_only' }]);
  });

  test('what somebody chose is kept by their device where the server knows nothing of it', async () => {
    await Promise.all([session.chooseTier('audio_only'), pass(20)]);
    tier('audio_only', 'chosen');
    await pass(20);
    server.restart();
    await pass(2_000);
    expect(sends()).toEqual([MICROPHONE, null]);
    expect(asked('tier').at(-1)).toMatchObject({ want: 'audio_only' });
    expect(asked('tier').length).toBeGreaterThan(1);
  });

  test('what somebody chose on another device holds on this one', async () => {
    server.you = person('me', { tier: 'audio_only', tierReason: 'chosen' });
    void session.leave();
    session = fresh();
    const joined = session.join();
    await pass(60);
    await joined;
    expect([session.chosen, sends()]).toEqual(['audio_only', [MICROPHONE, null]]);
    await Promise.all([session.chooseTier('video'), pass(20)]);
    expect(session.chosen, 'until they choose otherwise').toBe('video');
  });

  test('a choice that the server has not heard of yet is not taken back by what it knew before', async () => {
    await Promise.all([session.chooseTier('audio_only'), pass(20)]);
    tier('audio_only', 'chosen');
    await pass(20);
    server.mutes = 'tier';
    void session.chooseTier('video').catch(() => undefined);
    tier('audio_only', 'chosen');
    await pass(20);
    expect(session.chosen).toBe('video');
  });

  test('who chose to write needs no microphone, and who writes because of the line does', async () => {
    expect(session.usesMicrophone).toBe(true);
    tier('async_text', 'uplink_loss');
    await pass(20);
    expect(session.usesMicrophone).toBe(true);
    await Promise.all([session.chooseTier('async_text'), pass(20)]);
    expect([session.usesMicrophone, session.usesCamera]).toEqual([false, false]);
    await Promise.all([session.chooseTier('video'), pass(20)]);
    expect(session.usesMicrophone).toBe(true);
  });

  test('of a camera that is gone the server waits for nothing', async () => {
    await Promise.all([session.setCamera(null), pass(20)]);
    expect(asked('publish').at(-1)).toMatchObject({ kind: 'camera', muted: true });
    await Promise.all([session.setCamera(CAMERA), pass(20)]);
    expect(asked('publish').at(-1)).toMatchObject({ kind: 'camera', muted: false });
  });
});

describe('what is said', () => {
  test('what the person wants is asked for once', async () => {
    await Promise.all([session.chooseTier('audio_only'), pass(20)]);
    expect(asked('tier')).toMatchObject([{ want: 'audio_only' }]);
  });

  test('the server is told of the way to it while that is little', async () => {
    estimate = 2_000;
    await seconds(12, 50);
    const before = asked('line').length;
    await seconds(4, 50);
    expect(asked('line').length).toBe(before);
    estimate = 90;
    await seconds(4, 50);
    expect(asked('line').slice(before)).toMatchObject([{ uplinkKbps: 90 }, { uplinkKbps: 90 }]);
    tier('audio_only', 'uplink_rate');
    await seconds(6, 50);
    expect(asked('line').length).toBeLessThanOrEqual(before + 3);
  });

  test('and while a picture is new, however much that is: a camera in the dark sends next to nothing', async () => {
    estimate = 2_000;
    await seconds(4, 50);
    expect(asked('line')).toMatchObject([{ uplinkKbps: 2_000 }, { uplinkKbps: 2_000 }]);
    tier('audio_only', 'uplink_rate');
    await seconds(20, 50);
    const before = asked('line').length;
    tier('video', 'recovered');
    await seconds(4, 50);
    expect(asked('line').slice(before)).toMatchObject([{ uplinkKbps: 2_000 }, { uplinkKbps: 2_000 }]);
  });
});

describe('who hears nothing', () => {
  test('keeps quiet until anything is heard', async () => {
    await seconds(3, 50);
    server.isUp = false;
    server.socket.isDead = true;
    await seconds(8, 0);
    expect(sends()).toEqual([null, null]);
    expect(server.sockets.length, 'it is tried whether another socket gets through').toBeGreaterThan(1);
    await seconds(1, 50);
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
  });

  test('goes on sending where the server answers', async () => {
    await seconds(3, 50);
    await seconds(20, 0);
    expect(sends()).toEqual([MICROPHONE, CAMERA]);
    expect(server.sockets).toHaveLength(1);
  });

  test('is found out as soon where nothing came before: the other was in writing', async () => {
    await seconds(12, 0);
    await isCut();
    await seconds(11, 0);
    expect(session.cutOff).toBe(true);
  });

  test('goes on in writing as soon as the server does, which the clinic has give up sooner', async () => {
    server.policy.audioHoldMs = 8_000;
    server.restart();
    await seconds(3, 50);
    await isCut();
    expect(session.cutOff).toBe(false);
    await seconds(5, 0);
    expect(session.cutOff).toBe(true);
  });

  test('goes on in writing by themselves after a quarter of a minute, and is back with the server', async () => {
    await seconds(3, 50);
    await isCut();
    expect(session.cutOff).toBe(false);
    await seconds(9, 0);
    expect(session.cutOff).toBe(false);
    await seconds(2, 0);
    expect(session.cutOff).toBe(true);
    expect(session.tier.profile).toBe('async_text');
    server.isUp = true;
    await seconds(12, 0);
    expect(session.cutOff).toBe(false);
    expect(session.tier.profile).toBe('video');
  });
});
