/** When pictures of others are painted in a page, from its very first moment on. */

/** To be run in a page before anything else of it, and after each reload. */
export function countFrames() {
  const notes = { first: 0, last: 0, count: 0, gapMsMax: 0 };
  window.frames_ = notes;
  const painted = new WeakMap();
  const look = () => {
    const seats = window.vestibule?.session?.seats ?? [];
    const tracks = new Set(seats.flatMap(({ picture }) => picture.getTracks()));
    for (const video of document.querySelectorAll('video')) {
      const stream = /** @type {MediaStream | null} */ (video.srcObject);
      if (!stream?.getTracks().some((track) => tracks.has(track)) || !video.checkVisibility()) continue;
      const { totalVideoFrames } = video.getVideoPlaybackQuality();
      if (totalVideoFrames === (painted.get(video) ?? 0)) continue;
      painted.set(video, totalVideoFrames);
      const now = Date.now();
      notes.first ||= now;
      if (notes.last) notes.gapMsMax = Math.max(notes.gapMsMax, now - notes.last);
      notes.last = now;
      notes.count += 1;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

/** Begins to count anew. What is without a picture from here on is so from here on. */
export const recount = (page) =>
  page.evaluate(() => Object.assign(window.frames_, { first: 0, last: Date.now(), count: 0, gapMsMax: 0 }));

/**
 * What was painted since: when the first picture was, and the longest time without one, the one still running included.
 * @returns {Promise<{first: number, count: number, gapMsMax: number}>}
 */
export const frames = (page) =>
  page.evaluate(() => {
    const { first, last, count, gapMsMax } = window.frames_;
    return { first, count, gapMsMax: Math.max(gapMsMax, last ? Date.now() - last : 0) };
  });

/** The value that a share of all is not above. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}
