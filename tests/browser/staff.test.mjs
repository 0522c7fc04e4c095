/** The clinic's own staff in front of the page: from the first link to colleagues and keys; and the page about the API. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { look } from './harness/screens.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

const PASSWORD = 'a plain long sentence';
const THEIRS = 'quite another sentence';

const { server, chromium } = await serverAndBrowser();

test('the first administrator sets a password by the link, once', async (t) => {
  const link = await server.adminLink();
  const page = await open(t, link);
  await heading(page, 'Set your password');
  assert.equal(new URL(page.url()).hash, '', 'the token has left the address');
  await look(page, 'setup');
  await page.getByLabel('New password', { exact: true }).fill('admin-and-more');
  await page.getByLabel('New password again').fill('something else entirely');
  await press(page, 'Set password');
  await page.getByText('The two are not the same.').waitFor();
  await page.getByLabel('New password again').fill('admin-and-more');
  await press(page, 'Set password');
  await page.getByText('Leave your login name out of the password.').waitFor();
  assert.equal(await page.getByLabel('New password', { exact: true }).getAttribute('aria-invalid'), 'true');
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await press(page, 'Set password');
  await heading(page, 'Hello Administrator');
  const cookies = await page.context().cookies();
  const [cookie] = cookies.filter(({ name }) => name === '__Host-vestibule');
  assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite], [true, true, 'Strict']);

  const again = await open(t, link);
  await heading(again, 'This link does not work');
  await look(again, 'setup-used');
  await page.goto(`${server.origin}/setup`);
  await page.getByText('Open the link again').waitFor();
});

test('who goes wrong five times waits a minute, with the right password too', async (t) => {
  const page = await open(t, `${server.origin}/staff`);
  await heading(page, 'Sign in');
  await look(page, 'sign-in');
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    await signIn(page, 'nobody-here', 'wrong');
    await page.getByRole('alert').filter({ hasText: attempt < 5 ? 'is wrong' : 'Try again in' }).waitFor();
  }
  await signIn(page, 'nobody-here', PASSWORD);
  await page.getByText('There were too many wrong passwords').waitFor();
  await look(page, 'sign-in-locked');
  // Another name is not touched by it.
  await signIn(page, 'ADMIN', PASSWORD);
  await heading(page, 'Hello Administrator');
});

test('an administrator adds a colleague, who sees less; and another role signs them out', async (t) => {
  const admin = await signedIn(t);
  await press(admin, 'Add a colleague');
  await admin.getByLabel('Name', { exact: true }).fill('Dr. Quixworthy');
  await admin.getByLabel('Login name').fill('admin');
  await press(admin, 'Add and make a link');
  await admin.getByText('Somebody signs in with this name already.').waitFor();
  await look(admin, 'staff-add');
  await admin.getByLabel('Login name').fill('dr.q@clinic.example');
  await press(admin, 'Add and make a link');
  await admin.getByRole('heading', { name: 'A link for Dr. Quixworthy' }).waitFor();
  const link = await admin.locator('code').filter({ hasText: '/setup#' }).textContent();
  await look(admin, 'staff-link');
  await press(admin, 'Done');

  const theirs = await open(t, link);
  await theirs.getByLabel('New password', { exact: true }).fill(THEIRS);
  await theirs.getByLabel('New password again').fill(THEIRS);
  await press(theirs, 'Set password');
  await heading(theirs, 'Hello Dr. Quixworthy');
  assert.equal(await theirs.getByRole('heading', { name: 'Colleagues' }).count(), 0);
  assert.equal(await theirs.getByRole('heading', { name: 'API keys' }).count(), 0);
  await look(theirs, 'staff-provider');

  await admin.getByLabel('Role of Administrator').selectOption('front_desk');
  await press(admin, 'Change role of Administrator');
  await admin.getByRole('dialog').getByRole('button', { name: 'Change role' }).click();
  await admin.getByText('Nobody else could manage the staff then.').waitFor();
  assert.equal(await admin.getByLabel('Role of Administrator').inputValue(), 'admin');
  // An arrow key chooses; nothing is so before it is confirmed.
  await admin.getByLabel('Role of Dr. Quixworthy').focus();
  await admin.keyboard.press('ArrowDown');
  await press(admin, 'Change role of Dr. Quixworthy');
  const dialog = admin.getByRole('dialog');
  await dialog.getByText('The front desk makes').waitFor();
  assert.equal(await dialog.getByRole('button', { name: 'No, leave it' }).evaluate((button) => button === document.activeElement), true);
  await look(admin, 'staff-role');
  await dialog.getByRole('button', { name: 'Change role' }).click();
  await admin.getByText('Dr. Quixworthy is Front desk now.').waitFor();
  await theirs.reload();
  await heading(theirs, 'Sign in');
  await signIn(theirs, 'dr.q@clinic.example', THEIRS);
  await theirs.getByText('Front desk').waitFor();

  await press(admin, 'Disable Dr. Quixworthy');
  await admin.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  await admin.getByText('Dr. Quixworthy is disabled.').waitFor();
  await theirs.reload();
  await heading(theirs, 'Sign in');
});

test('links are pasted one after the other, and outlive a reload until they are used', async (t) => {
  const admin = await signedIn(t);
  await press(admin, 'Add a colleague');
  assert.equal(await admin.getByLabel('Name', { exact: true }).evaluate((field) => field === document.activeElement), true);
  await admin.getByLabel('Name', { exact: true }).fill('Nell');
  await press(admin, 'Add and make a link');
  await admin.getByText('Fill this in.').waitFor();
  assert.equal(await admin.getByLabel('Login name').evaluate((field) => field === document.activeElement), true);
  await admin.getByLabel('Login name').fill('nell');
  await press(admin, 'Add and make a link');
  const dead = await linkShown(admin);
  await press(admin, 'New link for Nell');
  const link = await until('another link', async () => ((await linkShown(admin)) === dead ? null : linkShown(admin)));
  assert.equal(await admin.getByRole('heading', { name: 'A link for Nell' }).evaluate((title) => title === document.activeElement), true);

  const page = await open(t, dead);
  await heading(page, 'This link does not work');
  await page.evaluate((link) => (location.href = link), link);
  await heading(page, 'Set your password');
  assert.equal(new URL(page.url()).hash, '');
  await page.reload();
  await page.getByText('Hello Nell').waitFor();
  assert.equal(await page.getByText('is signed in in this browser').count(), 0);
  // The tab of somebody who is signed in learns that it is somebody else's now.
  const opened = admin.waitForEvent('popup');
  await admin.evaluate((link) => void window.open(link), link);
  const tab = await opened;
  await tab.getByText('Administrator is signed in in this browser.').waitFor();
  await look(tab, 'setup-other');
  await tab.getByLabel('New password', { exact: true }).fill(THEIRS);
  await tab.getByLabel('New password again').fill(THEIRS);
  await press(tab, 'Set password');
  await heading(tab, 'Hello Nell');
  await tab.getByText('is not in this page yet').waitFor();
  await admin.evaluate(() => window.dispatchEvent(new Event('focus')));
  await admin.getByText('You are signed in as Nell in another tab').waitFor();
  await heading(admin, 'Hello Nell');
});

test('what is confirmed while something else is under way comes after it', async (t) => {
  const admin = await signedIn(t);
  for (const name of ['One', 'Two']) {
    await press(admin, 'Make a key');
    await admin.getByLabel('What is it for?').fill(name);
    await admin.getByLabel('See visits').check();
    await press(admin, 'Make the key');
    await admin.getByRole('heading', { name: `The key ${name}` }).waitFor();
  }
  let go = () => {};
  const gate = new Promise((resolve) => (go = () => resolve(undefined)));
  await admin.route('**/v1/api-keys/*', async (route) => {
    await gate;
    await route.continue();
  });
  for (const name of ['One', 'Two']) {
    await press(admin, `Revoke ${name}`);
    await admin.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
    assert.equal(await admin.getByRole('button', { name: `Revoke ${name}`, exact: true }).getAttribute('aria-disabled'), 'true');
  }
  go();
  await admin.getByText('Two is revoked.').waitFor();
  assert.equal(await admin.getByRole('button', { name: /^Revoke (One|Two)$/ }).count(), 0);
});

test('a server that cannot be reached is no wrong field, and what was typed stays', async (t) => {
  const page = await open(t, `${server.origin}/`);
  await page.getByRole('link', { name: 'sign in' }).click();
  await heading(page, 'Sign in');
  await page.route('**/v1/auth/sign-in', (route) => route.abort());
  await page.getByLabel('Login name').fill('admin');
  await page.getByLabel('Password').fill(PASSWORD);
  await press(page, 'Sign in');
  await page.getByText('The server cannot be reached.').waitFor();
  assert.equal(await page.getByLabel('Password').inputValue(), PASSWORD);
  assert.equal(await page.locator('[aria-invalid="true"]').count(), 0);
  await page.unroute('**/v1/auth/sign-in');
  await press(page, 'Sign in');
  await heading(page, 'Hello Administrator');
});

