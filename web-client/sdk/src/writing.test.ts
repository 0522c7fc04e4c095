import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { sendLeftovers } from './leftovers.ts';
import type { Leftovers } from './leftovers.ts';
import { MemoryStore } from './outbox-store.ts';
import { Session } from './session.ts';
import { stubBrowser } from './testing/browser.ts';
import type { FakePage } from './testing/browser.ts';
import { FakeServer } from './testing/server.ts';
import { FakeThread } from './testing/thread.ts';
import type { ClientFrame, ServerMessage } from './wire.ts';

const BASE = 'https://visit.example.org';

let server: FakeServer;
let thread: FakeThread;
let page: FakePage;
let store: MemoryStore;
let session: Session;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  server = new FakeServer();
  server.answer = media;
  thread = new FakeThread(server);
  page = stubBrowser();
  vi.stubGlobal('WebSocket', server.socketClass);
  vi.stubGlobal('fetch', thread.fetch);
  vi.stubGlobal('XMLHttpRequest', thread.requestClass);
  store = new MemoryStore();
  session = make();
});

afterEach(() => {
  void session.leave();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const make = () => new Session({ token: 'token', base: BASE, outbox: Promise.resolve(store) });
const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
/** Nobody waits for it to be said. */
const write = (text: string, image: Blob | null = null) => void session.sendChat(text, image).catch(() => undefined);
const texts = () => session.chat.map(({ text }) => text);

function media(frame: ClientFrame): ServerMessage | null {
  if (frame.type !== 'offer') return null;
  return { type: 'answer', sdp: '', negotiation: frame.negotiation, seats: [], replyTo: null };
}

async function join(): Promise<void> {
  const joined = session.join();
  await pass(60);
  await joined;
}

async function loseSockets(): Promise<void> {
  server.isUp = false;
  server.socket.closedBy(1006);
  await pass(10);
}

describe('where no socket can be held', () => {
  test('what is written passes over HTTPS, and back on the socket when there is one', async () => {
    await join();
    await loseSockets();
    expect(session.writing).toBe('none');
    write('by https');
    await pass(2_500);
    expect(server.chat.map(({ text }) => text)).toEqual(['by https']);
    thread.hearsOf('news');
    await pass(2_500);
    expect([session.writing, texts(), session.unsaid.length]).toEqual(['https', ['by https', 'news'], 0]);

    server.isUp = true;
    await pass(6_000);
    expect(session.writing).toBe('socket');
    const polls = thread.polls;
    server.hearsOf('by the socket');
    await pass(60_000);
    expect(texts()).toEqual(['by https', 'news', 'by the socket']);
    expect(thread.polls).toBe(polls);
  });

  test('and where nothing gets through, it waits, in order, and is said once', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    for (const text of ['one', 'two']) write(text);
    await pass(60_000);
    expect([session.writing, session.unsaid.map(({ state }) => state)]).toEqual(['none', ['queued', 'queued']]);
    thread.isUp = true;
    thread.losesAnswers = 1;
    await pass(60_000);
    expect(server.chat.map(({ text }) => text)).toEqual(['one', 'two']);
    expect(session.unsaid).toEqual([]);
  });

  test('a line that was on its way on the lost socket is said once', async () => {
    await join();
    server.isMute = true;
    write('hello');
    await pass(10);
    await loseSockets();
    server.isMute = false;
    await pass(5_000);
    server.isUp = true;
    await pass(10_000);
    expect(server.chat.map(({ text }) => text)).toEqual(['hello']);
    expect(texts()).toEqual(['hello']);
  });

  test('it is heard there that the visit is over', async () => {
    await join();
    await loseSockets();
    thread.over = true;
    await pass(6_000);
    expect(session.phase).toEqual({ name: 'over', why: { name: 'ended', reason: 'reconnect_expired' } });
  });
});

describe('images', () => {
  test('are sent before their line, with how far they are', async () => {
    await join();
    write('look', new Blob(['pixels']));
    await pass(5);
    expect(session.unsaid).toMatchObject([{ text: 'look', state: 'sending', progress: 0.5 }]);
    await pass(100);
    expect(server.done.filter(({ type }) => type === 'chat')).toMatchObject([{ text: 'look', attachment: 'digest-6' }]);
    expect(session.unsaid).toEqual([]);
  });

  test('that are not taken fail with the reason, and hold nothing up', async () => {
    await join();
    thread.refusesImages = 'heic_not_taken';
    write('', new Blob(['pixels']));
    write('text');
    await pass(100);
    expect(session.unsaid).toMatchObject([{ state: 'failed', reason: { code: 'heic_not_taken' } }]);
    expect(texts()).toEqual(['text']);
  });
});

describe('what was said', () => {
  test('before the lines of a welcome is asked for, page by page', async () => {
    for (let n = 1; n <= 130; n += 1) server.chat.push(server.line(`${n}`, `${n}`, 'other'));
    server.chatMax = 10;
    await join();
    await pass(100);
    expect(texts()).toEqual(server.chat.map(({ text }) => text));
  });
});

describe('a page that comes back where no socket gets through', () => {
  test('reads and writes over HTTPS, and has the whole visit when one does', async () => {
    await join();
    thread.hearsOf('before');
    await pass(20);
    server.isUp = false;
    server.socket.closedBy(1006);
    vi.clearAllTimers();
    session = make();
    const back = session.comeBack();
    await pass(20_000);
    expect([session.isIn, session.writing, session.tier.reason]).toEqual([true, 'https', 'https_only']);
    expect([texts(), session.others.map(({ id }) => id)]).toEqual([['before'], ['other']]);
    write('after it');
    await pass(5_000);
    expect(server.chat.map(({ text }) => text)).toEqual(['before', 'after it']);
    server.isUp = true;
    await pass(60_000);
    await back;
    expect([session.line, session.tier.profile, texts()]).toEqual(['open', 'video', ['before', 'after it']]);
    expect(session.peerConnection).not.toBeNull();
  });

  test('does not show a secret again and again that is void', async () => {
    await join();
    server.isUp = false;
    server.socket.closedBy(1006);
    vi.clearAllTimers();
    session = make();
    server.secrets = [];
    const fetched = vi.spyOn(thread, 'fetch');
    vi.stubGlobal('fetch', fetched);
    void session.comeBack();
    await pass(60_000);
    expect(fetched.mock.calls.filter(([url]) => url.includes('/v1/thread'))).toHaveLength(1);
  });

  test('keeps a line that is not taken of a void secret, and does not show that one again and again', async () => {
    await join();
    await loseSockets();
    server.secrets = [];
    const fetched = vi.spyOn(thread, 'fetch');
    vi.stubGlobal('fetch', fetched);
    write('for later');
    await pass(120_000);
    expect(fetched.mock.calls.filter(([url]) => url.includes('/v1/thread')).length).toBeLessThan(5);
    expect(session.unsaid).toMatchObject([{ text: 'for later', state: 'queued' }]);
    server.isUp = true;
    await pass(6_000);
    expect([texts(), session.unsaid]).toEqual([['for later'], []]);
  });

  test('knows by HTTPS that they were sent back, and that they are in again', async () => {
    await join();
    await loseSockets();
    await pass(2_500);
    expect(session.writing).toBe('https');
    thread.admits = false;
    thread.hearsOf('of others');
    await pass(5_000);
    expect(session.phase).toMatchObject({ name: 'waiting', sentBack: true });
    write('for later');
    thread.admits = true;
    await pass(5_000);
    expect([session.phase.name, texts(), session.unsaid]).toEqual(['admitted', ['of others', 'for later'], []]);
  });

  test('is told where the visit is over', async () => {
    await join();
    server.isUp = false;
    server.socket.closedBy(1006);
    vi.clearAllTimers();
    session = make();
    void session.comeBack();
    thread.over = true;
    await pass(20_000);
    expect(session.phase).toMatchObject({ name: 'over', why: { name: 'ended' } });
  });
});

describe('who composes', () => {
  const said = () => server.done.filter((frame) => frame.type === 'composing').map(({ on }) => on);

  test('says so once, and when it is over', async () => {
    await join();
    session.setComposing(true);
    session.setComposing(true);
    await pass(20);
    session.setComposing(false);
    await pass(20);
    expect(said()).toEqual([true, false]);
  });

  test('says what changed while the socket was away when it goes on', async () => {
    await join();
    session.setComposing(true);
    await pass(20);
    await loseSockets();
    session.setComposing(false);
    server.isUp = true;
    await pass(6_000);
    expect([session.line, said()]).toEqual(['open', [true, false]]);
  });
});

describe('after the end', () => {
  async function endUnheard(): Promise<void> {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('too late');
    thread.over = true;
    server.ended = server.isUp = true;
    await pass(6_000);
    expect(session.phase.name).toBe('over');
  }

  test('what could not be sent goes to the desk, and the person is told', async () => {
    const told: string[] = [];
    session.on('handedOver', (clientId) => told.push(clientId));
    await endUnheard();
    expect(session.unsaid).toMatchObject([{ text: 'too late', state: 'queued' }]);
    thread.isUp = true;
    await pass(10_000);
    expect(thread.handedOver).toEqual(['too late']);
    expect(told).toHaveLength(1);
    expect((await store.owners()).size).toBe(0);
  });

  test('also by the page that is opened next', async () => {
    await endUnheard();
    // The page of before is gone.
    vi.clearAllTimers();
    session = make();
    thread.isUp = true;
    const sending = sendLeftovers(store);
    await pass(100);
    expect(await sending).toMatchObject({ handedOver: 1, lost: [], waiting: 0 });
    expect(thread.handedOver).toEqual(['too late']);
    expect((await store.owners()).size).toBe(0);
  });

  test('what a page that is opened beside the visit sends is no line that came too late', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('in time');
    await pass(10);
    thread.isUp = true;
    const sending = sendLeftovers(store);
    await pass(100);
    expect(await sending).toMatchObject({ handedOver: 0, lost: [] });
    expect(server.chat.map(({ text }) => text)).toEqual(['in time']);
  });

  test('a page that comes back keeps with what waits how it is sent now', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('waits', new Blob(['for HTTPS']));
    await pass(10);
    const [[owner, before] = []] = [...(await store.owners())];
    vi.clearAllTimers();
    server.isUp = true;
    session = make();
    const back = session.comeBack();
    await pass(60);
    await back;
    const after = (await store.owners()).get(owner ?? '');
    expect(after?.secret).toBe(server.secrets.at(-1));
    expect(after?.secret).not.toBe(before?.secret);
  });

  test('what nobody takes any more is deleted, and the person hears of it', async () => {
    let undelivered = 0;
    session.on('undelivered', ({ length }) => (undelivered += length));
    await endUnheard();
    thread.takesLate = false;
    thread.isUp = true;
    await pass(10_000);
    expect([undelivered, session.unsaid.length, (await store.owners()).size]).toEqual([1, 0, 0]);
  });

  test('what another session of the page sends instead is neither given up nor told by the one before', async () => {
    let undelivered = 0;
    session.on('undelivered', ({ length }) => (undelivered += length));
    await endUnheard();
    thread.takesLate = false;
    session.letGo();
    thread.isUp = true;
    await pass(10_000);
    expect([undelivered, (await store.owners()).size]).toEqual([0, 1]);
  });

  test('a secret that was replaced while what is left was sent is not voided', async () => {
    await endUnheard();
    thread.isUp = true;
    server.secrets = [];
    vi.clearAllTimers();
    session = make();
    const sending = sendLeftovers(store);
    const [[owner, shown]] = [...(await store.owners())] as [[string, { base: string; secret: string }]];
    await store.keep(owner, { ...shown, secret: 'another' });
    await pass(100);
    await sending;
    expect((await store.owners()).get(owner)?.secret).toBe('another');
  });

  /** What the next page finds on the device, and sends. */
  async function nextPage(told: number[] = []): Promise<Leftovers> {
    vi.clearAllTimers();
    session = make();
    const sending = sendLeftovers(store, (waiting) => told.push(waiting));
    await pass(100);
    return sending;
  }

  test('what an earlier page left and nobody takes is kept for its writer to read, until they delete it', async () => {
    await endUnheard();
    thread.isUp = true;
    server.secrets = [];
    const found = await nextPage();
    expect(found).toMatchObject({ handedOver: 0, lost: [{ text: 'too late' }], waiting: 0 });
    const fetched = vi.spyOn(thread, 'fetch');
    vi.stubGlobal('fetch', fetched);
    const again = await nextPage();
    expect(again.lost, 'also by the page after that').toMatchObject([{ text: 'too late' }]);
    expect(fetched, 'which does not show the void secret again').not.toHaveBeenCalled();
    await again.forget();
    expect((await store.owners()).size).toBe(0);
  });

  test('what an earlier page left goes to the visit if its writer comes into it again', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('before');
    await pass(10);
    thread.isUp = server.isUp = true;
    server.secrets = [];
    expect((await nextPage()).lost).toHaveLength(1);
    await join();
    await pass(100);
    expect([texts(), session.unsaid.length, (await store.owners()).size]).toEqual([['before'], 0, 0]);
  });

  test('a page that comes later says how much it still has to send', async () => {
    await endUnheard();
    const told: number[] = [];
    expect(await nextPage(told)).toMatchObject({ lost: [], waiting: 1 });
    expect(new Set(told)).toEqual(new Set([1]));
    thread.isUp = true;
    expect(await nextPage(told)).toMatchObject({ handedOver: 1, waiting: 0 });
    expect(told.at(-1)).toBe(0);
  });

  test('what its writer may send only once they are in again is neither lost nor waited for', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('for later');
    await pass(10);
    thread.isUp = true;
    thread.admits = false;
    expect(await nextPage()).toMatchObject({ handedOver: 0, lost: [], waiting: 0 });
    expect((await store.owners()).size).toBe(1);
  });

  test('it is known how long something is still being sent', async () => {
    await endUnheard();
    expect(session.sendsOn).toBe(true);
    thread.isUp = true;
    await pass(10_000);
    expect(session.sendsOn).toBe(false);
  });

  test('a line that was refused before is not kept without a word', async () => {
    const lost: string[] = [];
    session.on('undelivered', (lines) => lost.push(...lines.map(({ text }) => text)));
    await join();
    thread.refusesImages = 'heic_not_taken';
    write('this is how it looks', new Blob(['pixels']));
    await pass(100);
    expect(session.unsaid).toMatchObject([{ state: 'failed' }]);
    server.say({ type: 'ended', reason: 'provider_ended' });
    await pass(100);
    expect([lost, session.sendsOn, (await store.owners()).size]).toEqual([['this is how it looks'], false, 0]);
  });

  test('who is taken out reads what was not sent, and it stays on no device', async () => {
    const lost: string[] = [];
    session.on('undelivered', (lines) => lost.push(...lines.map(({ text }) => text)));
    await join();
    server.mutes = 'chat';
    write('not heard');
    await pass(20);
    server.say({ type: 'removed' });
    await pass(20);
    expect([lost, session.unsaid.length, (await store.owners()).size]).toEqual([['not heard'], 0, 0]);
  });

  test('what was not sent is kept for who is not let in now, and sent when they are', async () => {
    await join();
    server.mutes = 'chat';
    write('for later');
    await pass(20);
    server.say({ type: 'waiting', position: null, providerPresent: true, deskAttended: true });
    server.say({ type: 'denied', reason: 'not_now' });
    await pass(20);
    expect([session.phase.name, session.sendsOn, (await store.owners()).size]).toEqual(['over', false, 1]);
    server.mutes = null;
    session = make();
    await join();
    await pass(100);
    expect([texts(), (await store.owners()).size]).toEqual([['for later'], 0]);
  });

  test('nothing stays on the device of who left', async () => {
    await join();
    await loseSockets();
    thread.isUp = false;
    write('never mind');
    void session.leave();
    await pass(10);
    expect([session.unsaid.length, (await store.owners()).size]).toEqual([0, 0]);
  });
});

