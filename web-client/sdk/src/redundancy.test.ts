import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { Redundancy } from './redundancy.ts';
import type { QualityLevel, QualityReason } from './wire.ts';

let heard: boolean[];
let redundancy: Redundancy;

beforeEach(() => {
  vi.useFakeTimers();
  heard = [];
  redundancy = new Redundancy(() => heard.push(redundancy.isWanted));
});

afterEach(() => {
  vi.useRealTimers();
});

const say = (level: QualityLevel, code?: QualityReason['code'], value = 0) =>
  redundancy.hear({ level, reason: code ? { code, value } : null });

test('begins with the loss of what is sent, and of nothing else', () => {
  say('good');
  say('fair', 'uplink_loss', 2);
  say('bad', 'downlink_loss', 30);
  say('poor', 'round_trip', 700);
  expect(heard).toEqual([]);
  say('fair', 'uplink_loss', 3);
  say('poor', 'uplink_loss', 12);
  expect(heard).toEqual([true]);
});

test('ends once nothing was lost for a while, counted anew after each loss', () => {
  say('poor', 'uplink_loss', 12);
  say('good');
  vi.advanceTimersByTime(29_000);
  say('fair', 'uplink_loss', 2);
  say('good');
  vi.advanceTimersByTime(29_000);
  // It is as good as before: that does not begin the while anew.
  say('fair', 'round_trip', 400);
  expect(heard).toEqual([true]);
  vi.advanceTimersByTime(1_000);
  expect(heard).toEqual([true, false]);
  say('fair', 'uplink_loss', 4);
  expect(heard).toEqual([true, false, true]);
});

test('goes on where a worse reason hides whether anything is lost', () => {
  say('poor', 'uplink_loss', 12);
  say('bad', 'downlink_loss', 30);
  vi.advanceTimersByTime(60_000);
  say('good');
  vi.advanceTimersByTime(10_000);
  say('bad', 'silence');
  vi.advanceTimersByTime(60_000);
  expect(heard).toEqual([true]);
});
