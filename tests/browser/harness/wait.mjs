/** Waiting for conditions, never for time alone. */

const POLL_MS = 100;

/**
 * Asks until the answer is truthy, and returns it. Fails after `deadlineMs` with what was waited for and the last answer.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} condition
 * @param {number} [deadlineMs]
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, condition, deadlineMs = 30_000) {
  const deadline = performance.now() + deadlineMs;
  let last;
  for (;;) {
    last = await condition();
    if (last) return last;
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
    });
  }
}

/**
 * Takes a sample again and again for `spanMs` and returns them all; the caller looks at what changed.
 * @template T
 * @param {number} spanMs
 * @param {() => Promise<T>} sample
 * @param {number} [intervalMs]
 * @returns {Promise<T[]>}
 */
export async function watch(spanMs, sample, intervalMs = 1000) {
  const samples = [await sample()];
  const start = performance.now();
  let due = start;
  await until(
    `${spanMs} ms of samples`,
    async () => {
      const now = performance.now();
      if (now < due + intervalMs) return false;
      due += intervalMs;
      samples.push(await sample());
      return now - start >= spanMs;
    },
    spanMs + 30_000,
  );
  return samples;
}
