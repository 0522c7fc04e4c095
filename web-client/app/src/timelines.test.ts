import { beforeEach, expect, test } from 'vitest';

import type { Participant, Quality, Stretch } from '../../sdk/src/index.ts';
import { Timelines } from './timelines.ts';

const STEP_MS = 10_000;
const GOOD: Quality = { level: 'good', reason: null };
const POOR: Quality = { level: 'poor', reason: { code: 'uplink_loss', value: 8 } };

const at = (seconds: number): string => new Date(Date.UTC(2026, 10, 29, 10, 0, seconds)).toISOString();
const stretch = (from: number, until: number, quality: Quality): Stretch => ({ from: at(from), until: at(until), ...quality });

let stretches: Record<string, Stretch[]>;
let qualities: Record<string, Quality>;
let states: Record<string, Participant['state']>;
let isAway: boolean;
/** Who was asked for, since it was looked at last. */
let asked: string[];
let timelines: Timelines;
let now: number;

beforeEach(() => {
  stretches = { a: [stretch(0, 30, GOOD)], b: [stretch(0, 30, GOOD)] };
  qualities = { a: GOOD, b: GOOD };
  states = { a: 'active', b: 'active' };
  isAway = false;
  now = 1_000_000;
  timelines = new Timelines({
    timeline: (id) => {
      asked.push(id);
      return isAway ? Promise.reject(new Error('the line is away')) : Promise.resolve(stretches[id] ?? []);
    },
    quality: (id) => qualities[id] ?? GOOD,
  });
});

/** Ten seconds later. */
async function look(): Promise<Record<string, Stretch[]>> {
  asked = [];
  now += STEP_MS;
  return timelines.look(Object.entries(states).map(([id, state]) => ({ id, state })), now);
}

test('what goes on as it was is asked for once, and again after a minute', async () => {
  expect(await look()).toEqual(stretches);
  expect(asked).toEqual(['a', 'b']);
  const seen = [];
  for (let looks = 0; looks < 5; looks += 1) seen.push((await look()).a?.at(-1)?.until, ...asked);
  expect(seen).toEqual([at(40), at(50), at(60), at(70), at(80)]);
  stretches.a = [stretch(0, 91, GOOD)];
  expect((await look()).a).toEqual([stretch(0, 91, GOOD)]);
  expect(asked).toEqual(['a', 'b']);
});

test('who there is news of is asked for, until the step that has it is over', async () => {
  await look();
  qualities.a = POOR;
  await look();
  expect(asked).toEqual(['a']);
  stretches.a = [stretch(0, 40, GOOD), stretch(40, 50, POOR)];
  expect((await look()).a).toEqual(stretches.a);
  expect(asked).toEqual(['a']);
  expect((await look()).a).toEqual([stretch(0, 40, GOOD), stretch(40, 60, POOR)]);
  expect(asked).toEqual([]);
  // The same again is news, too: there was something between.
  qualities.a = { ...POOR };
  await look();
  expect(asked).toEqual(['a']);
});

test('of who is not connected nothing goes on, and nothing is asked for but when they come back', async () => {
  await look();
  states.a = 'lost';
  expect((await look()).a).toEqual(stretches.a);
  expect(asked).toEqual(['a']);
  expect((await look()).a).toEqual(stretches.a);
  expect(asked).toEqual([]);
  states.a = 'active';
  await look();
  expect(asked).toEqual(['a']);
});

test('what cannot be asked for just now stays as it was, and is asked for again', async () => {
  await look();
  isAway = true;
  qualities.a = POOR;
  expect((await look()).a?.at(-1)).toEqual(stretch(0, 40, GOOD));
  await look();
  expect(asked).toEqual(['a']);
  states.c = 'active';
  expect((await look()).c).toEqual([]);
});
