import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { DoorError } from './api.ts';
import { Refusal, Signal } from './signal.ts';
import { FakeServer } from './testing/server.ts';
import type { ServerFrame } from './wire.ts';

let server: FakeServer;
let signal: Signal;
/** What the session was told, in order. */
let told: string[];
let kept: (string | null)[];
let over: Error[];

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  server = new FakeServer();
  vi.stubGlobal('WebSocket', server.socketClass);
  told = [];
  kept = [];
  over = [];
});

afterEach(() => {
  signal.close();
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

function make(secret: string | null = null, ticket = server.ticket): Signal {
  signal = new Signal(
    {
      base: 'https://visit.example.org',
      ticket,
      secret,
      keep: (secret) => {
        kept.push(secret);
        told.push(`keep ${secret}`);
      },
    },
    {
      welcome: ({ seq }) => told.push(`welcome ${seq}`),
      resumed: () => told.push('resumed'),
      message: (frame) => told.push(name(frame)),
      line: (line) => told.push(line),
      over: (error) => over.push(error),
    },
  );
  return signal;
}

async function begin(): Promise<void> {
  const begun = make().begin();
  await vi.advanceTimersByTimeAsync(50);
  await begun;
  told = [];
}

const name = (frame: ServerFrame) => (frame.type === 'chat' ? frame.text : frame.type);
const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);
const say = (text: string) => ({ type: 'chat', clientId: text, text }) as const;
/** What a promise came to, or that it has not yet. */
function outcome(promise: Promise<unknown>): { is: string } {
  const seen = { is: 'open' };
  promise.then(
    () => (seen.is = 'done'),
    (error: Refusal) => (seen.is = `${error.code}${error.retryable ? ', again' : ''}`),
  );
  return seen;
}

describe('one socket', () => {
  test('a ticket opens it, and replies find their requests, in whatever order they come', async () => {
    await begin();
    expect(String(server.socket.url)).toBe('wss://visit.example.org/v1/signal');
    expect(server.socket.sent).toEqual([{ type: 'hello', ticket: 'ticket-1' }]);
    server.isMute = true;
    const [first, second] = [outcome(signal.request({ type: 'stats' })), outcome(signal.request({ type: 'end' }))];
    await pass(20);
    server.say({ type: 'error', code: 'not_permitted', message: 'no', retryable: false, replyTo: 2 });
    server.say({ type: 'stats', stats: {}, replyTo: 1 });
    await pass(20);
    expect([first.is, second.is]).toEqual(['done', 'not_permitted']);
    expect(told).toEqual([]);
  });

  test('a reply that does not come in time is one that may be asked for again', async () => {
    await begin();
    server.isMute = true;
    const asked = outcome(signal.request({ type: 'end' }));
    await pass(15_000);
    server.say({ type: 'session', status: 'active', version: 2, startedAt: null });
    await pass(5_100);
    expect(asked.is).toBe('timeout, again');
  });

  test('a line of chat has as long as its socket, and is given up with it', async () => {
    await begin();
    server.mutes = 'chat';
    const line = outcome(signal.request(say('slow')));
    for (let count = 0; count < 30; count += 1) {
      server.say({ type: 'recording', on: true });
      await pass(5_000);
    }
    expect(line.is).toBe('open');
    server.say({ type: 'done', replyTo: 1 });
    await pass(20);
    expect(line.is).toBe('done');
    const lost = outcome(signal.request(say('lost')));
    server.socket.closedBy(1006);
    await pass(0);
    expect(lost.is).toBe('unreachable, again');
  });

  test('a server that answers is left in peace, and told what was heard', async () => {
    await begin();
    server.say({ type: 'session', status: 'active', version: 2, startedAt: null });
    await pass(200_000);
    expect(server.sockets).toHaveLength(1);
    const pings = server.socket.sent.slice(1);
    expect(pings).toHaveLength(20);
    expect(pings[0]).toEqual({ type: 'ping', lastSeq: 1, id: 1 });
    // Each answer is a message, too.
    expect(pings.at(-1)).toMatchObject({ lastSeq: 20 });
  });

  test('who cannot get in hears why, and is not tried again', async () => {
    const no = new DoorError('join_token_expired', 'over');
    const begun = outcome(make(null, () => Promise.reject(no)).begin());
    await pass(60_000);
    expect(begun.is).toBe('join_token_expired');
    expect(server.sockets).toHaveLength(0);
    server.isUp = false;
    const unreachable = outcome(make().begin());
    await pass(60_000);
    expect(unreachable.is).toBe('unreachable, again');
    expect(server.sockets).toHaveLength(1);
    expect(over).toEqual([]);
  });

  test('a socket on which nobody says hello is given up', async () => {
    vi.stubGlobal('WebSocket', function () {
      return { close: () => undefined };
    });
    const begun = outcome(make().begin());
    await pass(11_900);
    expect(begun.is).toBe('open');
    await pass(200);
    expect(begun.is).toBe('unreachable, again');
  });
});

describe('a silent line', () => {
  beforeEach(begin);

  test('is noticed by the heartbeat', async () => {
    server.socket.isDead = true;
    await pass(19_900);
    expect(server.sockets).toHaveLength(1);
    await pass(200);
    expect(server.sockets).toHaveLength(2);
    expect(told).toContain('resumed');
  });

  test('is noticed within two seconds when the network is another one', async () => {
    server.socket.isDead = true;
    signal.nudge();
    await pass(1_900);
    expect(server.sockets).toHaveLength(1);
    await pass(200);
    expect(server.sockets).toHaveLength(2);
  });

  test('is kept until another one says hello: it may have been slow', async () => {
    server.isMute = server.swallows = true;
    const chat = outcome(signal.request(say('words')));
    signal.nudge();
    await pass(2_100);
    expect(server.sockets, 'another is opened').toHaveLength(2);
    const lasting = outcome(signal.request({ type: 'publish', kind: 'audio', muted: true }));
    server.isMute = server.swallows = false;
    server.sockets[1]!.isDead = true;
    server.say({ type: 'recording', on: true });
    await pass(30);
    expect(told, 'what is said is heard, but shows nothing of the way there').toEqual(['reconnecting', 'recording']);
    server.say({ type: 'done', replyTo: 2 });
    await pass(30);
    expect(told).toEqual(['reconnecting', 'recording', 'open', 'resumed']);
    expect([chat.is, lasting.is]).toEqual(['unreachable, again', 'done']);
    await pass(30_000);
    expect(server.sockets).toHaveLength(2);
  });

  test('says nothing any more once another one said hello', async () => {
    server.isMute = true;
    signal.nudge();
    await pass(2_007);
    server.isMute = false;
    server.sockets[0]!.says({ type: 'recording', on: true, seq: 2 });
    await pass(50);
    expect(told).toEqual(['reconnecting', 'keep secret-2', 'open', 'resumed']);
    expect(server.sockets).toHaveLength(2);
  });

  test('is one on which nothing goes to the server, though it is heard', async () => {
    server.isMute = true;
    const chat = outcome(signal.request(say('words')));
    await pass(9_900);
    server.say({ type: 'recording', on: true });
    expect(server.sockets).toHaveLength(1);
    await pass(200);
    expect(server.sockets).toHaveLength(2);
    expect(chat.is).toBe('unreachable, again');
    expect(told.filter((what) => what === 'recording')).toHaveLength(1);
  });

  test('is none if anything is heard', async () => {
    server.isMute = true;
    signal.nudge();
    await pass(1_000);
    server.say({ type: 'recording', on: true });
    await pass(1_500);
    expect(server.sockets).toHaveLength(1);
  });

  test('is not the server’s when the device slept, but then it is asked again', async () => {
    server.isMute = true;
    signal.nudge();
    await pass(0);
    vi.setSystemTime(Date.now() + 600_000);
    await pass(2_100);
    expect(server.sockets).toHaveLength(1);
    await pass(2_000);
    expect(server.sockets).toHaveLength(2);
  });
});

describe('coming back', () => {
  beforeEach(begin);

  test('at once, then after 0.3, 1, 2 and 4 seconds, then every 5', async () => {
    await pass(60_000);
    const lostAt = Date.now();
    server.isUp = false;
    server.socket.closedBy(1006);
    await pass(30_000);
    const waits = server.openedAt.slice(1).map((at, index, all) => at - (all[index - 1] ?? lostAt));
    expect(waits).toEqual([0, 300, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
    expect(told).toEqual(['reconnecting']);
  });

  test('where nothing comes through, as soon as an attempt is given up: after six seconds and twelve in turn', async () => {
    await pass(60_000);
    const lostAt = Date.now();
    server.swallows = true;
    server.socket.closedBy(1006);
    await pass(59_000);
    const waits = server.openedAt.slice(1).map((at, index, all) => at - (all[index - 1] ?? lostAt));
    expect(waits).toEqual([0, 6_000, 12_000, 6_000, 12_000, 6_000, 12_000]);
    server.swallows = false;
    await pass(6_100);
    expect(told).toEqual(['reconnecting', 'keep secret-2', 'open', 'resumed']);
  });

  test('on a slow line a socket that is open has ten seconds more for what the server says', async () => {
    server.socket.closedBy(1006);
    server.socket.says = () => undefined;
    await pass(9_900);
    expect(server.sockets).toHaveLength(2);
    await pass(200);
    expect(server.sockets).toHaveLength(3);
  });

  test('at once again, after a socket that lived for a while', async () => {
    for (let count = 0; count < 3; count += 1) {
      await pass(6_000);
      const lostAt = Date.now();
      server.socket.closedBy(1006);
      expect(server.openedAt.at(-1)).toBe(lostAt);
    }
    // One that did not was a failure.
    await pass(100);
    server.socket.closedBy(1006);
    await pass(200);
    expect(server.sockets).toHaveLength(4);
    await pass(200);
    expect(server.sockets).toHaveLength(5);
  });

  test('with a jitter of up to three tenths, so that not everybody comes at once', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(1);
    server.isUp = false;
    server.socket.closedBy(1006);
    await pass(1_800);
    const waits = server.openedAt.slice(2).map((at, index) => at - (server.openedAt[index + 1] ?? 0));
    expect(waits).toEqual([390, 1_300]);
  });

  test('at once when there is reason to think that it works again', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    await pass(20_000);
    const before = server.sockets.length;
    server.isUp = true;
    signal.nudge();
    await pass(20);
    expect(server.sockets).toHaveLength(before + 1);
    expect(told).toEqual(['reconnecting', 'keep secret-2', 'open', 'resumed']);
  });

  test('an attempt that hangs on a network that is gone is given up for another', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    server.socket.isDead = true;
    await pass(500);
    signal.nudge();
    expect(server.sockets).toHaveLength(2);
    await pass(600);
    server.isUp = true;
    signal.nudge();
    await pass(20);
    expect(server.sockets).toHaveLength(3);
    expect(told).toContain('resumed');
  });

  test('shows the secret and what was heard, and keeps the new one before anything else', async () => {
    server.say({ type: 'recording', on: true });
    await pass(20);
    server.socket.closedBy(1006);
    server.say({ type: 'recording', on: false });
    told = [];
    await pass(20);
    expect(server.socket.sent[0]).toEqual({ type: 'hello', resume: 'secret-1', incarnation: '1.1', lastSeq: 1 });
    expect(told).toEqual(['keep secret-2', 'open', 'resumed', 'recording']);
    server.socket.closedBy(1006);
    await pass(400);
    expect(server.socket.sent[0]).toMatchObject({ resume: 'secret-2', lastSeq: 2 });
  });

  test('a new secret that was lost on its way locks nobody out', async () => {
    server.socket.closedBy(1006);
    // The hello is heard; its answer is lost.
    await pass(12);
    server.socket.closedBy(1006);
    await pass(400);
    expect(server.socket.sent[0]).toMatchObject({ resume: 'secret-1' });
    expect(told.at(-1)).toBe('resumed');
    expect(kept.at(-1)).toBe('secret-3');
  });

  test('what the server has not heard is said again, with its number and in order; what it has is not', async () => {
    server.isMute = true;
    const muted = { type: 'publish', kind: 'audio', muted: true } as const;
    const heard = outcome(signal.request(muted));
    await pass(6);
    server.isMute = false;
    const unheard = [outcome(signal.request(muted)), outcome(signal.request({ type: 'admit', participantId: 'p' }))];
    server.socket.closedBy(1006);
    // Its reply comes while nobody listens.
    server.say({ type: 'done', replyTo: 1 });
    await pass(30);
    expect(server.socket.sent.slice(1).map((frame) => [frame.id, frame.type])).toEqual([
      [2, 'publish'],
      [3, 'admit'],
    ]);
    expect([heard.is, ...unheard.map(({ is }) => is)]).toEqual(['done', 'done', 'done']);
    expect(server.done.map(({ id }) => id)).toEqual([2, 3]);
  });

  test('what lasts waits for the line, and what is of the moment is refused at once', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    const muted = outcome(signal.request({ type: 'publish', kind: 'audio', muted: true }));
    const ofTheMoment = (['end', 'stats'] as const).map((type) => outcome(signal.request({ type })));
    // It is kept elsewhere, and may go another way.
    ofTheMoment.push(outcome(signal.request(say('written on the train'))));
    ofTheMoment.push(outcome(signal.request({ type: 'admit', participantId: 'p' })));
    await pass(60_000);
    expect(ofTheMoment.map(({ is }) => is)).toEqual(Array(4).fill('unreachable, again'));
    expect(muted.is).toBe('open');
    server.isUp = true;
    await pass(5_100);
    expect(muted.is).toBe('done');
    expect(server.chat).toEqual([]);
  });

  test('what was of the moment when it was asked is not of the moment half a minute later', async () => {
    server.isUp = false;
    const asked = outcome(signal.request({ type: 'admit', participantId: 'p' }));
    server.socket.closedBy(1006);
    await pass(20_100);
    expect(asked.is).toBe('timeout, again');
    server.isUp = true;
    await pass(10_000);
    expect(server.done).toEqual([]);
  });

  test('whoever leaves without a line says so if it comes back in time', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    const left = outcome(signal.request({ type: 'leave' }));
    await pass(3_000);
    server.isUp = true;
    await pass(5_000);
    expect(left.is).toBe('done');
    server.isUp = false;
    server.socket.closedBy(1006);
    const again = outcome(signal.request({ type: 'leave' }));
    await pass(20_100);
    expect(again.is).toBe('timeout, again');
  });

  test('what was heard before is not heard again', async () => {
    server.say({ type: 'recording', on: true });
    await pass(20);
    server.socket.says({ type: 'recording', on: true, seq: 1 });
    await pass(20);
    expect(told).toEqual(['recording']);
  });

  test('where something is missing the socket is given up, and it comes by the next', async () => {
    server.say({ type: 'recording', on: true });
    await pass(20);
    const first = server.socket;
    first.isDead = true;
    server.say({ type: 'superseded' });
    await pass(20);
    first.isDead = false;
    server.say({ type: 'disconnected', reason: '' });
    await pass(40);
    expect(server.sockets).toHaveLength(2);
    expect(server.socket.sent[0]).toMatchObject({ lastSeq: 1 });
    expect(told).toEqual(['recording', 'reconnecting', 'keep secret-2', 'open', 'resumed', 'superseded', 'disconnected']);
  });

  test('a server that always leaves something out is not asked without end', async () => {
    await pass(10_000);
    const before = server.sockets.length;
    for (let turn = 0; turn < 3_000; turn += 1) {
      server.sockets.at(-1)?.says({ type: 'recording', on: true, seq: 999 });
      await pass(10);
    }
    expect(server.sockets.length - before).toBeLessThan(12);
  });

  test('a secret that is void is replaced by a ticket', async () => {
    server.secrets = [];
    server.socket.closedBy(1006);
    await pass(40);
    expect(kept).toEqual(['secret-1', null, 'secret-2']);
    expect(server.socket.sent[0]).toEqual({ type: 'hello', ticket: 'ticket-2' });
    expect(told.at(-1)).toBe('welcome 0');
  });

  test('and if the link is void, too, it is over', async () => {
    server.secrets = [];
    server.ticket = () => Promise.reject(new Error('not asked'));
    const removed = new DoorError('join_token_revoked', 'removed', { status: 403 });
    signal.close();
    let tickets = 0;
    const begun = make(null, () => ((tickets += 1) === 1 ? Promise.resolve('t') : Promise.reject(removed))).begin();
    await pass(50);
    await begun;
    server.secrets = [];
    server.socket.closedBy(1000);
    await pass(60_000);
    expect(over).toEqual([removed]);
    expect(tickets).toBe(2);
  });

  test('who is in elsewhere does not come back by themselves', async () => {
    server.socket.closedBy(4001);
    await pass(60_000);
    expect(server.sockets).toHaveLength(1);
    expect(over).toMatchObject([{ code: 'superseded', retryable: false }]);
  });
});

