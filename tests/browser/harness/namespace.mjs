/**
 * A private network namespace with a virtual interface of its own, for what a loopback address cannot show. A test file
 * starts itself again inside. Making a namespace takes root; elsewhere such tests are skipped.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** The namespace's address, of those kept for documentation (RFC 5737). */
export const ADDRESS = '192.0.2.1';

const INSIDE = 'VESTIBULE_TEST_NAMESPACE';
/**
 * An interface that is up needs a peer that is up; both are in the namespace and vanish with it. Firefox gathers no
 * candidates without a default route; this one leads nowhere. Addresses that IPv6 makes by itself would come a moment
 * later, and a page that is just being loaded would be told that the network has changed.
 */
const SET_UP = `set -e
ip link set lo up
ip link add veth0 type veth peer name veth1
ip link set veth0 addrgenmode none
ip link set veth1 addrgenmode none
ip address add ${ADDRESS}/24 dev veth0
ip link set veth0 up
ip link set veth1 up
ip route add default dev veth0
exec "$@"`;

/** Whether this process runs in the namespace. */
export const inside = process.env[INSIDE] !== undefined;

/** Why a test that needs the namespace is skipped; false where it is not. */
export const skip = !inside && process.getuid?.() !== 0 && 'a network namespace of its own takes root';

/** Runs a test file again in the namespace; its results are printed, and it must pass. */
export async function runInside(url) {
  const self = [process.execPath, fileURLToPath(url)];
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn('unshare', ['--net', '--', 'sh', '-c', SET_UP, 'sh', ...self], {
    env: { ...env, [INSIDE]: ADDRESS },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const [code] = await once(child, 'exit');
  for (const line of output.match(/^.*result: .*$/gm) ?? []) console.log(line.replace(/^# /, ''));
  assert.equal(code, 0, output);
}
