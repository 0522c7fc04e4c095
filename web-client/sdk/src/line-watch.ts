/**
 * What is seen of the line from this end, once a second: what the way to the server is thought to carry, and whether anything
 * of the server is heard. A server that gave up on media cannot say so on a line that is full of what is sent here: so where
 * no media come it is asked for a sign of life, and who gets none though the path is there keeps quiet, so that words get
 * through. On a line that is cut nothing is held back: who waits for the other to speak first would wait for good.
 */

/** How often it is looked, in milliseconds. */
export const LOOK_MS = 1_000;
/** And while what is sent is held back: who is heard again, speaks again. */
export const HOLDING_LOOK_MS = 200;
/** An estimate below this, in kilobits per second, is worth saying, every other look. */
const SAID_KBPS = 500;
/** Below this a voice is not sent twice. */
const NARROW_KBPS = 100;
/** How long the server may take to answer before what is sent is held back, in milliseconds. */
const ANSWER_MS_MAX = 2_000;
/** How long it may take until its socket is given up. */
export const ASK_MS_MAX = 4_000;
/** Looks further apart than this, in milliseconds, say that the device slept. */
const SLEPT_MS = 5_000;
/** How long a narrow way counts as one without being seen again, in milliseconds. */
const NARROW_MS = 10_000;

/** One look at a transport. */
export interface LineLook {
  /** What the browser thinks that the way to the server carries, in kilobits per second; null where it does not say. */
  uplinkKbps: number | null;
  /** Packets of media that came so far. */
  packets: number;
  /** Checks of the path that were answered so far; 0 where the browser does not say. */
  answers: number;
}

/** What is known beside it. */
export interface Moment {
  /** In milliseconds, as `Date.now()`. */
  now: number;
  /** What the line is used for: media, writing, or writing while a voice is tried. */
  use: 'media' | 'writing' | 'rehearsal';
  /** Whether a camera is sent: an estimate without one says little. */
  sendsCamera: boolean;
  /** When the server was heard last on the socket. */
  heardAt: number;
}

export interface Deeds {
  /** To be told to the server. */
  say: number | null;
  /** The server is to be asked for a sign of life. */
  ask: boolean;
}

export class LineWatch {
  /** Nothing of media is to be sent. */
  holds = false;
  /** The way to the server carries hardly a voice. */
  isNarrow = false;
  /** When media were seen to come last, in milliseconds; 0: not yet. */
  cameAt = 0;
  #packets = 0;
  /** Whether media came since it was asked last. */
  #flowed = false;
  #askedAt: number | null = null;
  /** Checks of the path that were answered when media came last. */
  #answersBefore = 0;
  #lookedAt = 0;
  #narrowAt = 0;
  #looks = 0;
  #saidLittle = false;

  /** A fresh transport. */
  begin(): void {
    this.#packets = 0;
    this.#flowed = this.#saidLittle = this.isNarrow = this.holds = false;
    this.#askedAt = null;
    this.#narrowAt = this.#answersBefore = 0;
  }

  saw({ uplinkKbps, packets, answers }: LineLook, moment: Moment): Deeds {
    const come = packets > this.#packets;
    if (moment.now - this.#lookedAt > SLEPT_MS) this.#askedAt = null;
    this.#lookedAt = moment.now;
    this.#packets = packets;
    if (come || moment.use === 'writing') this.#answersBefore = answers;
    if (come) this.cameAt = moment.now;
    return { say: this.#uplink(uplinkKbps, moment), ask: this.#listen(come, answers, moment) };
  }

  /** The server sees only what arrives: it is told while that may be little, and once when it is not any more. */
  #uplink(kbps: number | null, { now, sendsCamera }: Moment): number | null {
    this.#looks += 1;
    if (this.#looks % 2 !== 0) return null;
    const tells = sendsCamera && kbps !== null;
    if (tells && kbps < NARROW_KBPS) this.#narrowAt = now;
    this.isNarrow = this.#narrowAt > 0 && now - this.#narrowAt < NARROW_MS;
    if (!tells) {
      this.#saidLittle = false;
      return null;
    }
    const wasLittle = this.#saidLittle;
    this.#saidLittle = kbps < SAID_KBPS;
    return this.#saidLittle || wasLittle ? kbps : null;
  }

  #listen(come: boolean, answers: number, { now, use, heardAt }: Moment): boolean {
    if (this.#askedAt !== null && heardAt >= this.#askedAt) this.#askedAt = null;
    if (use === 'writing' || (use === 'media' && come)) {
      this.#flowed = come;
      this.#askedAt = null;
      this.holds = false;
      return false;
    }
    // Of a rehearsal it is asked each time anew: what is sent may keep from coming through that it is over.
    const asks = this.#askedAt === null && (use === 'rehearsal' || this.#flowed);
    if (asks) {
      this.#askedAt = now;
      this.#flowed = false;
    }
    const unanswered = this.#askedAt !== null && now - this.#askedAt >= ANSWER_MS_MAX;
    this.holds = (unanswered && answers > this.#answersBefore) || (this.holds && use === 'rehearsal');
    return asks;
  }
}
