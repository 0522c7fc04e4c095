/** Assertions on series of samples. */
import assert from 'node:assert/strict';

/**
 * The value is higher in each sample than in the one before.
 * @template T
 * @param {T[]} samples
 * @param {string} what
 * @param {(sample: T) => number} value
 */
export function assertRises(samples, what, value) {
  const values = samples.map(value);
  for (let index = 1; index < values.length; index += 1) {
    assert.ok(values[index] > values[index - 1], `${what} stood still: ${values.join(', ')}`);
  }
}
