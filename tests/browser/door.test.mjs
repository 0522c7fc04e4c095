/** The door over HTTP: what a link opens, and that everything else is refused with a typed problem and changes nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { consent, post, ticket, tokenOf } from './harness/door.mjs';
import { Server } from './harness/server.mjs';

const DAY_MS = 24 * 3600 * 1000;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

let server;

before(async () => {
  server = await Server.start();
});

after(async () => assert.equal(await server?.end(), 0, 'the server ends cleanly'));

test('a link tells its holder who they are, to what they are asked, and what is still needed', async () => {
  const { links } = await server.session({ provider: ['Dr. A'], patient: 'Pat' });
  const patient = linkOf(links, 'patient');
  const before = await post(server.origin, 'join', { token: tokenOf(patient) });
  assert.equal(before.status, 200);
  assert.deepEqual([before.body.participant.role, before.body.participant.name], ['patient', 'Pat']);
  assert.equal(before.body.session.status, 'scheduled');
  assert.match(before.body.session.opensAt, ISO);
  assert.deepEqual(
    before.body.consents.map(({ type, required }) => ({ type, required })),
    [{ type: 'telehealth', required: true }],
  );
  assert.ok(!JSON.stringify(before.body).includes('Dr. A'), 'of the others it tells nothing');
  const again = await post(server.origin, 'join', { token: tokenOf(patient) });
  assert.deepEqual(again.body, before.body, 'asking changes nothing');
  const provider = await post(server.origin, 'join', { token: tokenOf(linkOf(links, 'provider')) });
  assert.deepEqual(provider.body.consents, []);
});

test('no ticket without consent, and consent only by the patient and to the text in force', async () => {
  const { links } = await server.session();
  const [patient, provider] = [linkOf(links, 'patient'), linkOf(links, 'provider')];
  problem(await post(server.origin, 'join/ticket', { token: tokenOf(patient) }), 409, 'consent_missing');
  const consents = [{ type: 'telehealth', version: '2020-01', granted: true }];
  problem(await post(server.origin, 'join/consents', { token: tokenOf(patient), consents }), 409, 'consent_outdated');
  const { body } = await post(server.origin, 'join', { token: tokenOf(patient) });
  const [{ type, version }] = body.consents;
  const given = { token: tokenOf(patient), consents: [{ type, version, granted: true }] };
  const by = await post(server.origin, 'join/consents', { ...given, token: tokenOf(provider) });
  problem(by, 403, 'not_permitted');
  const both = [given.consents[0], { type: 'recording', version, granted: true }];
  problem(await post(server.origin, 'join/consents', { ...given, consents: both }), 409, 'recording_not_allowed');
  const still = await post(server.origin, 'join', { token: tokenOf(patient) });
  assert.equal(still.body.consents.length, 1, 'all of them or none');
  const refused = { ...given, consents: [{ type, version, granted: false }] };
  await post(server.origin, 'join/consents', refused);
  problem(await post(server.origin, 'join/ticket', { token: tokenOf(patient) }), 409, 'consent_missing');
  assert.deepEqual((await post(server.origin, 'join/consents', given)).body, { consents: [] });
  assert.equal(typeof (await ticket(server.origin, patient)), 'string');
});

test('a link that is no link of this server is refused', async () => {
  const { links } = await server.session();
  const token = tokenOf(linkOf(links, 'provider'));
  const flipped = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A');
  const middle = token.slice(0, 20) + (token[20] === 'A' ? 'B' : 'A') + token.slice(21);
  for (const wrong of ['', 'x', flipped, middle, token.slice(1), `${token}A`, 'A'.repeat(8000)]) {
    for (const path of ['join', 'join/ticket']) {
      problem(await post(server.origin, path, { token: wrong }), 401, 'join_token_invalid');
    }
  }
  const elsewhere = await Server.start();
  try {
    problem(await post(elsewhere.origin, 'join', { token }), 401, 'join_token_invalid');
  } finally {
    await elsewhere.end();
  }
});

test('before the door opens, it says when', async () => {
  const start = new Date(Date.now() + DAY_MS).toISOString();
  const { links } = await server.session({ start });
  const refused = await post(server.origin, 'join', { token: tokenOf(linkOf(links, 'patient')) });
  problem(refused, 403, 'join_window_not_open');
  assert.equal(Date.parse(refused.body.opensAt), Date.parse(start) - 15 * 60 * 1000);
});

test('a session that nobody could come to any more is not made', async () => {
  const start = new Date(Date.now() - DAY_MS).toISOString();
  await assert.rejects(server.session({ start }), /invalid schedule/);
});

test('what is not understood is refused with a typed problem', async () => {
  const json = { 'content-type': 'application/json' };
  /** @type {[string, string, Record<string, string>, number, string][]} */
  const cases = [
    ['join', '{', json, 400, 'malformed'],
    ['join', '{}', json, 400, 'malformed'],
    ['join', '[]', json, 400, 'malformed'],
    ['join', '{"token":7}', json, 400, 'malformed'],
    ['join', '{"token":"x","more":1}', json, 400, 'malformed'],
    ['join', '{"token":"x"}', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
    ['join', `{"token":"${'x'.repeat(20_000)}"}`, json, 413, 'too_large'],
    ['nothing', '{}', json, 404, 'not_found'],
    ['signal', '{}', json, 405, 'method_not_allowed'],
    ['join/ticket', '{"token":"x"}', json, 401, 'join_token_invalid'],
  ];
  for (const [path, body, headers, status, code] of cases) {
    problem(await post(server.origin, path, body, headers), status, code);
  }
  const { links } = await server.session();
  const token = tokenOf(linkOf(links, 'patient'));
  for (const consents of [[], [{ type: 'soul', version: '1', granted: true }], Array(9).fill({})]) {
    problem(await post(server.origin, 'join/consents', { token, consents }), 400, 'malformed');
  }
});

