/**
 * Firefox watching over a thin line. It never pairs loopback candidates, so it, the relay and the server run in a network
 * namespace.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startChromium, startFirefox } from './harness/browsers.mjs';
import { ADDRESS, inside, runInside, skip } from './harness/namespace.mjs';
import { result } from './harness/result.mjs';
import { Relay, Server } from './harness/server.mjs';
import { Tab } from './harness/tab.mjs';
import { watch } from './harness/wait.mjs';

const SEED = 20_261_129;
const OBSERVED_MS = 20_000;
/** Longer without a new picture is frozen for good, as far as anybody who watches is concerned. */
const STILL_MS_MAX = 4_000;

test('0.6 Mbit/s carry a picture and a voice to Firefox', { skip }, async (t) => {
  await (inside ? thin(t) : runInside(import.meta.url));
});

async function thin(t) {
  const server = await Server.start(['--media-bind', ADDRESS]);
  t.after(() => server.end());
  const { links } = await server.session({ provider: ['Chromium', 'Firefox'] });
  const [chromium, firefox] = await Promise.all([startChromium(), startFirefox()]);
  t.after(() => Promise.all([chromium.end(), firefox.end()]));
  const down = 'delay_ms=50,rate_bps=600000,queue_ms=300';
  const relay = await Relay.start({ target: server.media, seed: SEED, up: 'delay_ms=50', down, listen: `${ADDRESS}:0` });
  t.after(() => relay.end());
  await Tab.join(chromium, links[0].link, 'Chromium');
  const viewer = await Tab.join(firefox, links[1].link, 'Firefox', null, relay);
  await viewer.plays();
  const samples = await watch(OBSERVED_MS, async () => ({
    ...(await viewer.received()),
    server: await viewer.serverStats(),
  }));
  let still = 0;
  let since = samples[0].video;
  for (const { video } of samples) {
    if (video.framesDecoded > since.framesDecoded) since = video;
    else still = Math.max(still, video.timestamp - since.timestamp);
  }
  const [first, last] = [samples[0], samples.at(-1)];
  const voice = samples.map(({ audio }) => audio.totalAudioEnergy);
  const heard = last.audio.totalSamplesReceived - first.audio.totalSamplesReceived;
  const estimates = samples.slice(10).map(({ server }) => server.downlink.estimateBps / 1000);
  result('0.6 Mbit/s, Firefox', {
    frames: last.video.framesDecoded - first.video.framesDecoded,
    height: last.video.frameHeight,
    'still ms, looked at each second': Math.round(still),
    'concealed %': (100 * (last.audio.concealedSamples - first.audio.concealedSamples)) / heard,
    'estimate kbit/s': `${Math.round(Math.min(...estimates))} to ${Math.round(Math.max(...estimates))}`,
    'line dropped': (await relay.command('stats')).down.queueDropped,
  });
  assert.ok(still <= STILL_MS_MAX, `no new picture for ${still} ms`);
  assert.ok(last.video.framesDecoded - first.video.framesDecoded > OBSERVED_MS / 1000, 'hardly a picture');
  for (let index = 5; index < voice.length; index += 5) assert.ok(voice[index] > voice[index - 5], 'the voice was silent');
}
