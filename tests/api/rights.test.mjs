/**
 * Who may: every operation of the description, called as everybody, against the table in rights.md; and that a clinic
 * learns nothing of another one, not even that something is there.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';

import { Server } from '../browser/harness/server.mjs';
import { aVisit, Clinic, ROLES, scopesOf } from './harness/clinic.mjs';
import { absentId, byKey, call } from './harness/http.mjs';
import { MAKERS, operationsOf, pathOf, seat } from './harness/operations.mjs';
import { Postgres } from './harness/postgres.mjs';

const DIGEST_OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
/** Operations that make what is not there: to them another clinic's identifier is one they cannot have. */
const MAKES_WHAT_IS_ABSENT = ['saveAsyncVisit', 'submitAsyncVisit'];

/** A key of this scope alone gives nothing: it has to have all that the role may. */
const GIVES = ', and all of the role';

const table = await readTable();
const description = JSON.parse(await readFile(new URL('../../docs/openapi.json', import.meta.url), 'utf8'));
const operations = operationsOf(description);
const scopes = scopesOf(description);

test('every operation is in the table, and nothing else', () => {
  const described = operations.map(({ id, method, template }) => `${id}: ${method} ${template}`);
  const listed = table.map(({ id, request }) => `${id}: ${request}`);
  assert.deepEqual(listed.toSorted(), described.toSorted());
  assert.deepEqual(Object.keys(MAKERS).toSorted(), table.map(({ id }) => id).toSorted(), 'and each can be called');
});

test('the description names the same scopes', () => {
  for (const { id, described } of operations) {
    const { scope } = table.find((row) => row.id === id);
    const [key] = described.security.map(({ apiKey }) => apiKey).filter(Boolean);
    const staff = described.security.some(({ staffSession }) => staffSession);
    const expected = { 'any key': [[], true], 'no key': [undefined, true], everybody: [undefined, false] };
    assert.deepEqual([key, staff], expected[scope] ?? [[scope.replace(GIVES, '')], true], id);
  }
});

for (const database of ['SQLite', 'PostgreSQL']) {
  describe(`on ${database}`, () => walk(database === 'PostgreSQL' ? Postgres : undefined));
}

