/** The same person on another device, and people taken out or sent back: through the real page. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { countFrames, frames, recount } from './harness/frames.mjs';
import { Guest } from './harness/guest.mjs';
import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { choosePassword } from './harness/staff.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

const { server, chromium } = await serverAndBrowser();

test('a second device knocks while the first goes on, and takes over when it is let in', async (t) => {
  const { patient, provider, links } = await inTheVisit(t);
  await recount(patient.page);
  const second = await open(t, links.patient, 'second device');
  await second.join();
  await second.page.getByText('Your visit is open on another device, and goes on there.').waitFor();
  await look(second.page, 'second-device');
  await provider.page.getByText('Same link, another device').waitFor();
  await look(provider.page, 'knock-second-device');
  await provider.press('Not now');
  await second.heading('Your visit stays on the other device').waitFor();
  const seen = await frames(patient.page);
  result('the first device while another knocks', { frames: seen.count, 'longest gap ms': seen.gapMsMax });
  assert.ok(seen.count > 30, 'it went on');

  await second.press('Ask again');
  await second.join();
  await provider.press('Admit');
  await second.plays(await provider.id());
  await patient.heading('Your visit continues on another device').waitFor();
  await look(patient.page, 'superseded');
  await provider.plays(await second.id());

  // And back again, by the knock of the first.
  await patient.press('Have it here again');
  await patient.join();
  await provider.press('Admit');
  await patient.plays(await provider.id());
});

test('a provider says yes on the first device, and nobody comes in without', async (t) => {
  const { patient, provider, links } = await inTheVisit(t);
  const second = await open(t, links.provider, 'second device');
  await second.join();
  await second.heading('Your visit is open on another device').waitFor();
  await look(second.page, 'second-device-provider');
  assert.equal(await second.page.evaluate(() => window.vestibule.session.participants.length), 0);
  await provider.page.getByText('Your link was opened on another device.').first().waitFor();
  await look(provider.page, 'knock-own-device');
  await provider.press('Yes, go on there');
  await second.plays(await patient.id());
  await provider.heading('Your visit continues on another device').waitFor();
});

test('a provider who signs in as staff takes the visit over from a device that is gone', async (t) => {
  const admin = await open(t, await server.adminLink(), 'admin');
  await choosePassword(admin.page);
  const { patient, provider, links } = await inTheVisit(t);
  await provider.page.close();
  await until('the provider to be missed', () =>
    patient.page.evaluate(() => window.vestibule.session.participants.some(({ state }) => state === 'lost')),
  );
  await patient.page.getByText('lost the connection').first().waitFor();
  await look(patient.page, 'lost-countdown');
  // In a browser where somebody of the staff is signed in.
  await admin.page.goto(links.provider);
  await admin.join();
  await admin.plays(await patient.id());
});

test('who is sent back waits and comes in again; who is removed is out, with their link', async (t) => {
  const { patient, provider, links } = await inTheVisit(t);
  await provider.page.getByRole('button', { name: 'More about Patient' }).click();
  await look(provider.page, 'person-menu');
  await provider.press('Send back to the waiting room');
  await provider.press('Send back');
  await patient.heading('You are in the waiting room again').waitFor();
  await look(patient.page, 'sent-back');
  await provider.press('Admit');
  await patient.plays(await provider.id());

  await provider.page.getByRole('button', { name: 'More about Patient' }).click();
  await provider.press('Remove from the visit');
  await look(provider.page, 'remove-confirm');
  const clicked = Date.now();
  await provider.press('Remove');
  await patient.heading('You were taken out of this visit').waitFor();
  result('removal', { 'patient out after ms': Date.now() - clicked });
  await look(patient.page, 'removed');
  await patient.page.goto('about:blank');
  await patient.page.goto(links.patient);
  await patient.heading('This link no longer works').waitFor();
});

async function open(t, link, name) {
  const page = await chromium.blank();
  t.after(() => page.close());
  await page.addInitScript(countFrames);
  const guest = new Guest(page, name);
  await page.goto(link);
  return guest;
}

async function inTheVisit(t) {
  const made = await server.session();
  const links = Object.fromEntries(made.links.map(({ role, link }) => [role, link]));
  const provider = await open(t, links.provider, 'provider');
  await provider.join();
  const patient = await open(t, links.patient, 'patient');
  await patient.agree();
  await patient.join();
  await provider.press('Admit');
  await Promise.all([patient.plays(await provider.id()), provider.plays(await patient.id())]);
  return { patient, provider, links };
}
