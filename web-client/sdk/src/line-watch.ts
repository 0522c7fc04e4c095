/**
 * What is seen of the line from this end, once a second: what the way to the server is thought to carry, and whether anything
 * of the server is heard. A server that gave up on media cannot say so on a line that is full of what is sent here: so where
 * no media come it is asked for a sign of life, and who gets none though the path is there keeps quiet, so that words get
 * through. On a line that is cut nothing is held back: who waits for the other to speak first would wait for good.
 *
 * A voice of which a quarter is lost, one way or the other, is none. After so long of it as the server watches it, and if the
 * server cannot be heard, this end gives it up as well: what the server says of it waits in the line that is full.
 */

/** How often it is looked, in milliseconds. */
const LOOK_MS = 1_000;
/** Once a voice has been none for a while: what ends then, has ended. */
const ENDING_LOOK_MS = 500;
/** And while what is sent is held back: who is heard again, speaks again. */
const HOLDING_LOOK_MS = 200;
/** An estimate below this, in kilobits per second, is worth saying, every other look. */
const SAID_KBPS = 500;
/**
 * And so is any while a picture is new, for so many milliseconds: a try of it may ask whether a camera that sends little, as in
 * the dark, has no room for more.
 */
const NEW_MS = 10_000;
/** Below this, in kilobits per second, a voice is sent once, and with few bits in long packets. */
const NARROW_KBPS = 100;
/** How long the server may take to answer before what is sent is held back, in milliseconds. */
const ANSWER_MS_MAX = 2_000;
/** How long it may take until its socket is given up: where no media come, and where they do. */
export const ASK_MS_MAX = 4_000;
const ASK_MS_MAX_POOR = 10_000;
/** Of how long a voice may be none so much is enough where nothing of the others comes any more: the server gave up. */
const ENDS_SHARE = 2 / 3;
/**
 * And if the server does not answer for a moment, in milliseconds: what is lost may be lost on somebody else's way, and what
 * ends there be theirs.
 */
const MOMENT_MS = 500;
/** What came so long ago does not stop now, in milliseconds. */
const STOPS_MS = 3_000;
/** How often the server is told that a voice was given up here, in milliseconds. */
const GIVEN_UP_MS = 2_000;
/** Who is heard again has so long to say what the line is used for, in milliseconds. */
const CATCHES_UP_MS = 10_000;
/** One good look in between is no end of it. */
const GOOD_LOOKS = 2;
/** Looks further apart than this, in milliseconds, say that the device slept. */
const SLEPT_MS = 5_000;
/** How long a narrow way counts as one without being seen again, in milliseconds, and how long one that carries no voice does. */
const NARROW_MS = 10_000;
const LEAST_MS = 60_000;
/** The voices that are sent on them, as the server asks for them, too. */
const THRIFTY: VoiceEncoding = { maxBitrateBps: 16_000, frameMs: 60 };
const LEAST: VoiceEncoding = { maxBitrateBps: 8_000, frameMs: 120 };
/**
 * On a way that hardly carries a voice words go first: what is asked and not answered for so long, in milliseconds, has the way
 * for as long as that, and the voice as long again after it.
 */
const REST_AFTER_MS = 1_500;
/** Shorter than what the server takes for a microphone that is off, three seconds. */
const REST_MS = 2_000;

/** One look at a transport. */
export interface LineLook {
  /** What the browser thinks that the way to the server carries, in kilobits per second; null where it does not say. */
  uplinkKbps: number | null;
  /** Packets of media that came so far. */
  packets: number;
  /** And packets of them that are missing. */
  lost: number;
  /** The share of the own voice that the server missed when it last said so; null where it did not. */
  voiceLost: number | null;
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
  /** Since when the server owes an answer to what was asked of it on the socket; null: it owes none. */
  owedSince: number | null;
}

/** How much of a voice is sent: bits per second at the most, and milliseconds of a packet. */
export interface VoiceEncoding {
  maxBitrateBps: number;
  frameMs: number;
}

/** What a voice takes of a line, as the clinic has it. */
export interface VoiceLimits {
  /** A line that carries less, in kilobits per second, carries none. */
  audioMinKbps: number;
  /** Nor does one that loses more of it. */
  audioLossMaxPercent: number;
  /** How long that has to be so until it is given up, in milliseconds. */
  audioHoldMs: number;
}

export interface Deeds {
  /** To be told to the server. */
  say: number | null;
  /** The server is to be asked for a sign of life, and its socket given up after so many milliseconds without. */
  ask: number | null;
}

/** What one look says beside its numbers. */
interface Seen extends Moment {
  /** Media came since the last look. */
  come: boolean;
  answers: number;
}

