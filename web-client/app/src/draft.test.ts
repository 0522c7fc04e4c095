import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Draft } from './draft.svelte.ts';

let kept: Map<string, string>;

beforeEach(() => {
  kept = new Map();
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  });
});

afterEach(() => vi.unstubAllGlobals());

test('what was begun is there after a reload, until it is sent or nobody goes on with it', () => {
  const draft = new Draft();
  expect(draft.isEmpty).toBe(true);
  draft.text = 'It began on';
  expect(new Draft().text).toBe('It began on');
  draft.text = '';
  expect([new Draft().text, kept.size]).toEqual(['', 0]);
  draft.text = 'again';
  draft.forget();
  expect([draft.isEmpty, kept.size]).toEqual([true, 0]);
});

test('a browser that keeps nothing takes it all the same', () => {
  const refuse = () => {
    throw new Error('refused');
  };
  vi.stubGlobal('sessionStorage', { getItem: refuse, setItem: refuse, removeItem: refuse });
  const draft = new Draft();
  draft.text = 'It began on';
  expect(draft.text).toBe('It began on');
});
