import { describe, expect, test } from 'vitest';

import { LineWatch } from './line-watch.ts';
import type { Moment } from './line-watch.ts';
import vectors from './line-watch.vectors.json' with { type: 'json' };

/** A watch, and the seconds it looks at. */
class Watched {
  readonly watch = new LineWatch();
  now = 10_000;
  heardAt = 9_000;
  packets = 0;
  lost = 0;
  voiceLost: number | null = null;
  owedSince: number | null = null;
  answers = 0;
  /** Checks of the path are answered. */
  isThere = true;
  asked: number[] = [];
  said: number[] = [];

  look(more: number, use: Moment['use'] = 'media', uplinkKbps: number | null = null): this {
    this.now += 1_000;
    this.packets += more;
    this.answers += this.isThere ? 1 : 0;
    const { packets, lost, voiceLost, answers } = this;
    const { say, ask } = this.watch.saw({ uplinkKbps, packets, lost, voiceLost, answers }, { now: this.now, use, sendsCamera: true, heardAt: this.heardAt, owedSince: this.owedSince });
    if (ask !== null) this.asked.push(this.now);
    if (say !== null) this.said.push(say);
    return this;
  }
}

describe('what is heard of the server', () => {
  test('while media come nobody is asked anything', () => {
    const line = new Watched();
    for (let count = 0; count < 30; count += 1) line.look(50);
    expect(line.asked).toEqual([]);
    expect(line.watch.holds).toBe(false);
  });

  test('where they stop the server is asked once, and goes on as before if it answers', () => {
    const line = new Watched().look(50).look(0);
    expect(line.asked).toEqual([12_000]);
    line.heardAt = 12_100;
    for (let count = 0; count < 30; count += 1) line.look(0);
    expect(line.asked).toHaveLength(1);
    expect(line.watch.holds).toBe(false);
    line.look(50).look(0);
    expect(line.asked).toHaveLength(2);
  });

  test('who is not answered keeps quiet until anything is heard', () => {
    const byMedia = new Watched().look(50).look(0).look(0);
    expect(byMedia.watch.holds).toBe(false);
    byMedia.look(0);
    expect(byMedia.watch.holds).toBe(true);
    byMedia.look(1);
    expect(byMedia.watch.holds).toBe(false);

    const bySocket = new Watched().look(50).look(0).look(0).look(0);
    bySocket.heardAt = bySocket.now;
    bySocket.look(0);
    expect(bySocket.watch.holds).toBe(false);
  });

  test('on a line that is cut nobody keeps quiet: each would wait for the other', () => {
    const line = new Watched().look(50);
    line.isThere = false;
    for (let count = 0; count < 30; count += 1) line.look(0);
    expect(line.watch.holds).toBe(false);
  });

  test('a device that slept asks anew before it keeps quiet', () => {
    const line = new Watched().look(50).look(0);
    line.now += 60_000;
    line.look(0);
    expect(line.watch.holds).toBe(false);
  });

  test('who is alone, or was never sent anything, is not silenced', () => {
    const line = new Watched();
    for (let count = 0; count < 30; count += 1) line.look(0);
    expect(line.asked).toEqual([]);
    expect(line.watch.holds).toBe(false);
  });

  test('a rehearsal that keeps words from coming through is over for this end', () => {
    const line = new Watched().look(0, 'writing').look(0, 'rehearsal').look(0, 'rehearsal');
    expect(line.asked).toHaveLength(1);
    line.look(0, 'rehearsal');
    expect(line.watch.holds).toBe(true);
    line.heardAt = line.now;
    line.look(0, 'rehearsal');
    expect(line.watch.holds).toBe(true);
    line.look(0, 'writing');
    expect(line.watch.holds).toBe(false);
  });

  test('a rehearsal during which the server answers goes on', () => {
    const line = new Watched();
    for (let count = 0; count < 20; count += 1) {
      line.look(0, 'rehearsal');
      line.heardAt = line.now + 50;
    }
    expect(line.watch.holds).toBe(false);
    expect(line.asked.length).toBeGreaterThan(10);
  });
});