/** @param {typeof Postgres | undefined} Database */
function walk(Database) {
  let database;
  let server;
  /** @type {Clinic} */
  let clinic;
  /** @type {Clinic} */
  let other;
  /** @type {import('./harness/operations.mjs').Caller[]} */
  let callers;

  before(async () => {
    database = await Database?.start();
    const args = database ? ['--database', database.url] : [];
    server = await Server.start([...args, '--api-rate', '100000']);
    clinic = await Clinic.make(server, 'Clinic', scopes, args);
    other = await Clinic.make(server, 'Another clinic', scopes, args);
    callers = await everybody(clinic);
  });

  after(async () => {
    assert.equal(await server?.end(), 0, 'the server ends cleanly');
    await database?.end();
  });

  for (const operation of operations) {
    const row = table.find(({ id }) => id === operation.id);
    test(`${operation.id} is for those who may, and for nobody else`, async () => {
      for (const caller of callers) {
        const made = await MAKERS[operation.id](clinic, caller);
        const answer = await send(clinic, operation, { as: caller.as, ...made });
        const expected = verdict(row, caller);
        const said = `${caller.name} is answered ${answer.status} ${answer.text}`;
        if (expected === 'allowed') {
          // 409: by its state it cannot be now, which only who may is told.
          assert.ok(answer.status < 300 || answer.status === 409, said);
        } else {
          assert.deepEqual([answer.status, answer.body?.code], expected, said);
          assert.equal(answer.type, 'application/problem+json');
        }
        assert.ok(isDescribed(operation, answer), `the description knows no such answer: ${said}`);
      }
    });
  }

  for (const operation of operations.filter(({ described }) => takesJson(described))) {
    test(`${operation.id} refuses a field it does not know`, async () => {
      const owner = ownerOf(operation, callers, clinic);
      const { body, ...made } = await MAKERS[operation.id](clinic, owner);
      const more = { .../** @type {object} */ (body), unknownField: 1 };
      const answer = await send(clinic, operation, { as: owner.as, ...made, body: more });
      assert.ok([400, 422].includes(answer.status), `${answer.status} ${answer.text}`);
      assert.match(answer.body.code, /^(malformed|invalid)$/);
    });
  }

  for (const operation of operations.filter(({ template }) => template.includes('{'))) {
    test(`${operation.id} says the same of another clinic’s as of what is not there`, async () => {
      const owner = { name: 'the other clinic', as: other.owner };
      const made = await MAKERS[operation.id](clinic, owner);
      const path = /** @type {Record<string, string>} */ (made.path);
      const foreign = await send(other, operation, { ...made, as: other.owner });
      assert.deepEqual([foreign.status, foreign.body?.code], [404, 'not_found'], foreign.text);
      if (!MAKES_WHAT_IS_ABSENT.includes(operation.id)) {
        const absent = await send(other, operation, { ...made, path: nowhere(path), as: other.owner });
        assertAlike(foreign, absent);
        const wrong = { ...path, ...nonsenseFor(path) };
        const nonsense = await send(other, operation, { ...made, path: wrong, as: other.owner });
        assertAlike(foreign, nonsense);
      }
      if (operation.template.includes('{participantId}')) {
        const own = await seat(other);
        const mixed = { ...own, participantId: path.participantId };
        assertAlike(foreign, await send(other, operation, { ...made, path: mixed, as: other.owner }));
      }
    });
  }

  test('a visit cannot go on from another clinic’s session', async () => {
    const { sessionId } = await seat(clinic);
    const draft = (session) => ({ ...aVisit(), sessionId: session });
    const headers = { 'x-request-id': 'the-same' };
    const [foreign, absent] = [sessionId, absentId()].map((id) =>
      other.call('PUT', `/v1/async-visits/${absentId()}`, { headers, body: draft(id) }),
    );
    const [{ status, text }, { status: expected, text: said }] = await Promise.all([foreign, absent]);
    const without = (body) => body.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, '');
    assert.deepEqual([status, without(text)], [expected, without(said)]);
    assert.ok(status >= 400, text);
  });

  test('a wrong key and a revoked one open nothing', async () => {
    const { id, key } = await clinic.key(['config:read']);
    assert.equal((await clinic.call('GET', '/v1/config', { as: byKey(key) })).status, 200);
    await clinic.must('DELETE', `/v1/api-keys/${id}`);
    const flipped = key.slice(0, -4) + (key.endsWith('AAAA') ? 'BBBB' : 'AAAA');
    const wrong = [key, flipped, key.slice(0, -1), 'vst_', '', 'x'.repeat(4000)].map(byKey);
    const others = [{ authorization: `Basic ${key}` }, { authorization: key }, { cookie: '__Host-vestibule=x' }];
    for (const as of [...wrong, ...others]) {
      const answer = await clinic.call('GET', '/v1/config', { as });
      assert.deepEqual([answer.status, answer.body?.code], [401, 'unauthenticated'], JSON.stringify(as));
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    }
  });

  test('a key gives away no right it has not', async () => {
    const narrow = byKey((await clinic.key(['keys:manage'])).key);
    const wide = await clinic.key(['keys:manage', 'audit:read']);
    const body = { name: 'x', scopes: ['audit:read'] };
    const create = await clinic.call('POST', '/v1/api-keys', { as: narrow, body });
    const rotate = await clinic.call('POST', `/v1/api-keys/${wide.id}/rotate`, { as: narrow, body: {} });
    for (const answer of [create, rotate]) {
      assert.deepEqual([answer.status, answer.body.code], [403, 'not_permitted']);
    }
  });

  test('a cookie speaks for nobody on another site’s page', async () => {
    const { as } = callers.find(({ role }) => role === 'admin');
    for (const origin of ['https://elsewhere.example', 'null', undefined]) {
      const { cookie } = as;
      const headers = origin ? { cookie, origin } : { cookie };
      const answer = await call(clinic.origin, 'PATCH', '/v1/config', { as: headers, body: { noShowMinutes: 30 } });
      assert.deepEqual([answer.status, answer.body.code], [403, 'other_origin'], origin);
    }
  });
}

