import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Refusal, Signal } from './signal.ts';
import type { ServerFrame } from './wire.ts';

/** A socket whose other end is the test. */
class FakeSocket {
  static readonly OPEN = 1;
  static last: FakeSocket;
  readyState = FakeSocket.OPEN;
  sent: { id: number; type: string }[] = [];
  onopen?: () => void;
  onclose?: ((event: { code: number; reason: string }) => void) | null;
  onmessage?: (event: { data: string }) => void;

  constructor(readonly url: URL) {
    FakeSocket.last = this;
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 2;
  }

  says(frame: object): void {
    this.onmessage?.({ data: JSON.stringify({ seq: 1, ...frame }) });
  }
}

const closed = vi.fn();
const message = vi.fn();
let signal: Signal;
let socket: FakeSocket;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('WebSocket', FakeSocket);
  closed.mockClear();
  message.mockClear();
  signal = new Signal('https://visit.example.org', { message, closed });
  socket = FakeSocket.last;
  socket.onopen?.();
});

afterEach(() => {
  signal.close();
  vi.useRealTimers();
});

test('replies find their requests, in whatever order they come', async () => {
  const [first, second] = [signal.request({ type: 'stats' }), signal.request({ type: 'end' })];
  await vi.advanceTimersByTimeAsync(0);
  expect(String(socket.url)).toBe('wss://visit.example.org/v1/signal');
  expect(socket.sent).toEqual([
    { type: 'stats', id: 1 },
    { type: 'end', id: 2 },
  ]);
  const refused = expect(second).rejects.toMatchObject({ code: 'not_permitted', retryable: false });
  socket.says({ type: 'error', code: 'not_permitted', message: 'no', retryable: false, replyTo: 2 });
  socket.says({ type: 'stats', stats: {}, replyTo: 1 });
  await refused;
  expect(((await first) as ServerFrame).type).toBe('stats');
  expect(message).not.toHaveBeenCalled();
});

test('a server that answers is left in peace', async () => {
  for (let beat = 0; beat < 20; beat += 1) {
    await vi.advanceTimersByTimeAsync(10_000);
    socket.says({ type: 'done', replyTo: socket.sent.at(-1)?.id });
  }
  expect(closed).not.toHaveBeenCalled();
  expect(socket.sent.every(({ type }) => type === 'ping')).toBe(true);
});

test('a silent line is closed within half a minute, and whoever waits for a reply hears of it', async () => {
  const asked = signal.request({ type: 'end' }, 60_000);
  const told = expect(asked).rejects.toBeInstanceOf(Refusal);
  await vi.advanceTimersByTimeAsync(29_900);
  expect(closed).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(200);
  expect(closed).toHaveBeenCalledOnce();
  await told;
});

test('when the network is another one, six seconds of silence are enough', async () => {
  signal.probe();
  await vi.advanceTimersByTimeAsync(6_100);
  expect(closed).toHaveBeenCalledOnce();
});

test('anything that is heard is a sign of life', async () => {
  signal.probe();
  await vi.advanceTimersByTimeAsync(3_000);
  socket.says({ type: 'superseded' });
  await vi.advanceTimersByTimeAsync(4_000);
  expect(closed).not.toHaveBeenCalled();
});

test('a device that slept does not take its own silence for the server’s', async () => {
  signal.probe();
  await vi.advanceTimersByTimeAsync(0);
  vi.setSystemTime(Date.now() + 600_000);
  await vi.advanceTimersByTimeAsync(6_100);
  expect(closed).not.toHaveBeenCalled();
});
