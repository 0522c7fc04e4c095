/** The page where things do not go as planned: every refusal in plain words, with a way on. And it fits, and has names. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { post } from './harness/door.mjs';
import { Guest } from './harness/guest.mjs';
import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

/** An offer must cross a line of 64 kbit/s in a moment. */
const OFFER_BYTES_MAX = 12_000;
const HOUR_MS = 3_600_000;
const SMALL = [
  { width: 360, height: 640 },
  { width: 844, height: 390 },
  { width: 320, height: 568 },
];

const { server, chromium } = await serverAndBrowser();

test('without a link, or with a broken one, the page says what to do', async (t) => {
  const guest = await open(t, `${server.origin}/`);
  await guest.heading('You need a link').waitFor();
  await look(guest.page, 'no-link');
  const broken = await open(t, `${server.origin}/j#AQEBnonsense`);
  await broken.heading('This link is not complete').waitFor();
  await look(broken.page, 'broken-link');
});

test('who is early sees the time run down, can try their devices, and goes on by themselves', async (t) => {
  const links = await invite({ start: new Date(Date.now() + HOUR_MS).toISOString() });
  const guest = await open(t, links.patient);
  await guest.heading('You are early').waitFor();
  const left = await guest.page.getByRole('timer').textContent();
  assert.match(left, /^(44|45):\d\d$/);
  await guest.press('Try camera and sound meanwhile');
  await guest.page.getByLabel('Microphone', { exact: true }).waitFor();
  await look(guest.page, 'early');
});

test('who is early gets in when the door opens', async (t) => {
  // The door opens a quarter of an hour before the start, and half a minute earlier for clocks that are wrong.
  const links = await invite({ start: new Date(Date.now() + HOUR_MS / 4 + 45_000).toISOString() });
  const guest = await open(t, links.provider, undefined, (page) => page.clock.install());
  await guest.heading('You are early').waitFor();
  const token = new URL(links.provider).hash.slice(1);
  await until('the server to open', async () => (await post(server.origin, 'join', { token })).status === 200);
  await guest.page.clock.fastForward(46_000);
  await guest.heading('Check your camera and sound').waitFor();
});

test('who does not agree is told what happens then, and can read it again', async (t) => {
  const links = await invite();
  const guest = await open(t, links.patient);
  await guest.press('I do not agree');
  await guest.heading('You did not agree').waitFor();
  await look(guest.page, 'declined');
  await guest.press('Read it again');
  assert.equal(await guest.button('I agree and continue').isDisabled(), true, 'the box comes first');
});

test('who may not use camera and microphone joins all the same, and can write', async (t) => {
  const links = await invite();
  const refuse = () => {
    const no = () => Promise.reject(new DOMException('denied', 'NotAllowedError'));
    Object.defineProperty(navigator.mediaDevices, 'getUserMedia', { value: no });
  };
  const guest = await open(t, links.provider, refuse);
  await guest.page.getByText('does not let this page use your camera and microphone').waitFor();
  await guest.page.getByText('You can join like this').waitFor();
  await look(guest.page, 'devices-denied');
  await guest.join();
  await guest.press('Chat');
  await guest.page.getByLabel('Your message').fill('I can write');
  await guest.press('Send');
  await guest.page.getByRole('log').getByText('I can write').waitFor();
});

test('who is not let in hears so and knocks again', async (t) => {
  const { patient, provider } = await bothIn(t);
  await provider.button('Not now').click();
  await patient.heading('Not yet').waitFor();
  await look(patient.page, 'denied');
  await patient.press('Knock again');
  await patient.join();
  await patient.heading('You are in the waiting room').waitFor();
  await provider.button('Admit').waitFor();
});

test('a link opened a second time in the waiting room lets the first one go', async (t) => {
  const { links, patient: first } = await bothIn(t);
  const second = await open(t, links.patient);
  await second.join();
  await second.heading('You are in the waiting room').waitFor();
  await first.heading('Your visit continues on another device').waitFor();
});

test('who leaves can come back, and the others see an empty place, not a frozen face', async (t) => {
  const { patient, provider } = await bothIn(t);
  await provider.button('Admit').click();
  await provider.plays(await patient.id());
  await patient.press('Leave');
  await patient.heading('You left the visit').waitFor();
  await look(patient.page, 'left');
  await provider.page.getByText('Nobody else is here right now').waitFor();
  await patient.press('Join again');
  await patient.join();
  await provider.button('Admit').click();
  await provider.plays(await patient.id());
});