test('a key is made, used, rotated and revoked', async (t) => {
  const admin = await signedIn(t);
  await press(admin, 'Make a key');
  await admin.getByLabel('What is it for?').fill('The records');
  await press(admin, 'Make the key');
  await admin.getByText('Choose at least one.').waitFor();
  await admin.getByLabel('See visits').check();
  await look(admin, 'keys-make');
  await press(admin, 'Make the key');
  const key = await shown(admin);
  await look(admin, 'keys-made');
  assert.deepEqual(await statuses(key), { sessions: 200, staff: 403 });

  await press(admin, 'Rotate The records');
  await admin.getByRole('dialog').getByRole('button', { name: 'Rotate' }).click();
  const next = await until('another key', async () => ((await shown(admin)) === key ? null : shown(admin)));
  assert.equal(key.slice(0, 37), next.slice(0, 37));
  assert.deepEqual([await statuses(key), await statuses(next)].map(({ sessions }) => sessions), [200, 200], 'for an hour both');
  await press(admin, 'Done');
  assert.equal(await admin.getByText(next).count(), 0);
  // What is not good any more by another rotation is said before.
  await press(admin, 'Rotate The records');
  await admin.getByRole('dialog').getByText('stops working at once.').waitFor();
  await admin.getByRole('dialog').getByRole('button', { name: 'No, leave it' }).click();
  await press(admin, 'Revoke The records');
  await admin.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await admin.getByText('The records is revoked.').waitFor();
  assert.equal((await statuses(next)).sessions, 401);
});

