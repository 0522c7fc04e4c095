/** ICE restarts in mid-call: the same PeerConnection, no SDP on the wire, and the old path until the new one carries. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startChromium } from './harness/browsers.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { joinAll } from './harness/tab.mjs';
import { until } from './harness/wait.mjs';

const SEED = 20_261_123;

let chromium;

before(async () => {
  chromium = await startChromium();
});

after(() => chromium?.end());

test('an ICE restart in mid-call', async (t) => {
  const server = await Server.start();
  t.after(() => server.end());
  await restartInMidCall(t, server, 'ICE restart', ([a]) => a.restartIce());
});

test('ICE restarts after the network gave both browsers other addresses', async (t) => {
  const server = await Server.startBehindRelay({ seed: SEED, line: 'delay_ms=20' });
  t.after(() => server.end());
  await restartInMidCall(t, server, 'ICE restart after a new address', async (tabs) => {
    await server.relay.command('rebind');
    await Promise.all(tabs.map((tab) => tab.restartIce()));
  });
});

async function restartInMidCall(t, server, name, restart) {
  const [a, b] = await joinAll(t, chromium, server, ['a', 'b']);
  const tabs = [a, b];
  await Promise.all(tabs.map((tab) => tab.plays()));
  await Promise.all(tabs.map((tab) => tab.playsOn(60)));
  const before = await facts(a);
  const freezes = await Promise.all(tabs.map(async (tab) => (await tab.received()).video.freezeCount));
  await Promise.all(tabs.map((tab) => tab.noteGaps()));

  const begun = performance.now();
  await restart(tabs);
  const changed = await until('the restarted path to be in use', async () => {
    const now = await facts(a);
    return now.usedUfrag !== before.usedUfrag && now;
  });
  const changedMs = performance.now() - begun;
  await Promise.all(tabs.map((tab) => tab.playsOn(90)));

  const [toA, toB] = await Promise.all(tabs.map((tab) => tab.gaps()));
  const after = await Promise.all(tabs.map(async (tab) => (await tab.received()).video.freezeCount));
  result(name, {
    'path changed after ms': Math.round(changedMs),
    'gap ms max in what it sees': toA.gapMsMax,
    'gap ms max in what the other sees': toB.gapMsMax,
    freezes: after.map((count, index) => count - freezes[index]).join('/'),
  });
  assert.notEqual(changed.offeredUfrag, before.offeredUfrag, 'the browser has new credentials');
  assert.notEqual(changed.serverUfrag, before.serverUfrag, 'the server has new credentials');
  assert.equal(changed.usedUfrag, changed.offeredUfrag, 'the new credentials are in use');
  assert.notEqual(changed.pair, before.pair, 'another candidate pair');
  assert.equal(changed.negotiations, 1, 'no new SDP');
  assert.equal(changed.connection, 'connected', 'the same PeerConnection');
  assert.equal(changed.dtls, before.dtls, 'the same DTLS association');
}

async function facts(tab) {
  const { transport, pair, local } = await tab.path();
  return {
    pair: pair?.id,
    usedUfrag: local?.usernameFragment,
    // Its keys: a new association would have another certificate entry or state in between.
    dtls: `${transport?.dtlsState} ${transport?.localCertificateId} ${transport?.remoteCertificateId}`,
    ...(await tab.page.evaluate(() => {
      const ufrag = ({ sdp }) => /^a=ice-ufrag:(\S+)/m.exec(sdp)[1];
      const { pc, negotiations } = window.vestibule;
      return {
        offeredUfrag: ufrag(pc.localDescription),
        serverUfrag: ufrag(pc.remoteDescription),
        connection: pc.connectionState,
        negotiations,
      };
    })),
  };
}