test('keys mute, and nothing is wider than a small screen', async (t) => {
  const { patient, provider } = await bothIn(t);
  await provider.button('Admit').click();
  await provider.plays(await patient.id());
  await provider.page.keyboard.press('m');
  await provider.button('Unmute').waitFor();
  await provider.page.keyboard.press('v');
  await provider.button('Turn camera on').waitFor();
  await provider.press('Chat');
  await provider.page.keyboard.type('vim');
  assert.equal(await provider.page.getByLabel('Your message').inputValue(), 'vim', 'no shortcut while writing');
  await provider.press('Close chat');
  await provider.press('Devices');
  await provider.page.getByRole('dialog').getByLabel('Camera', { exact: true }).waitFor();
  await look(provider.page, 'devices');
  await provider.page.keyboard.press('Escape');
  for (const viewport of SMALL) {
    await provider.page.setViewportSize(viewport);
    const tooWide = await provider.page.evaluate(() => {
      const { clientWidth, clientHeight } = document.documentElement;
      const outside = [...document.querySelectorAll('button, video, h1')].filter((element) => {
        if (!element.checkVisibility()) return false;
        const { left, right, bottom } = element.getBoundingClientRect();
        return left < 0 || right > clientWidth + 0.5 || bottom > clientHeight + 0.5;
      });
      return outside.map((element) => element.outerHTML.slice(0, 80));
    });
    assert.deepEqual(tooWide, [], `${viewport.width}x${viewport.height}`);
    const small = await provider.page.evaluate(() =>
      [...document.querySelectorAll('button')]
        .filter((button) => button.checkVisibility())
        .map((button) => [button.getBoundingClientRect().width, button.getBoundingClientRect().height])
        .filter(([width, height]) => width < 44 || height < 44),
    );
    assert.deepEqual(small, [], `${viewport.width}x${viewport.height}: too small to touch`);
  }
});

test('an offer with four seats stays within its bytes', async (t) => {
  const { links } = await server.session({ provider: ['a', 'b', 'c'] });
  const guest = await open(t, links[0].link);
  await guest.join();
  const { bytes, local, remote } = await guest.page.evaluate(() => {
    const { offerBytes, peerConnection } = window.vestibule.session;
    return {
      bytes: offerBytes,
      local: peerConnection.localDescription.sdp,
      remote: peerConnection.remoteDescription.sdp,
    };
  });
  result('an offer', { 'offer bytes': bytes, 'answer bytes': remote.length });
  assert.ok(bytes > 0 && bytes <= OFFER_BYTES_MAX, `${bytes} bytes`);
  assert.match(local, /a=simulcast:send q;h;f\r\n/);
});

test('a session that outgrows its seats gets more by itself', async (t) => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const { links } = await server.session({ provider: names });
  const page = await chromium.open(`${server.origin}/`);
  t.after(() => page.close());
  const tokens = names.map((name) => new URL(links.find((link) => link.name === name).link).hash.slice(1));
  await page.evaluate(async (tokens) => {
    // @ts-expect-error the server's own module
    const { Session } = await import('/sdk.js');
    window.calls = tokens.map((token) => new Session({ token }));
    for (const session of window.calls) await session.join();
  }, tokens);
  await until('everybody to have a seat for everybody else', () =>
    page.evaluate(() =>
      window.calls.every(({ seats }) => seats.filter(({ screen, participant }) => !screen && participant).length === 4),
    ),
  );
});

/** Links by role. */
async function invite(people = {}) {
  const { links } = await server.session(people);
  return Object.fromEntries(links.map(({ role, link }) => [role, link]));
}

async function open(t, link, script = undefined, prepare = undefined) {
  const page = await chromium.blank();
  await prepare?.(page);
  if (script) await page.addInitScript(script);
  const guest = new Guest(page, link.slice(0, 30));
  t.after(() => page.close());
  await page.goto(link);
  return guest;
}

/** A provider in, and a patient in the waiting room. */
async function bothIn(t) {
  const links = await invite();
  const provider = await open(t, links.provider);
  await provider.join();
  const patient = await open(t, links.patient);
  await patient.agree();
  await patient.join();
  await provider.button('Admit').waitFor();
  return { patient, provider, links };
}