describe('what the way to the server carries', () => {
  test('is said while it is little, and once when it is not any more', () => {
    const line = new Watched();
    for (let count = 0; count < 10; count += 1) line.look(50, 'media', 900);
    const whileNew = line.said.length;
    for (const kbps of [900, 900, 400, 400, 300, 300, 700, 700, 900, 900]) line.look(50, 'media', kbps);
    expect(line.said.slice(whileNew)).toEqual([400, 300, 700]);
  });

  test('and while a picture is new', () => {
    const line = new Watched();
    for (let count = 0; count < 30; count += 1) line.look(50, 'media', 900);
    expect(line.said).toEqual([900, 900, 900, 900, 900]);
    line.look(50, 'media', null).look(50, 'media', 900).look(50, 'media', 900);
    expect(line.said.length, 'and when it is tried again').toBe(6);
  });

  test('is narrow where it carries hardly a voice', () => {
    const line = new Watched().look(50, 'media', 60).look(50, 'media', 60);
    expect(line.watch.voice).toEqual({ maxBitrateBps: 16_000, frameMs: 60 });
    for (let count = 0; count < 12; count += 1) line.look(50, 'media', null);
    expect(line.watch.voice, 'what is not seen again is forgotten').toBe(null);
  });

  test('and carries the least of a voice for a minute, or until it is seen to carry more', () => {
    const least = { maxBitrateBps: 8_000, frameMs: 120 };
    const line = new Watched().look(50, 'media', 20);
    for (let count = 0; count < 50; count += 1) line.look(50, 'media', null);
    expect(line.watch.voice).toEqual(least);
    for (let count = 0; count < 12; count += 1) line.look(50, 'media', null);
    expect(line.watch.voice).toBe(null);
    line.look(50, 'media', 20).look(50, 'media', 60);
    expect(line.watch.voice, 'a picture makes it waver').toEqual(least);
    line.look(50, 'media', 300);
    expect(line.watch.voice?.maxBitrateBps).toBe(16_000);
  });

  test('is left to words for two seconds in four while they do not get through', () => {
    const line = new Watched().look(50, 'media', 20);
    line.owedSince = line.now;
    const rests: boolean[] = [];
    for (let count = 0; count < 24; count += 1) rests.push(line.look(50, 'media', 20).watch.rests);
    const changes = rests.filter((now, at) => now !== (rests[at - 1] ?? false)).length;
    expect([changes, rests.filter(Boolean).length]).toEqual([12, 12]);
    line.owedSince = null;
    expect(line.look(50, 'media', 20).watch.rests).toBe(false);
  });

  test('is never left to them where it carries more', () => {
    const line = new Watched().look(50, 'media', 60);
    line.owedSince = line.now - 5_000;
    expect(line.look(50, 'media', 60).watch.rests).toBe(false);
  });
});

