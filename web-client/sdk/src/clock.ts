/**
 * The server's clock, as its answers tell it. Devices are minutes off more often than one would think, and a door that
 * opens at a moment, or a visit that began at one, is counted by the server's time.
 */

/** Below this the device's own clock is as good: an answer names whole seconds, and takes a while to come. */
const OFFSET_MS_MIN = 3_000;

let offsetMs = 0;

/** Now, in milliseconds since 1970, as the server would say. */
export function serverNow(): number {
  return Date.now() + offsetMs;
}

/** Takes the time of an answer, as its `Date` header has it (RFC 9110, 6.6.1). */
export function noteServerTime(date: string | null): void {
  const offset = Date.parse(date ?? '') - Date.now();
  if (Number.isNaN(offset)) return;
  offsetMs = Math.abs(offset) < OFFSET_MS_MIN ? 0 : offset;
}
