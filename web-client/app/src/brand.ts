/**
 * The clinic's own colour as the page's accent, as far as people can read it: it is darkened for light screens and
 * lightened for dark ones until it stands out (WCAG 2.2, 1.4.3), and left alone where it would not be itself any more.
 */

type Rgb = [number, number, number];

const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];
/** The grounds of tokens.css. */
const DARK_GROUND: Rgb = [14, 21, 22];
const LIGHT_GROUND: Rgb = [234, 240, 240];
/** What text on either ground needs, with something to spare for tinted grounds. */
const CONTRAST_MIN = 5;
/** How much black a colour takes before it is another (yellow turns brown), and how much white: navy stays blue. */
const DARKER_MAX = 0.45;
const LIGHTER_MAX = 0.8;
/** What is written on the accent of the dark scheme. */
const ON_DARK: Rgb = [7, 32, 31];

export interface Accent {
  light: string;
  dark: string;
}

/** The accent for each scheme; null where the colour is none, or cannot be made readable. */
export function accentOf(color: string | null): Accent | null {
  const rgb = parse(color ?? '');
  const standsOut = (...from: Rgb[]) => (color: Rgb) => from.every((other) => contrast(color, other) >= CONTRAST_MIN);
  const light = rgb && shift(rgb, BLACK, DARKER_MAX, standsOut(LIGHT_GROUND, WHITE));
  const dark = rgb && shift(rgb, WHITE, LIGHTER_MAX, standsOut(DARK_GROUND, ON_DARK));
  return light && dark ? { light: hex(light), dark: hex(dark) } : null;
}

/** Makes it the page's accent, with its shades. */
export function paint({ light, dark }: Accent, style: CSSStyleDeclaration): void {
  const mix = (color: string, other: string, percent: number) => `color-mix(in srgb, ${color}, ${other} ${percent}%)`;
  style.setProperty('--accent', `light-dark(${light}, ${dark})`);
  style.setProperty('--accent-strong', `light-dark(${mix(light, 'black', 20)}, ${mix(dark, 'white', 25)})`);
  style.setProperty('--accent-soft', `light-dark(${mix(light, 'white', 86)}, ${mix(dark, '#0e1516', 78)})`);
}

/** How much two colours differ to the eye, from 1 to 21 (WCAG 2.2, contrast ratio). */
export function contrast(one: Rgb, other: Rgb): number {
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

function shift(rgb: Rgb, towards: Rgb, most: number, isFine: (rgb: Rgb) => boolean): Rgb | null {
  for (let part = 0; part <= most; part += 0.05) {
    const shifted = rgb.map((value, index) => Math.round(value + ((towards[index] ?? 0) - value) * part)) as Rgb;
    if (isFine(shifted)) return shifted;
  }
  return null;
}

function luminance(rgb: Rgb): number {
  const [red, green, blue] = rgb.map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as Rgb;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function parse(color: string): Rgb | null {
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/i.exec(color);
  const long = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
  const parts = short?.slice(1).map((digit) => digit + digit) ?? long?.slice(1);
  return parts ? (parts.map((part) => Number.parseInt(part, 16)) as Rgb) : null;
}

const hex = (rgb: Rgb) => `#${rgb.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
