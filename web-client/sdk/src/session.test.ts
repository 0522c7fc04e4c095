import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { MemoryStore } from './outbox-store.ts';
import { Session } from './session.ts';
import { tabStore } from './store.ts';
import { peerConnections, stubBrowser } from './testing/browser.ts';
import type { FakePage } from './testing/browser.ts';
import { FakeServer, person } from './testing/server.ts';
import type { ClientFrame, ServerMessage } from './wire.ts';

let server: FakeServer;
let page: FakePage;
let session: Session;
/** Answers of the door to whoever asks for a ticket. */
let door: () => Response;

const ANSWER = 'a=ice-ufrag:server\r\na=ice-pwd:server\r\n';
const NO_MEDIA = { audio: 'off', camera: 'off', screen: 'off' } as const;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  server = new FakeServer();
  server.answer = media;
  page = stubBrowser();
  vi.stubGlobal('WebSocket', server.socketClass);
  door = () => Response.json({ ticket: 't', expiresAt: '' }, { status: 201 });
  vi.stubGlobal('fetch', (url: string) => {
    // Of HTTPS beside the door nothing gets through here.
    return url.includes('/v1/thread') ? Promise.reject(new Error('no way')) : Promise.resolve(door());
  });
  session = make();
});

afterEach(() => {
  void session.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function make(): Session {
  return new Session({ token: 'token', base: 'https://visit.example.org', outbox: Promise.resolve(new MemoryStore()) });
}

/** What the media of the server says to descriptions. */
function media(frame: ClientFrame): ServerMessage | null {
  if (frame.type === 'offer') {
    const seats = [{ seat: 0, audio: '3', video: '4' }];
    return { type: 'answer', sdp: ANSWER, negotiation: frame.negotiation, seats, replyTo: null };
  }
  if (frame.type === 'restart') return { type: 'restarted', ufrag: 'other', pwd: 'other', replyTo: null };
  return null;
}

const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const asked = (type: ClientFrame['type']) => server.done.filter((frame) => frame.type === type).length;
const kept = () => JSON.parse(page.storage.kept.get('vestibule.resume') ?? 'null') as object | null;

async function join(): Promise<void> {
  const joined = session.join();
  await pass(60);
  await joined;
}

async function wait(): Promise<void> {
  server.you = person('me', { role: 'patient', state: 'waiting', media: NO_MEDIA });
  await join();
  server.say({ type: 'waiting', position: 2, providerPresent: false, deskAttended: true });
  await pass(10);
}

/** The socket is gone, and the server with it for a while. */
async function loseLine(): Promise<void> {
  server.isUp = false;
  server.socket.closedBy(1006);
  await pass(10);
}

async function findLine(): Promise<void> {
  server.isUp = true;
  await pass(6_000);
}

describe('while the line is away', () => {
  test('nothing is emptied, and the transport stays', async () => {
    await join();
    server.say({ type: 'knock', participant: person('guest', { state: 'waiting' }), newDevice: false, device: 'd' });
    server.say({ type: 'seats', seats: [{ seat: 0, participant: 'other' }], people: 1 });
    await pass(10);
    const before = { ...session, seats: session.seats[0]?.participant };
    await loseLine();
    expect(session.line).toBe('reconnecting');
    expect(session.phase).toEqual({ name: 'admitted' });
    expect(session.participants).toEqual(before.participants);
    expect(session.knocks).toEqual(before.knocks);
    expect(session.seats[0]?.participant).toBe('other');
    await findLine();
    expect(session.line).toBe('open');
    expect(session.phase).toEqual({ name: 'admitted' });
    expect(peerConnections).toHaveLength(1);
    expect(asked('offer')).toBe(1);
  });

  test('whoever waits keeps their place and goes on waiting', async () => {
    await wait();
    const place = session.phase;
    expect(place).toMatchObject({ name: 'waiting', position: 2, deskAttended: true, newDevice: false, sentBack: false });
    await loseLine();
    expect(session.phase).toEqual(place);
    server.say({ type: 'admitted', participants: [person('other')], chat: [] });
    await findLine();
    expect(session.phase).toEqual({ name: 'admitted' });
  });

  test('a line of chat waits, is shown to wait, and is said once', async () => {
    await join();
    await loseLine();
    const sent = session.sendChat('hello');
    await pass(10);
    expect(session.unsaid).toMatchObject([{ text: 'hello', state: 'queued' }]);
    expect(session.chat).toEqual([]);
    await findLine();
    await sent;
    expect(session.unsaid).toEqual([]);
    expect(session.chat.map(({ text }) => text)).toEqual(['hello']);
  });

  test('a line of chat outlives the server that was to hear it', async () => {
    await join();
    await loseLine();
    const sent = session.sendChat('hello');
    server.restart();
    await findLine();
    await sent;
    expect(session.chat.map(({ text }) => text)).toEqual(['hello']);
    expect(session.unsaid).toEqual([]);
  });

  test('a line of chat that is refused is shown to have failed, and goes when it is given up', async () => {
    await join();
    server.answer = () => ({ type: 'error', code: 'malformed', message: '', retryable: false, replyTo: null });
    await Promise.all([expect(session.sendChat('hello')).rejects.toMatchObject({ code: 'malformed' }), pass(20)]);
    expect(session.unsaid).toMatchObject([{ text: 'hello', state: 'failed', reason: { code: 'malformed' } }]);
    server.answer = () => null;
    session.retryChat(session.unsaid[0]?.clientId ?? '');
    await pass(20);
    expect([session.unsaid.length, session.chat.length]).toEqual([0, 1]);
  });

  test('admitting somebody is refused at once', async () => {
    await join();
    await loseLine();
    await expect(session.admit('other')).rejects.toMatchObject({ code: 'unreachable', retryable: true });
  });

  test('whoever leaves is out at once, and the server hears of it when it can', async () => {
    await join();
    await loseLine();
    void session.leave();
    expect(session.phase).toEqual({ name: 'over', why: { name: 'left' } });
    expect(kept()).toBeNull();
    await findLine();
    expect(asked('leave')).toBe(1);
    expect(kept()).toBeNull();
    await pass(60_000);
    expect(server.sockets).toHaveLength(server.openedAt.length);
  });
});

describe('a transport', () => {
  beforeEach(join);

  test('gets other paths when the network is another one, over the same PeerConnection', async () => {
    page.connection.dispatchEvent(new Event('change'));
    await pass(20);
    expect(asked('restart')).toBe(1);
    expect(peerConnections[0]?.remotes.at(-1)).toContain('a=ice-ufrag:other');
    expect(peerConnections).toHaveLength(1);
  });

  test('gets them once for many reasons', async () => {
    for (let count = 0; count < 5; count += 1) page.window.dispatchEvent(new Event('online'));
    await pass(40);
    expect(asked('restart')).toBe(1);
  });

  test('gets them when the line is back, if it broke meanwhile', async () => {
    await loseLine();
    page.connection.dispatchEvent(new Event('change'));
    await pass(3_000);
    expect(asked('restart')).toBe(0);
    await findLine();
    expect(asked('restart')).toBe(1);
    await loseLine();
    peerConnections[0]?.goes('failed');
    await findLine();
    expect(asked('restart')).toBe(2);
    expect(peerConnections).toHaveLength(1);
  });

  test('that was in the middle of it when the line was lost goes on with the next', async () => {
    server.socket.isDead = true;
    page.window.dispatchEvent(new Event('online'));
    await pass(2_100);
    expect(asked('restart')).toBe(1);
    expect(peerConnections[0]?.remotes.at(-1)).toContain('a=ice-ufrag:other');
  });

  test('that is lost is followed by a fresh one, also where it was lost while the line was away', async () => {
    server.say({ type: 'disconnected', reason: 'silent' });
    await pass(40);
    expect(peerConnections.map(({ connectionState }) => connectionState)).toEqual(['closed', 'new']);
    await loseLine();
    server.say({ type: 'disconnected', reason: 'silent' });
    await findLine();
    expect(peerConnections).toHaveLength(3);
    expect(asked('offer')).toBe(3);
  });

  test('is made anew for another incarnation', async () => {
    server.restart();
    await pass(400);
    expect(peerConnections).toHaveLength(2);
    expect(asked('offer')).toBe(2);
    expect(peerConnections[0]?.connectionState).toBe('closed');
  });

  test('for which the server has no time is tried again', async () => {
    server.answer = () => ({ type: 'error', code: 'busy', message: '', retryable: true, replyTo: null });
    server.say({ type: 'disconnected', reason: 'silent' });
    await pass(100);
    server.answer = media;
    await pass(2_100);
    expect(peerConnections).toHaveLength(3);
    expect(peerConnections[2]?.remotes).toEqual([ANSWER]);
  });
});

test('another incarnation replaces everything', async () => {
  await join();
  server.say({ type: 'knock', participant: person('guest', { state: 'waiting' }), newDevice: false, device: 'd' });
  server.say({ type: 'participant', participantId: 'third', participant: person('third') });
  server.say({ type: 'recording', on: true });
  await pass(10);
  expect(session.others.map(({ id }) => id)).toEqual(['other', 'third']);
  server.restart();
  await pass(400);
  expect(session.others.map(({ id }) => id)).toEqual(['other']);
  expect(session.knocks).toEqual([]);
  expect(session.recording).toBe(false);
  expect(session.phase).toEqual({ name: 'admitted' });
});

test('a page that goes says so on the media path', async () => {
  await join();
  page.window.dispatchEvent(new Event('pagehide'));
  expect(peerConnections.at(-1)?.connectionState).toBe('closed');
});

test('a page that is looked at again asks whether the line is one', async () => {
  await join();
  server.socket.isDead = true;
  page.document.visibilityState = 'hidden';
  page.document.dispatchEvent(new Event('visibilitychange'));
  await pass(2_500);
  expect(server.sockets).toHaveLength(1);
  page.document.visibilityState = 'visible';
  page.document.dispatchEvent(new Event('visibilitychange'));
  await pass(2_100);
  expect(server.sockets).toHaveLength(2);
});

describe('the secret', () => {
  test('is kept for this link alone, and each new one in its place', async () => {
    expect(session.mayComeBack).toBe(false);
    await join();
    expect(kept()).toEqual({ token: 'token', secret: 'secret-1' });
    await loseLine();
    await findLine();
    expect(kept()).toEqual({ token: 'token', secret: 'secret-2' });
    expect(tabStore.load('another')).toBeNull();
    expect(session.mayComeBack).toBe(true);
  });

  const ENDS: [string, () => void][] = [
    ['ended', () => server.say({ type: 'ended', reason: 'provider_ended' })],
    ['denied', () => server.say({ type: 'denied', reason: 'not_now' })],
    ['removed', () => server.say({ type: 'removed' })],
    ['superseded', () => server.say({ type: 'superseded' })],
    ['superseded', () => server.socket.closedBy(4001)],
    ['left', () => void session.leave()],
  ];
  test.each(ENDS)('is forgotten when it is over: %s', async (name, end) => {
    await join();
    end();
    await pass(20);
    expect(session.phase).toMatchObject({ name: 'over', why: { name } });
    expect(kept()).toBeNull();
  });

  test('and the link are void for who was removed', async () => {
    await join();
    door = () => Response.json({ code: 'join_token_revoked', status: 403 }, { status: 403 });
    server.secrets = [];
    server.socket.closedBy(1000);
    await pass(20);
    expect(session.phase).toEqual({ name: 'over', why: { name: 'removed' } });
    expect(kept()).toBeNull();
  });

  test('opens the visit after a reload, without the door, with an offer at once', async () => {
    await join();
    server.socket.close();
    session = make();
    door = () => {
      throw new Error('nobody asks the door');
    };
    const back = session.comeBack();
    await pass(30);
    await back;
    expect(session.phase).toEqual({ name: 'admitted' });
    expect(asked('offer')).toBe(2);
    const track = { enabled: true } as MediaStreamTrack;
    await session.setMicrophone(track);
    expect(peerConnections[1]?.sent[0]).toBe(track);
  });

  test('finds out that it is over', async () => {
    await join();
    server.socket.close();
    server.ended = true;
    session = make();
    const back = session.comeBack();
    await pass(30);
    await back;
    expect(session.phase).toEqual({ name: 'over', why: { name: 'ended', reason: 'provider_ended' } });
    expect(kept()).toBeNull();
    await pass(9_000);
    expect(server.sockets).toHaveLength(2);
  });

  test('that is void leaves the link to be used', async () => {
    await join();
    server.socket.close();
    server.secrets = [];
    session = make();
    const back = expect(session.comeBack()).rejects.toMatchObject({ code: 'resume_invalid', retryable: false });
    await pass(30);
    await back;
    expect(session.mayComeBack).toBe(false);
    await expect(session.comeBack()).rejects.toMatchObject({ code: 'resume_invalid' });
    await join();
    expect(session.phase).toEqual({ name: 'admitted' });
  });

  test('is of no use to whoever comes by the link', async () => {
    tabStore.save('token', 'of before');
    door = () => Response.json({ code: 'join_window_not_open', status: 403 }, { status: 403 });
    await expect(session.join()).rejects.toMatchObject({ code: 'join_window_not_open' });
    expect(session.mayComeBack).toBe(false);
  });

  test('does without storage', async () => {
    vi.stubGlobal('sessionStorage', undefined);
    await join();
    expect(session.phase).toEqual({ name: 'admitted' });
    expect(session.mayComeBack).toBe(false);
  });
});

describe('who knocks', () => {
  const guest = person('guest', { role: 'patient', state: 'waiting' });
  const knocks: string[] = [];
  const seen = () => session.knocks.map(({ participant, newDevice, isIn }) => [participant.id, participant.state, newDevice, isIn]);

  beforeEach(async () => {
    knocks.length = 0;
    await join();
    session.on('knock', ({ participant }) => knocks.push(participant.id));
    server.say({ type: 'participant', participantId: 'guest', participant: guest });
    server.say({ type: 'knock', participant: guest, newDevice: false, device: 'd' });
    await pass(10);
  });

  test('waits until the server says that it is over', async () => {
    expect(seen()).toEqual([['guest', 'waiting', false, false]]);
    expect(session.others.map(({ id }) => id)).toEqual(['other']);
    server.say({ type: 'participant', participantId: 'guest', participant: { ...guest, state: 'admitted' } });
    server.say({ type: 'knockOver', participantId: 'guest' });
    await pass(10);
    expect(seen()).toEqual([]);
    expect(session.others.map(({ id }) => id)).toEqual(['other', 'guest']);
    expect(knocks).toEqual(['guest']);
  });

  test('and has lost the connection is shown so, and is not among those who are in', async () => {
    const lost = { ...guest, state: 'lost' as const };
    server.say({ type: 'participant', participantId: 'guest', participant: lost });
    await pass(10);
    expect(seen()).toEqual([['guest', 'lost', false, false]]);
    expect(session.others.map(({ id }) => id)).toEqual(['other']);
    server.say({ type: 'participant', participantId: 'guest', participant: guest });
    await pass(10);
    expect(seen()).toEqual([['guest', 'waiting', false, false]]);
  });

  test('by another device, and lost the connection in front of the door, was not in', async () => {
    const lost = { ...guest, state: 'lost' as const };
    server.say({ type: 'participant', participantId: 'guest', participant: lost });
    server.say({ type: 'knock', participant: lost, newDevice: true, device: 'd' });
    await pass(10);
    expect(seen()).toEqual([['guest', 'lost', true, false]]);
    expect(session.others.map(({ id }) => id)).toEqual(['other']);
  });

  test('from another device while the first is in stays the one who knocks, whatever becomes of the first', async () => {
    const other = person('other', { state: 'waiting' });
    server.say({ type: 'knock', participant: other, newDevice: true, device: 'd' });
    server.say({ type: 'participant', participantId: 'other', participant: person('other', { state: 'lost' }) });
    await pass(10);
    expect(seen()[1]).toEqual(['other', 'waiting', true, true]);
    expect(session.others.map(({ id }) => id)).toEqual(['other']);
    expect(knocks).toEqual(['guest', 'other']);
  });

  test('is let in, or not, on the device that knocked last; who did not knock, on none in particular', async () => {
    server.say({ type: 'knock', participant: guest, newDevice: true, device: 'another' });
    await pass(10);
    for (const answer of [session.admit('guest'), session.deny('guest', 'not_now'), session.admit('other')]) {
      await pass(10);
      await answer;
    }
    const said = server.done.filter(({ type }) => type === 'admit' || type === 'deny');
    expect(said.map(({ id: _, ...message }) => message)).toEqual([
      { type: 'admit', participantId: 'guest', device: 'another' },
      { type: 'deny', participantId: 'guest', reason: 'not_now', device: 'another' },
      { type: 'admit', participantId: 'other' },
    ]);
    // The same device once more is no news, and another is.
    expect(knocks).toEqual(['guest', 'guest']);
  });

  test('may be oneself, on another device', async () => {
    server.say({ type: 'knock', participant: person('me', { state: 'waiting' }), newDevice: true, device: 'd' });
    await pass(10);
    expect(seen()[1]).toEqual(['me', 'waiting', true, true]);
  });
});

test('who was replaced without hearing of it does not ask to be back by themselves', async () => {
  await join();
  await loseLine();
  server.secrets = [];
  server.newDevice = true;
  server.you = person('me', { state: 'waiting' });
  await findLine();
  expect(session.phase).toEqual({ name: 'over', why: { name: 'superseded' } });
  expect(asked('leave')).toBe(1);
  expect(asked('offer')).toBe(1);
});

test('another device that waits goes on to do so when the server was started anew', async () => {
  server.newDevice = true;
  await wait();
  server.restart();
  await pass(400);
  expect(session.phase).toMatchObject({ name: 'waiting', newDevice: true });
});

test('another device waits for the first to be replaced, and is told if it is not', async () => {
  server.newDevice = true;
  await wait();
  expect(session.phase).toMatchObject({ name: 'waiting', newDevice: true });
  server.say({ type: 'denied', reason: 'other' });
  await pass(10);
  expect(session.phase).toEqual({ name: 'over', why: { name: 'denied', reason: 'other', newDevice: true } });
});

test('who is sent back waits again, and sends nothing', async () => {
  const track = { enabled: true } as MediaStreamTrack;
  await join();
  await session.setMicrophone(track);
  expect(peerConnections[0]?.sent[0]).toBe(track);
  server.say({ type: 'waiting', position: null, providerPresent: true, deskAttended: true });
  server.say({ type: 'waiting', position: 1, providerPresent: true, deskAttended: true });
  await pass(10);
  expect(session.phase).toMatchObject({ name: 'waiting', position: 1, sentBack: true });
  expect(peerConnections[0]?.sent[0]).toBeNull();
  expect(session.others).toEqual([]);
});

describe('what is wanted of what is sent, and of what is shown', () => {
  const VOICE = 'm=audio 9 RTP 111\r\na=rtpmap:111 opus/48000/2\r\n';
  const active = (sender = 1) => last().parameters[sender]?.encodings.map((encoding) => encoding.active ?? true);
  const last = () => peerConnections.at(-1)!;
  const remote = () => last().remotes.at(-1);

  beforeEach(() => {
    server.answer = (frame) => {
      const reply = media(frame);
      return reply?.type === 'answer' ? { ...reply, sdp: ANSWER + VOICE } : reply;
    };
  });

  test('of camera and screen those encodings are sent that are wanted, and all of a fresh transport', async () => {
    await join();
    void session.setCamera({ enabled: true } as MediaStreamTrack);
    server.say({ type: 'encodings', kind: 'camera', active: ['q'] });
    server.say({ type: 'encodings', kind: 'camera', active: ['q', 'h'] });
    await pass(10);
    expect(active()).toEqual([true, true, false]);
    void session.setScreen({ enabled: true } as MediaStreamTrack);
    server.say({ type: 'encodings', kind: 'screen', active: ['q'] });
    await pass(10);
    expect(active(2)).toEqual([true, false]);
    expect(active()).toEqual([true, true, false]);
    server.say({ type: 'disconnected', reason: '' });
    await pass(60);
    expect(peerConnections).toHaveLength(2);
    expect(active()).toEqual([true, true, true]);
  });

  test('of what has no track nothing is active, whatever is wanted of it and whenever an answer is taken', async () => {
    await join();
    void session.setMicrophone({ enabled: true } as MediaStreamTrack);
    void session.setCamera({ enabled: true } as MediaStreamTrack);
    await pass(10);
    const all = () => [0, 1, 2].map((sender) => active(sender));
    expect(all(), 'no screen is shared').toEqual([[true], [true, true, true], [false, false]]);
    server.say({ type: 'tier', profile: 'audio_only', reason: 'uplink_rate', since: '2026-11-30T12:00:00Z' });
    server.say({ type: 'encodings', kind: 'camera', active: ['q', 'h'] });
    server.say({ type: 'audioEncoding', maxBitrateBps: 16_000, frameMs: 60 });
    await pass(10);
    expect(remote()).toContain('maxaveragebitrate=16000');
    expect(all()).toEqual([[true], [false, false, false], [false, false]]);
    server.say({ type: 'tier', profile: 'async_text', reason: 'uplink_rate', since: '2026-11-30T12:00:05Z' });
    await pass(10);
    expect(all()).toEqual([[false], [false, false, false], [false, false]]);
  });

  test('a codec is asked for by the answer there is; one with layers sends one stream of them', async () => {
    const formats = '96 97\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 VP9/90000\r\n';
    server.answer = (frame) => {
      const reply = media(frame);
      return reply?.type === 'answer' ? { ...reply, sdp: `${ANSWER}${VOICE}m=video 9 RTP ${formats}` } : reply;
    };
    await join();
    void session.setCamera({ enabled: true } as MediaStreamTrack);
    const modes = () => last().parameters[1]?.encodings.map(({ scalabilityMode }) => scalabilityMode);
    expect(remote()).toContain('m=video 9 RTP 96 97');
    const offers = asked('offer');
    server.say({ type: 'videoCodec', kind: 'camera', codec: 'VP9' });
    await pass(10);
    expect(remote()).toContain('m=video 9 RTP 97 96');
    const sizes = () => last().parameters[1]?.encodings.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy);
    expect([active(), modes()]).toEqual([[true, false, false], ['L3T3_KEY', 'L1T3', 'L1T3']]);
    expect(sizes()).toEqual([1, 2, 1]);
    const rates = () => last().parameters[1]?.encodings.map(({ maxBitrate }) => maxBitrate);
    server.say({ type: 'encodings', kind: 'camera', active: ['q'] });
    await pass(10);
    expect([active(), modes()], 'nobody is shown more').toEqual([[true, false, false], ['L1T3', 'L1T3', 'L1T3']]);
    expect([sizes()?.[0], rates()?.[0]]).toEqual([4, 150_000]);
    server.say({ type: 'encodings', kind: 'camera', active: ['q', 'h'] });
    await pass(10);
    expect([active(), modes()]).toEqual([[true, false, false], ['L2T3_KEY', 'L1T3', 'L1T3']]);
    expect([sizes()?.[0], rates()?.[0]]).toEqual([2, 650_000]);
    server.say({ type: 'encodings', kind: 'camera', active: ['q', 'h', 'f'] });
    await pass(10);
    expect([modes()?.[0], sizes()?.[0], rates()?.[0]]).toEqual(['L3T3_KEY', 1, 2_150_000]);
    server.say({ type: 'encodings', kind: 'camera', active: ['q', 'h'] });
    server.say({ type: 'videoCodec', kind: 'camera', codec: 'VP8' });
    await pass(10);
    expect(remote()).toContain('m=video 9 RTP 96 97');
    expect([active(), modes()]).toEqual([[true, true, false], ['L1T3', 'L1T3', 'L1T3']]);
    expect(sizes()).toEqual([4, 2, 1]);
    expect(asked('offer')).toEqual(offers);
  });

  test('a thrifty voice is asked for by the answer there is, over restarts and more seats, and undone', async () => {
    await join();
    const plain = remote();
    server.say({ type: 'audioEncoding', maxBitrateBps: 16_000, frameMs: 60 });
    await pass(10);
    const offers = asked('offer');
    expect(remote()).toContain('a=ptime:60\r\na=maxptime:60');
    expect(remote()).toContain('maxaveragebitrate=16000');
    expect(last().parameters[0]?.encodings).toEqual([{ active: false, maxBitrate: 16_000 }]);
    void session.restartIce();
    await pass(30);
    expect(remote()).toContain('a=ice-ufrag:other');
    expect(remote()).toContain('a=ptime:60');
    server.say({ type: 'seats', seats: [], people: 6 });
    await pass(60);
    expect(asked('offer')).toBe(offers + 1);
    expect(remote()).toContain('a=ptime:60');
    server.say({ type: 'audioEncoding', maxBitrateBps: null, frameMs: null });
    await pass(10);
    expect(remote()).toBe(plain);
    expect(last().parameters[0]?.encodings).toEqual([{ active: false }]);
    expect(asked('offer')).toBe(offers + 1);
  });

  test('a voice whose line loses it has redundancy, over a fresh transport, but not while it is thrifty', async () => {
    const both = 'm=audio 9 RTP 111 63\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\n';
    server.answer = (frame) => {
      const reply = media(frame);
      return reply?.type === 'answer' ? { ...reply, sdp: ANSWER + both } : reply;
    };
    const formats = () => /^m=audio 9 RTP (.*)\r$/m.exec(remote() ?? '')?.[1];
    const quality = async (participantId: string, level: 'good' | 'poor') => {
      const reason = level === 'poor' ? ({ code: 'uplink_loss', value: 12 } as const) : null;
      server.say({ type: 'quality', participantId, level, reason });
      await pass(10);
    };
    await join();
    await quality('other', 'poor');
    expect(formats()).toBe('111 63');
    await quality('me', 'poor');
    expect(formats()).toBe('63 111');
    expect(asked('offer')).toBe(1);
    server.say({ type: 'disconnected', reason: '' });
    await pass(60);
    expect([peerConnections.length, formats()]).toEqual([2, '63 111']);
    server.say({ type: 'audioEncoding', maxBitrateBps: 16_000, frameMs: 60 });
    await pass(10);
    expect(formats()).toBe('111 63');
    server.say({ type: 'audioEncoding', maxBitrateBps: null, frameMs: null });
    await pass(10);
    expect(formats()).toBe('63 111');
    await quality('me', 'good');
    await pass(29_000);
    expect(formats()).toBe('63 111');
    await pass(1_000);
    expect(formats()).toBe('111 63');
    expect(asked('offer')).toBe(2);
  });

  test('an answer that does not fit the seats there are by now is left alone', async () => {
    await join();
    last().refuses = (sdp) => sdp.includes('ptime');
    server.say({ type: 'audioEncoding', maxBitrateBps: 16_000, frameMs: 60 });
    await pass(10);
    last().refuses = null;
    server.say({ type: 'seats', seats: [], people: 6 });
    await pass(60);
    expect(remote()).toContain('a=ptime:60');
  });

  const wishes = () => server.done.filter((frame) => frame.type === 'subscribe').map(({ slots }) => slots);

  test('how a seat is wanted is said anew to a fresh transport', async () => {
    await join();
    void session.wish(0, { maxHeight: 180 });
    void session.wish(0, { priority: 200 });
    void session.wish(0, { maxHeight: 180, priority: 200 });
    await pass(30);
    expect(wishes()).toEqual([[{ seat: 0, maxHeight: 180 }], [{ seat: 0, priority: 200 }]]);
    server.say({ type: 'disconnected', reason: '' });
    await pass(60);
    expect(wishes().at(-1)).toEqual([{ seat: 0, maxHeight: 180, priority: 200 }]);
  });

  test('and by who waits with a fresh transport, when they are let in again', async () => {
    await join();
    void session.wish(0, { maxHeight: 180, priority: 200 });
    server.say({ type: 'waiting', position: null, providerPresent: true, deskAttended: true });
    server.say({ type: 'disconnected', reason: '' });
    await pass(60);
    expect([peerConnections.length, wishes().length]).toEqual([2, 1]);
    server.say({ type: 'admitted', participants: [], chat: [] });
    await pass(30);
    expect(wishes()).toEqual([[{ seat: 0, maxHeight: 180, priority: 200 }], [{ seat: 0, maxHeight: 180, priority: 200 }]]);
  });

  test('it is known who speaks and how good lines are, and forgotten with those it is about', async () => {
    await join();
    const other = person('other', { role: 'patient', state: 'active', media: NO_MEDIA });
    server.say({ type: 'participant', participantId: 'other', participant: other });
    server.say({ type: 'speaker', participantId: 'other' });
    const reason = { code: 'uplink_loss', value: 8 } as const;
    server.say({ type: 'quality', participantId: 'other', level: 'poor', reason });
    server.say({ type: 'quality', participantId: 'me', level: 'fair', reason });
    await pass(10);
    expect([session.speaker, session.quality('other')]).toEqual(['other', { level: 'poor', reason }]);
    server.say({ type: 'participant', participantId: 'other', participant: null });
    server.say({ type: 'waiting', position: null, providerPresent: true, deskAttended: true });
    await pass(10);
    expect([session.speaker, session.quality('other').level]).toEqual([null, 'good']);
    expect(session.quality('me').level).toBe('fair');
  });
});
