/**
 * Whatever breaks, the visit goes on: sockets, addresses, transports, pages and the server are lost under real pages, and what
 * the people see of it is measured. Times are reported; what must hold is asserted.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { withoutFreeze } from './harness/attempts.mjs';
import { startChromium } from './harness/browsers.mjs';
import { countFrames, frames, quantile, recount } from './harness/frames.mjs';
import { Guest } from './harness/guest.mjs';
import { Line } from './harness/line.mjs';
import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { Server } from './harness/server.mjs';
import { until } from './harness/wait.mjs';

const ADMISSIONS = 30;
const KILLS = 3;
const RELOADS = 5;

let chromium;

before(async () => {
  chromium = await startChromium();
});

after(() => chromium?.end());

test('thirty admissions through a transport that stands already', async (t) => {
  const { patient, provider } = await waiting(t);
  const took = { patient: [], provider: [] };
  for (let index = 0; index < ADMISSIONS; index += 1) {
    await provider.button('Admit').waitFor();
    await Promise.all([patient, provider].map(({ page }) => recount(page)));
    const clicked = await provider.button('Admit').evaluate((/** @type {HTMLButtonElement} */ button) => {
      button.click();
      return Date.now();
    });
    for (const [who, guest] of Object.entries({ patient, provider })) {
      const { first } = await until(`the first picture for the ${who} after admission ${index + 1}`, async () => {
        const seen = await frames(guest.page);
        return seen.first > 0 && seen;
      });
      took[who].push(first - clicked);
    }
    const negotiations = await patient.page.evaluate(() => window.vestibule.session.negotiations);
    assert.equal(negotiations, 1, 'one offer, whatever happened since');
    await provider.sendBack(await patient.id());
    await patient.heading('You are in the waiting room').waitFor();
  }
  for (const [who, times] of Object.entries(took)) {
    result(`admission, first picture of the other for the ${who}`, {
      admissions: times.length,
      'p50 ms': quantile(times, 0.5),
      'p95 ms': quantile(times, 0.95),
      'max ms': Math.max(...times),
    });
  }
});

test('a lost socket loses no media and no message', async (t) => {
  const { patient, provider, line } = await inTheVisit(t);
  const said = [];
  await withoutFreeze('socket lost twice', async () => {
    const before = await facts(patient);
    await Promise.all([patient, provider].map(({ page }) => recount(page)));
    line.cut();
    await cameBack(patient, before.sockets);
    await say(patient, 'after the first', said);
    line.takeDown();
    await isLost(patient);
    said.push('written while away');
    await patient.page.evaluate((text) => void (window.written_ = window.vestibule.session.sendChat(text)), said.at(-1));
    line.bringUp();
    await patient.page.evaluate(() => window.written_);
    await say(provider, 'and answered', said);
    for (const guest of [patient, provider]) {
      await until(`${guest.name} to have all lines once`, async () => {
        const lines = await guest.page.evaluate(() => window.vestibule.session.chat.map(({ text }) => text));
        return JSON.stringify(lines) === JSON.stringify(said);
      });
    }
    const now = await facts(patient);
    const seen = await Promise.all([patient, provider].map(({ page }) => frames(page)));
    assert.equal(now.negotiations, before.negotiations, 'the same PeerConnection');
    assert.equal(now.packetsLost, before.packetsLost, 'no packet was lost');
    assert.ok(now.packetsReceived > before.packetsReceived);
    return {
      freezes: now.freezes - before.freezes,
      'longest gap ms the patient saw': seen[0].gapMsMax,
      'longest gap ms the provider saw': seen[1].gapMsMax,
      'packets lost': now.packetsLost - before.packetsLost,
    };
  });
  // Apart from what is measured: a page that is drawn to a file shows no frames meanwhile.
  line.takeDown();
  await isLost(patient);
  await look(patient.page, 'socket-away');
  line.bringUp();
});

test('another address in mid-call', async (t) => {
  const server = await Server.startBehindRelay({ seed: 20_261_128, line: 'delay_ms=20' });
  const { patient, provider } = await inTheVisit(t, server);
  const before = await facts(patient);
  await Promise.all([patient, provider].map(({ page }) => recount(page)));
  await server.relay.command('rebind');
  await Promise.all([patient, provider].map(({ page }) => page.evaluate(() => window.dispatchEvent(new Event('online')))));
  await until('the new path', async () => (await facts(patient)).ufrag !== before.ufrag);
  await Promise.all([patient, provider].map(seesMore));
  const seen = await Promise.all([patient, provider].map(({ page }) => frames(page)));
  result('ICE restart on a new address', {
    'longest gap ms the patient saw': seen[0].gapMsMax,
    'longest gap ms the provider saw': seen[1].gapMsMax,
  });
  assert.equal((await facts(patient)).negotiations, before.negotiations, 'the same PeerConnection');
});