test('a key from the terminal works at once, and a link lets who is locked out in again', async (t) => {
  const [key] = await server.command('key', 'create', '--name', 'script', '--scopes', 'sessions:read,sessions:write');
  assert.match(key, /^vst_[0-9a-f]{32}_[\w-]{43}$/);
  assert.deepEqual(await statuses(key), { sessions: 200, staff: 403 });
  const [line] = await server.command('staff', 'link', '--login', 'Admin');
  const [link] = /http\S+/.exec(line);
  const page = await open(t, link);
  await page.getByLabel('New password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('New password again').fill(PASSWORD);
  await press(page, 'Set password');
  await heading(page, 'Hello Administrator');
});

test('another password and signing out everywhere end the other tabs', async (t) => {
  const [one, other] = [await signedIn(t), await signedIn(t)];
  await press(one, 'Change password');
  await one.getByLabel('Current password').fill('not this one');
  await one.getByLabel('New password', { exact: true }).fill(`${PASSWORD}!`);
  await one.getByLabel('New password again').fill(`${PASSWORD}!`);
  await press(one, 'Change password');
  await one.getByText('This password is wrong.').waitFor();
  await look(one, 'password');
  await one.getByLabel('Current password').fill(PASSWORD);
  await press(one, 'Change password');
  await one.getByText('Your password is changed.').waitFor();
  await other.reload();
  await heading(other, 'Sign in');
  await signIn(other, 'admin', `${PASSWORD}!`);
  await heading(other, 'Hello Administrator');
  await press(other, 'Sign out everywhere');
  await other.getByText('You are signed out everywhere.').waitFor();
  await press(one, 'Add a colleague');
  await one.getByLabel('Name', { exact: true }).fill('Somebody');
  await one.getByLabel('Login name').fill('somebody');
  await press(one, 'Add and make a link');
  await heading(one, 'Sign in');
  await one.getByText('You were signed out.').waitFor();
});

test('the page about the API has every endpoint, and nothing from elsewhere', async (t) => {
  const page = await chromium.blank();
  t.after(() => page.close());
  const elsewhere = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(server.origin)) elsewhere.push(request.url());
  });
  await page.goto(`${server.origin}/api`);
  await page.getByRole('heading', { level: 1, name: 'Vestibule API' }).waitFor();
  const described = await (await fetch(`${server.origin}/openapi.json`)).json();
  const operations = Object.values(described.paths).flatMap((item) => Object.keys(item));
  assert.equal(await page.locator('article h3 .method').count(), operations.length);
  await page.getByRole('link', { name: 'Schemas' }).click();
  await page.getByRole('heading', { level: 2, name: 'Schemas' }).waitFor();
  assert.deepEqual(elsewhere, []);
  await look(page, 'api');
  assert.equal(await page.getByText('`').count(), 0, 'code looks like code');

  // On a phone the groups are closed; one that is asked for opens.
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto(`${server.origin}/api`);
  await page.reload();
  await page.getByRole('heading', { level: 1, name: 'Vestibule API' }).waitFor();
  assert.equal(await page.locator('details[open]').count(), 0);
  await look(page, 'api-closed');
  await page.getByRole('link', { name: 'API keys', exact: true }).click();
  await page.getByText('/v1/api-keys', { exact: true }).first().waitFor();
  assert.equal(await page.locator('details[open]').count(), 1);
});

