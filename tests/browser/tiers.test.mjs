/**
 * One visit down the whole staircase and up again, by itself: picture and voice, voice alone, writing, and back. The line of
 * the patient is spoiled; what both people see of it is looked at.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Guest } from './harness/guest.mjs';
import { Line } from './harness/line.mjs';
import { result } from './harness/result.mjs';
import { look } from './harness/screens.mjs';
import { Relay } from './harness/server.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

const SEED = 20_261_129;
const GOOD = 'delay_ms=20,loss=0,rate_bps=0';
/** Too little for a picture, and enough for a voice. */
const SLOW = 'delay_ms=20,rate_bps=100000,queue_ms=300';
const CUT = 'loss=1';
/** Enough for the least of a voice, and what waits for it is 1.5 seconds of it. */
const HARDLY = 'delay_ms=20,rate_bps=24000,queue_ms=1500';
const WRITTEN = ['Written while nothing went through', 'and another line', 'and a third one'];
const ASKED = 'Are you still there?';
/** One pixel. */
const PNG = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
/** Three bursts ten seconds apart and a rehearsal, after three for the voice: and a machine that is slow. */
const CLIMB_MS = 120_000;

const { server, chromium } = await serverAndBrowser();

test('a visit goes down to writing and comes back up by itself', async (t) => {
  const { provider, patient, relay, line } = await inTheVisit(t);
  const [patientId, providerId] = [await patient.id(), await provider.id()];
  await Promise.all([provider.plays(patientId), patient.plays(providerId)]);
  const times = {};
  const since = async (what, wait) => {
    const begun = performance.now();
    await wait;
    times[what] = Math.round(performance.now() - begun);
  };

  await relay.command(`down ${SLOW}`);
  await since('slow to voice alone, ms', isOn(patient, 'audio_only', 60_000));
  await patient.page.getByText('We turned video off so that you can keep talking.').waitFor();
  await provider.page.getByText('connection is weak: voice only').waitFor();
  await sendsNoPicture(patient);
  await patient.hears();
  await look(patient.page, 'tier-1-voice-patient');
  await look(provider.page, 'tier-1-voice-provider');

  await relay.command(`down ${CUT}`);
  await relay.command(`up ${CUT}`);
  line.fallSilent();
  await Promise.all([
    since('cut to writing for the patient, ms', isOn(patient, 'async_text', 60_000)),
    // On the server's side the socket may be given up before media is, or after.
    since(
      'cut to writing for the provider, ms',
      provider.page.getByText(/they read and write|What they write is kept/).first().waitFor({ timeout: 60_000 }),
    ),
  ]);
  await patient.page.getByText('There is no connection just now.').waitFor();
  for (const text of WRITTEN) await write(patient, text);
  await look(patient.page, 'tier-2-writing-patient');
  // What is not sent would be gone with who leaves: they are asked.
  await patient.press('Leave');
  await patient.heading2('Leave before all is sent?').waitFor();
  await look(patient.page, 'tier-2-leaving-patient');
  await patient.press('Stay');
  await look(provider.page, 'tier-2-writing-provider');
  // Meanwhile the provider writes, too, in the chat beside the picture that is missing.
  if (!(await provider.page.getByRole('textbox').isVisible())) await provider.press('Chat');
  await write(provider, ASKED);
  await until('the server to have it', async () => (await linesOf(provider)).length > 0);
  assert.deepEqual(await linesOf(provider), [ASKED], 'nothing went through');
  assert.deepEqual(await linesOf(patient), []);

  await relay.command(`down ${GOOD}`);
  await relay.command(`up ${GOOD}`);
  line.cut();
  const all = [ASKED, ...WRITTEN];
  await since('back to the lines that were written, ms', Promise.all([provider, patient].map(
    (guest) => until(`${guest.name} to read them`, async () => (await linesOf(guest)).length >= all.length, 60_000),
  )));
  await since('back to a voice, ms', isOn(patient, 'audio_only', CLIMB_MS));
  await Promise.all([patient.hears(), provider.hears()]);
  await look(patient.page, 'tier-3-voice-again-patient');
  await since('voice to the picture, ms', isOn(patient, 'video', CLIMB_MS));
  await patient.page.getByRole('status').getByText('Your connection is better. Your video is on again.').waitFor();
  await Promise.all([seesMore(provider), seesMore(patient)]);
  assert.deepEqual(await linesOf(provider), all, 'each line once, in order');
  assert.deepEqual(await linesOf(patient), all, 'also with who wrote it');
  await provider.press('Connections');
  await provider.page.getByText('In writing only: nothing is heard.').waitFor();
  await look(provider.page, 'tier-5-connections-provider');
  const { id, status } = await provider.page.evaluate(() => window.vestibule.session.session);
  assert.equal(status, 'active', `${id} is the same session`);
  result('down and up', times);
});