test('a request for a socket that is no handshake is refused with a typed problem', async () => {
  const plain = await fetch(`${server.origin}/v1/signal`);
  problem({ status: plain.status, type: plain.headers.get('content-type'), body: await plain.json() }, 400, 'no_handshake');
  const headers = { origin: 'http://elsewhere.example' };
  const foreign = await fetch(`${server.origin}/v1/signal`, { headers });
  problem({ status: foreign.status, type: foreign.headers.get('content-type'), body: await foreign.json() }, 403, 'other_origin');
});

test('a body that never comes whole does not hold the line for ever', async () => {
  const { hostname, port } = new URL(server.origin);
  const line = connect(Number(port), hostname);
  await once(line, 'connect');
  line.write('POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"tok');
  const [answer] = await once(line, 'data');
  assert.match(String(answer), /^HTTP\/1.1 408 [\s\S]*"code":"timeout"/);
  line.destroy();
});

test('an unscheduled session has links for fifteen minutes', async () => {
  const { links } = await server.session({ start: null });
  const [{ expiresAt }] = /** @type {any[]} */ (links);
  const minutes = (Date.parse(expiresAt) - Date.now()) / 60_000;
  assert.ok(minutes > 14 && minutes <= 15, `${minutes}`);
  await consent(server.origin, linkOf(links, 'patient'));
  assert.equal(typeof (await ticket(server.origin, linkOf(links, 'patient'))), 'string');
});

test('sessions outlive the server', async () => {
  const first = await Server.start();
  const { links } = await first.session();
  await consent(first.origin, linkOf(links, 'patient'));
  assert.equal(await first.end(true), 0);
  const second = await Server.start([], { data: first.data });
  const { body } = await post(second.origin, 'join', { token: tokenOf(linkOf(links, 'patient')) });
  assert.deepEqual([body.participant.name, body.consents], ['Patient', []], 'and so do consents');
  assert.equal(await second.end(), 0);
});

const linkOf = (links, role) => links.find((link) => link.role === role).link;

/** A problem of RFC 9457, with its code. */
function problem({ status, type, body }, expectedStatus, code) {
  assert.deepEqual([status, body.code], [expectedStatus, code], JSON.stringify(body));
  assert.equal(type, 'application/problem+json');
  assert.equal(body.type, `urn:vestibule:problem:${code}`);
  assert.equal(body.status, status);
  assert.ok(body.title && body.detail, 'and with words');
}
