/** Chromium to Chromium on a good line: media both ways, layers, seats. Seats and layers change with no new SDP. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertRises } from './harness/assert.mjs';
import { withoutFreeze } from './harness/attempts.mjs';
import { result } from './harness/result.mjs';
import { Tab, joinAll } from './harness/tab.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until, watch } from './harness/wait.mjs';

const OBSERVED_MS = 10_000;
/** The camera's width in each encoding. */
const WIDTHS = { q: 240, h: 480, f: 960 };

const { server, chromium } = await serverAndBrowser();

test('two tabs see and hear each other for ten seconds without a freeze', async (t) => {
  const tabs = await join(t, ['a', 'b']);
  await Promise.all(tabs.map((tab) => tab.plays()));
  await Promise.all(tabs.map((tab) => tab.showsWidth(WIDTHS.f)));
  await withoutFreeze('chromium to chromium', async () => {
    const samples = await watch(OBSERVED_MS, () =>
      Promise.all(tabs.map(async (tab) => ({ received: await tab.received(), sent: await tab.sent() }))),
    );
    const seen = tabs.map((tab, index) => {
      const seconds = samples.map((sample) => sample[index]);
      assertRises(seconds, `${tab.name}: framesDecoded`, ({ received }) => received.video.framesDecoded);
      assertRises(seconds, `${tab.name}: totalAudioEnergy`, ({ received }) => received.audio.totalAudioEnergy);
      assertRises(seconds, `${tab.name}: audio packetsSent`, ({ sent }) => sent.audio.packetsSent);
      assertRises(seconds, `${tab.name}: framesEncoded of f`, ({ sent }) => sent.camera.f.framesEncoded);
      return between(seconds[0].received, seconds.at(-1).received);
    });
    return { freezes: seen[0].freezes + seen[1].freezes, ...named('a', seen[0]), ...named('b', seen[1]) };
  });
});

test('four switches of the encoding: no freeze, no new SDP', async (t) => {
  const [a, b] = await join(t, ['a', 'b']);
  await Promise.all([a, b].map((tab) => tab.plays()));
  await a.showsWidth(WIDTHS.f);
  await withoutFreeze('four rid switches', async () => {
    await a.wishFor(0, 'q');
    await a.showsWidth(WIDTHS.q);
    await a.playsOn(30);
    return unchanged(a, async () => {
      for (const rid of ['h', 'f', 'h', 'q']) {
        await a.wishFor(0, rid);
        await a.showsWidth(WIDTHS[rid]);
        await a.playsOn(30);
      }
    });
  });
  assert.equal((await a.descriptions()).negotiations, 1);
});

test('another participant in a seat: no freeze, no new SDP', async (t) => {
  // The false cameras show the same picture: they are told apart by its shape. They are one device, and who opens it
  // first decides how large it can be.
  const { links } = await server.session({ provider: ['a', 'b', 'c'] });
  const enter = async (index, width, height) => {
    const { link, name } = links[index];
    const tab = await Tab.join(chromium, link, name, { width, height });
    t.after(() => tab.page.close());
    return tab;
  };
  const a = await enter(0, 640, 480);
  const b = await enter(1, 640, 360);
  const c = await enter(2, 640, 480);
  const ids = { b: await b.id(), c: await c.id() };
  const people = async () => (await a.seats()).slice(0, 2).map(({ participant }) => participant);
  await until('both others are seated', async () => (await people()).includes(ids.c));
  assert.deepEqual(await people(), [ids.b, ids.c], 'seats are filled in join order');
  await Promise.all([a.plays(0), a.plays(1)]);
  // The lowest encoding is the one a loaded sender never stops: what is measured is the change, not the sender.
  for (const seat of [0, 1]) {
    await a.wishFor(seat, 'q');
    await a.showsWidth(160, seat);
  }
  await showsShape(a, 16 / 9);
  // Browsers ignore requests for keyframes that follow each other closely; let the last ones be past.
  await a.playsOn(30);
  await withoutFreeze('change of participant in a seat', () =>
    unchanged(a, async () => {
      for (const [id, shape] of [
        [ids.c, 4 / 3],
        [ids.b, 16 / 9],
      ]) {
        await a.setSeat(0, id);
        await until('the server to say so', async () => (await people())[0] === id);
        await showsShape(a, shape);
        await a.playsOn(30);
      }
    }),
  );
});

