import { expect, test } from 'vitest';

import { accentOf, contrast } from './brand.ts';

type Rgb = [number, number, number];

const rgb = (hex: string) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)) as Rgb;

test('a colour that can be read is taken as it is', () => {
  expect(accentOf('#0B5CAD')?.light).toBe('#0b5cad');
  expect(accentOf('#025')?.light).toBe('#002255');
});

test('whatever colour a clinic has, what is written in it or on it can be read', () => {
  let taken = 0;
  for (let hue = 0; hue < 4096; hue += 37) {
    const accent = accentOf(`#${hue.toString(16).padStart(3, '0')}`);
    if (!accent) continue;
    taken += 1;
    expect(contrast(rgb(accent.light), [255, 255, 255])).toBeGreaterThan(4.5);
    expect(contrast(rgb(accent.dark), [14, 21, 22])).toBeGreaterThan(4.5);
    expect(contrast(rgb(accent.dark), [7, 32, 31])).toBeGreaterThan(4.5);
  }
  expect(taken).toBeGreaterThan(20);
});

test('a colour that would not be itself any more, or is none, is left alone', () => {
  for (const color of ['#ffffff', '#ffff00', '#fff', 'red', '', '#12345', null]) expect(accentOf(color), `${color}`).toBeNull();
});
