/** Bad input on the signaling socket: a typed error or a closed socket, and no effect on anybody else. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { startChromium } from './harness/browsers.mjs';
import { Server } from './harness/server.mjs';
import { until } from './harness/wait.mjs';

let server;
let chromium;
let page;

before(async () => {
  server = await Server.start();
  chromium = await startChromium();
  page = await chromium.open(`${server.origin}/`);
});

after(async () => {
  await chromium?.end();
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

test('what is not understood is answered by a typed error, and the socket goes on', async () => {
  const { messages, closed } = await talk('errors', [
    'no json',
    '{"type":"admit"}',
    '{"type":"offer","sdp":"v=0"}',
    '{"type":"restart","ufrag":"x","pwd":"y"}',
    '{"type":"subscribe","seats":[{"seat":0}]}',
    '{"type":"offer","sdp":"no sdp at all","negotiation":7}',
  ]);
  assert.equal(closed, null);
  const errors = messages.filter(({ type }) => type === 'error').map(({ code, replyTo }) => `${code} ${replyTo}`);
  assert.deepEqual(errors.sort(), [
    'malformed null',
    'malformed null',
    'malformed null',
    'malformed restart',
    'offer_rejected offer',
    'refused subscribe',
  ]);
});

test('a message that is too long closes the socket', async () => {
  const { closed } = await talk('long', [JSON.stringify({ type: 'offer', negotiation: 1, sdp: 'x'.repeat(300_000) })]);
  assert.equal(closed?.code, 1009);
});

test('a flood of messages closes the socket', async () => {
  const { closed } = await talk(
    'flood',
    Array.from({ length: 200 }, () => '{"type":"stats"}'),
  );
  assert.equal(closed?.code, 1008);
});

test('what was sent behind a flood does not cost the client the reason it was closed for', async () => {
  const long = `{"type":"stats"}${' '.repeat(100_000)}`;
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const { closed } = await talk(
      'backlog',
      Array.from({ length: 120 }, () => long),
    );
    assert.equal(closed?.code, 1008);
    assert.equal(closed?.reason, 'too many messages');
  }
});

test('room names are checked', async () => {
  for (const room of ['', 'a b', 'x'.repeat(65)]) {
    const { closed } = await talk(encodeURIComponent(room), []);
    assert.equal(closed?.code, 1008, room);
    assert.match(closed?.reason, /room name/);
  }
});

test('a client that says half a request and no more does not keep the server from stopping', async () => {
  const stopping = await Server.start();
  const { hostname, port } = new URL(stopping.origin);
  const half = connect(Number(port), hostname);
  half.on('error', () => undefined);
  await once(half, 'connect');
  half.write('GET / HTTP/1.1\r\nHost: x\r\n');
  // A whole exchange behind it: the server has seen the half one by then.
  await upgradeStatus({ room: 'x', origin: stopping.origin }, stopping);
  assert.equal(await stopping.process.end('SIGINT'), 0);
  half.destroy();
});

test("another site's page cannot connect", async () => {
  assert.equal(await upgradeStatus({ room: 'x', origin: 'http://elsewhere.example' }), 403);
  assert.equal(await upgradeStatus({ room: 'x', origin: server.origin }), 101);
});

/** Opens a socket, says everything, and returns what came once the socket closed or as many errors came as was said. */
async function talk(room, says) {
  await page.evaluate(
    ([room, says]) => {
      const url = new URL(`/signal?room=${room}`, location.href);
      url.protocol = 'ws:';
      const state = { messages: [], closed: null };
      const socket = new WebSocket(url);
      window.talk = { socket, state };
      socket.onopen = () => says.forEach((text) => socket.send(text));
      socket.onmessage = ({ data }) => state.messages.push(JSON.parse(data));
      socket.onclose = ({ code, reason }) => {
        state.closed = { code, reason };
      };
    },
    [room, says],
  );
  const state = await until('the server to answer', async () => {
    const { messages, closed } = await page.evaluate(() => window.talk.state);
    const errors = messages.filter(({ type }) => type === 'error').length;
    return (closed || (says.length && errors >= says.length)) && { messages, closed };
  });
  await page.evaluate(() => window.talk.socket.close());
  return state;
}

/** The status of a WebSocket handshake. */
async function upgradeStatus({ room, origin }, to = server) {
  const ask = request(`${to.origin}/signal?room=${encodeURIComponent(room)}`, {
    headers: {
      origin,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    },
  });
  ask.end();
  const [response] = await Promise.race([once(ask, 'response'), once(ask, 'upgrade')]);
  response.socket.destroy();
  return response.statusCode;
}
