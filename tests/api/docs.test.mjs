/** docs/api.md, and the settings in docs/fallback.md: their commands are run as they stand, and what they list is what there is. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

import { post, tokenOf } from '../browser/harness/door.mjs';
import { builtProgram } from '../browser/harness/find.mjs';
import { Process } from '../browser/harness/process.mjs';
import { until } from '../browser/harness/wait.mjs';
import { ROLES, scopesOf } from './harness/clinic.mjs';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const SNAPSHOTS = 'domain/tests/domain/snapshots';
/** Where codes are, besides the mapping itself. */
const FILES_WITH_CODES = [
  'domain/src/rejection.rs',
  'domain/src/visit/decide.rs',
  'domain/src/token.rs',
  'src/accounts/password.rs',
];
/** Codes of the domain that the API says in the words of others: a participant who is not there is not found. */
const INNER = ['no_such_participant', 'invalid_config'];

const read = (path) => readFile(join(REPOSITORY, path), 'utf8');
const page = await read('docs/api.md');
const [, firstSteps] = page.split(/^## /m);

test('the first commands end in two links that work', async () => {
  const commands = blocks(firstSteps, 'sh').join('\n');
  assert.match(commands, /^vestibule .* &$/m);
  await whileItRuns(commands, async (shell) => {
    const links = await until(`two links; it said ${shell.stderr}`, () => {
      const found = shell.lines.filter((line) => /^http\S+\/j#\S+$/.test(line));
      return found.length === 2 && found;
    });
    const roles = links.map(async (link) => {
      const { status, body } = await post(new URL(link).origin, 'join', { token: tokenOf(link) });
      assert.equal(status, 200, JSON.stringify(body));
      return [body.session.id, body.participant.role];
    });
    const [[session, one], [same, another]] = await Promise.all(roles);
    assert.deepEqual([one, another, same], ['provider', 'patient', session]);
    assert.equal(shell.lines.length, 2, 'and nothing else is printed');
  });
});

test('the settings of docs/fallback.md are those there are, and its commands change them and put them back', async () => {
  const fallback = await read('docs/fallback.md');
  const [start] = blocks(firstSteps, 'sh');
  await whileItRuns([start, ...blocks(fallback, 'sh')].join('\n'), async (shell) => {
    const said = await until(`two answers; it said ${shell.stderr}`, () => shell.lines.length === 2 && shell.lines);
    const [changed, back] = said.map((line) => JSON.parse(line));
    assert.deepEqual([changed.fallbackThresholds.videoMinKbps, changed.fallbackThresholds.videoHoldMs], [300, 20_000]);
    const rows = tableRows(fallback, '## Settings').map(([field, unlessSet, range]) => [unquoted(field), Number(unlessSet), range]);
    const { graceReconnectSeconds, textGraceMinutes } = back;
    const all = { ...back.fallbackThresholds, graceReconnectSeconds, textGraceMinutes };
    assert.deepEqual(Object.fromEntries(rows), all);
    const { schemas } = JSON.parse(await read('docs/openapi.json')).components;
    const bounds = { ...schemas.ChangeConfiguration.properties, ...schemas.Thresholds.properties };
    for (const [field, , range] of rows) {
      const { minimum, maximum } = bounds[field];
      assert.ok(range.startsWith(`${minimum}–${maximum}`), `${field} is ${minimum} to ${maximum}`);
    }
  });
});

test('each test that docs/traps.md names is there', async () => {
  const rows = (await read('docs/traps.md')).split('\n').filter((line) => line.startsWith('| ')).slice(1);
  let named = 0;
  for (const row of rows) {
    const tests = row.split('|')[2];
    for (const [, file, names] of tests.matchAll(/`([^`]+\.(?:rs|ts|mjs))`: ((?:`[^`]+`(?:, )?)+)/g)) {
      const source = await read(file);
      for (const [, name] of names.matchAll(/`([^`]+)`/g)) {
        assert.ok(source.includes(`fn ${name}(`) || source.includes(`test('${name}'`), `${name} is not in ${file}`);
        named += 1;
      }
    }
  }
  assert.ok(named > 40, `${named} tests`);
});

test('the errors it lists are those there are, with their status', async () => {
  const listed = tableRows(page, '## Errors').map(([code, status]) => [unquoted(code), Number(status)]);
  const problems = await read('src/http/problem.rs');
  const inner = await Promise.all(FILES_WITH_CODES.map(read));
  const codes = inner.flatMap((text) => [...text.matchAll(/=> "(\w+)"/g)].map(([, code]) => code));
  const mapped = [...problems.matchAll(/StatusCode::(\w+),\s*"(\w+)"/g)];
  const said = mapped.map(([, status, code]) => [code, STATUS[status]]);
  const known = new Set([...codes, ...said.map(([code]) => code)].filter((code) => !INNER.includes(code)));
  assert.deepEqual(listed.map(([code]) => code).toSorted(), [...known].toSorted());
  const statuses = Object.fromEntries(listed);
  for (const [code, status] of said) assert.equal(statuses[code], status, code);
});

test('the scopes it lists are those there are', async () => {
  const description = JSON.parse(await read('docs/openapi.json'));
  const rights = (await read('tests/api/rights.md')).split('\n').filter((line) => line.startsWith('| `')).map(cells);
  const rows = tableRows(page, '## Who may');
  assert.deepEqual(rows.map(([scope]) => unquoted(scope)), scopesOf(description));
  for (const [scope, , ...may] of rows) {
    const [, , , ...tested] = rights.find((row) => row[2] === unquoted(scope));
    assert.deepEqual(may, tested.slice(0, ROLES.length), scope);
  }
});

test('the events it shows are those there are', async () => {
  const files = await readdir(join(REPOSITORY, SNAPSHOTS));
  const names = files.filter((name) => /^virtual_care\..*\.v\d+\.snap$/.test(name));
  const examples = [...page.matchAll(/^\*\*`([\w.]+)`\*\*.*\n\n```json\n([^`]*)```/gm)];
  assert.deepEqual(examples.map(([, type]) => `${type}.snap`).toSorted(), names.toSorted());
  for (const [, type, text] of examples) {
    const [, , snapshot] = (await read(join(SNAPSHOTS, `${type}.snap`))).split(/^---\n/m);
    assert.deepEqual(JSON.parse(text), JSON.parse(snapshot).data, type);
  }
});

test('what is shown as JSON is JSON', () => {
  for (const block of blocks(page, 'json')) JSON.parse(block);
});

const STATUS = {
  BAD_REQUEST: 400,
  UNAUTHORIZED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  CONFLICT: 409,
  GONE: 410,
  PRECONDITION_FAILED: 412,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNPROCESSABLE_ENTITY: 422,
  TOO_MANY_REQUESTS: 429,
  INTERNAL_SERVER_ERROR: 500,
  SERVICE_UNAVAILABLE: 503,
};

/** Runs commands of a page that begin with a server's start, in a folder of their own; it goes on until `look` has seen enough. */
async function whileItRuns(commands, look) {
  const folder = await mkdtemp(join(tmpdir(), 'vestibule-docs-'));
  await symlink(builtProgram('vestibule'), join(folder, 'vestibule'));
  // Any free port instead of the usual one; and the server stays until all is looked at.
  const script = `set -eu\ncd '${folder}'\n${commands}\nread -r _\nkill $!\nwait $! || true\n`;
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}`, VESTIBULE_LISTEN: '127.0.0.1:0' };
  const shell = new Process('sh', ['-c', script], env);
  try {
    await look(shell);
  } finally {
    shell.write('');
    await shell.ended();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The fenced blocks of a language. */
function blocks(text, language) {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map(([, block]) => block);
}

/** The rows of the tables under a heading of a page, without their heads. */
function tableRows(page, heading) {
  const [, under] = page.split(`\n${heading}\n`);
  const [section] = under.split('\n## ');
  return section.split('\n').filter((line) => line.startsWith('| `')).map(cells);
}

function cells(line) {
  return line.split('|').slice(1, -1).map((cell) => cell.trim());
}

function unquoted(code) {
  return code.replaceAll('`', '');
}