test('where no socket gets through, and no media, the visit goes on over HTTPS', async (t) => {
  const { provider, patient, relay, line } = await inTheVisit(t);
  await provider.plays(await patient.id());
  await relay.command(`down ${CUT}`);
  await relay.command(`up ${CUT}`);
  line.blockSockets();
  await patient.page.getByText('lets only messages through').waitFor({ timeout: 60_000 });
  await provider.page.getByText('they read and write').waitFor();
  assert.equal(await patient.page.evaluate(() => window.vestibule.session.writing), 'https');
  await provider.press('Chat');
  await write(patient, 'By HTTPS');
  await provider.page.getByText('By HTTPS').waitFor();
  await write(provider, 'I read you');
  await patient.page.getByText('I read you').waitFor();
  await look(patient.page, 'tier-6-https-patient');
  await patient.page.reload();
  await patient.page.getByText('lets only messages through').waitFor({ timeout: 60_000 });
  await patient.page.getByText('I read you').waitFor();
  await write(patient, 'After a reload');
  await provider.page.getByText('After a reload').waitFor();
  await patient.page.getByRole('textbox').fill('Half a line');
  await provider.press('Connections');
  await provider.page.getByText('In writing only').first().waitFor();
  await look(provider.page, 'tier-6-https-provider');

  line.letSocketsThrough();
  await relay.command(`down ${GOOD}`);
  await relay.command(`up ${GOOD}`);
  await isOn(patient, 'video', CLIMB_MS);
  assert.equal(await patient.page.getByRole('textbox').inputValue(), 'Half a line', 'what was being written is still there');
  for (const guest of [provider, patient]) assert.deepEqual(await linesOf(guest), ['By HTTPS', 'I read you', 'After a reload']);
});

test('a person chooses less by hand, and more again', async (t) => {
  const { provider, patient } = await inTheVisit(t);
  await provider.plays(await patient.id());
  await patient.press('No video: talk by voice alone');
  await patient.page.getByText('Video is off, as you chose. You can talk.').waitFor();
  await provider.page.getByText('is here by voice.').waitFor();
  await sendsNoPicture(patient);
  await look(patient.page, 'tier-4-chosen-patient');
  assert.equal(await focused(patient), 'Turn video on', 'the button that took the place of the one that was pressed');
  await sendsVoicePackets(patient, 12, 18);
  await patient.press('Turn video on');
  await isOn(patient, 'video', 10_000);
  await patient.page.getByRole('status').getByText('Your video is on again.').waitFor();
  assert.equal(await focused(patient), 'No video: talk by voice alone');
  await look(patient.page, 'tier-4-back-patient');
  await seesMore(provider);
});

test('more that a person asks for on a weak line is said to be tried', async (t) => {
  const { patient, relay } = await inTheVisit(t);
  await relay.command(`down ${SLOW}`);
  await isOn(patient, 'audio_only', 60_000);
  await patient.press('Try video again');
  await patient.page.getByRole('status').getByText('Trying video again … This can take half a minute.').waitFor();
  assert.equal(await focused(patient), 'Trying …', 'the button that was pressed is where the keyboard is still');
  await look(patient.page, 'tier-1-trying-patient');
});

test('who chooses to write is not listened to by their browser any more, until they want to talk again', async (t) => {
  const { provider, patient } = await inTheVisit(t);
  await provider.plays(await patient.id());
  await patient.press('No video: talk by voice alone');
  await patient.press('Write instead');
  await patient.page.getByText('The visit goes on in writing, as you chose. Your camera and microphone are off.').waitFor();
  const held = () => patient.page.evaluate(() => ['microphone', 'camera'].filter((kind) => window.vestibule.media[kind].track !== null));
  await until('camera and microphone to be let go of', async () => (await held()).length === 0);
  for (const name of ['Mute', 'Turn camera off', 'Share screen']) assert.equal(await patient.button(name).count(), 0, name);
  await patient.page.keyboard.type('m');
  assert.equal(await patient.page.getByRole('textbox').inputValue(), 'm', 'it is written, and mutes nobody');
  await patient.page.getByRole('textbox').fill('');
  await look(patient.page, 'tier-7-chosen-writing-patient');
  await patient.press('Back to sound and video');
  await isOn(patient, 'video', 10_000);
  await until('camera and microphone to be taken again', async () => (await held()).length === 2);
  await patient.page.getByRole('status').getByText('You can talk again. Your video is on again.').waitFor();
  await patient.button('Mute').waitFor();
  await provider.hears();
});

