/** Bad input on the signaling socket: a typed error or a closed socket, and no effect on anybody else. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';

import { ticket } from './harness/door.mjs';
import { Server } from './harness/server.mjs';
import { serverAndBrowser } from './harness/together.mjs';
import { until } from './harness/wait.mjs';

const { server, chromium } = await serverAndBrowser();
const page = await chromium.open(`${server.origin}/`);

test('what is not understood is answered by a typed error that names the request, and the socket goes on', async () => {
  const { messages, closed } = await talk([
    await hello(),
    'no json',
    '{"type":"conquer","id":1}',
    '{"type":"offer","sdp":"v=0","id":2}',
    '{"type":"restart","ufrag":"x","pwd":"y","id":3}',
    '{"type":"subscribe","slots":[{"seat":0}],"id":4}',
    '{"type":"offer","sdp":"no sdp at all","negotiation":7,"id":5}',
    '{"type":"admit","participantId":"01981234-5678-7abc-8def-0123456789ab","id":6}',
    '{"type":"hello","ticket":"another","id":7}',
    '{"type":"ping","id":8}',
  ], 9);
  assert.equal(closed, null);
  assert.equal(messages[0].type, 'welcome');
  assert.deepEqual(
    messages.map(({ seq }) => seq),
    messages.map((_, index) => index),
    'numbered without a gap',
  );
  const errors = messages.filter(({ type }) => type === 'error').map(({ code, replyTo }) => `${code} ${replyTo}`);
  assert.deepEqual(errors.sort(), [
    'hello_expected 7',
    'malformed 1',
    'malformed 2',
    'malformed null',
    'no_such_participant 6',
    'offer_rejected 5',
    'refused 3',
    'refused 4',
  ]);
  assert.ok(messages.some(({ type, replyTo }) => type === 'done' && replyTo === 8));
});

test('a socket that does not begin with a good hello is told why and closed', async () => {
  const cases = [
    ['{"type":"ping","id":1}', 'hello_expected'],
    ['{"type":"chat","clientId":"a","text":"b"}', 'hello_expected'],
    ['nonsense', 'malformed'],
    ['{"type":"hello"}', 'malformed'],
    ['{"type":"hello","ticket":"made up"}', 'ticket_invalid'],
  ];
  for (const [first, code] of cases) {
    const { messages, closed } = await talk([first]);
    assert.deepEqual(
      messages.map((message) => message.code),
      [code],
    );
    assert.equal(closed?.code, 1008);
  }
});

test('a ticket opens one socket, once', async () => {
  const first = await hello();
  assert.equal((await talk([first], 1)).messages[0].type, 'welcome');
  assert.equal((await talk([first])).messages[0].code, 'ticket_invalid');
});

test('who says nothing is let go', async () => {
  const { closed } = await talk([]);
  assert.deepEqual([closed?.code, closed?.reason], [1008, 'no hello within 5 seconds']);
});

test('a client of another protocol is turned away', async () => {
  for (const protocols of [[], ['vestibule.v2']]) {
    const { closed } = await talk([], Infinity, protocols);
    // A browser that was promised another protocol closes by itself.
    assert.ok([1002, 1006].includes(closed?.code), `${closed?.code}`);
  }
});

test('a message that is too long closes the socket', async () => {
  const long = JSON.stringify({ type: 'offer', negotiation: 1, sdp: 'x'.repeat(300_000) });
  const { closed } = await talk([await hello(), long]);
  assert.equal(closed?.code, 1009);
});

test('a flood of messages closes the socket', async () => {
  const { closed } = await talk([await hello(), ...Array.from({ length: 200 }, () => '{"type":"stats"}')]);
  assert.equal(closed?.code, 1008);
});

test('what was sent behind a flood does not cost the client the reason it was closed for', async () => {
  const long = `{"type":"ping"}${' '.repeat(100_000)}`;
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const { closed } = await talk([await hello(), ...Array.from({ length: 120 }, () => long)]);
    assert.equal(closed?.code, 1008);
    assert.equal(closed?.reason, 'too many messages');
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
  await upgradeStatus(stopping.origin, stopping);
  assert.equal(await stopping.process.end('SIGINT'), 0);
  half.destroy();
});

test('people in a session are told when the server stops', async () => {
  const stopping = await Server.start();
  const { links } = await stopping.session();
  const there = await chromium.open(`${stopping.origin}/`);
  const first = JSON.stringify({ type: 'hello', ticket: await ticket(stopping.origin, links[0].link) });
  await begin(there, [first], ['vestibule.v1']);
  await until('the welcome', () => there.evaluate(() => window.talk.state.messages.length > 0));
  assert.equal(await stopping.end(), 0);
  const closed = await until('the close', () => there.evaluate(() => window.talk.state.closed));
  assert.equal(closed.code, 1001);
  await there.close();
});

test("another site's page cannot connect", async () => {
  assert.equal(await upgradeStatus('http://elsewhere.example'), 403);
  assert.equal(await upgradeStatus(server.origin), 101);
});

/** A `hello` of a provider in a session of their own. */
async function hello() {
  const { links } = await server.session();
  return JSON.stringify({ type: 'hello', ticket: await ticket(server.origin, links[0].link) });
}

/** Opens a socket, says everything, and returns what came once it closed or `count` messages came. */
async function talk(says, count = Infinity, protocols = ['vestibule.v1']) {
  await begin(page, says, protocols);
  const state = await until('the server to answer', async () => {
    const { messages, closed } = await page.evaluate(() => window.talk.state);
    return (closed || messages.length >= count) && { messages, closed };
  });
  await page.evaluate(() => window.talk.socket.close());
  return state;
}

function begin(there, says, protocols) {
  return there.evaluate(
    ([says, protocols]) => {
      const url = new URL('/v1/signal', location.href);
      url.protocol = 'ws:';
      const state = { messages: [], closed: null };
      const socket = new WebSocket(url, protocols);
      window.talk = { socket, state };
      socket.onopen = () => says.forEach((text) => socket.send(text));
      socket.onmessage = ({ data }) => state.messages.push(JSON.parse(data));
      socket.onclose = ({ code, reason }) => {
        state.closed = { code, reason };
      };
    },
    [says, protocols],
  );
}

/** The status of a WebSocket handshake. */
async function upgradeStatus(origin, to = server) {
  const ask = request(`${to.origin}/v1/signal`, {
    headers: {
      origin,
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
      'sec-websocket-protocol': 'vestibule.v1',
    },
  });
  ask.end();
  const [response] = await Promise.race([once(ask, 'response'), once(ask, 'upgrade')]);
  response.socket.destroy();
  return response.statusCode;
}
