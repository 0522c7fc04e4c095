/** The desk: a provider sees who waits, in order and as it changes, and goes to them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Guest } from './harness/guest.mjs';
import { look } from './harness/screens.mjs';
import { Server } from './harness/server.mjs';
import { choosePassword } from './harness/staff.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

const { server, chromium } = await serverAndBrowser();

test('two patients wait at one desk, and are seen to in their order', async (t) => {
  const first = await comes(t, 'Ada');
  const second = await comes(t, 'Ben');
  await second.page.getByText('You are number 2 in line.').waitFor();
  await second.page.getByText('has not come in yet').waitFor();

  const desk = await signIn(t);
  await until('both to be shown in order', async () => {
    const names = await desk.page.locator('li[data-session]').allInnerTexts();
    return names.length === 2 && names[0].includes('Ada') && names[1].includes('Ben');
  });
  await look(desk.page, 'desk');
  await second.page.getByText('desk is open, and they can see').waitFor();
  await look(second.page, 'waiting-desk-attended');

  // A reload keeps the place.
  await first.page.reload();
  await first.heading('You are in the waiting room').waitFor();
  assert.match((await desk.page.locator('li[data-session]').allInnerTexts())[0], /Ada/);

  const opened = desk.page.context().waitForEvent('page');
  await desk.page.getByRole('button', { name: 'Open visit of Ada' }).click();
  const provider = new Guest(await opened, 'provider');
  t.after(() => provider.page.close());
  await provider.join();
  await provider.press('Admit');
  await Promise.all([first.plays(await provider.id()), provider.plays(await first.id())]);
  await until('the next to move up', () => second.page.getByText('You are number').count().then((count) => count === 0));
  await until('the desk to show one', async () => (await desk.page.locator('li[data-session]').count()) === 1);

  await desk.page.getByRole('button', { name: 'Not now for Ben' }).click();
  await second.heading('Not yet').waitFor();
  await desk.page.getByText('Nobody is waiting').first().waitFor();
  await look(desk.page, 'desk-empty');
});

test('the desk is there again by itself after the server was killed', async (t) => {
  const own = await Server.start();
  const { host } = new URL(own.origin);
  const desk = await signIn(t, own);
  await desk.page.locator('section[data-line=open]').waitFor();
  await own.process.kill();
  await desk.page.locator('section[data-line=reconnecting]').waitFor();
  const again = await Server.start([], { listen: host, data: own.data });
  t.after(() => again.end());
  await desk.page.locator('section[data-line=open]').waitFor();
});

/** A patient at the desk that visits are planned for, in the waiting room. */
async function comes(t, name) {
  const { links } = await server.session({ patient: name });
  const page = await chromium.blank();
  t.after(() => page.close());
  const guest = new Guest(page, name);
  await page.goto(links.find(({ role }) => role === 'patient').link);
  await guest.agree();
  await guest.join();
  await guest.heading('You are in the waiting room').waitFor();
  return guest;
}

/** Somebody of the staff who sits at that desk, signed in. */
async function signIn(t, at = server) {
  const admin = await chromium.blank();
  await admin.goto(await at.adminLink());
  await choosePassword(admin);
  await admin.getByRole('heading', { name: 'Hello Administrator', level: 1 }).waitFor();
  const link = await admin.evaluate(async () => {
    const answer = await fetch('/v1/staff', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ login: 'dr.desk', displayName: 'Provider', role: 'provider', providerRef: 'desk' }),
    });
    return (await answer.json()).link;
  });
  await admin.close();
  const page = await chromium.blank();
  t.after(() => page.close());
  await page.goto(link.url ?? link);
  await choosePassword(page);
  await page.getByRole('heading', { name: 'Desk', level: 2 }).waitFor();
  return { page };
}
