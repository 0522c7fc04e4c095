/** The program at the terminal: the demo, a second start, Ctrl-C, wrong settings. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { post, tokenOf } from './harness/door.mjs';
import { builtProgram } from './harness/find.mjs';
import { Process } from './harness/process.mjs';
import { Server } from './harness/server.mjs';

const LINK = /^ {2}(provider|patient|interpreter) .*(http:\S+)$/;

let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vestibule-'));
});

after(() => rm(folder, { recursive: true, force: true }));

test('the demo prints three links that work, and a second start keeps the session', async () => {
  const data = join(folder, 'demo');
  const first = await Server.start(['--demo'], { data });
  const links = linksOf(first);
  assert.deepEqual(Object.keys(links), ['provider', 'patient', 'interpreter']);
  const sessions = await sessionsOf(first.origin, links);
  assert.equal(new Set(sessions).size, 1, 'to one session');
  for (const file of ['vestibule.db', 'keys/join-token.key']) {
    assert.equal((await stat(join(data, file))).mode & 0o077, 0, `${file} is its owner's alone`);
  }
  assert.equal(await first.process.end('SIGINT'), 0, 'Ctrl-C ends it cleanly');

  const second = await Server.start(['--demo'], { data });
  assert.deepEqual(await sessionsOf(second.origin, linksOf(second)), sessions, 'the same session');
  const old = Object.fromEntries(Object.entries(links).map(([role, link]) => [role, link]));
  assert.deepEqual(await sessionsOf(second.origin, old), sessions, 'and the links of before still work');
  const [admins, again] = [await first.adminLink(), await second.adminLink()];
  assert.notEqual(admins, again, 'nobody has followed the first link: there is another');
  assert.equal(first.process.lines.filter((line) => line.startsWith('Set up the first administrator')).length, 1);
  assert.equal(await second.end(), 0);
});

test('two servers cannot use one folder', async () => {
  const first = await Server.start();
  const second = await run(['--data', first.data, '--listen', '127.0.0.1:0']);
  assert.notEqual(second.code, 0);
  assert.match(second.stderr, /--data: another server uses/);
  assert.equal(await first.end(), 0);
});

test('a check looks and changes nothing', async () => {
  const data = join(folder, 'unborn');
  const fresh = await run(['--data', data, '--listen', '0.0.0.0:0', '--media-bind', '127.0.0.1', 'check']);
  assert.equal(fresh.code, 1, 'others would be heard by nobody');
  assert.match(fresh.lines.join('\n'), /WRONG +--media-bind/);
  await assert.rejects(stat(data), 'no folder was made');
  const server = await Server.start(['--tls', 'self-signed']);
  const certificate = join(server.data, 'tls/cert.pem');
  const before = await readFile(certificate, 'utf8');
  const look = await run(['--data', server.data, '--tls', 'self-signed', '--announce', '198.51.100.9', 'check']);
  assert.match(look.lines.join('\n'), /198\.51\.100\.9.* is made at the next start/);
  assert.equal(await readFile(certificate, 'utf8'), before);
  await server.end();
});

test('fresh links can be had for a session that is there', async () => {
  const server = await Server.start();
  const { session, links } = await server.session();
  const again = await run(['--data', server.data, 'session', 'links', session]);
  assert.equal(again.code, 0, again.stderr);
  const fresh = again.lines.map((line) => LINK.exec(line)).filter(Boolean);
  assert.equal(fresh.length, links.length);
  assert.ok(fresh[0][2].startsWith(server.origin), 'the address is the running server’s');
  const { body } = await post(server.origin, 'join', { token: tokenOf(fresh[0][2]) });
  assert.equal(body.session.id, session);
  await server.end();
});

test('a wrong setting is named, with the way out', async () => {
  const letter = join(folder, 'letter.txt');
  await writeFile(letter, 'this is no certificate');
  const busy = await Server.start();
  const { host } = new URL(busy.origin);
  /** @type {[string[], RegExp][]} */
  const cases = [
    [['--listen', 'localhost'], /--listen/],
    [['--listen', host], new RegExp(`cannot listen on ${host}.*--listen`, 's')],
    [['--shards', '0'], /--shards/],
    [['--announce', '0.0.0.0'], /--announce: nobody can reach/],
    [['--announce', '2001:db8::1'], /--announce.*--media-bind/s],
    [['--tls-cert', letter], /--tls-key/],
    [['--tls-cert', letter, '--tls-key', letter], /--tls-cert.*letter\.txt/s],
    [['--tls', 'files'], /--tls.*--tls-cert/s],
    [['--public-url', 'visit.example.org'], /--public-url/],
    [['--data', letter], /--data.*letter\.txt/s],
    [['--media-bind', '203.0.113.1'], /--media-bind/],
    [['session', 'create', '--patient', 'P'], /--provider/],
    [['session', 'create', '--provider', 'A', '--patient', ''], /name/],
    [['session', 'create', '--provider', 'A', '--patient', 'P', '--start', 'soon'], /--start/],
    [['session', 'links', 'nonsense'], /SESSION/],
    [['--data', join(folder, 'none'), 'session', 'links', '01981234-5678-7abc-8def-0123456789ab'], /--data: there is no/],
    [['--listen', '0.0.0.0:0', '--public-url', 'http://a.example'], /--public-url.*https:/s],
    [['session', 'links', '01981234-5678-7abc-8def-0123456789ab'], /there is no session/],
    [['staff', 'link', '--login', 'nobody'], /--login: nobody signs in/],
    [['staff', 'link', '--login', 'a b'], /--login/],
    [['key', 'create', '--name', 'N', '--scopes', 'everything'], /--scopes/],
    [['key', 'create', '--name', '', '--scopes', 'config:read'], /--name/],
    [['key', 'create', '--name', 'N', '--scopes', 'config:read', '--expires-at', '2020-01-01T00:00:00Z'], /--expires-at/],
  ];
  for (const [args, said] of cases) {
    const hasData = args.includes('--data');
    const listens = args.includes('--listen');
    const all = [...(hasData ? [] : ['--data', folder]), ...(listens ? [] : ['--listen', '127.0.0.1:0']), ...args];
    const { code, stderr } = await run(all);
    assert.notEqual(code, 0, args.join(' '));
    assert.match(stderr, said, args.join(' '));
  }
  await busy.end();
});

/** Runs the program to its end. */
async function run(args) {
  const process = new Process(builtProgram('vestibule'), args);
  const code = await process.ended();
  return { code, lines: process.lines, stderr: process.stderr };
}

/** The links that were printed, by role. */
function linksOf(server) {
  const found = server.process.lines.map((line) => LINK.exec(line)).filter(Boolean);
  return Object.fromEntries(found.map(([, role, link]) => [role, link]));
}

function sessionsOf(origin, links) {
  return Promise.all(
    Object.values(links).map(async (link) => {
      const { body } = await post(origin, 'join', { token: tokenOf(link) });
      return body.session.id;
    }),
  );
}
