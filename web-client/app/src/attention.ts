/** What reaches somebody who does not look at the page: a sound, and a screen that stays on. */

/** Two soft notes, in hertz: rising, as a door bell does. */
const NOTES = [587.33, 880];
const NOTE_SECONDS = 0.35;
/** Quiet enough for a consulting room. */
const GAIN = 0.08;

/** Says that somebody waits, or that one was let in. Where the browser allows no sound, nothing happens. */
export function chime(): void {
  try {
    const context = new AudioContext();
    NOTES.forEach((frequency, index) => ring(context, frequency, context.currentTime + index * NOTE_SECONDS * 0.5));
    setTimeout(() => void context.close(), NOTES.length * NOTE_SECONDS * 1000 + 500);
  } catch {
    // No sound device.
  }
}

function ring(context: AudioContext, frequency: number, at: number): void {
  const gain = new GainNode(context, { gain: 0 });
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(GAIN, at + 0.02);
  gain.gain.exponentialRampToValueAtTime(0.0001, at + NOTE_SECONDS);
  const note = new OscillatorNode(context, { frequency });
  note.connect(gain).connect(context.destination);
  note.start(at);
  note.stop(at + NOTE_SECONDS);
}

/**
 * Keeps the screen on: a phone that goes to sleep in the waiting room takes its camera, and its place, with it. Browsers
 * take the lock back when the page is hidden, so it is asked for again. The answer ends it.
 */
export function keepAwake(): () => void {
  let lock: WakeLockSentinel | null = null;
  let over = false;
  const ask = async (): Promise<void> => {
    if (over || document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
    lock = await navigator.wakeLock.request('screen').catch(() => null);
    if (over) void lock?.release();
  };
  document.addEventListener('visibilitychange', ask);
  void ask();
  return () => {
    over = true;
    document.removeEventListener('visibilitychange', ask);
    void lock?.release();
  };
}
