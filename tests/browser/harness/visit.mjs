/** The whole visit, as its people live it. Run by the tests that differ in how the server is reached. */
import assert from 'node:assert/strict';

import { Guest } from './guest.mjs';
import { until } from './wait.mjs';

const PROVIDER = 'Dr. Secretname';
const INTERPRETER = 'Interpreter Secretname';
const PATIENT = 'Demo Patient';
const LINE = 'a line the patient must never read';
const FOR_ALL = 'Please take one tablet in the morning.';

/**
 * Consent, device check, waiting (the patient gets nothing), admission, both see and hear each other, mute, a shared
 * screen, an interpreter, chat, the end.
 * @param {any} t the test
 * @param {{server: any, chromium: any, pages?: object, look?: (page: any, screen: string) => Promise<void>}} options
 * @returns {Promise<{patientLink: string, times: Record<string, number>}>}
 */
export async function visit(t, { server, chromium, pages = {}, look = async () => undefined }) {
  const { links } = await server.session({ provider: [PROVIDER], patient: PATIENT, interpreter: [INTERPRETER] });
  const open = async (role) => {
    const { link, name } = links.find((link) => link.role === role);
    const guest = await Guest.open(chromium, link, name, pages);
    t.after(() => guest.page.close());
    return guest;
  };

  // The patient: consent, device check, waiting.
  const patient = await open('patient');
  await patient.button('I agree and continue').waitFor();
  assert.equal(await patient.page.evaluate(() => location.hash), '', 'the token is out of the address bar');
  await look(patient.page, '1-consent');
  await patient.agree();
  await patient.devicesReady();
  await look(patient.page, '2-device-check');
  const joined = await patient.join();
  await patient.heading(/wait/i).waitFor();
  await look(patient.page, '3-waiting');

  // The provider and the interpreter talk meanwhile; the patient gets nothing of it.
  const provider = await open('provider');
  await provider.devicesReady();
  await look(provider.page, '2-device-check-provider');
  await provider.join();
  await provider.page.getByText(PATIENT).first().waitFor();
  await look(provider.page, '4-knock');
  const early = await provider.page.evaluate(
    (line) => window.vestibule.session.sendChat(line).then(() => 'said', (error) => error.message),
    LINE,
  );
  assert.equal(early, 'said');
  await provesNothingPasses(patient, provider);

  // Admission.
  const [patientId, providerId] = [await patient.id(), await provider.id()];
  const admittedAt = performance.now();
  await provider.button('Admit').first().click();
  const firstFrames = Promise.all([
    patient.plays(providerId).then(() => performance.now() - admittedAt),
    provider.plays(patientId).then(() => performance.now() - admittedAt),
  ]);
  const [toPatient, toProvider] = await firstFrames;
  await until('the patient to be shown', () => provider.shown(patientId));
  await until('the provider to be shown', () => patient.shown(providerId));
  await look(patient.page, '5-call-patient');
  await look(provider.page, '5-call-provider');
  await provider.press('Connections');
  await provider.page.getByRole('heading', { name: 'Connections' }).waitFor();
  await look(provider.page, '5-connections');
  await provider.button('Close').click();

  // Mute and camera.
  await patient.press('Mute');
  await patient.press('Turn camera off');
  const muted = () =>
    provider.page.evaluate(
      (id) => window.vestibule.session.participants.find((participant) => participant.id === id).media,
      patientId,
    );
  await until('the provider to be told', async () => {
    const { audio, camera } = await muted();
    return audio === 'muted' && camera === 'muted';
  });
  await until('no frozen picture', async () => !(await provider.shown(patientId)));
  await look(provider.page, '6-camera-off');
  await patient.press('Unmute');
  await patient.press('Turn camera on');
  await until('the picture to be back', () => provider.shown(patientId));

  // A shared screen.
  await provider.press('Share screen');
  await patient.plays(providerId, true);
  await look(patient.page, '7-shared-screen');
  await provider.press('Stop sharing');
  await until('the screen to be gone', () =>
    patient.page.evaluate(() => window.vestibule.session.seats.every(({ screen, participant }) => !screen || !participant)),
  );

  // The interpreter.
  const interpreter = await open('interpreter');
  await interpreter.join();
  await provider.page.getByText(INTERPRETER).first().waitFor();
  await provider.button('Admit').first().click();
  const interpreterId = await interpreter.id();
  await Promise.all([
    patient.plays(interpreterId),
    provider.plays(interpreterId),
    interpreter.plays(patientId),
    interpreter.plays(providerId),
  ]);
  await look(patient.page, '8-three-people');

  // Chat: what was said while the patient waited is not theirs to read, now or ever.
  await provider.page.evaluate((line) => window.vestibule.session.sendChat(line), FOR_ALL);
  await patient.page.getByRole('button', { name: 'Chat, 1 new' }).click();
  await patient.page.getByText(FOR_ALL).waitFor();
  assert.equal(await patient.page.getByText(LINE).count(), 0);
  assert.ok(!patient.heard.join('\n').includes(LINE), 'a line from before reached the patient');
  await look(patient.page, '9-chat');

  // The end, for everybody.
  await provider.press('End visit');
  await look(provider.page, '10-end-question');
  await provider.page.getByRole('dialog').getByRole('button', { name: /^End/ }).click();
  for (const guest of [provider, patient, interpreter]) {
    await guest.heading(/ended|over/i).waitFor();
    assert.equal(await guest.page.evaluate(() => document.querySelectorAll('video').length), 0, 'cameras are let go');
  }
  await look(patient.page, '11-ended-patient');
  await look(provider.page, '11-ended-provider');

  return {
    patientLink: links.find(({ role }) => role === 'patient').link,
    times: {
      'join to connected ms': Math.round(joined),
      'admit to first frame ms, patient': Math.round(toPatient),
      'admit to first frame ms, provider': Math.round(toProvider),
    },
  };
}