describe('another incarnation', () => {
  beforeEach(begin);

  test('settles what was asked for, and numbers what is asked then anew', async () => {
    server.isUp = false;
    const asked = outcome(signal.request({ type: 'end' }));
    server.restart();
    const offer = outcome(signal.request({ type: 'offer', sdp: '', negotiation: 1 }));
    server.isUp = true;
    await pass(400);
    const line = outcome(signal.request(say('still there?')));
    await pass(20);
    expect(told).toEqual(['reconnecting', 'keep secret-2', 'open', 'welcome 0', 'still there?']);
    expect(asked.is).toBe('unreachable, again');
    expect(offer.is).toBe('unreachable, again');
    expect(line.is).toBe('done');
    // Numbers begin anew with the incarnation.
    expect(server.socket.sent).toEqual([
      { type: 'hello', resume: 'secret-1', incarnation: '1.1', lastSeq: 0 },
      { type: 'chat', clientId: 'still there?', text: 'still there?', id: 1 },
      { type: 'ping', lastSeq: 0, id: 2 },
    ]);
  });

  test('does not have those stay who left', async () => {
    server.isUp = false;
    server.socket.closedBy(1006);
    const left = outcome(signal.request({ type: 'leave' }));
    server.restart();
    server.you = { ...server.you, state: 'waiting' };
    server.isUp = true;
    await pass(400);
    expect(left.is).toBe('done');
    expect(server.done.map(({ type }) => type)).toEqual(['leave']);
  });

  test('a line that was said before it was lost is not said twice', async () => {
    const line = outcome(signal.request(say('once')));
    await pass(6);
    expect(server.chat).toHaveLength(1);
    server.restart();
    await pass(400);
    expect(line.is).toBe('unreachable, again');
    await Promise.all([signal.request(say('once')), pass(20)]);
    expect(server.chat).toHaveLength(1);
  });

  test('begins, too, where the server kept too little', async () => {
    server.logMax = 2;
    server.socket.isDead = true;
    for (let count = 0; count < 3; count += 1) server.say({ type: 'recording', on: true });
    signal.nudge();
    await pass(2_100);
    expect(told.slice(-2)).toEqual(['open', 'welcome 0']);
    server.say({ type: 'recording', on: false });
    await pass(20);
    expect(told.at(-1)).toBe('recording');
  });
});