test('a shared screen is shown while it is shared', async (t) => {
  const [a, b] = await join(t, ['a', 'b'], { width: 320, height: 180 });
  const screenSeat = (await b.seats()).find(({ screen }) => screen);
  const sharing = async () => (await b.seats()).find(({ screen }) => screen).participant;
  // A canvas stands in for a screen: asking for a real one takes a person.
  await a.page.evaluate(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 800, height: 600 });
    const context = canvas.getContext('2d');
    const paint = () => {
      context.fillStyle = `hsl(${performance.now() / 20} 50% 50%)`;
      context.fillRect(0, 0, canvas.width, canvas.height);
      requestAnimationFrame(paint);
    };
    paint();
    return window.vestibule.session.setScreen(canvas.captureStream(15).getVideoTracks()[0]);
  });
  const id = await a.id();
  const begun = performance.now();
  await until('the sharer to sit in the screen seat', async () => (await sharing()) === id);
  await until('the screen to be decoded', async () => (await b.received(screenSeat.id)).video?.framesDecoded > 10);
  const shownMs = performance.now() - begun;
  await a.page.evaluate(() => window.vestibule.session.setScreen(null));
  await until('the screen seat to be empty', async () => (await sharing()) === null);
  result('a shared screen', { 'shown after ms': Math.round(shownMs) });
  assert.equal((await b.descriptions()).negotiations, 1);
});

test('who leaves frees the seats, and nobody else moves', async (t) => {
  const [a, b, c] = await join(t, ['a', 'b', 'c'], { width: 320, height: 180 });
  const [idB, idC] = [await b.id(), await c.id()];
  const people = async () => (await a.seats()).filter(({ screen }) => !screen).map(({ participant }) => participant);
  await until('both are seated', async () => (await people()).includes(idC));
  assert.deepEqual(await people(), [idB, idC, null]);
  await b.page.evaluate(() => window.vestibule.session.leave());
  await until('the seat is free', async () => !(await people()).includes(idB));
  assert.deepEqual(await people(), [null, idC, null]);
});

const join = (t, names, camera) => joinAll(t, chromium, server, names, camera);

/** Does something while a seat plays, which must be one stream to the decoders and take no SDP. */
async function unchanged(tab, change) {
  const before = { ...(await tab.received()), descriptions: await tab.descriptions() };
  await tab.noteGaps();
  await change();
  const { video, audio } = await tab.received();
  assert.equal(video.ssrc, before.video.ssrc, 'one video stream to the decoder');
  assert.equal(audio.ssrc, before.audio.ssrc, 'one audio stream to the decoder');
  assert.ok(audio.totalAudioEnergy > before.audio.totalAudioEnergy, 'audio goes on');
  assert.deepEqual(await tab.descriptions(), before.descriptions);
  const { gapMsMax } = await tab.gaps();
  return {
    freezes: video.freezeCount - before.video.freezeCount,
    'gap ms max': gapMsMax,
    'frames dropped': video.framesDropped - before.video.framesDropped,
    'keyframes decoded': video.keyFramesDecoded - before.video.keyFramesDecoded,
  };
}

/** What happened between two samples of what is received. */
function between(first, last) {
  const frames = last.video.framesDecoded - first.video.framesDecoded;
  return {
    frames,
    fps: frames / ((last.video.timestamp - first.video.timestamp) / 1000),
    size: `${last.video.frameWidth}x${last.video.frameHeight}`,
    freezes: last.video.freezeCount - first.video.freezeCount,
    'packets lost': last.video.packetsLost + last.audio.packetsLost,
    'concealed samples': last.audio.concealedSamples - first.audio.concealedSamples,
  };
}

const named = (name, numbers) =>
  Object.fromEntries(Object.entries(numbers).map(([key, value]) => [`${key} ${name}`, value]));

async function showsShape(tab, shape) {
  await until(`${tab.name} to show a picture of ${shape.toFixed(2)}:1`, async () => {
    const { video } = await tab.received();
    return video?.frameHeight && Math.abs(video.frameWidth / video.frameHeight - shape) < 0.05;
  });
}
