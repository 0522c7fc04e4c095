/** Looks at a screen as people meet it: light and dark, on a desk and on a phone; kept as artefacts, and checked by axe. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

import { ARTEFACTS } from './find.mjs';

const LOOKS = [
  { name: 'desktop-light', colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  { name: 'desktop-dark', colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  { name: 'phone-light', colorScheme: 'light', viewport: { width: 390, height: 844 } },
  { name: 'phone-dark', colorScheme: 'dark', viewport: { width: 390, height: 844 } },
];
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

const axeSource = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * Takes a screenshot in each look and asks axe about each; nothing may be wider than the page.
 * @param {any} page a page of playwright
 * @param {string} screen the screen's name
 */
export async function look(page, screen) {
  await mkdir(ARTEFACTS, { recursive: true });
  const before = page.viewportSize();
  for (const { name, colorScheme, viewport } of LOOKS) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.setViewportSize(viewport);
    await page.screenshot({ path: join(ARTEFACTS, `${screen}-${name}.png`), fullPage: true });
    const overflow = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    assert.equal(overflow, 0, `${screen}, ${name}: wider than the page`);
    assert.deepEqual(await violations(page), [], `${screen}, ${name}: axe`);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
  await page.setViewportSize(before);
}

/** What axe finds, in a line each. */
async function violations(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async (rules) => {
    // @ts-expect-error it was put there a moment ago
    const { violations } = await window.axe.run(document, { runOnly: rules });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
  }, RULES);
  return found;
}
