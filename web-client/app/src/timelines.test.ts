import { beforeEach, expect, test } from 'vitest';

import type { Stretch } from '../../sdk/src/index.ts';
import { Timelines } from './timelines.ts';

const at = (seconds: number): string => new Date(Date.UTC(2026, 10, 29, 10, 0, seconds)).toISOString();
const stretch = (from: number, until: number, level: Stretch['level']): Stretch => ({
  from: at(from),
  until: at(until),
  level,
  reason: null,
});

let stretches: Record<string, Stretch[]>;
let isAway: boolean;
/** Who was asked for, and since when. */
let asked: [string, string | undefined][];
let timelines: Timelines;

beforeEach(() => {
  stretches = { a: [stretch(0, 20, 'good'), stretch(20, 30, 'poor')], b: [] };
  isAway = false;
  asked = [];
  timelines = new Timelines({
    timeline: (id, since = '') => {
      asked.push([id, since || undefined]);
      if (isAway) return Promise.reject(new Error('the line is away'));
      return Promise.resolve((stretches[id] ?? []).filter(({ until }) => until > since));
    },
  });
});

const look = (): Promise<Record<string, Stretch[]>> => timelines.look(['a', 'b']);

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