describe('a voice that is none', () => {
  /** Seconds in which a third of what is sent here is lost. */
  const loses = (line: Watched, seconds: number): Watched => {
    for (let count = 0; count < seconds; count += 1) {
      line.lost += 20;
      line.look(40);
    }
    return line;
  };

  test('is given up after fifteen seconds where the server is not heard, and nothing is sent any more', () => {
    const line = loses(new Watched().look(50), 15);
    expect([line.watch.isLost, line.watch.holds]).toEqual([false, false]);
    loses(line, 1);
    expect([line.watch.isLost, line.watch.holds]).toEqual([true, true]);
    expect(line.asked).toHaveLength(1);
    // It stays so whatever comes, until the server is heard.
    for (let count = 0; count < 5; count += 1) line.look(0);
    expect(line.watch.isLost).toBe(true);
    // What it says first may be old: it has ten seconds to say that the visit goes on in writing, or it does not.
    line.heardAt = line.now + 1_000;
    for (let count = 0; count < 10; count += 1) line.look(0);
    expect([line.watch.isLost, line.watch.holds]).toEqual([true, true]);
    line.look(0);
    expect([line.watch.isLost, line.watch.holds]).toEqual([false, false]);
  });

  test('ends when the server says that the visit goes on in writing', () => {
    const line = loses(new Watched().look(50), 16);
    line.heardAt = line.now + 1_000;
    line.look(0, 'writing');
    expect([line.watch.isLost, line.watch.holds]).toEqual([false, false]);
  });

  test('has ended where nothing comes any more, and the server does not answer for a moment', () => {
    const line = loses(new Watched().look(50), 11);
    line.heardAt = line.now;
    line.look(0).look(0);
    expect(line.watch.isLost).toBe(true);
    const short = loses(new Watched().look(50), 8).look(0);
    expect(short.watch.isLost).toBe(false);
  });

  test('of somebody else is not taken for the own one, whose server answers', () => {
    const line = new Watched().look(50);
    for (let count = 0; count < 40; count += 1) {
      line.heardAt = line.now + 100;
      if (count < 20) loses(line, 1);
      else line.look(0);
      expect(line.watch.isLost).toBe(false);
    }
    expect(line.said).toEqual([]);
  });

  test('is told to the server, which cannot know why nothing comes', () => {
    const line = loses(new Watched().look(50), 16);
    for (let count = 0; count < 6; count += 1) line.look(0);
    expect(line.said.length).toBeGreaterThan(2);
    expect(new Set(line.said)).toEqual(new Set([0]));
  });

  test('is the server’s to judge while it is heard', () => {
    const line = new Watched().look(50);
    for (let count = 0; count < 60; count += 1) {
      line.heardAt = line.now;
      loses(line, 1);
    }
    expect(line.watch.isLost).toBe(false);
    expect(line.watch.holds).toBe(false);
  });

  test('also where only what is sent is lost', () => {
    const line = new Watched().look(50);
    line.voiceLost = 0.6;
    for (let count = 0; count < 16; count += 1) line.look(50);
    expect(line.watch.isLost).toBe(true);
  });

  test('two good seconds begin it anew, and one does not', () => {
    const line = loses(new Watched().look(50), 10);
    loses(line.look(50), 6);
    expect(line.watch.isLost).toBe(true);
    const other = loses(new Watched().look(50), 10);
    loses(other.look(50).look(50), 14);
    expect(other.watch.isLost).toBe(false);
  });

  test('a line that is cut is not taken for one: whoever is cut off finds it out by its own rule', () => {
    const line = new Watched().look(50);
    for (let count = 0; count < 30; count += 1) line.look(0);
    expect(line.watch.isLost).toBe(false);
  });
});

/** `[uplinkKbps, packets, lost, voiceLost, answers]`, `[now, use, sendsCamera, heardAt, owedSince]`, and what follows. */
type Look = [
  [number | null, number, number, number | null, number],
  [number, Moment['use'], boolean, number, number | null],
  [number | null, number | null, boolean, boolean, number | null, boolean, number],
];
type Step = Look | 'begin';

/** Written by the simulated device of `tests/visit`, so that what is shown of it there is shown of this. */
test('the simulated device does the same with the same looks', () => {
  const walks = vectors as unknown as Step[][];
  expect(walks.length).toBeGreaterThan(10);
  for (const [walk, steps] of walks.entries()) {
    const watch = new LineWatch();
    for (const [at, step] of steps.entries()) {
      if (step === 'begin') {
        watch.begin();
      } else {
        const [[uplinkKbps, packets, lost, voiceLost, answers], [now, use, sendsCamera, heardAt, owedSince], expected] = step;
        const { say, ask } = watch.saw({ uplinkKbps, packets, lost, voiceLost, answers }, { now, use, sendsCamera, heardAt, owedSince });
        const { holds, isLost, voice, rests, nextLookMs } = watch;
        const found = [say, ask, holds, isLost, voice?.maxBitrateBps ?? null, rests, nextLookMs];
        expect(found, `walk ${walk}, step ${at}`).toEqual(expected);
      }
    }
  }
});
