import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { DoorError, Refusal } from '../../sdk/src/index.ts';
import type { Over } from '../../sdk/src/index.ts';
import { FakeStorage } from '../../sdk/src/testing/browser.ts';
import { forgetEnding, keepEnding, recallEnding } from './ending.ts';
import { overWords } from './words.ts';

beforeEach(() => vi.stubGlobal('sessionStorage', new FakeStorage()));
afterEach(() => vi.unstubAllGlobals());

const ENDS: Over[] = [
  { name: 'ended', reason: 'everyone_left' },
  { name: 'left' },
  { name: 'denied', reason: 'not_now', newDevice: false },
  { name: 'removed' },
  { name: 'refused', error: new Refusal('session_full', 'technical', false) },
  { name: 'refused', error: new DoorError('session_over', 'technical', { reason: 'no_show_provider' }) },
];

test('a reload says the same of the end as before, whatever it was', () => {
  const visit = { clinic: { name: 'Clinic', logoUrl: null, primaryColor: null }, role: 'patient' as const };
  expect(recallEnding()).toBeNull();
  for (const why of ENDS) {
    keepEnding({ why, mayReturn: true, visit });
    const kept = recallEnding();
    expect(kept).toMatchObject({ mayReturn: true, visit });
    expect(kept && overWords(kept.why)).toEqual(overWords(why));
  }
  forgetEnding();
  expect(recallEnding()).toBeNull();
});

test('without storage, or with something else in it, there is none', () => {
  sessionStorage.setItem('vestibule.ending', 'nonsense');
  expect(recallEnding()).toBeNull();
  vi.stubGlobal('sessionStorage', undefined);
  keepEnding({ why: { name: 'left' }, mayReturn: true, visit: null });
  forgetEnding();
  expect(recallEnding()).toBeNull();
});