export class LineWatch {
  /** When media were seen to come last, in milliseconds; 0: not yet. */
  cameAt = 0;
  readonly #voice = new VoiceWatch();
  readonly #sign = new SignOfLife();
  readonly #uplink = new UplinkWatch();
  #packets = 0;
  #lost = 0;
  #lookedAt = 0;

  set limits(limits: VoiceLimits) {
    this.#voice.limits = limits;
  }

  /** Nothing of media is to be sent. */
  get holds(): boolean {
    return this.#sign.holds;
  }

  /** There is no voice on this line, and the server cannot be heard. */
  get isLost(): boolean {
    return this.#voice.isLost;
  }

  /** What the way to the server carries of a voice; null: as much as it likes. */
  get voice(): VoiceEncoding | null {
    return this.#uplink.voice;
  }

  /** Nothing of the voice is to be sent for a moment. */
  get rests(): boolean {
    return this.#uplink.rests;
  }

  /** When it is to be looked again, in milliseconds. */
  get nextLookMs(): number {
    if (this.holds) return HOLDING_LOOK_MS;
    return this.#uplink.stands || this.#voice.mayEnd(this.#lookedAt) ? ENDING_LOOK_MS : LOOK_MS;
  }

  /** A fresh transport. */
  begin(): void {
    this.#packets = this.#lost = 0;
    this.#voice.begin();
    this.#sign.begin();
    this.#uplink.begin();
  }

