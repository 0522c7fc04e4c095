/** The load tester against the real server: that everybody gets in, that it counts what was forwarded, and its exit codes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { builtProgram } from '../browser/harness/find.mjs';
import { Process } from '../browser/harness/process.mjs';
import { Server } from '../browser/harness/server.mjs';

const SCOPES = 'sessions:read,sessions:write,consents:write,config:read,config:write';
/** Of the tester's own model: a voice has 50 packets a second while it is spoken, a camera some 200 at 1,500 kbit/s. */
const VOICE_PER_SECOND_MIN = 2;
const CAMERA_PER_SECOND_MIN = 60;

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
async function load(...args) {
  const common = ['--server', server.origin, '--key', key, '--warm-up', '1s', '--window', '2s', '--json', '-'];
  const tester = new Process(builtProgram('vestibule-load'), [...common, ...args]);
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
  const { code, report, stderr } = await load('churn', '--rate', '5/s', '--duration', '4s', '--stay', '500ms', '--calls', '1');
  assert.equal(code, 0, stderr);
  assert.ok(report.churn.joined >= 10, `${report.churn.joined} joined`);
  assert.equal(report.churn.left, report.churn.joined);
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
  const nobody = await load('visits', '1', '--server', 'http://127.0.0.1:9');
  assert.equal(nobody.code, 2);
  assert.match(nobody.stderr, /cannot be reached/);
});
