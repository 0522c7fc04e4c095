/** Debian's coturn, beside a test's namespace, at the other end of its virtual interface. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import assert from 'node:assert/strict';

import { ADDRESS, inside } from './namespace.mjs';
import { Process } from './process.mjs';
import { until } from './wait.mjs';

export const TURN_ADDRESS = '192.0.2.2';
export const TURN_SECRET = 'a secret of two servers';
export const TURN_URLS = [`turn:${TURN_ADDRESS}:3478?transport=udp`, `turn:${TURN_ADDRESS}:3478?transport=tcp`];
/** What the server under test is told. */
export const TURN_ARGS = ['--turn-secret', TURN_SECRET, ...TURN_URLS.flatMap((url) => ['--ice-server', url])];

/** Starts coturn in a namespace of its own, which has the far end of ours. */
export async function startTurn() {
  assert.ok(inside, 'never outside');
  const holder = spawn('unshare', ['--net', '--', 'sleep', 'infinity'], { stdio: 'ignore' });
  await once(holder, 'spawn');
  const run = (program, ...args) => {
    const { status, stderr } = spawnSync(program, args);
    assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`);
  };
  // It is in ours until it has made its own.
  const ours = spawnSync('readlink', ['/proc/self/ns/net']).stdout.toString();
  const theirs = () => spawnSync('readlink', [`/proc/${holder.pid}/ns/net`]).stdout.toString();
  await until('a namespace for coturn', () => theirs() !== ours);
  run('ip', 'link', 'set', 'test1', 'netns', String(holder.pid));
  const there = ['nsenter', `--net=/proc/${holder.pid}/ns/net`, '--'];
  run(...there, 'ip', 'link', 'set', 'lo', 'up');
  run(...there, 'ip', 'address', 'add', `${TURN_ADDRESS}/24`, 'dev', 'test1');
  run(...there, 'ip', 'link', 'set', 'test1', 'up');
  const flags = [
    ...['-n', '--log-file=stdout', '--simple-log', '--no-cli', '--no-tls', '--no-dtls', '--fingerprint'],
    ...[`--listening-ip=${TURN_ADDRESS}`, `--relay-ip=${TURN_ADDRESS}`, '--listening-port=3478'],
    ...['--realm=vestibule.test', '--use-auth-secret', `--static-auth-secret=${TURN_SECRET}`],
    ...[`--allowed-peer-ip=${ADDRESS}`, '--pidfile=/dev/null', '--no-software-attribute'],
  ];
  const turn = new Process(there[0], [...there.slice(1), 'turnserver', ...flags]);
  await until('coturn to listen', () => connects(TURN_ADDRESS, 3478));
  return {
    async end() {
      await turn.end();
      holder.kill('SIGKILL');
    },
  };
}

/** Whether somebody listens there. */
async function connects(host, port) {
  const socket = createConnection({ host, port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