test('who holds a link to a visit fetches none of it', async (t) => {
  const page = await chromium.blank();
  t.after(() => page.close());
  const fetched = [];
  page.on('request', (request) => fetched.push(new URL(request.url()).pathname));
  await page.goto(`${server.origin}/j`);
  await heading(page, 'You need a link');
  assert.equal(await page.getByRole('link', { name: 'sign in' }).count(), 0);
  assert.ok(fetched.some((path) => path.endsWith('.js')));
  assert.deepEqual(fetched.filter((path) => /Staff|Setup|Api|Password/.test(path)), []);
});

async function open(t, url) {
  const page = await chromium.blank();
  t.after(() => page.close());
  await page.goto(url);
  return page;
}

async function signedIn(t) {
  const page = await open(t, `${server.origin}/staff`);
  await signIn(page, 'admin', PASSWORD);
  await heading(page, 'Hello Administrator');
  return page;
}

async function signIn(page, login, password) {
  await page.getByLabel('Login name').fill(login);
  await page.getByLabel('Password').fill(password);
  const answer = page.waitForResponse((response) => response.url().endsWith('/auth/sign-in'));
  await press(page, 'Sign in');
  await answer;
}

const press = (page, name) => page.getByRole('button', { name, exact: true }).click();
const linkShown = (page) => page.locator('code').filter({ hasText: '/setup#' }).textContent();
const heading = (page, name) => page.getByRole('heading', { name, level: 1 }).waitFor();

/** The key on the screen. */
const shown = (page) => page.locator('code').filter({ hasText: /^vst_[0-9a-f]{32}_[\w-]{43}$/ }).textContent();

/** What the API says to a key. */
async function statuses(key) {
  const ask = async (path) => (await fetch(`${server.origin}/v1/${path}`, { headers: { authorization: `Bearer ${key}` } })).status;
  return { sessions: await ask('sessions'), staff: await ask('staff') };
}
