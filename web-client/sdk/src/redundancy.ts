/**
 * When a voice is to be sent with redundancy (RFC 2198): while the server says that this participant's line loses what they
 * send. Each packet carries the frame before once more then, and costs nearly twice as much: on a good line for nothing.
 */
import type { Quality } from './session.ts';

/** Percent of packets lost from which it begins, and below which it may end. */
const LOSS = { begin: 3, end: 1 };
/** How long no more than that is lost before it ends, in milliseconds: a line that lost packets does so again. */
const END_MS = 30_000;

export class Redundancy {
  isWanted = false;
  readonly #changed: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called whenever `isWanted` is. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** Takes what the server says of this participant's own line. */
  hear(quality: Quality): void {
    const loss = lossOf(quality);
    if (loss !== null && loss < LOSS.end) {
      if (this.isWanted) this.#timer ??= setTimeout(() => this.#become(false), END_MS);
      return;
    }
    this.stop();
    if (loss !== null && loss >= LOSS.begin) this.#become(true);
  }

  /** Goes on as it is. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #become(isWanted: boolean): void {
    this.stop();
    if (this.isWanted === isWanted) return;
    this.isWanted = isWanted;
    this.#changed();
  }
}

/**
 * How much of what they send is lost, in percent; null where it is not known. Only the worst reason is said, and of equals
 * the loss on the way up: on a line that is fair for another reason it is not worth being said.
 */
function lossOf({ level, reason }: Quality): number | null {
  if (reason?.code === 'uplink_loss') return reason.value;
  return level === 'good' || level === 'fair' ? 0 : null;
}
