/** The whole visit through the real page on this machine, every screen of it kept and checked. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { test } from 'node:test';

import { Guest } from './harness/guest.mjs';
import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { Relay } from './harness/server.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { visit } from './harness/visit.mjs';
import { until } from './harness/wait.mjs';

/** Carries a voice and hardly a picture, and loses some of both. */
const POOR = 'delay_ms=60,rate_bps=220000,queue_ms=300,loss=0.08';
/** The patient's line may be thin. */
const PATIENT_JS_BYTES_MAX = 68_000;

const { server, chromium } = await serverAndBrowser();

test('a visit from the link to the end', async (t) => {
  const { times } = await visit(t, { server, chromium, look });
  result('a visit', times);
});

test('who speaks is marked, and a poor line is shown to those who may know', async (t) => {
  const { links } = await server.session({ interpreter: ['Interpreter'] });
  const relay = await Relay.start({ target: server.media, seed: 20_261_129, up: 'delay_ms=60', down: POOR });
  t.after(() => relay.end());
  const open = async (role, options = {}) => {
    const { link, name } = links.find((link) => link.role === role);
    const guest = await Guest.open(chromium, link, name, options);
    t.after(() => guest.page.close());
    if (role === 'patient') await guest.agree();
    await guest.join();
    return guest;
  };
  const provider = await open('provider');
  const patient = await open('patient', { relay });
  await provider.button('Admit').first().click();
  const interpreter = await open('interpreter');
  await provider.button('Admit').first().click();
  const [patientId, interpreterId] = [await patient.id(), await interpreter.id()];
  await Promise.all([provider.plays(patientId), provider.plays(interpreterId)]);
  // The false microphones all beep, which is no speech: those of two are off, and there is a tone in place of the third.
  await provider.press('Mute');
  await interpreter.press('Mute');
  await patient.page.evaluate(() => {
    const context = new AudioContext();
    const to = context.createMediaStreamDestination();
    const tone = context.createOscillator();
    tone.connect(to);
    tone.start();
    return window.vestibule.session.setMicrophone(to.stream.getAudioTracks()[0]);
  });
  const speaks = (guest, id) =>
    until('the patient to be marked', () =>
      guest.page.evaluate((id) => document.querySelector(`[data-participant="${id}"]`)?.classList.contains('speaking'), id),
    );
  await Promise.all([speaks(provider, patientId), speaks(interpreter, patientId)]);
  const level = (guest, where) => guest.page.locator(`${where} .quality`).first().getAttribute('data-level');
  const isLow = (level) => level === 'poor' || level === 'bad';
  await until('the provider to see it', async () => isLow(await level(provider, `[data-participant="${patientId}"]`)), 60_000);
  await until('the patient to see it', async () => isLow(await level(patient, '.self')));
  assert.equal(await interpreter.page.locator('[data-participant] .quality').count(), 0, 'it is not for everybody to know');
  await look(provider.page, 'line-1-provider');
  await look(patient.page, 'line-2-patient');
  await look(interpreter.page, 'line-3-interpreter');
  await provider.press('Connections');
  const panel = provider.page.getByRole('dialog');
  await panel.getByRole('img').first().waitFor();
  await look(provider.page, 'line-4-connections');
  result('a poor line', {
    patient: JSON.stringify(await patient.page.evaluate(() => window.vestibule.session.quality(window.vestibule.session.you.id))),
  });
});

test('who comes without a picture is heard', async (t) => {
  const { links } = await server.session({});
  const open = async (role) => {
    const guest = await Guest.open(chromium, links.find((link) => link.role === role).link, role);
    t.after(() => guest.page.close());
    if (role === 'patient') await guest.agree();
    await guest.devicesReady();
    await guest.press('Turn camera off');
    await guest.join();
    return guest;
  };
  const provider = await open('provider');
  const patient = await open('patient');
  await provider.button('Admit').first().click();
  await Promise.all([provider.hears(), patient.hears()]);
  await look(patient.page, 'no-pictures-patient');
});

test('the scripts a patient loads are small', async () => {
  const { links } = await server.session();
  const bytes = await javaScriptBytes(links.find(({ role }) => role === 'patient').link);
  result('patient path', { 'bytes of JavaScript (gzip)': bytes });
  assert.ok(bytes > 0 && bytes <= PATIENT_JS_BYTES_MAX, `${bytes} bytes`);
});

/** Bytes of all scripts a patient's page loads, as they go over the line. */
async function javaScriptBytes(link) {
  const page = await chromium.blank();
  const scripts = new Set();
  page.on('response', (response) => {
    if (response.request().resourceType() === 'script') scripts.add(response.url());
  });
  await page.goto(link, { waitUntil: 'networkidle' });
  await page.close();
  const sizes = await Promise.all([...scripts].map(gzipBytes));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function gzipBytes(url) {
  return new Promise((resolve, reject) => {
    get(url, { headers: { 'accept-encoding': 'gzip' } }, (response) => {
      assert.equal(response.headers['content-encoding'], 'gzip', url);
      let bytes = 0;
      response.on('data', (data) => {
        bytes += data.length;
      });
      response.on('end', () => resolve(bytes));
    }).on('error', reject);
  });
}
