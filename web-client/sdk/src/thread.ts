/**
 * What was written, as this device knows it: lines in their places, each once, and up to where nothing is missing. The
 * socket and HTTPS both bring lines, some of them twice and some of them late (docs/protocol.md).
 */
import type { ChatLine, ThreadPage } from './wire.ts';

export class Thread {
  /** In the order of their positions. */
  lines: ChatLine[] = [];
  /** Up to this position nothing is missing: what to ask after. */
  upTo = 0;
  /** Lines before the first of a snapshot are being asked for: what comes meanwhile says nothing of them. */
  #hasGap = false;

  /** Takes a line that was just said; whether it is new here. */
  hear(line: ChatLine): boolean {
    const isNew = this.#add([line]);
    if (!this.#hasGap) this.upTo = Math.max(this.upTo, line.position);
    return isNew;
  }

  /** Takes the last lines, as a welcome has them; whether what is before them is to be asked for. */
  welcome(lines: ChatLine[]): boolean {
    this.#add(lines);
    const [first] = lines;
    const last = lines.at(-1);
    if (!first || !last) return false;
    this.#hasGap = first.position > this.upTo + 1;
    if (!this.#hasGap) this.upTo = Math.max(this.upTo, last.position);
    return this.#hasGap;
  }

  /** Takes lines that were asked for after {@link upTo}; those among them that are new here. */
  page({ lines, upTo, more }: ThreadPage): ChatLine[] {
    const fresh = lines.filter((line) => this.#add([line]));
    this.upTo = Math.max(this.upTo, upTo);
    if (!more && this.#hasGap) {
      this.#hasGap = false;
      // What came meanwhile follows without a gap.
      this.upTo = Math.max(this.upTo, this.lines.at(-1)?.position ?? 0);
    }
    return fresh;
  }

  /** Whether lines before a snapshot are missing still. */
  get hasGap(): boolean {
    return this.#hasGap;
  }

  clear(): void {
    this.lines = [];
    this.upTo = 0;
    this.#hasGap = false;
  }

  #add(lines: ChatLine[]): boolean {
    const known = new Set(this.lines.map(({ position }) => position));
    const fresh = lines.filter(({ position }) => !known.has(position));
    if (fresh.length === 0) return false;
    this.lines = [...this.lines, ...fresh].sort((one, other) => one.position - other.position);
    return true;
  }
}
