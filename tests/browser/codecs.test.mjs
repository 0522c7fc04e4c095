/**
 * Every video codec between real browsers, and a codec that changes while people look at each other. In a network namespace,
 * as Firefox does not pair loopback candidates.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startChromium, startFirefox } from './harness/browsers.mjs';
import { ADDRESS, inside, runInside, skip } from './harness/namespace.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { Tab } from './harness/tab.mjs';
import { until, watch } from './harness/wait.mjs';

/** Codecs in which a publisher sends all sizes in one stream of layers. */
const LAYERED = ['VP9', 'AV1'];
/** What the lowest layer takes at the most, of 150 kbit/s with what an encoder goes over. */
const LOWEST_KBPS_MAX = 250;
/** A seat stands still for no longer while its codec changes; seen were 130 to 800 ms, on a machine that was busy. */
const STANDS_STILL_MS_MAX = 1_500;

if (inside) {
  for (const codec of ['VP9', 'H264', 'AV1']) {
    test(`Chromium and Chromium in ${codec}, in every size`, (t) => inEverySize(t, codec));
  }
  for (const codec of LAYERED) {
    test(`Chromium in ${codec} sends no more layers than anybody is shown`, (t) => sendsWhatIsShown(t, codec));
  }
  for (const codec of LAYERED) {
    test(`Chromium and Firefox in ${codec}`, (t) => betweenBoth(t, codec));
  }
  test('a seat goes on in another codec when Firefox joins who has no H264', switchesCodec);
  test('a seat in Firefox goes on in another codec, from Firefox, when somebody joins who has but one', switchesInFirefox);
} else {
  test('codecs of real browsers', { skip }, () => runInside(import.meta.url));
}

async function inEverySize(t, codec) {
  const [publisher, viewer] = await enter(t, codec, [startChromium]);
  await viewer.plays();
  assert.equal(await shown(viewer), codec);
  assert.deepEqual(await sent(publisher), [codec]);
  await viewer.showsWidth(960);
  const widths = [];
  for (const rid of ['q', 'h', 'f']) {
    const last = widths.at(-1) ?? 960;
    await viewer.wishFor(0, rid);
    const { video } = await until(`another size for ${rid} in ${codec}`, async () => {
      const received = await viewer.received();
      return received.video.frameWidth !== last && received;
    });
    widths.push(video.frameWidth);
  }
  await viewer.playsOn(30);
  assert.deepEqual(widths, [240, 480, 960]);
  assert.equal(await shown(viewer), codec);
  const { video } = await viewer.received();
  const encodings = Object.values((await publisher.sent()).camera).filter(({ framesEncoded }) => framesEncoded > 0);
  result(`Chromium in ${codec}`, {
    widths: widths.join('/'),
    decoded: video.framesDecoded,
    freezes: video.freezeCount,
    encodings: encodings.map(({ rid, scalabilityMode }) => `${rid} ${scalabilityMode}`).join(', '),
  });
  const isLayered = LAYERED.includes(codec);
  const expected = isLayered ? ['q L3T3_KEY'] : ['f L1T3', 'h L1T3', 'q L1T3'];
  // Of encodings beside each other the one in the middle rests while nobody is shown it.
  const active = encodings.filter((encoding) => !isLayered || encoding.active !== false);
  assert.deepEqual(active.map(({ rid, scalabilityMode }) => `${rid} ${scalabilityMode}`).sort(), expected);
}

async function sendsWhatIsShown(t, codec) {
  const [publisher, viewer] = await enter(t, codec, [startChromium]);
  await viewer.showsWidth(960);
  const large = await uploadKbps(publisher);
  await viewer.noteGaps();
  await viewer.wishFor(0, 'q');
  await viewer.showsWidth(240);
  await sendsLayers(publisher, 'L1T3');
  const small = await uploadKbps(publisher);
  await viewer.wishFor(0, 'h');
  await sendsLayers(publisher, 'L2T3_KEY');
  await viewer.showsWidth(480);
  await viewer.wishFor(0, 'f');
  const from = performance.now();
  await viewer.showsWidth(960);
  const backMs = Math.round(performance.now() - from);
  await sendsLayers(publisher, 'L3T3_KEY');
  await viewer.playsOn(30);
  const { gapMsMax } = await viewer.gaps();
  result(`layers of Chromium in ${codec}`, { large, small, 'large again, ms': backMs, 'longest gap, ms': gapMsMax });
  assert.ok(small <= LOWEST_KBPS_MAX && small < large / 2, `${small} kbit/s after ${large}`);
  assert.ok(gapMsMax < STANDS_STILL_MS_MAX, `it stood still for ${gapMsMax} ms`);
}

async function betweenBoth(t, codec) {
  const tabs = await enter(t, codec, [startChromium, startFirefox]);
  for (const tab of tabs) {
    const { video } = await tab.plays();
    await tab.playsOn(30);
    assert.equal(await shown(tab), codec, `shown to ${tab.name}`);
    result(`${codec} seen by ${tab.name}`, { size: `${video.frameWidth}x${video.frameHeight}` });
  }
}