  saw({ uplinkKbps, packets, lost, voiceLost, answers }: LineLook, moment: Moment): Deeds {
    const [more, missing] = [packets - this.#packets, Math.max(0, lost - this.#lost)];
    const seen: Seen = { ...moment, come: more > 0, answers };
    if (moment.now - this.#lookedAt > SLEPT_MS) {
      this.#voice.slept();
      this.#sign.slept();
    }
    this.#lookedAt = moment.now;
    [this.#packets, this.#lost] = [packets, lost];
    const downLost = seen.come ? missing / (more + missing) : null;
    this.#voice.heard(downLost, Math.max(voiceLost ?? 0, this.#voice.shareLostAt(uplinkKbps, moment)), moment);
    if (seen.come) this.cameAt = moment.now;
    this.#sign.heard(moment);
    this.#voice.settle(seen, this.cameAt, this.#sign.waitsSince);
    const told = moment.sendsCamera ? uplinkKbps : null;
    this.#uplink.saw(told, this.#voice.limits, moment);
    return { say: this.#uplink.tells(told, this.isLost, moment), ask: this.#sign.asks(seen, this.#voice) };
  }
}

/** Whether a voice is one, and for how long it has been none. */
class VoiceWatch {
  limits: VoiceLimits = { audioMinKbps: 32, audioLossMaxPercent: 25, audioHoldMs: 15_000 };
  /** It is given up here. */
  isLost = false;
  /** Since when it is none; null while it is one. */
  #poorSince: number | null = null;
  #goodLooks = 0;
  /** When the server was heard first after it was given up. */
  #heardAgainAt: number | null = null;

  get isPoor(): boolean {
    return this.#poorSince !== null;
  }

  begin(): void {
    this.isLost = false;
    this.slept();
  }

  slept(): void {
    this.#poorSince = null;
  }

  /** It may be given up soon. */
  mayEnd(now: number): boolean {
    return this.#poorFor(now) >= this.limits.audioHoldMs * ENDS_SHARE;
  }

  /** Of a voice all is lost that the way to the server does not carry. */
  shareLostAt(uplinkKbps: number | null, { sendsCamera }: Moment): number {
    return sendsCamera && uplinkKbps !== null && uplinkKbps < this.limits.audioMinKbps ? 1 : 0;
  }

  /** What was lost of it each way; null where nothing came, and while nothing comes it does not get better. */
  heard(downLost: number | null, upLost: number, { now, use }: Moment): void {
    const lostMax = this.limits.audioLossMaxPercent / 100;
    const isPoor = upLost > lostMax || (downLost === null ? this.isPoor : downLost > lostMax);
    this.#goodLooks = isPoor ? 0 : this.#goodLooks + 1;
    if (use !== 'media' || this.#goodLooks >= GOOD_LOOKS) this.#poorSince = null;
    else if (isPoor) this.#poorSince ??= now;
  }

  /** Whether it is given up. What comes first of the server, then, was said before it gave up itself. */
  settle({ come, use, now }: Seen, cameAt: number, waitsSince: number | null): void {
    if (!this.isLost) {
      const unheardFor = now - (waitsSince ?? now);
      const stops = !come && now - cameAt <= STOPS_MS && unheardFor >= MOMENT_MS;
      this.isLost =
        (stops && this.mayEnd(now)) || (this.#poorFor(now) >= this.limits.audioHoldMs && unheardFor >= ANSWER_MS_MAX);
      this.#heardAgainAt = null;
      return;
    }
    if (waitsSince === null) this.#heardAgainAt ??= now;
    const catchesUp = this.#heardAgainAt === null || now - this.#heardAgainAt < CATCHES_UP_MS;
    if (use === 'media' && catchesUp) return;
    this.begin();
  }

  #poorFor(now: number): number {
    return now - (this.#poorSince ?? now);
  }
}

/** Asks the server for a sign of life, and holds back what is sent where none comes. */
class SignOfLife {
  holds = false;
  /** Since when a sign is waited for; null while none is. */
  waitsSince: number | null = null;
  /** Whether media came since it was asked last. */
  #flowed = false;
  /** Checks of the path that were answered when media came last. */
  #answersBefore = 0;

  begin(): void {
    this.holds = this.#flowed = false;
    this.#answersBefore = 0;
    this.slept();
  }

  slept(): void {
    this.waitsSince = null;
  }

  heard({ heardAt }: Moment): void {
    if (this.waitsSince !== null && heardAt >= this.waitsSince) this.waitsSince = null;
  }

  /** How long the server has to answer, in milliseconds; null: it is not asked now. */
  asks({ come, answers, use, now }: Seen, voice: VoiceWatch): number | null {
    if (come || use === 'writing') this.#answersBefore = answers;
    if (use === 'media' && come && voice.isPoor) {
      this.#flowed = true;
      this.holds = voice.isLost;
      if (this.waitsSince !== null) return null;
      this.waitsSince = now;
      return ASK_MS_MAX_POOR;
    }
    if (use === 'writing' || (use === 'media' && come)) {
      this.#flowed = come;
      this.holds = false;
      this.waitsSince = null;
      return null;
    }
    // Of a rehearsal it is asked each time anew: what is sent may keep from coming through that it is over.
    // Who was asked while media came, and did not answer, is given less time now.
    const mayAsk = this.waitsSince === null || voice.isPoor;
    const asks = mayAsk && (use === 'rehearsal' || this.#flowed);
    if (asks) {
      this.waitsSince ??= now;
      this.#flowed = false;
    }
    const unanswered = this.waitsSince !== null && now - this.waitsSince >= ANSWER_MS_MAX;
    this.holds = voice.isLost || (unanswered && answers > this.#answersBefore) || (this.holds && use === 'rehearsal');
    return asks ? ASK_MS_MAX : null;
  }
}

/**
 * The server sees only what arrives: it is told what the way to it carries while that may be little, once when not any more, and
 * while a picture is new.
 * How much of a voice goes on it is settled here: that the server is told takes the same way.
 */
class UplinkWatch {
  voice: VoiceEncoding | null = null;
  /** What was asked is not answered. */
  stands = false;
  rests = false;
  #narrowAt = 0;
  #leastAt = 0;
  #looks = 0;
  #saidLittle = false;
  #saidLostAt = 0;
  /** Since when a picture is tried on it; null while none is. */
  #triedSince: number | null = null;

  begin(): void {
    this.voice = null;
    this.stands = this.rests = this.#saidLittle = false;
    this.#narrowAt = this.#leastAt = 0;
    this.#triedSince = null;
  }

  /** What the way carries is not seen where no picture is tried on it. */
  saw(kbps: number | null, { audioMinKbps }: VoiceLimits, { now, use, owedSince }: Moment): void {
    if (kbps !== null) {
      if (kbps < audioMinKbps) this.#leastAt = now;
      else if (kbps >= NARROW_KBPS) this.#leastAt = 0;
      if (kbps < NARROW_KBPS) this.#narrowAt = now;
    }
    const lately = (at: number, ms: number) => at > 0 && now - at < ms;
    if (lately(this.#leastAt, LEAST_MS)) this.voice = LEAST;
    else this.voice = lately(this.#narrowAt, NARROW_MS) ? THRIFTY : null;
    const owedFor = now - (owedSince ?? now);
    this.stands = this.voice === LEAST && use === 'media' && owedFor >= REST_AFTER_MS;
    this.rests = this.stands && Math.floor((owedFor - REST_AFTER_MS) / REST_MS) % 2 === 0;
  }

  tells(kbps: number | null, isLost: boolean, { now }: Moment): number | null {
    this.#triedSince = kbps === null ? null : (this.#triedSince ?? now);
    if (isLost) {
      // The server cannot know why nothing is sent any more; heard of in time it gives up, too.
      if (now - this.#saidLostAt < GIVEN_UP_MS) return null;
      this.#saidLostAt = now;
      return 0;
    }
    this.#looks += 1;
    if (this.#looks % 2 !== 0) return null;
    if (kbps === null) {
      this.#saidLittle = false;
      return null;
    }
    const wasLittle = this.#saidLittle;
    this.#saidLittle = kbps < SAID_KBPS;
    const isNew = now - (this.#triedSince ?? now) < NEW_MS;
    return this.#saidLittle || wasLittle || isNew ? kbps : null;
  }
}
