/** How pictures are wanted, and how connections were, in numbers: no words, and nothing of the page. */
import type { QualityLevel, QualityReason, Stretch } from '../../sdk/src/index.ts';

/** Worst last. */
export const LEVELS: readonly QualityLevel[] = ['good', 'fair', 'poor', 'bad'];
/** Bars of an indicator, and of a strip: more is better. */
export const BARS: Record<QualityLevel, number> = { good: 4, fair: 3, poor: 2, bad: 1 };

/** Steps of a wish, in pixels: the server is not asked anew for each pixel of a window. */
const WISH_STEP = 90;
const WISH_MAX = 65_535;
/** An encoding is sent that is no higher than the wish, and the next is half as high: better one that is shown smaller. */
const WISH_RATIO = 1.5;

/** What a tile shows, in CSS pixels, of a picture of so many pixels; 0 while it is not known. */
export interface Shown {
  width: number;
  height: number;
  videoWidth: number;
  videoHeight: number;
  /** The whole picture is in the tile; else it is cut to fill it. */
  whole: boolean;
}

/** The height up to which a picture is worth being sent, in pixels of the screen. */
export function wantedHeight({ width, height, videoWidth, videoHeight, whole }: Shown, pixelRatio: number): number {
  if (width <= 0 || height <= 0) return 0;
  const byWidth = videoWidth > 0 ? (width * videoHeight) / videoWidth : height;
  const shown = whole ? Math.min(height, byWidth) : Math.max(height, byWidth);
  return Math.min(Math.ceil((shown * pixelRatio * WISH_RATIO) / WISH_STEP) * WISH_STEP, WISH_MAX);
}

/** A part of a strip: where it begins and how long it is, in thousandths of the whole. */
export interface Part {
  level: QualityLevel;
  from: number;
  length: number;
}

const span = ({ from, until }: Stretch): number => Math.max(0, Date.parse(until) - Date.parse(from));

/** A strip over all stretches; where nothing flowed is nothing. */
export function strip(stretches: readonly Stretch[]): Part[] {
  const [first] = stretches;
  const last = stretches.at(-1);
  if (!first || !last) return [];
  const start = Date.parse(first.from);
  const whole = Math.max(1, Date.parse(last.until) - start);
  return stretches.map((stretch) => ({
    level: stretch.level,
    from: (1_000 * (Date.parse(stretch.from) - start)) / whole,
    length: (1_000 * span(stretch)) / whole,
  }));
}

/** The share of each level in the time in which media flowed, in whole percent; those that there was none of are left out. */
export function shares(stretches: readonly Stretch[]): [QualityLevel, number][] {
  const whole = stretches.reduce((sum, stretch) => sum + span(stretch), 0);
  const of = (level: QualityLevel): number =>
    stretches.reduce((sum, stretch) => sum + (stretch.level === level ? span(stretch) : 0), 0);
  const parts = LEVELS.map((level): [QualityLevel, number] => [level, of(level)]);
  return parts.filter(([, time]) => time > 0).map(([level, time]) => [level, Math.max(1, Math.round((100 * time) / whole))]);
}

/** A moment that was bad: when, for how long, and why. */
export interface Moment {
  from: number;
  seconds: number;
  level: QualityLevel;
  reason: QualityReason | null;
}

/** The worst moments, the worst and longest first. */
export function worst(stretches: readonly Stretch[], count: number): Moment[] {
  const bad = stretches.filter(({ level }) => level === 'poor' || level === 'bad');
  const sorted = [...bad].sort((a, b) => LEVELS.indexOf(b.level) - LEVELS.indexOf(a.level) || span(b) - span(a));
  return sorted.slice(0, count).map((stretch) => ({
    from: Date.parse(stretch.from),
    seconds: Math.round(span(stretch) / 1_000),
    level: stretch.level,
    reason: stretch.reason,
  }));
}
