import { expect, test } from 'vitest';

import type { Stretch } from '../../sdk/src/index.ts';
import { shares, strip, wantedHeight, worst } from './quality.ts';

const TILE = { width: 0, height: 0, videoWidth: 0, videoHeight: 0, whole: false };

test('a picture is wanted half as high again as it is shown, in steps', () => {
  const shown = { width: 640, height: 300 };
  expect(wantedHeight(TILE, 2)).toBe(0);
  expect(wantedHeight({ ...TILE, ...shown }, 1)).toBe(450);
  // Cut to fill the tile it is higher than that; whole in it, lower.
  const wide = { ...TILE, ...shown, videoWidth: 1280, videoHeight: 720 };
  expect(wantedHeight(wide, 1)).toBe(540);
  expect(wantedHeight({ ...wide, whole: true }, 1)).toBe(450);
  expect(wantedHeight({ ...wide, height: 100, whole: true }, 1)).toBe(180);
  expect(wantedHeight({ ...wide, height: 100 }, 1)).toBe(540);
  expect(wantedHeight(wide, 3)).toBe(1620);
  expect(wantedHeight({ ...TILE, width: 1, height: 1e9 }, 3)).toBe(65_535);
});

test('a tile is shown the encoding that is larger rather than one much smaller', () => {
  const sent = (height: number): number => {
    const wish = wantedHeight({ ...TILE, width: 1, height }, 1);
    return Math.max(...[180, 360, 720].filter((encoding, index) => index === 0 || encoding <= wish));
  };
  expect([100, 240, 300, 480, 551, 720].map(sent)).toEqual([180, 360, 360, 720, 720, 720]);
});

const at = (seconds: number): string => new Date(Date.UTC(2026, 10, 29, 10, 0, seconds)).toISOString();
const stretch = (from: number, until: number, level: Stretch['level'], value = 0): Stretch => ({
  from: at(from),
  until: at(until),
  level,
  reason: level === 'good' ? null : { code: 'uplink_loss', value },
});

test('a strip shows when it was how good, and nothing where nothing flowed', () => {
  const stretches = [stretch(0, 40, 'good'), stretch(40, 50, 'poor', 8), stretch(80, 100, 'bad', 30)];
  expect(strip(stretches)).toEqual([
    { level: 'good', from: 0, length: 400 },
    { level: 'poor', from: 400, length: 100 },
    { level: 'bad', from: 800, length: 200 },
  ]);
  expect(strip([])).toEqual([]);
  expect(shares(stretches)).toEqual([['good', 57], ['poor', 14], ['bad', 29]]);
  expect(shares([])).toEqual([]);
});

test('the worst moments are the worst and longest', () => {
  const stretches = [stretch(0, 10, 'poor', 8), stretch(10, 40, 'poor', 9), stretch(40, 50, 'bad', 30), stretch(50, 90, 'fair', 3)];
  const moments = worst(stretches, 2).map(({ seconds, level, reason }) => [seconds, level, reason?.value]);
  expect(moments).toEqual([[10, 'bad', 30], [30, 'poor', 9]]);
});
