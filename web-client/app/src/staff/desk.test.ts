import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { RETRY_MS, changes, isOthersIn, linkInto, placeOf, underWay, watchDesk } from './desk.ts';
import type { Waiting } from './desk.ts';

class FakeSource extends EventTarget {
  static readonly CLOSED = 2;
  static all: FakeSource[] = [];
  readyState = 0;
  onopen?: () => void;
  onerror?: () => void;

  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }

  close(): void {
    this.readyState = 2;
  }

  says(data: object): void {
    this.dispatchEvent(Object.assign(new Event('queue'), { data: JSON.stringify(data) }));
  }
}

const patient = (name: string, more: Partial<Waiting> = {}): Waiting => ({
  position: 1,
  sessionId: `session-of-${name}`,
  participantId: name,
  name,
  since: '2026-06-01T09:00:00Z',
  connected: true,
  newDevice: false,
  providerPresent: false,
  scheduledStart: null,
  ...more,
});

let told: unknown[];
let page: EventTarget;
const watch = (desk: string | null = null) =>
  watchDesk(desk, {
    queue: ({ waiting }) => told.push(waiting.map(({ name }) => name)),
    line: (line) => told.push(line),
    refused: () => told.push('refused'),
  });

beforeEach(() => {
  vi.useFakeTimers();
  told = [];
  FakeSource.all = [];
  page = new EventTarget();
  vi.stubGlobal('EventSource', FakeSource);
  vi.stubGlobal('window', page);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('one’s own desk, or another by its name, is heard as it changes', () => {
  const stop = watch();
  const [source] = FakeSource.all;
  source?.onopen?.();
  source?.says({ providerRef: 'x', waiting: [patient('Alex')] });
  source?.says({ providerRef: 'x', waiting: [] });
  expect(told).toEqual(['opening', 'open', ['Alex'], []]);
  stop();
  watch('Practitioner/12 b')();
  expect(FakeSource.all.map(({ url }) => url)).toEqual(['/v1/desk', '/v1/desk?providerRef=Practitioner%2F12%20b']);
});

test('a stream that broke is left to the browser, and one that was refused is asked for again', async () => {
  const stop = watch();
  const [source] = FakeSource.all;
  source?.onerror?.();
  await vi.advanceTimersByTimeAsync(RETRY_MS * 3);
  expect(FakeSource.all).toHaveLength(1);
  source?.close();
  source?.onerror?.();
  expect(told).toEqual(['opening', 'reconnecting', 'reconnecting', 'refused']);
  await vi.advanceTimersByTimeAsync(RETRY_MS);
  expect(FakeSource.all).toHaveLength(2);
  stop();
  await vi.advanceTimersByTimeAsync(RETRY_MS * 3);
  expect(FakeSource.all).toHaveLength(2);
});

test('a network that is back is used at once, and nothing is after the end', () => {
  const stop = watch();
  page.dispatchEvent(new Event('online'));
  expect(FakeSource.all.map(({ readyState }) => readyState)).toEqual([2, 0]);
  stop();
  page.dispatchEvent(new Event('online'));
  expect(FakeSource.all.map(({ readyState }) => readyState)).toEqual([2, 2]);
});

test('who comes and who goes is told, and moving up is neither', () => {
  const [alex, kim] = [patient('Alex'), patient('Kim', { position: 2 })];
  expect(changes([], [alex])).toEqual({ come: [alex], gone: [] });
  expect(changes([alex, kim], [{ ...kim, position: 1, connected: false }])).toEqual({ come: [], gone: [alex] });
});

test('a provider takes their own place, or the first there is', () => {
  const place = (id: string, more = {}) => ({ id, role: 'provider', displayName: id, standing: 'invited', ...more });
  const all = [place('pat', { role: 'patient' }), place('old', { standing: 'removed' }), place('first'), place('Dr. Ada')];
  expect(placeOf(all, 'Dr. Ada')?.id).toBe('Dr. Ada');
  expect(placeOf(all, 'Dr. Quix')?.id).toBe('first');
  expect(placeOf(all.slice(0, 2), 'Dr. Ada')).toBeUndefined();
});

test('a visit is opened by a link of its own, where there is a place', async () => {
  const asked: string[] = [];
  const participants = [{ id: 'p', role: 'provider', displayName: null, standing: 'invited' }];
  let reply: object = { participants };
  vi.stubGlobal('fetch', (path: string, { method }: RequestInit) => {
    asked.push(`${method} ${path}`);
    return Promise.resolve(Response.json(method === 'POST' ? { joinUrl: 'https://visit.example.org/j#t' } : reply));
  });
  expect(await linkInto('s', 'Dr. Ada')).toBe('https://visit.example.org/j#t');
  expect(asked).toEqual(['GET /v1/sessions/s', 'POST /v1/sessions/s/participants/p/tokens']);
  reply = { participants: [] };
  expect(await linkInto('s', 'Dr. Ada')).toBeNull();
});

test('visits under way lead back to one’s own place, and say when it is another’s', async () => {
  const participants = [
    { id: 'p', role: 'provider', displayName: 'Dr. Ada', standing: 'admitted' },
    { id: 'a', role: 'patient', displayName: 'Alex', standing: 'admitted' },
  ];
  const asked: string[] = [];
  vi.stubGlobal('fetch', (path: string) => {
    asked.push(path);
    return Promise.resolve(Response.json(path.includes('?') ? { items: [{ id: 's', participants }] } : { participants }));
  });
  expect(await underWay('desk 1', 'Dr. Ada')).toEqual([{ sessionId: 's', name: 'Alex', isTaken: false }]);
  expect(await underWay('desk 1', 'Dr. Quix')).toEqual([{ sessionId: 's', name: 'Alex', isTaken: true }]);
  expect(asked[0]).toBe('/v1/sessions?status=active&providerRef=desk%201&limit=20');
  expect([await isOthersIn('s', 'Dr. Ada'), await isOthersIn('s', 'Dr. Quix')]).toEqual([false, true]);
});