test('a transport that is lost for good is replaced, with the same socket and everybody in their place', async (t) => {
  const { patient, provider } = await inTheVisit(t);
  const { sockets } = await facts(patient);
  await Promise.all([patient, provider].map(({ page }) => recount(page)));
  await patient.page.evaluate(() => {
    window.closed_ = window.vestibule.session.peerConnection;
    window.closed_.close();
  });
  await until('another PeerConnection', () =>
    patient.page.evaluate(() => window.vestibule.session.peerConnection !== window.closed_),
  );
  await Promise.all([patient.plays(await provider.id()), provider.plays(await patient.id())]);
  await Promise.all([patient, provider].map(seesMore));
  const seen = await Promise.all([patient, provider].map(({ page }) => frames(page)));
  result('transport lost for good', {
    'longest gap ms the patient saw': seen[0].gapMsMax,
    'longest gap ms the provider saw': seen[1].gapMsMax,
  });
  assert.equal((await facts(patient)).sockets, sockets, 'no new socket');
});

test('a reload goes straight back into the visit', async (t) => {
  const { patient, provider } = await inTheVisit(t);
  for (const [guest, other] of [[patient, provider], [provider, patient]]) {
    const took = [];
    for (let index = 0; index < RELOADS; index += 1) {
      await recount(other.page);
      const begun = Date.now();
      await guest.page.reload({ waitUntil: 'commit' });
      const { first } = await until('pictures after the reload', async () => {
        const seen = await frames(guest.page).catch(() => ({ first: 0 }));
        return seen.first > 0 && seen;
      });
      took.push(first - begun);
      await guest.plays(await other.id());
      await seesMore(other);
    }
    result(`reload of the ${guest.name}`, { 'p50 ms': quantile(took, 0.5), 'max ms': Math.max(...took) });
  }
  assert.deepEqual(knocks(provider), [], 'nobody had to be let in again');
});

test('after a reload the other is seen and heard, though the own camera takes its time or is refused', async (t) => {
  const { patient, provider } = await inTheVisit(t);
  const other = await provider.id();
  // From the next page on, and only while the test says so.
  await patient.page.addInitScript(() => {
    const devices = navigator.mediaDevices;
    const ask = devices.getUserMedia.bind(devices);
    let asked = 0;
    Object.defineProperty(devices, 'getUserMedia', {
      value: async (/** @type {MediaStreamConstraints} */ constraints) => {
        asked += 1;
        const how = sessionStorage.getItem('test.devices');
        if (how === 'refused') throw new DOMException('denied', 'NotAllowedError');
        if (how === 'slow' && asked === 1) await new Promise((resolve) => setTimeout(resolve, 1_500));
        return ask(constraints);
      },
    });
  });
  const reload = async (/** @type {string} */ how) => {
    await patient.page.evaluate((how) => sessionStorage.setItem('test.devices', how), how);
    await patient.page.reload();
    await patient.plays(other);
    await seesMore(patient);
  };
  await reload('slow');
  await until('sound without a touch once the own camera is there', () =>
    patient.page.evaluate(() => [...document.querySelectorAll('audio')].some(({ muted, paused, srcObject }) =>
      !muted && !paused && window.vestibule.session.seats.some(({ voice }) => voice === srcObject))),
  );
  await reload('refused');
  await patient.page.getByText('You are back without your').first().waitFor();
  await look(patient.page, 'back-without-devices');
  await reload('as before');
  await provider.plays(await patient.id());
});

test('a reload in the waiting room keeps the place, and the admission', async (t) => {
  const { patient, provider } = await waiting(t);
  await patient.page.reload();
  await patient.heading('You are in the waiting room').waitFor();
  await provider.press('Admit');
  await patient.plays(await provider.id());
});

