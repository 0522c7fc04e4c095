/** The load tester against the real server: that everybody gets in, that it counts what was forwarded, and its exit codes. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { builtProgram } from '../browser/harness/find.mjs';
import { Process } from '../browser/harness/process.mjs';
import { Server } from '../browser/harness/server.mjs';

const SCOPES = 'sessions:read,sessions:write,consents:write,config:read,config:write';
/** Of the tester's own model: a voice has 50 packets a second while it is spoken, a camera some 200 at 1,500 kbit/s. */
const VOICE_PER_SECOND_MIN = 2;
const CAMERA_PER_SECOND_MIN = 60;

/** Short times, and the report as data. */
const SHORT = ['--warm-up', '1s', '--window', '2s', '--json', '-'];
/** What gives when a staircase ends before its top, by name; on a busy machine it may be any. */
const LIMITS = ['tester', 'joins', 'starved', 'loss', 'delay'];

let server;
let key;

before(async () => {
  server = await Server.start(['--participants-limit', '40', '--api-rate', '1000']);
  const made = ['key', 'create', '--clinic', 'Load test', '--name', 'load', '--scopes', SCOPES];
  [key] = await server.command(...made);
});

after(async () => {
  assert.equal(await server?.end(), 0, 'the server ends cleanly');
});

/** Runs the tester; its report, if it made one, and its exit code. */
const load = (...args) => told(builtProgram('vestibule-load'), ['--server', server.origin, '--key', key, ...SHORT, ...args]);

/** The processors this process may run on. */
async function allowedCores() {
  const status = await readFile('/proc/self/status', 'utf8');
  const [, list] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status);
  return list.split(',').flatMap((range) => range.split('-').map(Number));
}

/** What a program that tells a report in JSON told. */
async function told(program, args) {
  const tester = new Process(program, args);
  const code = await tester.ended();
  const text = tester.lines.join('\n');
  return { code, report: text ? JSON.parse(text) : null, stderr: tester.stderr };
}

test('visits: all get in, everything is forwarded and counted, and nothing stays behind', async () => {
  const { code, report, stderr } = await load('visits', '2');
  assert.equal(code, 0, stderr);
  assert.equal(report.format, 'vestibule-load/1');
  assert.deepEqual([report.joins.wanted, report.joins.joined, report.joins.failed], [4, 4, 0]);
  const { received, receivedAudioPackets, receivedVideoPackets, windowSeconds } = report.media;
  assert.equal(received.packets, receivedAudioPackets + receivedVideoPackets);
  assert.ok(receivedVideoPackets > 4 * CAMERA_PER_SECOND_MIN * windowSeconds, `${receivedVideoPackets} of video`);
  assert.ok(receivedAudioPackets > 4 * VOICE_PER_SECOND_MIN * windowSeconds, `${receivedAudioPackets} of audio`);
  // Datagrams its own sockets had no room for are no loss of the server's.
  if (report.tester.socketDrops === 0) assert.equal(report.media.unrecoveredPackets, 0);
  assert.equal(report.server.program, 'vestibule');
  assert.ok(report.cost.cpuUsPerPacket > 0);
});

test('an audience: observers come in with the provider, and only receive', async () => {
  const { code, report, stderr } = await load('audio', '25', '--no-dtx');
  assert.equal(code, 0, stderr);
  assert.equal(report.joins.joined, 26);
  assert.equal(report.media.receivedVideoPackets, 0);
  const perReceiver = report.media.received.packets / 25;
  const perSender = report.media.sent.packets;
  assert.ok(Math.abs(perReceiver - perSender) <= 2, `${perSender} sent, ${perReceiver} received by each`);
});

test('a room of three: each receives from two', async () => {
  const { code, report, stderr } = await load('rooms', '1x3', '--video', '0', '--no-dtx');
  assert.equal(code, 0, stderr);
  assert.deepEqual([report.scenario.rooms, report.joins.joined, report.media.starvedStreams], [1, 3, 0]);
  const { sent, received } = report.media;
  assert.ok(sent.packets > 3 * 50 && Math.abs(received.packets - 2 * sent.packets) <= 6, `${sent.packets} led to ${received.packets}`);
});

