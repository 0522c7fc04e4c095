import { describe, expect, test } from 'vitest';

import { Thread } from './thread.ts';
import type { ChatLine } from './wire.ts';

const line = (position: number): ChatLine => ({
  position,
  from: 'other',
  name: 'Other',
  clientId: `${position}`,
  text: `${position}`,
  attachment: null,
  at: '',
});
const lines = (...positions: number[]) => positions.map(line);
const shown = (thread: Thread) => thread.lines.map(({ position }) => position);

describe('a thread', () => {
  test('has each line once, in its place, whichever way it came', () => {
    const thread = new Thread();
    thread.welcome(lines(1, 2));
    expect(thread.hear(line(4))).toBe(true);
    expect(thread.page({ lines: lines(2, 3, 4), upTo: 4, more: false }).map(({ position }) => position)).toEqual([3]);
    expect(thread.hear(line(4))).toBe(false);
    expect(shown(thread)).toEqual([1, 2, 3, 4]);
    expect(thread.upTo).toBe(4);
  });

  test('asks for what is missing before a snapshot, though lines come meanwhile', () => {
    const thread = new Thread();
    thread.welcome(lines(1));
    expect(thread.welcome(lines(7, 8))).toBe(true);
    thread.hear(line(9));
    expect([thread.upTo, thread.hasGap]).toEqual([1, true]);
    thread.page({ lines: lines(2, 3), upTo: 4, more: true });
    expect([thread.upTo, thread.hasGap]).toEqual([4, true]);
    thread.page({ lines: lines(6, 7, 8), upTo: 8, more: false });
    expect([shown(thread), thread.upTo, thread.hasGap]).toEqual([[1, 2, 3, 6, 7, 8, 9], 9, false]);
  });

  test('that begins in the middle is asked for once', () => {
    const thread = new Thread();
    expect(thread.welcome([])).toBe(false);
    expect(thread.welcome(lines(3))).toBe(true);
    thread.page({ lines: lines(3), upTo: 3, more: false });
    expect(thread.welcome(lines(3))).toBe(false);
    expect(shown(thread)).toEqual([3]);
  });
});
