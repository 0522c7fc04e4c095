/**
 * The page itself in Firefox, from the link to the end: the patient has it, and the provider Chromium. In a network namespace,
 * as Firefox does not pair loopback candidates.
 */
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { startChromium, startFirefox } from './harness/browsers.mjs';
import { ARTEFACTS } from './harness/find.mjs';
import { Guest } from './harness/guest.mjs';
import { ADDRESS, inside, runInside, skip } from './harness/namespace.mjs';
import { Server } from './harness/server.mjs';
import { until } from './harness/wait.mjs';

test('a visit of a patient with Firefox, from the link to the end', { skip }, async (t) => {
  await (inside ? visitIn(t) : runInside(import.meta.url));
});

async function visitIn(t) {
  await mkdir(ARTEFACTS, { recursive: true });
  const server = await Server.start(['--media-bind', ADDRESS]);
  t.after(() => server.end());
  const [chromium, firefox] = [await startChromium(), await startFirefox()];
  for (const browser of [chromium, firefox]) t.after(() => browser.end());
  const { links } = await server.session({});
  const linkOf = (role) => links.find((link) => link.role === role).link;

  const provider = await Guest.open(chromium, linkOf('provider'), 'provider');
  await provider.devicesReady();
  await provider.press('Turn camera off');
  await provider.join();

  const patient = new Patient(await firefox.open(linkOf('patient')));
  await patient.agrees();
  await patient.sees('firefox-1-devices');
  await patient.press('Join');
  await patient.reads('You are in the waiting room');
  await patient.sees('firefox-2-waiting');
  await provider.button('Admit').first().click();
  // Of somebody whose camera is off a voice is all there is.
  await Promise.all([patient.hears(), provider.hears(), provider.plays(await patient.id())]);
  await patient.sees('firefox-3-voice');
  await provider.press('Turn camera on');
  await until('the patient to see the provider', () => patient.page.evaluate(() =>
    [...document.querySelectorAll('video')].some((video) =>
      video.checkVisibility() && video.videoWidth > 0 && video.currentTime > 0 &&
      window.vestibule.session.seats.some(({ picture }) => picture === video.srcObject))));
  await patient.sees('firefox-4-picture');

  await patient.press('Chat');
  await patient.page.focus('input[aria-label="Your message"]');
  await patient.page.keyboard.type('Can you read me?');
  await patient.press('Send');
  await provider.press('Chat, 1 new');
  await provider.page.getByText('Can you read me?').waitFor();
  await provider.page.getByRole('textbox').fill('Yes, I can.');
  await provider.press('Send');
  await patient.reads('Yes, I can.');
  await patient.sees('firefox-5-chat');

  await patient.page.reload();
  await patient.hears();
  assert.equal(await patient.page.evaluate(() => window.vestibule.session.chat.length), 2, 'what was written is there after a reload');
  await provider.press('End visit');
  await provider.press('End for everybody');
  await until('the patient to be told', () => patient.page.evaluate(() => window.vestibule.session.phase.name === 'over'));
  await patient.sees('firefox-6-over');
}

/** In a page that is spoken to by WebDriver BiDi. */
class Patient {
  constructor(page) {
    this.page = page;
  }

  /** Presses a button, once it can be pressed. */
  press(name) {
    return until(`the patient to press ${name}`, () =>
      this.page.evaluate((name) => {
        const isNamed = (button) => (button.getAttribute('aria-label') ?? button.textContent).trim() === name;
        const button = [...document.querySelectorAll('button')].find((button) => isNamed(button) && !button.disabled);
        button?.click();
        return Boolean(button);
      }, name));
  }

  reads(text) {
    return until(`the patient to read: ${text}`, () => this.page.evaluate((text) => document.body.innerText.includes(text), text));
  }

  async agrees() {
    await this.reads('I agree and continue');
    await this.page.evaluate(() => {
      for (const box of document.querySelectorAll('input')) if (box.type === 'checkbox' && !box.checked) box.click();
    });
    await this.press('I agree and continue');
  }

  async hears() {
    const energy = () =>
      this.page.evaluate(async () => {
        const entries = [...((await window.vestibule?.session?.peerConnection?.getStats())?.values() ?? [])];
        const heard = entries.filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio');
        const plays = [...document.querySelectorAll('audio')].some(({ paused, muted, readyState }) => !paused && !muted && readyState > 2);
        return plays ? heard.reduce((sum, { totalAudioEnergy = 0 }) => sum + totalAudioEnergy, 0) : 0;
      });
    const before = await energy();
    await until('the patient to hear more', async () => (await energy()) > before);
  }

  id() {
    return this.page.evaluate(() => window.vestibule.session.you.id);
  }

  /** Keeps what is on the screen. */
  sees(name) {
    return this.page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
  }
}