describe('after a reload', () => {
  test('the secret alone opens the line, and is tried until there is an answer', async () => {
    server.secrets = ['kept'];
    server.isUp = false;
    const begun = outcome(make('kept').begin());
    await pass(2_000);
    expect(begun.is).toBe('open');
    expect(told).toEqual(Array(4).fill('reconnecting').slice(0, told.length));
    server.isUp = true;
    await pass(5_000);
    expect(begun.is).toBe('done');
    expect(server.socket.sent[0]).toEqual({ type: 'hello', resume: 'kept' });
    expect(server.tickets).toBe(0);
  });

  test('a secret that is void is said to be so, and the link is for the page to use', async () => {
    const begun = outcome(make('void').begin());
    await pass(60_000);
    expect(begun.is).toBe('resume_invalid');
    expect(server.tickets).toBe(0);
    expect(kept).toEqual([null]);
  });
});

test('whatever breaks, and wherever, each message is heard once and in order, and each line is said once', async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const random = generator(seed);
    vi.spyOn(Math, 'random').mockImplementation(random);
    server = new FakeServer();
    server.logMax = 1_000;
    vi.stubGlobal('WebSocket', server.socketClass);
    await begin();
    const said: string[] = [];
    const lines: { is: string }[] = [];
    for (let step = 0; step < 120; step += 1) {
      const what = random();
      if (what < 0.35) {
        said.push(`${seed}-${step}`);
        server.say({ type: 'chat', ...server.line(`${step}`, `${seed}-${step}`, 'x') });
      } else if (what < 0.6) lines.push(outcome(sayUntilSaid(`mine-${seed}-${step}`)));
      else if (what < 0.75) server.sockets.at(-1)?.closedBy(1006);
      else if (what < 0.8) server.sockets.at(-1)?.close();
      else if (what < 0.85) server.isUp = !server.isUp;
      else if (what < 0.9) signal.nudge();
      await pass(Math.floor(random() * 400));
    }
    server.isUp = true;
    await pass(60_000);
    const heard = told.filter((text) => text.startsWith(`${seed}-`));
    expect(heard, `seed ${seed}`).toEqual(said);
    const mine = server.chat.map(({ text }) => text);
    expect(new Set(mine).size, `seed ${seed}`).toBe(mine.length);
    expect(lines.every(({ is }) => is === 'done'), `seed ${seed}`).toBe(true);
    expect(mine).toHaveLength(lines.length);
    expect(told.filter((text) => text.startsWith('mine-')), `seed ${seed}`).toEqual(mine);
    signal.close();
  }
});

/** As who keeps what is written: one line after the other, each until it is said. */
let sayBefore: Promise<unknown> = Promise.resolve();
function sayUntilSaid(text: string): Promise<void> {
  const said = sayBefore.then(async () => {
    for (;;) {
      try {
        await signal.request(say(text));
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  });
  sayBefore = said;
  return said;
}

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