/** Somebody of each role, a key of each single scope, one of all, and nobody. */
async function everybody(clinic) {
  const staff = ROLES.map(async (role) => {
    const member = role === 'admin' && clinic.name === 'Clinic' ? await clinic.admin() : await clinic.member(role);
    return { name: `the ${role}`, as: member.as, role };
  });
  const keys = scopes.map(async (scope) => {
    return { name: `a key with ${scope}`, as: byKey((await clinic.key([scope])).key), scopes: [scope] };
  });
  const all = { name: 'a key with all scopes', as: clinic.owner, scopes };
  return [...(await Promise.all([...staff, ...keys])), all, { name: 'nobody', as: {} }];
}

/** What the table says of a caller: `allowed`, or status and code. */
function verdict({ scope, roles, without }, caller) {
  const unauthenticated = [401, 'unauthenticated'];
  if (caller.role) return roles[caller.role] ? 'allowed' : [403, 'not_permitted'];
  if (without) return 'allowed';
  if (!caller.scopes || scope === 'no key') return unauthenticated;
  const needed = scope.endsWith(GIVES) ? scopes : [scope];
  const has = scope === 'any key' || needed.every((one) => caller.scopes.includes(one));
  return has ? 'allowed' : [403, 'not_permitted'];
}

/** Who may do it: the all-scopes key, or the admin where keys are nobody. */
function ownerOf({ id }, callers, clinic) {
  const { scope } = table.find((row) => row.id === id);
  return scope === 'no key' ? callers.find(({ role }) => role === 'admin') : { name: 'the owner', as: clinic.owner };
}

/**
 * @param {Clinic} clinic @param {{method: string, template: string}} operation
 * @param {import('./harness/operations.mjs').Made} made
 */
function send(clinic, { method, template }, { path = {}, query = '', headers = {}, body, as }) {
  const target = pathOf(template, path) + query;
  return call(clinic.origin, method, target, { as, headers: { 'x-request-id': 'the-same', ...headers }, body });
}

/** The same path, of identifiers that nobody has. */
const nowhere = (path) =>
  Object.fromEntries(Object.keys(path).map((name) => [name, name === 'sha256' ? DIGEST_OF_NOTHING : absentId()]));

/** One parameter that is no identifier at all. */
const nonsenseFor = (path) => ({ [Object.keys(path)[0]]: 'nonsense' });

/** Nobody can tell the two answers apart. */
function assertAlike(one, another) {
  const told = ({ status, type, text, headers }) => {
    const names = [...headers.keys()].filter((name) => name !== 'date');
    return { status, type, text, headers: names.map((name) => `${name}: ${headers.get(name)}`) };
  };
  assert.deepEqual(told(another), told(one));
}

function takesJson({ requestBody }) {
  return Object.keys(requestBody?.content ?? {}).includes('application/json');
}

/** Whether the description has this status, or has it among its errors. */
function isDescribed({ described }, { status, type }) {
  return String(status) in described.responses || (status >= 400 && type === 'application/problem+json');
}

async function readTable() {
  const text = await readFile(new URL('./rights.md', import.meta.url), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  return rows.map((line) => {
    const [id, request, scope, ...may] = line.split('|').slice(1, -1).map((cell) => cell.trim());
    for (const word of may) assert.ok(['yes', 'no'].includes(word), line);
    const [without] = may.slice(ROLES.length).map((word) => word === 'yes');
    const roles = Object.fromEntries(ROLES.map((role, index) => [role, may[index] === 'yes']));
    return { id: id.replaceAll('`', ''), request, scope, roles, without };
  });
}
