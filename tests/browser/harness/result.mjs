/** One line per test, for a reader of the log. */

/** @param {string} name @param {Record<string, unknown>} numbers */
export function result(name, numbers) {
  const text = Object.entries(numbers).map(([key, value]) => `${key} ${typeof value === 'number' ? round(value) : value}`);
  console.log(`result: ${name}: ${text.join(', ')}`);
}

function round(value) {
  return Number.isInteger(value) ? value : value.toFixed(2);
}
