/** Calls over a line that loses datagrams both ways. The relay's chances are seeded; the browsers' times are not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { assertRises } from './harness/assert.mjs';
import { startChromium } from './harness/browsers.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { joinAll } from './harness/tab.mjs';
import { until, watch } from './harness/wait.mjs';

const SEED = 20_261_123;
const OBSERVED_MS = 15_000;
const CONNECTIONS = 20;

let chromium;

before(async () => {
  chromium = await startChromium();
});

after(() => chromium?.end());

test('3 % loss each way is repaired by retransmission', async (t) => {
  const server = await behindRelay(t, 'loss=0.03,delay_ms=20');
  const [a, b] = await joinAll(t, chromium, server, ['a', 'b']);
  const tabs = [a, b];
  await Promise.all(tabs.map((tab) => tab.plays()));
  const samples = await watch(
    OBSERVED_MS,
    () => Promise.all(tabs.map(async (tab) => ({ received: await tab.received(), sent: await tab.sent() }))),
    3000,
  );
  for (const [index, tab] of tabs.entries()) {
    const [first, last] = [samples[0][index], samples.at(-1)[index]];
    assertRises(samples, `${tab.name}: framesDecoded`, (sample) => sample[index].received.video.framesDecoded);
    const { video, audio } = last.received;
    const camera = Object.values(last.sent.camera);
    const resent = camera.reduce((sum, encoding) => sum + (encoding.retransmittedPacketsSent ?? 0), 0);
    const { sources } = await tab.serverStats();
    const encodings = sources.find(({ kind }) => kind === 'camera').encodings;
    const frames = video.framesDecoded - first.received.video.framesDecoded;
    result(`3 % loss each way, ${tab.name}`, {
      frames,
      fps: frames / ((video.timestamp - first.received.video.timestamp) / 1000),
      freezes: video.freezeCount - first.received.video.freezeCount,
      'freeze s': video.totalFreezesDuration - first.received.video.totalFreezesDuration,
      'rtx received': video.retransmittedPacketsReceived,
      'video packets lost, repaired or not': video.packetsLost,
      'rtx sent': resent,
      'recovered by the server': encodings.reduce((sum, encoding) => sum + encoding.packetsRecovered, 0),
      'keyframes decoded': video.keyFramesDecoded,
      'audio packets lost': audio.packetsLost,
    });
    assert.ok(video.retransmittedPacketsReceived > 0, `${tab.name}: the server repaired nothing`);
    assert.ok(resent > 0, `${tab.name}: nothing was resent to the server`);
  }
  const { up, down } = await server.relay.command('stats');
  result('3 % loss each way, the line', { up: JSON.stringify(up), down: JSON.stringify(down) });
});

test(`${CONNECTIONS} connections at 10 % loss each way all connect`, async (t) => {
  const server = await behindRelay(t, 'loss=0.10');
  const page = await chromium.open(`${server.origin}/`);
  t.after(() => page.close());
  // Whoever waits connects as well: no media flows, and none is wanted here.
  const sessions = await Promise.all(
    Array.from({ length: CONNECTIONS / 10 }, () =>
      server.session({ provider: Array.from({ length: 10 }, (_, index) => `provider ${index}`) }),
    ),
  );
  const tokens = sessions.flatMap(({ links }) =>
    links.filter(({ role }) => role === 'provider').map(({ link }) => new URL(link).hash.slice(1)),
  );
  assert.equal(tokens.length, CONNECTIONS);
  await page.evaluate(async (tokens) => {
    // @ts-expect-error the server's own module
    const { Session } = await import('/sdk.js');
    window.calls = tokens.map((token) => {
      const begun = performance.now();
      const session = new Session({ token, people: 1, screens: 0 });
      const state = { connectedMs: null, failed: null };
      session
        .join()
        .then(() => {
          const { peerConnection } = session;
          const look = () => {
            if (peerConnection.connectionState === 'connected') state.connectedMs ??= performance.now() - begun;
            if (peerConnection.connectionState === 'failed') state.failed = 'the connection failed';
          };
          peerConnection.addEventListener('connectionstatechange', look);
          look();
        })
        .catch((error) => {
          state.failed = error.message;
        });
      return state;
    });
  }, tokens);
  const states = await until(
    'every connection to connect or fail',
    async () => {
      const calls = await page.evaluate(() => window.calls);
      return calls.every(({ connectedMs, failed }) => connectedMs !== null || failed) && calls;
    },
    60_000,
  );
  const times = states.map(({ connectedMs }) => connectedMs ?? Infinity).sort((x, y) => x - y);
  result(`${CONNECTIONS} connections at 10 % loss`, {
    connected: times.filter(Number.isFinite).length,
    'ms median': Math.round(times[CONNECTIONS / 2]),
    'ms max': Math.round(times[CONNECTIONS - 1]),
  });
  assert.deepEqual(
    states.filter(({ connectedMs }) => connectedMs === null),
    [],
  );
});

async function behindRelay(t, line) {
  const server = await Server.startBehindRelay({ seed: SEED, line });
  t.after(() => server.end());
  return server;
}
