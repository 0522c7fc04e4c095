/**
 * Chromium and Firefox see and hear each other. Firefox does not pair loopback candidates, so both and the server run in
 * a private network namespace with a virtual interface of its own; the page still comes from localhost, which browsers
 * trust with a camera. Making a namespace takes root; elsewhere the test is skipped.
 *
 * Started outside, this file starts itself again inside.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { assertRises } from './harness/assert.mjs';
import { startChromium, startFirefox } from './harness/browsers.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { Tab } from './harness/tab.mjs';
import { until, watch } from './harness/wait.mjs';

const OBSERVED_MS = 10_000;
const ADDRESS = '192.0.2.1';
const INSIDE = 'VESTIBULE_TEST_NAMESPACE';
/**
 * An interface that is up needs a peer that is up; both are in the namespace and vanish with it. Firefox gathers no
 * candidates without a default route; this one leads nowhere.
 */
const SET_UP = `set -e
ip link set lo up
ip link add veth0 type veth peer name veth1
ip address add ${ADDRESS}/24 dev veth0
ip link set veth0 up
ip link set veth1 up
ip route add default dev veth0
exec "$@"`;

const outside = process.env[INSIDE] === undefined;
const skip = outside && process.getuid?.() !== 0 && 'a network namespace of its own takes root';

test('Chromium and Firefox see and hear each other', { skip }, async (t) => {
  await (outside ? runInside() : callBetween(t));
});

async function runInside() {
  const self = [process.execPath, fileURLToPath(import.meta.url)];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn('unshare', ['--net', '--', 'sh', '-c', SET_UP, 'sh', ...self], {
    env: { ...env, [INSIDE]: ADDRESS },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const [code] = await once(child, 'exit');
  for (const line of output.match(/^.*result: .*$/gm) ?? []) console.log(line.replace(/^# /, ''));
  assert.equal(code, 0, output);
}

async function callBetween(t) {
  const server = await Server.start(['--media-bind', ADDRESS]);
  t.after(() => server.end());
  const tabs = [];
  for (const start of [startChromium, startFirefox]) {
    const browser = await start();
    t.after(() => browser.end());
    tabs.push(await Tab.join(browser, server.page('mixed'), `${browser.name} ${browser.version.replace(/^\D*/, '')}`));
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
      await tab.selectLayer(0, rid);
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
