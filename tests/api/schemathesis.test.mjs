/**
 * The server against its own description: schemathesis (PyPI) makes requests by it, good and bad, and holds the answers
 * against it. Once as a key that may everything, and once as the administrator.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, test } from 'node:test';

import { Process } from '../browser/harness/process.mjs';
import { Server } from '../browser/harness/server.mjs';
import { Clinic, scopesOf } from './harness/clinic.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** They never end; story.test.mjs hears them. */
const ENDLESS = ['streamEvents', 'watchDesk'];
/** What would take away the credentials that the rest of the run needs. */
const ENDS_KEYS = ['rotateApiKey', 'revokeApiKey'];
const ENDS_SESSIONS = ['signOut', 'signOutEverywhere', 'changePassword', 'changeStaff'];

let server;
let clinic;
let admin;
let folder;

before(async () => {
  server = await Server.start(['--api-rate', '100000']);
  const description = JSON.parse(await readFile(join(HERE, '../../docs/openapi.json'), 'utf8'));
  clinic = await Clinic.make(server, 'Clinic', scopesOf(description));
  admin = await clinic.admin();
  folder = await mkdtemp(join(tmpdir(), 'vestibule-schemathesis-'));
});

after(async () => {
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
  if (folder) await rm(folder, { recursive: true, force: true });
});

test('a key is answered as the description says', () => run(clinic.owner, ENDS_KEYS));

test('an administrator is answered as the description says', () => run(admin.as, ENDS_SESSIONS));

async function run(credentials, left) {
  // By the names the description has, for it to know them as credentials.
  const headers = Object.entries(credentials).flatMap(([name, value]) => {
    return ['--header', `${name[0].toUpperCase()}${name.slice(1)}: ${value}`];
  });
  const skipped = [...ENDLESS, ...left].flatMap((id) => ['--exclude-operation-id', id]);
  const args = [
    ...['--config-file', join(HERE, 'schemathesis.toml'), 'run', `${server.origin}/openapi.json`],
    ...[...headers, ...skipped, '--request-timeout', '20', '--continue-on-failure', '--no-color'],
  ];
  const env = {
    ...process.env,
    SCHEMATHESIS_HOOKS: 'hooks',
    PYTHONPATH: HERE,
    PYTHONDONTWRITEBYTECODE: '1',
    HYPOTHESIS_STORAGE_DIRECTORY: folder,
    TMPDIR: folder,
  };
  const schemathesis = new Process(program(), args, env);
  const code = await schemathesis.ended();
  assert.equal(code, 0, `${schemathesis.lines.join('\n')}\n${schemathesis.stderr}`);
  const said = schemathesis.lines.join('\n');
  assert.match(said, /Test cases:\n\s+\d{4,} generated/, 'it did something');
}

function program() {
  const venv = process.env.VESTIBULE_API_VENV;
  if (!venv) throw new Error('VESTIBULE_API_VENV is not set; run: make test-api');
  return join(venv, 'bin/schemathesis');
}
