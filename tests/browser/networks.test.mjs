/**
 * Networks that are not as a developer's: one that lets no UDP through, one with IPv6 alone, one with both versions that loses
 * either, and one from which the server is reached by a TURN server alone. Each in a namespace of its own.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assertRises } from './harness/assert.mjs';
import { startChromium, startFirefox } from './harness/browsers.mjs';
import { ADDRESS, ADDRESS_V6, drop, inside, runInside, skip } from './harness/namespace.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { Tab } from './harness/tab.mjs';
import { startTurn, TURN_ADDRESS, TURN_ARGS } from './harness/turn.mjs';
import { until, watch } from './harness/wait.mjs';

const OBSERVED_MS = 6_000;
/** A browser takes some seconds until it holds a path for gone, and asks for another then. */
const STANDS_STILL_MS_MAX = 15_000;

/** @param {string} title @param {string} name @param {'ipv4' | 'ipv6' | 'dual'} kind @param {(t: any) => Promise<void>} body */
function inNetwork(title, name, kind, body) {
  const elsewhere = inside !== undefined && inside !== name;
  test(title, { skip: skip || (elsewhere && 'another namespace') }, (t) =>
    inside ? body(t) : runInside(import.meta.url, name, kind),
  );
}

inNetwork('where no UDP gets through, Chromium and Firefox see and hear each other by TCP', 'no-udp', 'ipv4', async (t) => {
  const server = await start(t, ['--media-bind', ADDRESS]);
  drop('meta l4proto udp');
  const tabs = await call(t, server);
  for (const tab of tabs) {
    const { remote } = await tab.path();
    assert.equal(remote.protocol, 'tcp', `${tab.name}: ${JSON.stringify(remote)}`);
  }
});

inNetwork('with IPv6 alone, Chromium and Firefox see and hear each other', 'ipv6', 'ipv6', async (t) => {
  // The page comes from the loopback address, which browsers trust with a camera; and by IPv6, as Firefox looks for the address
  // it sends from in the version of the page's.
  const server = await start(t, ['--media-bind', '::'], { listen: '[::1]:0' });
  const tabs = await call(t, server);
  for (const tab of tabs) {
    const { remote } = await tab.path();
    assert.deepEqual([remote.address ?? remote.ip, remote.protocol], [ADDRESS_V6, 'udp'], tab.name);
  }
});

inNetwork('with both versions of IP, a call goes on by the one when the other is gone, and back', 'dual', 'dual', async (t) => {
  const server = await start(t, ['--media-bind', '::'], { listen: '[::1]:0' });
  const tabs = await call(t, server);
  for (const [version, lost, other] of [
    ['ip6', ADDRESS_V6, ADDRESS],
    ['ip', ADDRESS, ADDRESS_V6],
  ]) {
    await Promise.all(tabs.map((tab) => tab.noteGaps()));
    drop(`${version} daddr ${lost}`);
    for (const tab of tabs) {
      await until(`${tab.name} to go by ${other}`, async () => {
        const { remote } = await tab.path();
        return (remote?.address ?? remote?.ip) === other;
      });
    }
    await Promise.all(tabs.map((tab) => tab.playsOn(60)));
    for (const tab of tabs) {
      const { gapMsMax } = await tab.gaps();
      result(`${lost} is gone, ${tab.name}`, { 'stood still for ms': gapMsMax });
      assert.ok(gapMsMax <= STANDS_STILL_MS_MAX, `${tab.name} stood still for ${gapMsMax} ms`);
    }
  }
});

inNetwork('where the server is reached by a TURN server alone, Chromium and Firefox see and hear each other', 'turn', 'ipv4', async (t) => {
  const server = await start(t, ['--media-bind', ADDRESS, ...TURN_ARGS]);
  const turn = await startTurn();
  t.after(() => turn.end());
  // What comes from this side of the wire; the relay is at the other.
  const port = server.media.split(':').at(-1);
  drop(`iifname lo udp dport ${port}`, `iifname lo tcp dport ${port}`);
  const tabs = await call(t, server);
  for (const tab of tabs) {
    const { local } = await tab.path();
    assert.equal(local.candidateType, 'relay', `${tab.name}: ${JSON.stringify(local)}`);
  }
  result('relayed', { by: TURN_ADDRESS });
});

async function start(t, args, options) {
  const server = await Server.start(args, options);
  t.after(() => server.end());
  return server;
}

/** A call of two browsers; each must hear and see the other for a while. */
async function call(t, server) {
  const { links } = await server.session({ provider: ['One', 'Two'] });
  const tabs = [];
  for (const start of [startChromium, startFirefox]) {
    const browser = await start();
    t.after(() => browser.end());
    tabs.push(await Tab.join(browser, links[tabs.length].link, browser.name));
  }
  await Promise.all(tabs.map((tab) => tab.plays()));
  const samples = await watch(OBSERVED_MS, () => Promise.all(tabs.map((tab) => tab.received())));
  for (const [index, tab] of tabs.entries()) {
    const seconds = samples.map((sample) => sample[index]);
    assertRises(seconds, `${tab.name}: framesDecoded`, ({ video }) => video.framesDecoded);
    assertRises(seconds, `${tab.name}: totalAudioEnergy`, ({ audio }) => audio.totalAudioEnergy);
    const [first, last] = [seconds[0].video, seconds.at(-1).video];
    const { local, remote } = await tab.path();
    result(`seen by ${tab.name}`, {
      fps: (last.framesDecoded - first.framesDecoded) / ((last.timestamp - first.timestamp) / 1000),
      size: `${last.frameWidth}x${last.frameHeight}`,
      by: `${local?.candidateType} ${remote?.protocol} ${remote?.address ?? remote?.ip}`,
    });
  }
  return tabs;
}