async function switchesCodec(t) {
  const { server, links, join } = await visit(t, 'H264', ['Provider', 'Second', 'Third']);
  const chromium = await startChromium();
  t.after(() => chromium.end());
  const publisher = await join(chromium, 'Provider');
  const viewer = await join(chromium, 'Second');
  await viewer.plays();
  assert.equal(await shown(viewer), 'H264');
  const before = await viewer.descriptions();
  await viewer.playsOn(60);
  await viewer.noteGaps();
  const firefox = await startFirefox();
  t.after(() => firefox.end());
  const late = await join(firefox, 'Third');
  await late.plays(await seatOf(late, publisher));
  await until('the seat to go on in VP8', async () => (await shown(viewer)) === 'VP8');
  await viewer.playsOn(60);
  const { frames, gapMsMax } = await viewer.gaps();
  assert.equal((await viewer.descriptions()).remote.match(/^m=/gm)?.length, before.remote.match(/^m=/gm)?.length);
  assert.deepEqual(await sent(publisher), ['VP8']);
  assert.ok(gapMsMax < STANDS_STILL_MS_MAX, `it stood still for ${gapMsMax} ms`);
  result('H264 to VP8 in a seat', { frames, 'longest gap, ms': gapMsMax, links: links.length, server: server.origin });
}

async function switchesInFirefox(t) {
  const { join } = await visit(t, 'VP9', ['Provider', 'Second', 'Third']);
  const firefox = await startFirefox();
  t.after(() => firefox.end());
  const publisher = await join(firefox, 'Provider');
  const viewer = await join(firefox, 'Second');
  await viewer.plays();
  assert.deepEqual([await shown(viewer), await sent(publisher)], ['VP9', ['VP9']]);
  const before = await viewer.descriptions();
  await viewer.playsOn(60);
  await viewer.noteGaps();
  const chromium = await startChromium();
  t.after(() => chromium.end());
  const late = await join(chromium, 'Third', ['video/VP9', 'video/AV1', 'video/H264']);
  await late.plays(await seatOf(late, publisher));
  await until('the seat to go on in VP8', async () => (await shown(viewer)) === 'VP8');
  await viewer.playsOn(60);
  const { frames, gapMsMax } = await viewer.gaps();
  assert.deepEqual(await sent(publisher), ['VP8']);
  assert.equal((await viewer.descriptions()).remote.match(/^m=/gm)?.length, before.remote.match(/^m=/gm)?.length);
  assert.ok(gapMsMax < STANDS_STILL_MS_MAX, `it stood still for ${gapMsMax} ms`);
  result('VP9 to VP8 in Firefox', { frames, 'longest gap, ms': gapMsMax });
}

/** A visit in a codec, with a browser for each program and somebody in each; one program: two people in it. */
async function enter(t, codec, programs) {
  const { join } = await visit(t, codec, ['One', 'Two']);
  const browsers = [];
  for (const start of programs) {
    const browser = await start();
    t.after(() => browser.end());
    browsers.push(browser);
  }
  return [await join(browsers[0], 'One'), await join(browsers.at(-1), 'Two')];
}

async function visit(t, codec, names) {
  const server = await Server.start(['--media-bind', ADDRESS, '--video-codec', codec.toLowerCase()]);
  t.after(() => server.end());
  const { links } = await server.session({ provider: names });
  /** `without`: codecs that their browser is taken to have none of. */
  const join = (browser, name, without = []) =>
    Tab.join(browser, links.find((link) => link.name === name).link, `${browser.name} (${name})`, {}, undefined, without);
  return { server, links, join };
}

/** The number of the seat in which somebody is shown to a tab. */
async function seatOf(tab, whom) {
  const id = await whom.id();
  return until('a seat for them', async () => {
    const seat = (await tab.seats()).find(({ participant }) => participant === id);
    return seat && { id: seat.id };
  }).then((seat) => seat.id);
}

const nameOf = (stats, id) => stats.find((entry) => entry.id === id)?.mimeType.replace(/^video\//, '');

/** The codec in which a tab is shown the first seat. */
async function shown(tab) {
  const { video } = await tab.received();
  return nameOf(await tab.stats(), video.codecId);
}

/** Waits until a tab sends its camera in these layers. */
function sendsLayers(tab, mode) {
  return until(`${tab.name} to send ${mode}`, async () => (await tab.sent()).camera.q?.scalabilityMode === mode);
}

/** What a tab's camera takes of its way up in three seconds. */
async function uploadKbps(tab) {
  const look = async () => {
    const encodings = Object.values((await tab.sent()).camera);
    return { at: performance.now(), bytes: encodings.reduce((sum, { bytesSent = 0 }) => sum + bytesSent, 0) };
  };
  const looks = await watch(3_000, look);
  const [first, last] = [looks[0], looks[looks.length - 1]];
  return Math.round(((last.bytes - first.bytes) * 8) / (last.at - first.at));
}

/** The codecs in which a tab sends its camera. */
async function sent(tab) {
  const stats = await tab.stats();
  const camera = Object.values((await tab.sent()).camera).filter(({ codecId, active }) => codecId && active !== false);
  return [...new Set(camera.map(({ codecId }) => nameOf(stats, codecId)))];
}
