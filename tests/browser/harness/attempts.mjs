/** Runs that a busy machine may spoil. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

import { result } from './result.mjs';

const ATTEMPTS_MAX = 3;

/**
 * Runs until nothing froze, three times at the most: a browser that gets no processor for 200 ms freezes too.
 * @param {string} name
 * @param {() => Promise<{freezes: number} & Record<string, unknown>>} run what happened, to be reported
 */
export function withoutFreeze(name, run) {
  return untilRight(name, run, ({ freezes }) => freezes > 0 && 'a freeze');
}

/**
 * Runs until nothing is wrong with what happened, three times at the most. Every run is reported with how much of the time
 * somebody waited for a processor.
 * @template {Record<string, unknown>} Numbers
 * @param {string} name
 * @param {(attempt: { after: (end: () => unknown) => void }) => Promise<Numbers>} run what happened, to be reported; what it
 *   has `after` done is done before the next: what it leaves open would make the machine busier still
 * @param {(numbers: Numbers, waitedShare: number) => string | false} wrong what is wrong with it, where a machine was so busy
 */
export async function untilRight(name, run, wrong) {
  const found = [];
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
    const waited = await cpuWaitedMs();
    const begun = performance.now();
    const ends = [];
    let numbers;
    try {
      numbers = await run({ after: (end) => ends.unshift(end) });
    } finally {
      for (const end of ends) await end();
    }
    const share = ((await cpuWaitedMs()) - waited) / (performance.now() - begun);
    result(name, {
      ...numbers,
      'cpu waited for %': Math.round(100 * share),
      ...(attempt > 1 && { attempt }),
    });
    const what = wrong(numbers, share);
    if (!what) return;
    found.push(what);
  }
  assert.fail(`${name}: wrong in each of ${ATTEMPTS_MAX} runs: ${found.join('; ')}`);
}

/** Milliseconds since boot in which some task was ready and had no processor; NaN where the kernel does not say. */
async function cpuWaitedMs() {
  const pressure = await readFile('/proc/pressure/cpu', 'utf8').catch(() => '');
  return Number(/^some .*total=(\d+)/m.exec(pressure)?.[1] ?? NaN) / 1000;
}