/** Both lines are cut at random; whatever happens, each line is said once and in order, and each is heard once. */
test.each(Array.from({ length: 30 }, (_, seed) => seed))('whatever line is cut when, each line arrives once (%i)', async (seed) => {
  let state = seed + 1;
  const random = (bound: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
  await join();
  const wrote: string[] = [];
  let heard = 0;
  for (let step = 0; step < 60; step += 1) {
    const what = random(9);
    if (what <= 2) {
      wrote.push(`${step}`);
      write(`${step}`);
    } else if (what === 3) {
      server.isUp = false;
      server.socket.closedBy(1006);
    } else if (what === 4) server.isUp = true;
    else if (what === 5) thread.isUp = random(2) === 0;
    else if (what === 6) thread.losesAnswers += 1;
    else if (what === 7 && server.isUp) server.restart();
    else {
      heard += 1;
      thread.hearsOf(`other-${heard}`);
    }
    await pass(random(4_000));
  }
  server.isUp = thread.isUp = true;
  thread.losesAnswers = 0;
  await pass(60_000);
  expect(server.chat.filter(({ from }) => from === 'me').map(({ text }) => text)).toEqual(wrote);
  expect(texts()).toEqual(server.chat.map(({ text }) => text));
  expect(session.unsaid).toEqual([]);
});
