/** What the API does, told as a clinic's own system sees it: sessions and links, versions, lists, events, the audit. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { consent, post, tokenOf } from '../browser/harness/door.mjs';
import { Server } from '../browser/harness/server.mjs';
import { until } from '../browser/harness/wait.mjs';
import { aSession, Clinic, participantOf, scopesOf } from './harness/clinic.mjs';
import { byKey, call } from './harness/http.mjs';
import { Socket } from './harness/socket.mjs';
import { Stream } from './harness/stream.mjs';

const HOUR_MS = 3_600_000;
const BODY_BYTES_MAX = 16 * 1024;
/** Of a session with all who are invited. */
const PLAN_BODY_BYTES_MAX = 160 * 1024;

const description = JSON.parse(await readFile(new URL('../../docs/openapi.json', import.meta.url), 'utf8'));
const scopes = scopesOf(description);

let server;
/** @type {Clinic} */
let clinic;

before(async () => {
  server = await Server.start(['--api-rate', '100000']);
  clinic = await Clinic.make(server, 'Clinic', scopes);
});

after(async () => {
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

test('the description that is checked in is the one that is served', async () => {
  const { status, type, body } = await call(server.origin, 'GET', '/openapi.json');
  assert.deepEqual([status, type], [200, 'application/json']);
  assert.deepEqual(body, description);
});

test('from scheduling to two links, and to the end by cancelling', async () => {
  const made = await clinic.call('POST', '/v1/sessions', { body: aSession() });
  assert.equal(made.status, 201);
  const { id } = made.body;
  assert.equal(made.headers.get('location'), `/v1/sessions/${id}`);
  assert.equal(made.headers.get('etag'), '"1"');
  assert.equal(made.body.status, 'scheduled');
  assert.deepEqual(made.body.participants.map(({ role, standing }) => `${role} ${standing}`), [
    'provider invited',
    'patient invited',
  ]);

  const [provider, patient] = ['provider', 'patient'].map((role) => participantOf(made.body, role));
  const links = [await clinic.token(id, provider), await clinic.token(id, patient)];
  for (const { token, joinUrl, expiresAt, participantId } of links) {
    assert.equal(tokenOf(joinUrl), token);
    assert.ok(Date.parse(expiresAt) > Date.now());
    const { status, body } = await post(server.origin, 'join', { token });
    assert.equal(status, 200);
    assert.deepEqual([body.session.id, body.participant.id], [id, participantId]);
  }

  const observer = { role: 'observer', displayName: 'Sam', relationship: 'sister' };
  const invited = await clinic.call('POST', `/v1/sessions/${id}/participants`, { body: observer });
  assert.equal(invited.status, 201);
  assert.equal(invited.body.relationship, 'sister');
  const second = await clinic.call('POST', `/v1/sessions/${id}/participants`, { body: { role: 'patient' } });
  assert.deepEqual([second.status, second.body.code], [409, 'patient_exists']);

  const later = new Date(Date.now() + 2 * HOUR_MS).toISOString();
  const moved = await clinic.must('PATCH', `/v1/sessions/${id}`, { body: { scheduledStart: later } });
  assert.equal(Date.parse(moved.scheduledStart), Date.parse(later));
  const early = await post(server.origin, 'join', { token: links[1].token });
  assert.deepEqual([early.status, early.body.code], [403, 'join_window_not_open'], 'the door moves with the session');

  const cancelled = await clinic.call('POST', `/v1/sessions/${id}/cancel`);
  const { status, endReason } = cancelled.body;
  assert.deepEqual([cancelled.status, status, endReason], [200, 'cancelled', 'cancelled']);
  const late = await post(server.origin, 'join', { token: links[1].token });
  assert.deepEqual([late.status, late.body.code], [410, 'session_over']);
  const again = await clinic.call('POST', `/v1/sessions/${id}/participants/${patient}/tokens`, { body: {} });
  assert.deepEqual([again.status, again.body.code], [410, 'session_over']);
});

test('what somebody has is not sent again, and what somebody else changed is not changed unseen', async () => {
  const session = await clinic.session();
  /** @type {[string, unknown, string][]} */
  const versioned = [
    [`/v1/sessions/${session.id}`, { scheduledStart: null }, 'PATCH'],
    ['/v1/config', { noShowMinutes: 21 }, 'PATCH'],
  ];
  for (const [path, change, method] of versioned) {
    const seen = await clinic.call('GET', path);
    const etag = seen.headers.get('etag');
    assert.equal(etag, `"${seen.body.version}"`);
    for (const known of [etag, `W/${etag}`, `"77", ${etag}`, '*']) {
      const same = await clinic.call('GET', path, { headers: { 'if-none-match': known } });
      assert.deepEqual([same.status, same.text, same.headers.get('etag')], [304, '', etag], known);
    }
    const other = await clinic.call('GET', path, { headers: { 'if-none-match': '"77"' } });
    assert.equal(other.status, 200);

    const stale = await clinic.call(method, path, { body: change, headers: { 'if-match': '"77"' } });
    assert.deepEqual([stale.status, stale.body.code], [412, 'version_mismatch']);
    assert.equal(stale.body.currentVersion, seen.body.version);
    assert.deepEqual((await clinic.call('GET', path)).body, seen.body, 'nothing changed');
    const wrong = await clinic.call(method, path, { body: change, headers: { 'if-match': 'nonsense' } });
    assert.deepEqual([wrong.status, wrong.body.code], [400, 'malformed']);

    const fresh = await clinic.call(method, path, { body: change, headers: { 'if-match': etag } });
    assert.deepEqual([fresh.status, fresh.body.version], [200, seen.body.version + 1]);
    assert.equal(fresh.headers.get('etag'), `"${seen.body.version + 1}"`);
  }
  const patient = participantOf(session, 'patient');
  for (const act of ['admit', 'send-back', 'remove']) {
    const path = `/v1/sessions/${session.id}/participants/${patient}/${act}`;
    const stale = await clinic.call('POST', path, { headers: { 'if-match': '"77"' } });
    assert.deepEqual([stale.status, stale.body.code], [412, 'version_mismatch'], act);
  }
});

test('a request that comes twice is carried out once', async () => {
  const patientId = 'mrn-twice';
  const body = { ...aSession(), patientId };
  const ask = (headers, asked = /** @type {object} */ (body)) =>
    clinic.call('POST', '/v1/sessions', { headers, body: asked });
  const count = async () => (await clinic.must('GET', `/v1/sessions?patientId=${patientId}`)).items.length;

  const key = { 'idempotency-key': 'first' };
  const first = await ask(key);
  const second = await ask(key);
  assert.deepEqual([second.status, second.text], [201, first.text]);
  for (const name of ['location', 'etag']) assert.equal(second.headers.get(name), first.headers.get(name));
  assert.deepEqual([first, second].map(({ headers }) => headers.get('idempotency-replayed')), [null, 'true']);
  assert.equal(await count(), 1);

  const reused = await ask(key, { ...body, communication: 'sign' });
  assert.deepEqual([reused.status, reused.body.code], [422, 'idempotency_key_reused']);
  const another = { name: 'x', scopes: ['keys:manage'] };
  const elsewhere = await clinic.call('POST', '/v1/api-keys', { headers: key, body: another });
  assert.deepEqual([elsewhere.status, elsewhere.body.code], [422, 'idempotency_key_reused']);
  const colleague = byKey((await clinic.key(['sessions:write'])).key);
  const theirs = await clinic.call('POST', '/v1/sessions', { as: colleague, headers: key, body });
  assert.equal(theirs.status, 201);
  assert.notEqual(theirs.body.id, first.body.id, 'another caller’s keys are their own');

  const refused = await ask({ 'idempotency-key': 'too early' });
  assert.deepEqual([refused.status, refused.body.code], [400, 'malformed']);

  const before = await count();
  const many = await Promise.all(Array.from({ length: 20 }, () => ask({ 'idempotency-key': 'at-once' })));
  assert.deepEqual(new Set(many.map(({ status }) => status)), new Set([201]), many.map(({ text }) => text).join('\n'));
  assert.equal(new Set(many.map(({ text }) => text)).size, 1, 'they all get the same answer');
  assert.equal(await count(), before + 1, 'to the making of one session');
});

test('lists are walked from page to page without loss and without seeing anything twice', async () => {
  const patientId = 'mrn-walked';
  const starts = Array.from({ length: 23 }, (_, index) => new Date(Date.now() + index * HOUR_MS).toISOString());
  const made = [];
  for (const [index, scheduledStart] of starts.entries()) {
    made.push(await clinic.session({ patientId, providerRef: `desk-${index % 3}`, scheduledStart }));
  }
  await clinic.must('POST', `/v1/sessions/${made[5].id}/cancel`);
  const ids = (sessions) => sessions.map(({ id }) => id).toSorted();

  const walked = await walk(`/v1/sessions?patientId=${patientId}`, 5);
  assert.deepEqual(walked.pages, [5, 5, 5, 5, 3]);
  assert.deepEqual(ids(walked.items), ids(made));
  assert.deepEqual(walked.items.map(({ id }) => id), ids(made).toReversed(), 'newest first');
  const exact = await walk(`/v1/sessions?patientId=${patientId}`, 23);
  assert.deepEqual(exact.pages, [23], 'no empty page at the end');

  const only = async (query) => ids((await walk(`/v1/sessions?patientId=${patientId}&${query}`, 4)).items);
  assert.deepEqual(await only('providerRef=desk-1'), ids(made.filter((_, index) => index % 3 === 1)));
  assert.deepEqual(await only('status=cancelled'), [made[5].id]);
  assert.deepEqual(await only(`from=${starts[10]}`), ids(made.slice(10)));
  assert.deepEqual(await only(`before=${starts[10]}`), ids(made.slice(0, 10)));
  const between = `from=${starts[4]}&before=${starts[9]}&status=scheduled`;
  assert.deepEqual(await only(between), ids([4, 6, 7, 8].map((index) => made[index])));

  const limits = ['limit=0', 'limit=101', 'limit=x', 'limit=-1'];
  for (const query of [...limits, 'cursor=!', 'cursor=bm9uc2Vuc2U', 'status=odd', 'sort=id']) {
    const { status, body } = await clinic.call('GET', `/v1/sessions?${query}`);
    assert.ok([400, 422].includes(status) && ['malformed', 'invalid'].includes(body.code), `${query}: ${status}`);
  }

  for (let index = 0; index < 7; index += 1) await clinic.key(['keys:manage']);
  for (const path of ['/v1/api-keys', '/v1/staff', '/v1/audit']) {
    const [small, large] = [await walk(path, 3), await walk(path, 100)];
    const seen = small.items.map(({ id }) => id);
    assert.equal(new Set(seen).size, seen.length, path);
    assert.deepEqual(seen, large.items.map(({ id }) => id), path);
  }
});

test('what is too long, of another type, or not understood is refused', async () => {
  const json = { 'content-type': 'application/json' };
  const padded = (bytes) => JSON.stringify(aSession()).padEnd(bytes, ' ');
  /** @type {[string, string, Record<string, string>, number, string | undefined][]} */
  const cases = [
    ['/v1/sessions', padded(PLAN_BODY_BYTES_MAX), json, 201, undefined],
    ['/v1/sessions', padded(PLAN_BODY_BYTES_MAX + 1), json, 413, 'too_large'],
    ['/v1/api-keys', ''.padEnd(BODY_BYTES_MAX + 1), json, 413, 'too_large'],
    ['/v1/api-keys', ''.padEnd(BODY_BYTES_MAX), json, 400, 'malformed'],
    ['/v1/sessions', 'x'.repeat(1_000_000), json, 413, 'too_large'],
    ['/v1/sessions', padded(1), { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
    ['/v1/sessions', padded(1), { 'content-type': 'application/jsonp' }, 415, 'unsupported_media_type'],
    ['/v1/sessions', padded(1), { 'content-type': 'application/merge-patch+json' }, 415, 'unsupported_media_type'],
    ['/v1/sessions', padded(1), { 'content-type': 'application/json; charset=utf-16' }, 415, 'unsupported_media_type'],
    ['/v1/sessions', '{', json, 400, 'malformed'],
    ['/v1/sessions', '[]', json, 400, 'malformed'],
    ['/v1/sessions', '', json, 400, 'malformed'],
    ['/v1/sessions', '{"patientId":"a","patientId":"b","providerRef":"c"}', json, 400, 'malformed'],
    ['/v1/nothing', '{}', json, 404, 'not_found'],
    ['/v1/events', '{}', json, 405, 'method_not_allowed'],
  ];
  for (const [path, body, headers, status, code] of cases) {
    const answer = await clinic.call('POST', path, { headers, body });
    assert.deepEqual([answer.status, answer.body.code], [status, code], `${body.slice(0, 60)}… ${answer.text}`);
    if (code) assert.equal(answer.type, 'application/problem+json');
  }
  const { headers } = await clinic.call('POST', '/v1/events', { body: {} });
  assert.match(headers.get('allow'), /GET/);
});

test('values that cannot be are named by their field', async () => {
  const cases = [
    [{ patientId: '' }, 'patientId'],
    [{ patientId: 'ä' }, 'patientId'],
    [{ providerRef: 'x'.repeat(129) }, 'providerRef'],
    [{ participants: [{ role: 'patient', displayName: 'a\u0000b' }] }, 'displayName'],
    [{ participants: [{ role: 'observer', relationship: 'sister' }] }, 'relationship'],
    [{ participants: Array(1001).fill({ role: 'observer' }) }, 'participants'],
  ];
  for (const [wrong, field] of cases) {
    const asked = { ...aSession(), .../** @type {object} */ (wrong) };
    const { status, body } = await clinic.call('POST', '/v1/sessions', { body: asked });
    assert.deepEqual([status, body.code, body.field], [422, 'invalid', field]);
  }
  const many = { ...aSession(), participants: Array(21).fill({ role: 'observer' }) };
  const full = await clinic.call('POST', '/v1/sessions', { body: many });
  assert.deepEqual([full.status, full.body.code], [409, 'session_full']);
  const end = new Date(Date.now() - HOUR_MS).toISOString();
  const backwards = await clinic.call('POST', '/v1/sessions', { body: { ...aSession(), scheduledEnd: end } });
  assert.deepEqual([backwards.status, backwards.body.code], [422, 'invalid_schedule']);
});

test('secrets go in and come out nowhere', async () => {
  const jitsi = 'a secret of jitsi that nobody may see';
  const webhook = `whsec_${Buffer.from('a webhook secret nobody sees').toString('base64')}`;
  const changed = await clinic.call('PATCH', '/v1/config', {
    body: {
      jitsiServerUrl: 'https://jitsi.example.org',
      jitsiJwtSecret: jitsi,
      webhooks: [{ url: 'https://hook.example.org/a', secret: webhook, eventTypes: [] }],
    },
  });
  assert.equal(changed.status, 200, changed.text);
  assert.deepEqual([changed.body.jitsiJwtSecret, changed.body.webhooks[0].secret], ['****', '****']);
  const read = await clinic.must('GET', '/v1/config');
  assert.deepEqual([read.jitsiJwtSecret, read.webhooks[0].secret], ['****', '****']);

  const [{ secret, ...kept }] = read.webhooks;
  const same = { jitsiJwtSecret: '****', webhooks: [{ ...kept, secret }] };
  const back = await clinic.must('PATCH', '/v1/config', { body: same });
  assert.deepEqual([back.jitsiJwtSecret, back.webhooks], ['****', read.webhooks], 'what is read can be written');
  assert.equal(back.version, read.version, 'and changes nothing');

  const isOfSecret = ({ data }) => data.changedFields.includes('jitsiJwtSecret');
  await clinic.fed('virtual_care.config.updated.v1', (events) => events.some(isOfSecret));
  const everywhere = [
    changed.text,
    JSON.stringify([read, back, (await walk('/v1/events', 100, 'after')).items, (await walk('/v1/audit', 100)).items]),
    (await clinic.call('GET', '/v1/audit', { headers: { accept: 'text/csv' } })).text,
    server.process.stderr,
    server.process.lines.join('\n'),
  ].join('\n');
  for (const word of [jitsi, webhook, webhook.slice(6)]) assert.ok(!everywhere.includes(word));

  const cleared = await clinic.must('PATCH', '/v1/config', { body: { jitsiJwtSecret: null, webhooks: [] } });
  assert.deepEqual([cleared.jitsiJwtSecret, cleared.webhooks], [null, []]);
});

test('null in a change is what it is unless configured', async () => {
  const retention = { sessionDays: 3650, contentDays: 3650, auditDays: 3650, recordingDays: 365 };
  const usual = { noShowMinutes: 15, retention };
  await clinic.must('PATCH', '/v1/config', {
    body: { noShowMinutes: 33, retention: { ...usual.retention, auditDays: 7 }, brandingPrimaryColor: '#0a0' },
  });
  const body = { noShowMinutes: null, retention: null, brandingPrimaryColor: null };
  const reset = await clinic.must('PATCH', '/v1/config', { body });
  assert.equal(reset.noShowMinutes, usual.noShowMinutes);
  assert.deepEqual(reset.retention, usual.retention);
  assert.equal(reset.brandingPrimaryColor, null);
});

test('sessions keep the rules they were made under', async () => {
  const start = new Date(Date.now() + 5 * HOUR_MS).toISOString();
  const { sessionGraceMinutesBefore } = await clinic.must('GET', '/v1/config');
  const before = await clinic.session({ scheduledStart: start });
  await clinic.must('PATCH', '/v1/config', { body: { sessionGraceMinutesBefore: 600, maxParticipants: 2 } });
  const kept = await clinic.must('GET', `/v1/sessions/${before.id}`);
  assert.deepEqual(kept, before);
  assert.equal(Date.parse(kept.opensAt), Date.parse(start) - sessionGraceMinutesBefore * 60_000);
  const third = { role: 'observer' };
  await clinic.must('POST', `/v1/sessions/${before.id}/participants`, { body: third });
  const since = await clinic.session({ scheduledStart: start });
  assert.equal(Date.parse(since.opensAt), Date.parse(start) - 600 * 60_000);
  const full = await clinic.call('POST', `/v1/sessions/${since.id}/participants`, { body: third });
  assert.deepEqual([full.status, full.body.code], [409, 'session_full']);
  await clinic.must('PATCH', '/v1/config', { body: { sessionGraceMinutesBefore: null, maxParticipants: null } });
});

test('who was removed comes in by a new link alone', async () => {
  const { id, participants } = await clinic.session();
  const [patient] = participants.filter(({ role }) => role === 'patient');
  const old = await clinic.token(id, patient.id);
  await clinic.must('POST', `/v1/sessions/${id}/participants/${patient.id}/remove`);
  const refused = await post(server.origin, 'join', { token: old.token });
  assert.deepEqual([refused.status, refused.body.code], [403, 'join_token_revoked']);
  const fresh = await clinic.token(id, patient.id);
  assert.equal((await post(server.origin, 'join', { token: fresh.token })).status, 200);
  assert.equal((await post(server.origin, 'join', { token: old.token })).body.code, 'join_token_revoked');
});

test('a link that went to the wrong address stops working when another is issued for it', async () => {
  const { id, participants } = await clinic.session();
  const patient = participants.find(({ role }) => role === 'patient').id;
  const works = async ({ token }) => (await post(server.origin, 'join', { token })).body.code ?? 'works';
  const first = await clinic.token(id, patient);
  const second = await clinic.token(id, patient);
  assert.deepEqual([await works(first), await works(second)], ['works', 'works']);
  const third = await clinic.token(id, patient, { revokeEarlier: true });
  assert.deepEqual([await works(first), await works(second)], Array(2).fill('join_token_revoked'));
  assert.equal(await works(third), 'works');
});

test('consents are kept as they were given, and a withdrawal is one more', async () => {
  const { id } = await clinic.session();
  const path = `/v1/sessions/${id}/consents`;
  await clinic.must('POST', path, { body: { type: 'telehealth', granted: true } });
  await clinic.must('POST', path, { body: { type: 'telehealth', granted: false, version: '2026-01' } });
  const { items } = await clinic.must('GET', path);
  assert.deepEqual(items.map(({ type, granted }) => `${type} ${granted}`), ['telehealth true', 'telehealth false']);
  const [given, withdrawn] = items;
  assert.equal(withdrawn.version, '2026-01');
  assert.equal(given.capturedBy.kind, 'staff');
  assert.match(given.capturedBy.id, /^key:[0-9a-f-]{36}$/, 'the one who attests is named');
  const recording = await clinic.call('POST', path, { body: { type: 'recording', granted: true } });
  assert.deepEqual([recording.status, recording.body.code], [409, 'recording_not_allowed']);
});

test('the stream is the feed, and goes on where it broke off', async () => {
  const { id: last } = await clinic.session();
  await clinic.fed('virtual_care.session.created.v1', (events) => events.some(({ subject }) => subject === last));
  const before = (await walk('/v1/events', 100, 'after')).next;
  const live = await Stream.open(server.origin, { as: clinic.owner });
  const made = [];
  for (let index = 0; index < 6; index += 1) {
    const { id } = await clinic.session({ patientId: `mrn-feed-${index}` });
    if (index % 2) await clinic.must('POST', `/v1/sessions/${id}/cancel`);
    made.push(id);
  }
  const heard = await live.heard(9);
  await live.close();
  const { items: paged } = await walk(`/v1/events?after=${before}`, 4, 'after');
  assert.deepEqual(heard.map(({ id, data }) => ({ position: Number(id), event: data })), paged);
  assert.deepEqual(heard.map(({ event }) => event), paged.map(({ event }) => event.type));
  assert.deepEqual(new Set(paged.map(({ event }) => event.subject)), new Set(made));
  const positions = paged.map(({ position }) => position);
  assert.deepEqual(positions, positions.map((_, index) => before + 1 + index), 'without a gap');
  for (const { event } of paged) {
    assert.deepEqual([event.specversion, event.datacontenttype ?? 'application/json'], ['1.0', 'application/json']);
    assert.ok(event.id && event.source && event.time);
  }
  assert.equal(new Set(paged.map(({ event }) => event.id)).size, paged.length);

  const resumed = await Stream.open(server.origin, { as: clinic.owner, query: '?after=0', lastEventId: heard[3].id });
  await clinic.session();
  const rest = await resumed.heard(6);
  await resumed.close();
  assert.deepEqual(rest.slice(0, 5), heard.slice(4), 'the header goes before the query');
  assert.equal(Number(rest[5].id), positions.at(-1) + 1);

  const type = 'virtual_care.session.cancelled.v1';
  const { items: cancelled } = await walk(`/v1/events?type=${type}&after=${before}`, 2, 'after');
  assert.deepEqual(cancelled, paged.filter(({ event }) => event.type === type));
  const nonsense = await clinic.call('GET', '/v1/events/stream', { headers: { 'last-event-id': 'x' } });
  assert.deepEqual([nonsense.status, nonsense.body.code], [400, 'malformed']);
  const text = JSON.stringify(paged);
  for (const name of ['Dr. Ada', 'Pat"']) assert.ok(!text.includes(name), 'no name is in an event');
});

test('streams of one caller are bounded, and a closed one makes room', async () => {
  const as = byKey((await clinic.key(['events:read'])).key);
  const open = () => Stream.open(server.origin, { as });
  const streams = await Promise.all(Array.from({ length: 8 }, open));
  const ninth = await clinic.call('GET', '/v1/events/stream', { as });
  assert.deepEqual([ninth.status, ninth.body.code], [429, 'too_many_requests']);
  assert.ok(Number(ninth.headers.get('retry-after')) > 0);
  await streams.pop().close();
  let tenth;
  for (let tries = 0; !tenth && tries < 50; tries += 1) tenth = await open().catch(() => undefined);
  assert.ok(tenth);
  await Promise.all([...streams, tenth].map((stream) => stream.close()));
});

test('two patients wait at one desk in order, and move up when the first is let in', async () => {
  const providerRef = `Practitioner/${clinic.tag}`;
  const visits = [await visit(providerRef, 'Pat'), await visit(providerRef, 'Quinn')];
  const query = `?providerRef=${encodeURIComponent(providerRef)}`;
  const desk = await Stream.open(server.origin, { as: clinic.owner, path: '/v1/desk', query });
  const names = ({ waiting }) => waiting.map(({ name }) => name).join();
  await desk.last((queue) => names(queue) === '');

  const sockets = [];
  for (const { patientLink } of visits) {
    sockets.push(await Socket.join(server.origin, patientLink));
    await sockets.at(-1).hears('waiting', ({ position }) => position === sockets.length);
  }
  const { waiting } = await desk.last((queue) => names(queue) === 'Pat,Quinn');
  assert.deepEqual(waiting.map(({ position }) => position), [1, 2]);
  assert.deepEqual(waiting.map(({ sessionId }) => sessionId), visits.map(({ id }) => id));
  assert.ok(waiting.every(({ connected, newDevice }) => connected && !newDevice));
  assert.ok(await sockets[1].hears('waiting', ({ deskAttended }) => deskAttended), 'somebody looks at the desk');

  sockets.push(await Socket.join(server.origin, visits[0].providerLink));
  await desk.last((queue) => queue.waiting[0].providerPresent);
  const { id, patient } = visits[0];
  await clinic.must('POST', `/v1/sessions/${id}/participants/${patient}/admit`);
  await sockets[0].hears('admitted');
  const left = await desk.last((queue) => names(queue) === 'Quinn');
  assert.equal(left.waiting[0].position, 1);
  await sockets[1].hears('waiting', ({ position }) => position === 1);
  sockets.forEach((socket) => socket.close());
  await desk.close();
});

test('who goes on in writing is in the feed, in the audit and in the metrics, and so is that they came back', async () => {
  const { id, patient, providerLink, patientLink } = await visit(`Practitioner/${clinic.tag}`, 'Pat');
  const sockets = [await Socket.join(server.origin, patientLink)];
  await sockets[0].hears('waiting');
  sockets.push(await Socket.join(server.origin, providerLink));
  await sockets[1].hears('welcome');
  await clinic.must('POST', `/v1/sessions/${id}/participants/${patient}/admit`);
  await sockets[0].hears('admitted');

  const before = { down: await tierChanges('async_text', 'chosen'), up: await tierChanges('video', 'recovered') };
  sockets[0].say({ type: 'tier', want: 'async_text' });
  await sockets[0].hears('tier', ({ profile, reason }) => profile === 'async_text' && reason === 'chosen');
  const isOurs = ({ subject }) => subject === id;
  const [initiated, ...more] = (
    await clinic.fed('virtual_care.session.fallback.initiated.v1', (all) => all.some(isOurs))
  ).filter(isOurs);
  assert.equal(more.length, 0);
  assert.equal(initiated.data.participantId, patient);
  sockets[0].say({ type: 'tier', want: 'video' });
  await sockets[0].hears('tier', ({ profile }) => profile !== 'async_text');

  const path = `/v1/audit?limit=100&sessionId=${id}`;
  const audit = await until('both changes in the audit', async () => {
    const { items } = await clinic.must('GET', path);
    const tiers = items.filter(({ action }) => action.startsWith('tier.'));
    return tiers.length > 1 && tiers;
  });
  assert.deepEqual(
    audit.map(({ action, actorId, subjectId }) => [action, actorId, subjectId]),
    [
      ['tier.async_text.chosen', patient, patient],
      ['tier.video.recovered', null, patient],
    ],
  );
  assert.equal(await tierChanges('async_text', 'chosen'), before.down + 1);
  assert.equal(await tierChanges('video', 'recovered'), before.up + 1);
  sockets.forEach((socket) => socket.close());
});

/** How often a line came to be used for this, for that reason, as `/metrics` has it. */
async function tierChanges(profile, reason) {
  const told = await (await fetch(`${server.origin}/metrics`)).text();
  const labels = `{profile="${profile}",reason="${reason}"}`;
  const line = told.split('\n').find((text) => text.startsWith(`vestibule_tier_changes_total${labels}`));
  return line ? Number(line.split(' ').at(-1)) : 0;
}

/** A session of a desk, with links, in which the patient has agreed to what they must. */
async function visit(providerRef, displayName) {
  const participants = [{ role: 'provider', displayName: 'Dr. Ada' }, { role: 'patient', displayName }];
  const session = await clinic.session({ providerRef, participants });
  const [provider, patient] = ['provider', 'patient'].map((role) => participantOf(session, role));
  const providerLink = (await clinic.token(session.id, provider)).joinUrl;
  const patientLink = (await clinic.token(session.id, patient)).joinUrl;
  await consent(server.origin, patientLink);
  return { id: session.id, patient, providerLink, patientLink };
}

test('the audit says the same in pages, as NDJSON and as CSV', async () => {
  const headers = { 'x-request-id': 'audit-of-this' };
  const session = (await clinic.call('POST', '/v1/sessions', { headers, body: aSession() })).body;
  const patient = participantOf(session, 'patient');
  await clinic.token(session.id, patient);
  const trick = { 'x-request-id': '=1+1,"quoted"' };
  await clinic.call('POST', `/v1/sessions/${session.id}/cancel`, { headers: trick });

  const query = `?sessionId=${session.id}`;
  const { items: paged } = await walk(`/v1/audit${query}`, 2);
  const actions = paged.map(({ action }) => action);
  for (const action of ['token.issued', 'session.cancelled']) assert.ok(actions.includes(action), actions.join());
  assert.equal(paged[0].requestId, 'audit-of-this');
  assert.ok(paged.every(({ sessionId }) => sessionId === session.id));
  assert.ok(!JSON.stringify(paged).includes('Dr. Ada'));

  const ndjson = await clinic.call('GET', `/v1/audit${query}`, { headers: { accept: 'application/x-ndjson' } });
  assert.equal(ndjson.type, 'application/x-ndjson');
  assert.deepEqual(ndjson.text.trimEnd().split('\n').map((line) => JSON.parse(line)), paged);

  const csv = await clinic.call('GET', `/v1/audit${query}`, { headers: { accept: 'text/csv' } });
  assert.match(csv.type, /^text\/csv/);
  assert.match(csv.headers.get('content-disposition'), /^attachment/);
  const [head, ...rows] = parseCsv(csv.text);
  const untricked = (cell) => (/^'[=+@-]/.test(cell) ? cell.slice(1) : cell);
  const asObjects = rows.map((row) => Object.fromEntries(row.map((cell, index) => [head[index], untricked(cell)])));
  const textOf = (line) => Object.fromEntries(Object.entries(line).map(([name, value]) => [name, value ?? '']));
  const asText = paged.map(textOf);
  assert.deepEqual(asObjects, asText);
  assert.ok(csv.text.includes(`"'=1+1,""quoted"""`), 'a formula is text to a spreadsheet');

  const all = (await walk('/v1/audit', 100)).items;
  assert.deepEqual(all.slice(-2).map(({ action }) => action), Array(2).fill('audit.exported'), 'an export is in it');
  const [{ actorId }] = paged;
  const theirs = (await walk(`/v1/audit?actor=${encodeURIComponent(actorId)}`, 100)).items;
  assert.deepEqual(theirs, all.filter((line) => line.actorId === actorId));
  const { at } = paged.at(-1);
  const since = (await walk(`/v1/audit?from=${at}`, 100)).items;
  assert.deepEqual(since, all.filter((line) => Date.parse(line.at) >= Date.parse(at)));
});

test('every answer names its request', async () => {
  const given = await clinic.call('GET', '/v1/config', { headers: { 'x-request-id': 'mine-7' } });
  assert.equal(given.headers.get('x-request-id'), 'mine-7');
  for (const id of ['x'.repeat(65), 'a b', undefined]) {
    const headers = id ? { 'x-request-id': id } : {};
    const made = await clinic.call('GET', '/v1/nothing', { headers });
    assert.match(made.headers.get('x-request-id'), /^[0-9a-f-]{36}$/);
    assert.equal(made.body.requestId, made.headers.get('x-request-id'));
  }
});

test('who asks too often is told when to come again, and nobody else suffers', async () => {
  const strict = await Server.start(['--api-rate', '1']);
  try {
    const one = await Clinic.make(strict, 'Clinic', scopes);
    const another = await Clinic.make(strict, 'Clinic', ['config:read']);
    const answers = await Promise.all(Array.from({ length: 12 }, () => one.call('GET', '/v1/config')));
    const refused = answers.filter(({ status }) => status === 429);
    assert.ok(refused.length >= 6 && refused.length < 12, `${refused.length}`);
    for (const { body, headers } of refused) {
      assert.equal(body.code, 'too_many_requests');
      assert.match(headers.get('retry-after'), /^[1-9]\d*$/);
    }
    assert.equal((await another.call('GET', '/v1/config')).status, 200);
  } finally {
    await strict.end();
  }
});

/**
 * A list from its first page to its last, and how many each page had; a feed (`by: 'after'`) to its end.
 * @param {string} path @param {number} limit
 */
async function walk(path, limit, by = 'cursor') {
  const items = [];
  const pages = [];
  let from = '';
  for (;;) {
    const asked = withQuery(path, { limit, ...(from === '' ? {} : { [by]: from }) });
    const { items: page, next } = await clinic.must('GET', asked);
    items.push(...page);
    pages.push(page.length);
    const isLast = by === 'cursor' ? next === null : page.length === 0;
    if (isLast) return { items, pages, next };
    assert.ok(pages.length < 1000, 'it has an end');
    from = next;
  }
}

function withQuery(path, values) {
  const url = new URL(path, 'http://any');
  for (const [name, value] of Object.entries(values)) url.searchParams.set(name, String(value));
  return url.pathname + url.search;
}

/** RFC 4180. */
function parseCsv(text) {
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  const rows = [];
  let row = [];
  for (let match = cell.exec(text); match; match = cell.exec(text)) {
    const [, quoted, plain, end] = match;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ',') continue;
    rows.push(row);
    row = [];
    if (cell.lastIndex === text.length) break;
  }
  return rows;
}
