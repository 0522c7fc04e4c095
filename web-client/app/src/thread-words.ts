/** What people are told of what they write: where a line is, and why an image is not taken. In plain words. */
import type { Over, UnsaidLine, Writing } from '../../sdk/src/index.ts';

/** Where a line is that the others do not have yet. */
export function unsaidWords({ state, image, progress }: UnsaidLine, writing: Writing): string {
  if (state === 'failed') return 'not sent';
  if (writing === 'none') return 'waiting for the connection; it is kept on this device';
  if (state === 'queued') return 'waiting to be sent';
  return image && progress < 1 ? `sending, ${Math.round(progress * 100)} %` : 'sending …';
}

/** Why a line or its image was not taken, and what to do. */
export function failureWords(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  switch (code) {
    case 'outbox_full':
      return 'Too much waits to be sent already. Wait until some of it has gone, or delete some.';
    case 'image_too_large':
    case 'image_dimensions':
      return 'This image is too large. Take another one, or a part of it.';
    case 'heic_not_taken':
      return 'This kind of image is not taken. Take the photo here, or choose one as JPEG or PNG.';
    case 'not_an_image':
    case 'unsupported_image':
    case 'moving_image':
      return 'This is no image that can be shown. Choose a photo as JPEG, PNG or WebP.';
    case 'damaged_image':
    case 'unknown_image':
      return 'This image is damaged, or did not arrive whole. Try again, or choose another one.';
    case 'limit_reached':
      return 'No more can be written in this visit. Call the clinic if something is missing.';
    case 'malformed':
      return 'This message is too long. Send it in two parts.';
    default:
      return 'This was not sent. Try again.';
  }
}

/** How what is written passes, where the others are not reached as usual. */
export function writingWords(writing: Writing, waiting: number): string {
  if (writing === 'none') {
    return waiting > 0
      ? 'You have no connection just now. What you write is kept on this device and sent by itself when the connection is back.'
      : 'You have no connection just now. You can write all the same: it is sent by itself when the connection is back.';
  }
  return writing === 'https' ? 'Your connection is weak. Messages get through, and may take a moment.' : '';
}

/** The visit is over, and something is on its way. */
export const SENDING = 'What you wrote last is still being sent. Please leave this page open until it is done.';

/** Who is not let in now had written something. */
export const KEPT = 'What you wrote last is kept on this device, and sent when you are let in.';

/** What an earlier page could not send, and nobody takes any more. */
export const LEFT_BEHIND = 'Something that was written on this device before was not sent, and nobody has read it.';

/** What became of what was written at the end of a visit. */
export type Late = 'said' | 'handed_over' | 'undelivered';

/** That, in words for who wrote it; nothing where nothing was. */
export function sentWords(late: Late | null, { name }: Over): string {
  switch (late) {
    case null:
      return '';
    case 'said':
      return 'All that you wrote is sent.';
    case 'handed_over':
      return 'The visit ended before your last message was sent. The clinic has it now, and the provider will read it.';
    case 'undelivered':
      if (name === 'superseded') return 'What you wrote here last was not sent. Write it again on the other device:';
      if (name === 'removed') return 'What you wrote last was not sent. Nobody has read it:';
      return 'The visit ended before your last message was sent. Nobody has read it:';
  }
}
