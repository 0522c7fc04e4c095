/**
 * Chromium and Firefox see and hear each other. Firefox does not pair loopback candidates, so both and the server run in
 * a network namespace; the page still comes from localhost, which browsers trust with a camera.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertRises } from './harness/assert.mjs';
import { startChromium, startFirefox } from './harness/browsers.mjs';
import { ADDRESS, inside, runInside, skip } from './harness/namespace.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { Tab } from './harness/tab.mjs';
import { until, watch } from './harness/wait.mjs';

const OBSERVED_MS = 10_000;

test('Chromium and Firefox see and hear each other', { skip }, async (t) => {
  await (inside ? callBetween(t) : runInside(import.meta.url));
});

async function callBetween(t) {
  const server = await Server.start(['--media-bind', ADDRESS]);
  t.after(() => server.end());
  const { links } = await server.session({ provider: ['Chromium', 'Firefox'] });
  const tabs = [];
  for (const start of [startChromium, startFirefox]) {
    const browser = await start();
    t.after(() => browser.end());
    const name = `${browser.name} ${browser.version.replace(/^\D*/, '')}`;
    tabs.push(await Tab.join(browser, links[tabs.length].link, name));
  }
  await Promise.all(tabs.map((tab) => tab.plays()));
  const samples = await watch(OBSERVED_MS, () =>
    Promise.all(tabs.map(async (tab) => ({ received: await tab.received(), sent: await tab.sent() }))),
  );
  for (const [index, tab] of tabs.entries()) {
    const seconds = samples.map((sample) => sample[index]);
    assertRises(seconds, `${tab.name}: framesDecoded`, ({ received }) => received.video.framesDecoded);
    assertRises(seconds, `${tab.name}: totalAudioEnergy`, ({ received }) => received.audio.totalAudioEnergy);
    assertRises(seconds, `${tab.name}: audio packetsSent`, ({ sent }) => sent.audio.packetsSent);
    assertRises(seconds, `${tab.name}: framesEncoded`, ({ sent }) => framesEncoded(sent));
    const [first, last] = [seconds[0].received, seconds.at(-1).received];
    const frames = last.video.framesDecoded - first.video.framesDecoded;
    result(`seen by ${tab.name}`, {
      frames,
      fps: frames / ((last.video.timestamp - first.video.timestamp) / 1000),
      size: `${last.video.frameWidth}x${last.video.frameHeight}`,
      freezes: (last.video.freezeCount ?? NaN) - (first.video.freezeCount ?? NaN),
      'video packets lost': last.video.packetsLost,
      'audio packets lost': last.audio.packetsLost,
    });
  }
  await switchLayers(tabs);
}

/** Each browser's encodings can be chosen by the other. */
async function switchLayers(tabs) {
  for (const tab of tabs) {
    const widths = [];
    for (const rid of ['q', 'h', 'f']) {
      const last = widths.at(-1) ?? (await tab.received()).video.frameWidth;
      await tab.wishFor(0, rid);
      const { video } = await until(`${tab.name} to show another size for ${rid}`, async () => {
        const received = await tab.received();
        return received.video.frameWidth !== last && received;
      });
      widths.push(video.frameWidth);
    }
    const { video } = await tab.received();
    result(`rid switches seen by ${tab.name}`, { widths: widths.join('/'), freezes: video.freezeCount ?? 'unknown' });
    assert.ok(widths[0] < widths[1] && widths[1] < widths[2], `low to high: ${widths.join(', ')}`);
  }
}

const framesEncoded = ({ camera }) => Object.values(camera).reduce((sum, { framesEncoded = 0 }) => sum + framesEncoded, 0);