test('the server is killed and started anew, and the visit goes on', async (t) => {
  let server = await Server.start();
  const { host } = new URL(server.origin);
  const { patient, provider } = await inTheVisit(t, server, () => server);
  await provider.page.evaluate(() => window.vestibule.session.sendChat('before'));
  const took = [];
  for (let index = 0; index < KILLS; index += 1) {
    await Promise.all([patient, provider].map(({ page }) => recount(page)));
    const begun = Date.now();
    const { data } = server;
    await server.process.kill();
    server = await Server.start([], { listen: host, data });
    const up = Date.now();
    for (const { page } of [patient, provider]) {
      await until('the line to be there', () =>
        page.evaluate(() => window.vestibule.session.line === 'open' && window.vestibule.session.phase.name === 'admitted'),
      );
    }
    await Promise.all([patient, provider].map((guest) => guest.connected()));
    await Promise.all([patient.plays(await provider.id()), provider.plays(await patient.id())]);
    const seen = await Promise.all([patient, provider].map(({ page }) => frames(page)));
    took.push(Math.max(...seen.map(({ gapMsMax }) => gapMsMax)));
    result('server killed', {
      'server up again after ms': up - begun,
      'longest gap ms the patient saw': seen[0].gapMsMax,
      'longest gap ms the provider saw': seen[1].gapMsMax,
    });
  }
  result('server killed, longest gap', { 'max ms': Math.max(...took), kills: KILLS });
  for (const { page } of [patient, provider]) {
    const lines = await page.evaluate(() => window.vestibule.session.chat.map(({ text }) => text));
    assert.deepEqual(lines, ['before']);
  }
});

/** A provider in, and a patient in the waiting room whose transport stands; all by way of a line that can be cut. */
async function waiting(t, server = undefined, current = undefined) {
  const own = server ?? (await Server.start());
  t.after(() => (current?.() ?? own).end());
  const line = await Line.start(own.origin);
  t.after(() => line.end());
  const { links } = await own.session();
  const open = async (role) => {
    const page = await chromium.blank();
    t.after(() => page.close());
    await page.addInitScript(countFrames);
    const guest = new Guest(page, role);
    await page.goto(line.link(links.find((link) => link.role === role).link));
    return guest;
  };
  const provider = await open('provider');
  await provider.join();
  const patient = await open('patient');
  await patient.agree();
  await patient.join();
  await provider.button('Admit').waitFor();
  return { patient, provider, line, links };
}

async function inTheVisit(t, server = undefined, current = undefined) {
  const visit = await waiting(t, server, current);
  const { patient, provider } = visit;
  await provider.press('Admit');
  await Promise.all([patient.plays(await provider.id()), provider.plays(await patient.id())]);
  return visit;
}

/** Waits for some more pictures of others. */
async function seesMore({ page, name }) {
  const { count } = await frames(page);
  await until(`${name} to see more`, async () => (await frames(page)).count > count + 30);
}

/** Writes a line; `said` has all lines of the visit in their order. */
function say({ page }, text, said) {
  said.push(text);
  return page.evaluate((line) => window.vestibule.session.sendChat(line), text);
}

/** Waits until the guest knows, and says, that their line is lost. */
async function isLost({ page, name }) {
  await until(`${name} to know that the line is lost`, () => page.evaluate(() => window.vestibule.session.line === 'reconnecting'));
  await page.getByText('The connection was lost').waitFor();
}

async function cameBack(guest, sockets) {
  await until(`${guest.name} to have another socket`, async () => (await facts(guest)).sockets > sockets);
  await until(`${guest.name} to be back`, () => guest.page.evaluate(() => window.vestibule.session.line === 'open'));
}

/** Knocks a guest heard after those that were there from the beginning. */
const knocks = (guest) => guest.heard.filter((text) => text.includes('"type":"knock"')).slice(1);

/** What a loss must leave as it was. */
async function facts(guest) {
  const inPage = await guest.page.evaluate(async () => {
    const { session } = window.vestibule;
    const entries = [...(await session.peerConnection.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
    const sum = (field) => entries.reduce((total, entry) => total + (entry[field] ?? 0), 0);
    return {
      negotiations: session.negotiations,
      ufrag: /^a=ice-ufrag:(\S+)/m.exec(session.peerConnection.localDescription.sdp)[1],
      packetsReceived: sum('packetsReceived'),
      packetsLost: sum('packetsLost'),
      freezes: sum('freezeCount'),
    };
  });
  return { ...inPage, sockets: guest.sockets };
}
