/** The page itself: its offer is small, its controls have names, and it fits dark, light and a phone. */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { startChromium } from './harness/browsers.mjs';
import { ARTEFACTS } from './harness/find.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { joinAll } from './harness/tab.mjs';
import { until } from './harness/wait.mjs';

/** An offer must cross a line of 64 kbit/s in a moment. */
const OFFER_BYTES_MAX = 12_000;
const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 900 };

let server;
let chromium;

before(async () => {
  server = await Server.start();
  chromium = await startChromium();
  await mkdir(ARTEFACTS, { recursive: true });
});

after(async () => {
  await chromium?.end();
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

test('an offer with four seats stays within its bytes', async () => {
  const page = await joined('offer');
  const { offerBytes, local, remote } = await page.evaluate(() => ({
    offerBytes: window.vestibule.call.offerBytes,
    local: window.vestibule.pc.localDescription.sdp,
    remote: window.vestibule.pc.remoteDescription.sdp,
  }));
  result('page', { 'offer bytes': offerBytes, 'answer bytes': remote.length });
  assert.ok(offerBytes > 0 && offerBytes <= OFFER_BYTES_MAX, `${offerBytes} bytes`);
  assert.match(local, /a=simulcast:send q;h;f\r\n/);
  await page.close();
});

test('every control has a name, and nothing is wider than the page', async () => {
  const page = await joined('controls');
  for (const viewport of [DESKTOP, PHONE]) {
    await page.setViewportSize(viewport);
    const { nameless, overflow } = await page.evaluate(() => {
      const controls = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('button, select, input'));
      const visible = [...controls].filter((control) => control.offsetParent);
      const name = (control) =>
        control.getAttribute('aria-label') ?? control.labels?.[0]?.textContent ?? control.textContent;
      return {
        nameless: visible.filter((control) => !name(control)?.trim()).map((control) => control.outerHTML),
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      };
    });
    assert.deepEqual(nameless, []);
    assert.equal(overflow, 0, `wider than ${viewport.width} pixels`);
  }
  await page.close();
});

test('mute and camera off reach the tracks, and leave ends the call', async () => {
  const page = await joined('buttons');
  const senders = () =>
    page.evaluate(() => {
      const [audio, camera] = window.vestibule.pc.getSenders().map(({ track }) => track);
      return { audible: audio.enabled, seen: Boolean(camera) };
    });
  const press = (name) => page.getByRole('button', { name, exact: true }).click();
  assert.deepEqual(await senders(), { audible: true, seen: true });
  await press('Mute');
  await press('Camera off');
  await until('both are off', async () => {
    const { audible, seen } = await senders();
    return !audible && !seen;
  });
  await press('Mute');
  await press('Camera off');
  await until('both are on', async () => {
    const { audible, seen } = await senders();
    return audible && seen;
  });
  await press('Leave');
  await until('the call is over', () => page.evaluate(() => window.vestibule.pc.connectionState === 'closed'));
  await page.close();
});

test('a camera that is off leaves no frozen picture with the others', async (t) => {
  const [a, b] = await joinAll(t, chromium, server, 'frozen', ['a', 'b']);
  await b.plays();
  const tile = () => b.page.locator('.tile:not(.own)').first();
  await until('the picture to be there', () => tile().locator('video').isVisible());
  await a.page.getByRole('button', { name: 'Camera off', exact: true }).click();
  await until('the picture to be gone', () => tile().getByText('No picture').isVisible());
  assert.equal(await tile().locator('video').isVisible(), false);
  await b.page.screenshot({ path: join(ARTEFACTS, 'test-page-camera-off.png') });
  await a.page.getByRole('button', { name: 'Camera off', exact: true }).click();
  await until('the picture to be back', () => tile().locator('video').isVisible());
});

test('who may not use camera and microphone is told so and can join again', async () => {
  const page = await chromium.open(`${server.origin}/`);
  await page.addInitScript(() => {
    const refuse = () => Promise.reject(new DOMException('denied', 'NotAllowedError'));
    Object.defineProperty(navigator.mediaDevices, 'getUserMedia', { value: refuse });
  });
  await page.goto(server.page('denied'));
  await page.getByText('Allow them in the address bar').waitFor();
  assert.equal(await page.getByLabel('Room').inputValue(), 'denied');
  assert.ok(await page.getByRole('button', { name: 'Join the room' }).isVisible());
  await page.screenshot({ path: join(ARTEFACTS, 'test-page-denied.png') });
  await page.close();
});

test('screenshots: light, dark, phone', async (t) => {
  const [{ page }] = await joinAll(t, chromium, server, 'looks', ['a', 'b']);
  await until('the numbers of what is sent and received', () =>
    page.evaluate(() => [...document.querySelectorAll('.numbers')].filter(({ textContent }) => textContent).length === 2),
  );
  for (const [name, colorScheme, viewport] of [
    ['light', 'light', DESKTOP],
    ['dark', 'dark', DESKTOP],
    ['phone', 'light', PHONE],
  ]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    await page.screenshot({ path: join(ARTEFACTS, `test-page-${name}.png`) });
  }
});

async function joined(room) {
  const page = await chromium.open(server.page(room));
  await until('the answer is set', () => page.evaluate(() => Boolean(window.vestibule?.pc.remoteDescription)));
  return page;
}
