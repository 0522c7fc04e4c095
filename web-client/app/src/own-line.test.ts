import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { BandwidthProfile, Tier } from '../../sdk/src/index.ts';
import { OwnLine } from './own-line.svelte.ts';
import type { OwnDevices } from './own-line.svelte.ts';

const ON: OwnDevices = { microphone: 'on', camera: 'on' };
const VIDEO: Tier = { profile: 'video', reason: null };
const WEAK: Tier = { profile: 'audio_only', reason: 'downlink_rate' };

let line: OwnLine;
let asked: BandwidthProfile[];

const choose = (want: BandwidthProfile) => {
  asked.push(want);
  return Promise.resolve(true);
};

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  line = new OwnLine(() => false);
  line.looked(VIDEO, ON);
});

afterEach(() => {
  line.stop();
  vi.useRealTimers();
});

test('who has their picture back is told so, for a while', () => {
  line.looked(WEAK, { ...ON, camera: 'starting' });
  expect(line.back).toBe('');
  line.looked(VIDEO, ON);
  expect(line.back).toBe('Your connection is better. Your video is on again.');
  vi.advanceTimersByTime(60_000);
  expect(line.back).toBe('');
});

test('that the picture is on is not said before the camera has started', () => {
  line.looked(WEAK, { ...ON, camera: 'starting' });
  line.looked(VIDEO, { ...ON, camera: 'starting' });
  expect(line.back).toBe('');
  line.looked(VIDEO, { ...ON, camera: 'failed' });
  expect(line.back).toMatch(/your camera did not start/);
});

test('it is not said any more once the line is weak again', () => {
  line.looked(WEAK, ON);
  line.looked(VIDEO, ON);
  line.looked(WEAK, ON);
  expect(line.back).toBe('');
});

test('nothing is said to be back to who comes in', () => {
  expect(line.back).toBe('');
});

test('more that is asked for is being tried until the line is used for more', async () => {
  line.looked(WEAK, ON);
  await line.ask('video', choose);
  expect([line.attempt, asked]).toEqual(['trying', ['video']]);
  line.looked({ profile: 'audio_only', reason: 'recovered' }, ON);
  expect(line.attempt, 'for another reason it is the same').toBe('trying');
  line.looked(VIDEO, ON);
  expect(line.attempt).toBe('none');
  vi.advanceTimersByTime(60_000);
  expect(line.attempt).toBe('none');
});

test('after three quarters of a minute a try is said to have come to nothing, and may be asked for again', async () => {
  line.looked(WEAK, ON);
  await line.ask('video', choose);
  vi.advanceTimersByTime(44_000);
  expect(line.attempt).toBe('trying');
  vi.advanceTimersByTime(2_000);
  expect(line.attempt).toBe('failed');
  await line.ask('video', choose);
  expect(line.attempt).toBe('trying');
});

test('less that is asked for is no try, and ends one', async () => {
  line.looked(WEAK, ON);
  await line.ask('video', choose);
  await line.ask('async_text', choose);
  expect(line.attempt).toBe('none');
});

test('what the server refuses is not being tried', async () => {
  line.looked(WEAK, ON);
  await line.ask('video', () => Promise.resolve(false));
  expect(line.attempt).toBe('none');
});