test('one to many: a page with plots says the same as the data', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vestibule-load-'));
  try {
    const path = join(folder, 'load.html');
    const { code, report, stderr } = await load('one-to-many', '3', '--html', path);
    assert.equal(code, 0, stderr);
    assert.equal(report.joins.joined, 4);
    assert.ok(report.media.receivedVideoPackets > 3 * CAMERA_PER_SECOND_MIN * report.media.windowSeconds);
    const page = await readFile(path, 'utf8');
    assert.match(page, /^<!doctype html>/i);
    assert.ok(page.includes(report.scenario.title) && page.includes('<svg'), 'with a heading and plots');
    assert.ok(!/<script|https?:\/\/(?!127\.0\.0\.1|www\.w3\.org)/.test(page), 'and nothing from elsewhere');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a staircase goes up step by step, and says what gave', async () => {
  const { report, stderr } = await load('staircase', '--step', '1', '--most', '2');
  const { steps, heldVisits, limit, why } = report.staircase;
  assert.deepEqual(steps.map(({ visits }) => visits), [1, 2].slice(0, steps.length), stderr);
  assert.ok(steps[0].packetsPerSecond > 2 * CAMERA_PER_SECOND_MIN);
  if (limit === null) assert.deepEqual([heldVisits, why], [2, 'nothing, up to the top']);
  else assert.ok(LIMITS.includes(limit) && heldVisits === steps.length - 1 && why, `${limit}: ${why}`);
});

test('a soak looks at memory and descriptors before, at the end, and after', async () => {
  const { code, report, stderr } = await load('soak', '3', '--duration', '3s');
  assert.equal(code, 0, stderr);
  assert.ok(report.media.windowSeconds >= 3);
  const { rssBeforeBytes, rssBytes, rssAfterBytes, fdsBefore, fds, fdsAfter } = report.memory;
  for (const bytes of [rssBeforeBytes, rssBytes, rssAfterBytes]) assert.ok(bytes > 1_000_000);
  assert.ok(fds > fdsBefore, 'sockets of those who are in');
  assert.ok(fdsAfter < fds, 'and none for who left');
});

test('idle visits: everybody is connected, and nothing is sent', async () => {
  const { code, report, stderr } = await load('idle', '3');
  assert.equal(code, 0, stderr);
  assert.deepEqual([report.joins.joined, report.joins.connectedMs.count], [6, 6]);
  assert.deepEqual([report.media.sent.packets, report.media.received.packets], [0, 0]);
  assert.equal(report.cost.cpuUsPerPacket, null);
});

test('sockets cut at once: all are back', async () => {
  const { code, report, stderr } = await load('reconnect-storm', '3');
  assert.equal(code, 0, stderr);
  assert.deepEqual([report.storm.cut, report.storm.back], [6, 6]);
});

test('the waiting room: each is let in, and sees something', async () => {
  const { code, report, stderr } = await load('waiting-room', '3');
  assert.equal(code, 0, stderr);
  assert.equal(report.waitingRoom.admitted, 3);
  assert.equal(report.waitingRoom.firstPacketMs.count, 3);
});

test('those who come and go: all get in, and leave again', async () => {
  const { code, report, stderr } = await load('churn', '--rate', '5/s', '--duration', '4s', '--stay', '2s', '--calls', '1');
  assert.equal(code, 0, stderr);
  const { joined, left, failed, skipped } = report.churn;
  assert.deepEqual([left, failed, skipped], [joined, 0, 0]);
  assert.ok(joined >= 18 && joined <= 21, `${joined} joined: five a second for four seconds`);
  assert.equal(report.memory.rssPerParticipantBytes, null, 'among how many nobody knows');
});