test('a photo that is under way when the visit ends keeps the page open until it is sent', async (t) => {
  const { provider, patient } = await inTheVisit(t);
  let letThrough = () => {};
  const held = new Promise((resolve) => (letThrough = () => resolve(undefined)));
  await patient.page.route('**/v1/thread/images', (route) => held.then(() => route.continue()));
  await patient.press('Chat');
  await patient.page.locator('input[type=file]').setInputFiles({ name: 'photo.png', mimeType: 'image/png', buffer: PNG });
  await patient.page.getByRole('textbox').fill('This is how it looks');
  await patient.press('Send');
  await patient.page.getByText('sending, ').waitFor();
  await provider.page.evaluate(() => window.vestibule.session.end());
  await patient.heading('Your visit has ended').waitFor();
  await patient.page.getByRole('status').getByText('Please leave this page open until it is done.').waitFor();
  assert.equal(await patient.page.getByText('You can close this page.').count(), 0);
  await patient.page.getByText('This is how it looks').waitFor();
  assert.equal(await asksBeforeClosing(patient), true);
  await look(patient.page, 'over-sending');
  letThrough();
  await patient.page.getByRole('status').getByText('The clinic has it now, and the provider will read it. You can close this page.').waitFor();
  assert.equal(await asksBeforeClosing(patient), false);
  await look(patient.page, 'over-sent');
});

test('what could not be sent before somebody was taken out is shown to them, by this page or the next', async (t) => {
  const { provider, patient, relay, line } = await inTheVisit(t);
  const link = patient.page.url();
  await relay.command(`down ${CUT}`);
  await relay.command(`up ${CUT}`);
  line.takeDown();
  await patient.page.getByText('There is no connection just now.').waitFor({ timeout: 60_000 });
  await write(patient, WRITTEN[0]);
  const id = await patient.id();
  await patient.page.goto('about:blank');
  await provider.page.evaluate((id) => window.vestibule.session.remove(id), id);
  line.bringUp();
  await patient.page.goto(link);
  await patient.page.getByText('Something that was written on this device before was not sent, and nobody has read it.').waitFor();
  assert.equal(await patient.page.getByText(WRITTEN[0]).count(), 0, 'others may look at this device');
  assert.equal(await patient.page.getByText('All that you wrote is sent').count(), 0);
  await look(patient.page, 'left-behind');
  await patient.press('Show it');
  await patient.page.getByText(WRITTEN[0]).waitFor();
  await look(patient.page, 'left-behind-shown');
  await patient.page.reload();
  await patient.press('Show it');
  await patient.page.getByText(WRITTEN[0]).waitFor();
  await patient.press('Delete it from this device');
  await until('nothing to be kept', () => patient.page.evaluate(linesOnDevice).then((lines) => lines === 0));
  await patient.page.reload();
  await patient.heading('You were taken out of this visit').waitFor();
});

test('where the way up hardly carries a voice the least of one is sent, in packets of 120 ms', async (t) => {
  const { provider, patient, relay } = await inTheVisit(t);
  const patientId = await patient.id();
  await provider.plays(patientId);
  await sendsVoicePackets(patient, 45, 55);
  await relay.command(`up ${HARDLY}`);
  await sendsVoicePackets(patient, 6, 9);
  const { sentBps, lost } = await voiceOver(patient, provider, 4_000);
  result('24 kbit/s up', { 'voice, bits per second of payload': sentBps, 'packets lost of it, %': lost });
  assert.ok(sentBps < 12_000, `${sentBps} bit/s`);
});

test('what somebody was writing outlives a reload, and is shown to them when the visit ends', async (t) => {
  const { provider, patient } = await inTheVisit(t);
  await patient.press('Chat');
  await patient.page.getByRole('textbox').fill('It began on Monday, and');
  await patient.page.reload();
  await patient.page.getByRole('textbox').waitFor();
  assert.equal(await patient.page.getByRole('textbox').inputValue(), 'It began on Monday, and');
  await provider.page.evaluate(() => window.vestibule.session.end());
  await patient.page.getByText('You had begun to write this').waitFor();
  await look(patient.page, 'over-unfinished');
});

