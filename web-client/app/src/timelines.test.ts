import { beforeEach, expect, test } from 'vitest';

import type { Stretch, TierChange, Timeline } from '../../sdk/src/index.ts';
import { Timelines } from './timelines.ts';

const at = (seconds: number): string => new Date(Date.UTC(2026, 10, 29, 10, 0, seconds)).toISOString();
const stretch = (from: number, until: number, level: Stretch['level']): Stretch => ({
  from: at(from),
  until: at(until),
  level,
  reason: null,
});

let stretches: Record<string, Stretch[]>;
let tiers: TierChange[];
let isAway: boolean;
/** Who was asked for, and since when. */
let asked: [string, string | undefined][];
let timelines: Timelines;

beforeEach(() => {
  stretches = { a: [stretch(0, 20, 'good'), stretch(20, 30, 'poor')], b: [] };
  tiers = [];
  isAway = false;
  asked = [];
  timelines = new Timelines({
    timeline: (id, since = '') => {
      asked.push([id, since || undefined]);
      if (isAway) return Promise.reject(new Error('the line is away'));
      return Promise.resolve({
        stretches: (stretches[id] ?? []).filter(({ until }) => until > since),
        tiers: id === 'a' ? tiers.filter((change) => change.since > since) : [],
      });
    },
  });
});

const look = async (): Promise<Record<string, Stretch[]>> => {
  const seen: [string, Timeline][] = Object.entries(await timelines.look(['a', 'b']));
  return Object.fromEntries(seen.map(([id, timeline]) => [id, timeline.stretches]));
};

test('the whole is asked for once, and then what is new', async () => {
  expect(await look()).toEqual(stretches);
  stretches.a = [stretch(0, 20, 'good'), stretch(20, 40, 'poor'), stretch(40, 50, 'good')];
  expect(await look()).toEqual(stretches);
  expect(await look()).toEqual(stretches);
  expect(asked.filter(([id]) => id === 'a').map(([, since]) => since)).toEqual([undefined, at(30), at(50)]);
});

test('what cannot be asked for just now stays as it was, and is asked for later', async () => {
  const before = await look();
  isAway = true;
  stretches.a = [stretch(0, 20, 'good'), stretch(20, 40, 'poor')];
  expect(await look()).toEqual(before);
  isAway = false;
  expect(await look()).toEqual(stretches);
});

test('what a line was used for is there once, also what changed while nothing flowed', async () => {
  const change = (seconds: number, profile: TierChange['profile']): TierChange => ({ since: at(seconds), profile, reason: 'silence' });
  const changes = async () => (await timelines.look(['a', 'b'])).a?.tiers;
  tiers = [change(10, 'audio_only')];
  expect(await changes()).toEqual(tiers);
  tiers = [...tiers, change(35, 'async_text')];
  expect(await changes()).toEqual(tiers);
  tiers = [...tiers, change(60, 'audio_only')];
  expect(await changes()).toEqual(tiers);
  stretches.a = [...(stretches.a ?? []), stretch(60, 70, 'good')];
  expect(await changes()).toEqual(tiers);
  expect(await changes()).toEqual(tiers);
});