test('a provider nobody has come to yet has not starved', async () => {
  const { code, report, stderr } = await load('churn', '--rate', '2/s', '--duration', '1s', '--stay', '3s', '--calls', '1');
  assert.equal(code, 0, stderr);
  assert.ok(report.scenario.rooms >= 12 && report.churn.joined <= 3, 'most rooms stayed empty');
  assert.equal(report.media.starvedStreams, 0);
});

test('media at another address than the page is found', async (t) => {
  const addresses = Object.values(networkInterfaces()).flat();
  const ours = addresses.find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  if (!ours) return t.skip('this machine has loopback alone');
  const elsewhere = await Server.start(['--media-bind', '0.0.0.0', '--announce', ours]);
  try {
    const [another] = await elsewhere.command('key', 'create', '--clinic', 'Load test', '--name', 'load', '--scopes', SCOPES);
    const { code, stderr } = await load('visits', '1', '--server', elsewhere.origin, '--key', another);
    assert.equal(code, 0, stderr);
  } finally {
    await elsewhere.end();
  }
});

test('beside `make run` the script of `make load` makes its key, once', async () => {
  const script = fileURLToPath(new URL('../../scripts/load.sh', import.meta.url));
  const run = () => told('sh', [script, dirname(builtProgram('vestibule')), server.data, ...SHORT, 'visits', '1']);
  const first = await run();
  assert.equal(first.code, 0, first.stderr);
  assert.equal(first.report.joins.joined, 2);
  const kept = join(server.data, 'keys', 'load-test.key');
  const key = await readFile(kept, 'utf8');
  const second = await run();
  assert.equal(second.code, 0, second.stderr);
  assert.equal(await readFile(kept, 'utf8'), key);
});

test('a comparison starts each server by itself, and gives ratios', async () => {
  const ours = await allowedCores();
  const cores = ['--server-core', `${ours[0]}`, '--tester-core', `${ours.at(-1)}`];
  const args = ['compare', '--against', 'floor', '--rounds', '1', '--scenario', 'audio 2', '--ip', '127.0.0.1', '--no-dtx'];
  const { code, report, stderr } = await told(builtProgram('vestibule-load'), [...args, ...cores, ...SHORT]);
  assert.equal(code, 0, stderr);
  assert.equal(report.format, 'vestibule-compare/1');
  const [{ rounds, contestants }] = report.scenarios;
  assert.deepEqual([rounds, contestants.map(({ name }) => name)], [1, ['Vestibule', 'floor: seal and send']]);
  for (const { rounds: [figures], failures } of contestants) {
    assert.deepEqual([figures.failed, figures.starvedStreams, failures], [0, 0, []]);
    assert.ok(Math.abs(figures.packetsPerSecond - 100) < 25, `${figures.packetsPerSecond} packets a second`);
  }
});

test('a threshold that is exceeded is exit code 1, and says so', async () => {
  const { code, report, stderr } = await load('visits', '1', '--fail-cpu-us', '0.001', '--fail-loss', '100');
  assert.equal(code, 1);
  assert.match(stderr, /not passed: --fail-cpu-us 0\.001: /);
  assert.equal(report.passed, false);
  assert.deepEqual(
    report.thresholds.map(({ option, passed }) => [option, passed]),
    [['--fail-loss', true], ['--fail-cpu-us', false]],
  );
});

test('what cannot be tried is exit code 2, with the way out', async () => {
  const tooMany = await load('audio', '50');
  assert.equal(tooMany.code, 2);
  assert.match(tooMany.stderr, /--participants-limit 51/);
  const refused = await load('visits', '1', '--key', 'vst_wrong');
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /vestibule --data DIR key create/);
  const useless = await told(builtProgram('vestibule-load'), ['compare', '--html', 'compare.html']);
  assert.equal(useless.code, 2);
  assert.match(useless.stderr, /--html is of no use to 'compare'/);
  const nobody = await load('visits', '1', '--server', 'http://127.0.0.1:9');
  assert.equal(nobody.code, 2);
  assert.match(nobody.stderr, /cannot be reached/);
});
