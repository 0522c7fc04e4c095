/**
 * Private network namespaces with a virtual interface of their own, for what a loopback address cannot show. A test file
 * starts itself again inside. Making a namespace takes root; elsewhere such tests are skipped.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** The namespace's address, of those kept for documentation (RFC 5737, RFC 3849). */
export const ADDRESS = '192.0.2.1';
export const ADDRESS_V6 = '2001:db8::1';

const INSIDE = 'VESTIBULE_TEST_NAMESPACE';
/**
 * An interface that is up needs a peer that is up; both are in the namespace and vanish with it. Firefox gathers no
 * candidates without a default route; this one leads nowhere. Addresses that IPv6 makes by itself would come a moment
 * later, and a page that is just being loaded would be told that the network has changed.
 * Their names are none of those that libnice passes over (`veth`).
 */
const SET_UP = `set -e
ip link set lo up
ip link add test0 type veth peer name test1
ip link set test0 addrgenmode none
ip link set test1 addrgenmode none
ip link set test0 up
ip link set test1 up
`;
/** What kinds of network there are; loopback, by which the page comes and browsers are steered, has both versions in each. */
const IPV4 = `ip address add ${ADDRESS}/24 dev test0
ip route add default dev test0`;
const IPV6 = `ip address add ${ADDRESS_V6}/64 dev test0 nodad
ip -6 route add default dev test0`;
const KINDS = { ipv4: IPV4, ipv6: IPV6, dual: `${IPV4}\n${IPV6}` };

/** The test of the file that this process is to run in its namespace; undefined outside. */
export const inside = process.env[INSIDE];

/** Why a test that needs the namespace is skipped; false where it is not. */
export const skip = !inside && process.getuid?.() !== 0 && 'a network namespace of its own takes root';

/**
 * Runs a test file again in a namespace, with `inside` set to `name`; its results are printed, and it must pass.
 * @param {string} url
 * @param {string} [name]
 * @param {keyof typeof KINDS} [kind]
 */
export async function runInside(url, name = 'inside', kind = 'ipv4') {
  const { code, output } = await enter([fileURLToPath(url)], name, kind);
  for (const line of output.match(/^.*result: .*$/gm) ?? []) console.log(line.replace(/^# /, ''));
  assert.equal(code, 0, output);
}

/**
 * Runs a program of Node.js in a namespace; its exit code, and what it said.
 * @param {string[]} args
 * @param {string} name
 * @param {keyof typeof KINDS} kind
 * @param {(text: string) => void} [hear]
 */
export async function enter(args, name, kind, hear = () => undefined) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const setUp = `${SET_UP}${KINDS[kind]}\nexec "$@"`;
  const child = spawn('unshare', ['--net', '--', 'sh', '-c', setUp, 'sh', process.execPath, ...args], {
    env: { ...env, [INSIDE]: name },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (data) => {
      output += data;
      hear(data);
    });
  }
  const [code] = await once(child, 'close');
  return { code, output };
}

/** In the namespace: lets only some packets in, by a rule of nftables for those that are dropped; in place of those before. */
export function drop(...rules) {
  assert.ok(inside, 'never outside');
  const chain = ['type filter hook input priority 0;', ...rules.map((rule) => `${rule} drop`)].join('\n');
  const input = `table inet test\ndelete table inet test\ntable inet test {\nchain input {\n${chain}\n}\n}\n`;
  const { status, stderr } = spawnSync('nft', ['-f', '-'], { input });
  assert.equal(status, 0, String(stderr));
}
