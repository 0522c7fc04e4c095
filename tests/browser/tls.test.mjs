/**
 * The whole visit over TLS on an address that is not loopback, with the certificate the server makes at its first start:
 * as on a clinic's network. Browsers give a page there no camera without TLS.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { startChromium } from './harness/browsers.mjs';
import { builtProgram } from './harness/find.mjs';
import { ADDRESS, inside, runInside, skip } from './harness/namespace.mjs';
import { Process } from './harness/process.mjs';
import { result } from './harness/result.mjs';
import { Server } from './harness/server.mjs';
import { visit } from './harness/visit.mjs';

test('a visit over TLS on an address others reach', { skip }, async (t) => {
  await (inside ? visitOverTls(t) : runInside(import.meta.url));
});

async function visitOverTls(t) {
  const server = await Server.start([], { listen: `${ADDRESS}:0` });
  t.after(() => server.end());
  assert.match(server.origin, new RegExp(`^https://${ADDRESS}:`));
  const chromium = await startChromium();
  t.after(() => chromium.end());

  // What a person does who clicks past the warning that `vestibule check` speaks of.
  const pages = { ignoreHTTPSErrors: true };
  const { times } = await visit(t, { server, chromium, pages });
  result('a visit over TLS', times);

  const said = await check(['--listen', `${ADDRESS}:0`, '--data', server.data]);
  assert.equal(said.code, 0, said.text);
  assert.match(said.text, /every browser warns of it/);
  const plain = await check(['--listen', `${ADDRESS}:0`, '--data', server.data, '--tls', 'off']);
  assert.equal(plain.code, 1, plain.text);
  assert.match(plain.text, /browsers give no page there a camera/);
}

async function check(args) {
  const process = new Process(builtProgram('vestibule'), [...args, 'check']);
  const code = await process.ended();
  return { code, text: process.lines.join('\n') };
}
