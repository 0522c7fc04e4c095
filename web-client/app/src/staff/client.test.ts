import { afterEach, expect, test, vi } from 'vitest';

import { RequestError, request, staff } from './client.ts';

afterEach(() => vi.unstubAllGlobals());

const answer = (status: number, body: object | null, headers: Record<string, string> = {}) =>
  new Response(body && JSON.stringify(body), { status, headers });

test('a problem is read with its field and the time to wait', async () => {
  const problem = { code: 'sign_in_locked', detail: 'too many', field: 'login' };
  vi.stubGlobal('fetch', () => Promise.resolve(answer(429, problem, { 'retry-after': '61' })));
  const error = await request('POST', '/auth/sign-in', {}).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(RequestError);
  expect(error).toMatchObject({ code: 'sign_in_locked', field: 'login', waitSeconds: 61 });
});

test('no server, and a proxy that answers in its own words, are unreachable', async () => {
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('offline')));
  await expect(request('GET', '/auth/me')).rejects.toMatchObject({ code: 'unreachable' });
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('<h1>Bad gateway</h1>', { status: 502 })));
  await expect(request('GET', '/auth/me')).rejects.toMatchObject({ code: 'unreachable' });
});

test('a list is fetched to its end', async () => {
  const asked: string[] = [];
  vi.stubGlobal('fetch', (path: string) => {
    asked.push(path);
    return Promise.resolve(answer(200, { items: [{ id: String(asked.length) }], next: asked.length < 3 ? 'a+b' : null }));
  });
  expect((await staff()).map(({ id }) => id)).toEqual(['1', '2', '3']);
  expect(asked[1]).toBe('/v1/staff?limit=100&cursor=a%2Bb');
});

test('an answer without a body is one', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(answer(204, null)));
  await expect(request('DELETE', '/api-keys/x')).resolves.toBeUndefined();
});