/** A provider and a patient in a visit that has begun; the patient's media and everything else by lines of their own. */
async function inTheVisit(t) {
  const { links } = await server.session({});
  const relay = await Relay.start({ target: server.media, seed: SEED, up: GOOD, down: GOOD });
  t.after(() => relay.end());
  const line = await Line.start(server.origin);
  t.after(() => line.end());
  const open = async (role, link, options = {}) => {
    const guest = await Guest.open(chromium, link, role, options);
    t.after(() => guest.page.close());
    if (role === 'patient') await guest.agree();
    await guest.join();
    return guest;
  };
  const linkOf = (role) => links.find((link) => link.role === role).link;
  const provider = await open('provider', linkOf('provider'));
  const patient = await open('patient', line.link(linkOf('patient')), { relay });
  await provider.button('Admit').first().click();
  await until('the patient to be in', () => patient.page.evaluate(() => window.vestibule.session.phase.name === 'admitted'));
  return { provider, patient, relay, line };
}

function isOn(guest, profile, deadlineMs) {
  return until(
    `${guest.name} to be on ${profile}`,
    () => guest.page.evaluate((profile) => window.vestibule.session.tier.profile === profile, profile),
    deadlineMs,
  );
}

/** Of the camera nothing leaves any more, and it is let go of: its light is out. */
async function sendsNoPicture(guest) {
  await until(`${guest.name}'s camera to be let go of`, () => guest.page.evaluate(() => window.vestibule.media.camera.track === null));
  const sent = () =>
    guest.page.evaluate(async () => {
      const entries = [...(await window.vestibule.session.peerConnection.getStats()).values()];
      const pictures = entries.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
      return pictures.reduce((sum, { framesEncoded = 0 }) => sum + framesEncoded, 0);
    });
  let before = -1;
  await until(`${guest.name} to send no picture`, async () => {
    const now = await sent();
    const same = now === before;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return same;
  });
}

/** What is sent and received of voices so far. */
function voices(guest) {
  return guest.page.evaluate(async () => {
    const entries = [...(await window.vestibule.session.peerConnection.getStats()).values()];
    const sum = (wanted, field) =>
      entries
        .filter(({ type, kind }) => type === wanted && kind === 'audio')
        .reduce((total, entry) => total + (entry[field] ?? 0), 0);
    return {
      at: performance.now(),
      packets: sum('outbound-rtp', 'packetsSent'),
      bytes: sum('outbound-rtp', 'bytesSent'),
      received: sum('inbound-rtp', 'packetsReceived'),
    };
  });
}

/** Within half a minute the voice leaves in so many packets a second. */
async function sendsVoicePackets(guest, least, most) {
  let before = await voices(guest);
  await until(`${guest.name} to send ${least} to ${most} packets of their voice a second`, async () => {
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const now = await voices(guest);
    const rate = ((now.packets - before.packets) * 1000) / (now.at - before.at);
    before = now;
    return rate >= least && rate <= most;
  });
}

/** What one voice takes, and how much of it the other does not get. */
async function voiceOver(from, to, milliseconds) {
  const before = await Promise.all([voices(from), voices(to)]);
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const now = await Promise.all([voices(from), voices(to)]);
  const [sent, received] = [now[0].packets - before[0].packets, now[1].received - before[1].received];
  const sentBps = Math.round(((now[0].bytes - before[0].bytes) * 8000) / (now[0].at - before[0].at));
  return { sentBps, lost: Math.round(Math.max(0, 1 - received / sent) * 100) };
}

async function seesMore(guest) {
  const { framesDecoded } = await guest.traffic();
  await until(`${guest.name} to see more`, async () => (await guest.traffic()).framesDecoded > framesDecoded + 30);
}

async function write(guest, text) {
  await guest.page.getByRole('textbox').fill(text);
  await guest.press('Send');
  await guest.page.getByText(text).waitFor();
}

/** The name of what has the keyboard. */
function focused(guest) {
  return guest.page.evaluate(() => {
    const element = document.activeElement;
    return element?.getAttribute('aria-label') ?? element?.textContent?.trim();
  });
}

function asksBeforeClosing(guest) {
  return guest.page.evaluate(() => !window.dispatchEvent(new Event('beforeunload', { cancelable: true })));
}

/** How many lines wait on the device; runs in the page. */
async function linesOnDevice() {
  const result = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const database = await result(indexedDB.open('vestibule-outbox'));
  const count = await result(database.transaction('lines').objectStore('lines').count());
  database.close();
  return count;
}

function linesOf(guest) {
  return guest.page.evaluate(() => window.vestibule.session.chat.map((line) => line.text));
}
