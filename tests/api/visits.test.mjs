/** Asynchronous visits, as a clinic's own system drives them: written, sent twice, amended, answered. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';

import { Server } from '../browser/harness/server.mjs';
import { aVisit, Clinic, scopesOf } from './harness/clinic.mjs';
import { absentId, call } from './harness/http.mjs';
import { picture } from './harness/picture.mjs';

const IMAGE_BYTES_MAX = 10 * 1024 * 1024;
const TEXT_CHARACTERS_MAX = 20_000;

const description = JSON.parse(await readFile(new URL('../../docs/openapi.json', import.meta.url), 'utf8'));

let server;
/** @type {Clinic} */
let clinic;

before(async () => {
  server = await Server.start(['--api-rate', '100000']);
  clinic = await Clinic.make(server, 'Clinic', scopesOf(description));
});

after(async () => {
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

test('from a draft to its answer', async () => {
  const id = absentId();
  const path = `/v1/async-visits/${id}`;
  const made = await clinic.call('PUT', path, { body: aVisit() });
  assert.deepEqual([made.status, made.body.status, made.headers.get('location')], [201, 'draft', path]);
  const saved = await clinic.call('PUT', path, { body: { ...aVisit(), text: 'It itches a lot.' } });
  assert.deepEqual([saved.status, saved.body.version], [200, 2]);
  const other = await clinic.call('PUT', path, { body: { ...aVisit(), patientId: 'mrn-2' } });
  assert.deepEqual([other.status, other.body.code], [409, 'another_visit']);

  const { digest } = await clinic.image(id);
  const content = { ...aVisit(), text: 'It itches a lot.', images: [digest] };
  await clinic.must('PUT', path, { body: content });
  const submitted = await clinic.must('POST', `${path}/submit`);
  assert.deepEqual([submitted.status, submitted.revisionCount], ['submitted', 1]);
  const twice = await clinic.must('POST', `${path}/submit`, { body: content });
  assert.equal(twice.version, submitted.version, 'twice is once');

  const amended = await clinic.must('POST', `${path}/amend`, { body: { text: 'It burns.', images: [digest] } });
  assert.equal(amended.revisionCount, 2);
  await clinic.must('POST', `${path}/review`);
  const { etag, body } = await seen(path);
  assert.deepEqual(body.revisions.map(({ number, text, supersedes }) => [number, text, supersedes]), [
    [1, 'It itches a lot.', undefined],
    [2, 'It burns.', 1],
  ]);
  const stale = { headers: { 'if-match': '"1"' }, body: { text: 'Leave it alone.' } };
  const refused = await clinic.call('POST', `${path}/respond`, stale);
  assert.deepEqual([refused.status, refused.body.currentVersion], [412, body.version]);
  await clinic.must('POST', `${path}/respond`, { ...stale, headers: { 'if-match': etag } });
  const late = await clinic.call('POST', `${path}/amend`, { body: { text: 'It is gone.' } });
  assert.deepEqual([late.status, late.body.code], [409, 'already_answered']);
  const closed = await clinic.must('POST', `${path}/close`);
  assert.equal(closed.status, 'closed');
  assert.equal((await seen(path)).body.response.text, 'Leave it alone.');

  const isOurs = ({ subject }) => subject === id;
  const events = await clinic.fed('virtual_care.async_visit.submitted.v1', (all) => all.filter(isOurs).length > 1);
  const ours = events.filter(isOurs);
  assert.deepEqual(ours.map(({ data }) => [data.revision, data.supersedes]), [
    [1, undefined],
    [2, 1],
  ]);
  const audit = await clinic.must('GET', '/v1/audit?limit=100');
  assert.ok(audit.items.some(({ action, subjectId }) => action === 'visit.read' && subjectId === id));
  const told = JSON.stringify([events, audit, server.process.stderr]);
  for (const word of ['itches', 'burns', 'alone']) assert.ok(!told.includes(word), 'no clinical text is told');
});

test('who was offline submits in one request, twenty times at once for one visit', async () => {
  const path = `/v1/async-visits/${absentId()}/submit`;
  const many = await Promise.all(Array.from({ length: 20 }, () => clinic.call('POST', path, { body: aVisit() })));
  assert.deepEqual(new Set(many.map(({ status }) => status)), new Set([200, 201]), many.map(({ text }) => text).join());
  assert.equal(many.filter(({ status }) => status === 201).length, 1);
  assert.deepEqual(new Set(many.map(({ body }) => body.version)).size, 1);
});

test('an image is what its bytes are, and comes back as what it is', async () => {
  const id = await clinic.draft();
  const path = `/v1/async-visits/${id}/images`;
  const type = { 'content-type': 'image/jpeg' };
  const image = await clinic.call('POST', path, { headers: type, body: picture() });
  assert.deepEqual([image.status, image.body.mediaType, image.body.width], [201, 'image/png', 8]);
  const again = await clinic.call('POST', path, { headers: type, body: picture() });
  assert.deepEqual([again.status, again.text], [201, image.text]);
  const back = await clinic.call('GET', image.headers.get('location'));
  assert.deepEqual([back.status, back.type, back.headers.get('x-content-type-options')], [200, 'image/png', 'nosniff']);

  const gif = Buffer.from('GIF89a');
  /** @type {[Uint8Array, number, string][]} */
  const cases = [
    [gif, 415, 'not_an_image'],
    [Buffer.from('<script>alert(1)</script>'), 415, 'not_an_image'],
    [picture().subarray(0, 40), 422, 'damaged_image'],
    [Buffer.alloc(IMAGE_BYTES_MAX + 1), 413, 'image_too_large'],
  ];
  for (const [body, status, code] of cases) {
    const refused = await clinic.call('POST', path, { headers: type, body });
    assert.deepEqual([refused.status, refused.body.code], [status, code]);
  }
});

test('a text has a bound, and an image has to be there to be named', async () => {
  const save = (more) => clinic.call('PUT', `/v1/async-visits/${absentId()}`, { body: { ...aVisit(), ...more } });
  assert.equal((await save({ text: 'ä'.repeat(TEXT_CHARACTERS_MAX) })).status, 201);
  const long = await save({ text: 'x'.repeat(TEXT_CHARACTERS_MAX + 1) });
  assert.deepEqual([long.status, long.body.code, long.body.field], [422, 'invalid', 'text']);
  const absent = await save({ images: ['0'.repeat(64)] });
  assert.deepEqual([absent.status, absent.body.code, absent.body.field], [422, 'invalid', 'images']);
});

async function seen(path) {
  const { status, headers, body } = await clinic.call('GET', path);
  assert.equal(status, 200);
  const etag = headers.get('etag');
  const known = { as: clinic.owner, headers: { 'if-none-match': etag } };
  const again = await call(server.origin, 'GET', path, known);
  assert.deepEqual([again.status, again.headers.get('etag')], [200, etag], 'images come and texts go without a version');
  return { etag, body };
}