/** Nothing of anybody reaches who waits, and nothing of them anybody: no packets, no names, no chat. */
async function provesNothingPasses(patient, provider) {
  await patient.connected();
  const before = await patient.traffic();
  // A provider's media flows: what is not forwarded is not for want of it.
  const sent = (await provider.traffic()).packetsSent;
  await until('the provider to send more', async () => (await provider.traffic()).packetsSent > sent + 50);
  const [mine, theirs] = [await patient.traffic(), await provider.traffic()];
  assert.deepEqual([before.packetsReceived, mine.packetsReceived, mine.packetsSent], [0, 0, 0], 'the patient');
  assert.equal(theirs.packetsReceived, 0, 'the provider');
  await provesTheGateIsClosed(patient, provider);
  const tried = await patient.page.evaluate(async () => {
    const { session } = window.vestibule;
    const outcome = (promise) => promise.then(() => 'done', (error) => error.code);
    return {
      chat: await outcome(session.sendChat('let me in')),
      admit: await outcome(session.admit(session.you.id)),
      end: await outcome(session.end()),
    };
  });
  assert.deepEqual(tried, { chat: 'not_admitted', admit: 'not_permitted', end: 'not_permitted' });
  const heard = patient.heard.join('\n');
  assert.ok(heard.includes('"waiting"'), 'it was listened to');
  for (const secret of [PROVIDER, INTERPRETER, LINE, 'let me in']) {
    assert.ok(!heard.includes(secret), `${secret} reached who waits`);
  }
  const toProvider = provider.heard.join('\n');
  assert.ok(!toProvider.includes('let me in'), 'chat of who waits reached the provider');
}

/** A client that does not keep to the rules and sends from the waiting room: its packets end at the server. */
async function provesTheGateIsClosed(patient, provider) {
  await patient.page.evaluate(async () => {
    const { peerConnection } = window.vestibule.session;
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    const [microphone, camera] = peerConnection.getSenders();
    await microphone.replaceTrack(media.getAudioTracks()[0]);
    await camera.replaceTrack(media.getVideoTracks()[0]);
    for (const sender of [microphone, camera]) {
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) encoding.active = true;
      await sender.setParameters(parameters);
    }
  });
  await until('the patient to send', async () => (await patient.traffic()).packetsSent > 100);
  assert.equal((await provider.traffic()).packetsReceived, 0, 'what who waits sends ends at the server');
  assert.equal((await patient.traffic()).packetsReceived, 0, 'and nothing comes back');
  await patient.page.evaluate(async () => {
    for (const sender of window.vestibule.session.peerConnection.getSenders()) {
      sender.track?.stop();
      await sender.replaceTrack(null);
    }
  });
}
