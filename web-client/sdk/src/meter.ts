/** How loud a microphone is, several times a second. */

/** Where speech is, in decibels of full scale: below the first the meter shows nothing, at the second it is full. */
const DECIBELS = { min: -60, max: -12 };
/** What browsers take for a wish to hear something. */
const TOUCHES = ['pointerup', 'keydown'] as const;

/**
 * Calls `show` at each picture the browser paints with a level from 0 to 1, or with null while the browser measures no
 * sound because nobody has touched the page yet. The answer ends it.
 */
export function meter(track: MediaStreamTrack, show: (level: number | null) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let request = 0;
  const look = () => {
    request = requestAnimationFrame(look);
    if (context.state !== 'running') return show(null);
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    const decibels = 10 * Math.log10(power + 1e-12);
    const level = (decibels - DECIBELS.min) / (DECIBELS.max - DECIBELS.min);
    show(Math.min(1, Math.max(0, level)));
  };
  // Not at once: whoever calls this is still setting up.
  request = requestAnimationFrame(look);
  const resume = () => void context.resume().catch(() => undefined);
  for (const touch of TOUCHES) window.addEventListener(touch, resume);
  return () => {
    cancelAnimationFrame(request);
    for (const touch of TOUCHES) window.removeEventListener(touch, resume);
    void context.close();
  };
}
