/** The server under test, alone or behind a bad line. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { builtProgram } from './find.mjs';
import { Process } from './process.mjs';
import { until } from './wait.mjs';

export class Server {
  /** @type {Relay | undefined} */
  relay;

  /** @param {Process} process @param {string} origin @param {string} data @param {string} media its UDP address */
  constructor(process, origin, data, media) {
    this.process = process;
    this.origin = origin;
    this.data = data;
    this.media = media;
  }

  /** Starts on free ports, with a data folder of its own; `data` starts on one that is there already. */
  static async start(args = [], { listen = '127.0.0.1:0', data = undefined } = {}) {
    const folder = data ?? (await mkdtemp(join(tmpdir(), 'vestibule-')));
    const process = new Process(builtProgram('vestibule'), ['--listen', listen, '--data', folder, ...args]);
    const [, origin] = await process.line(/^Serving (https?:\/\/[^/\s;]+)/);
    const [, media] = await process.line(/udp ([^\s,]+)/);
    return new Server(process, origin, folder, media);
  }

  /** Starts behind a relay that treats datagrams each way as `line` says, e.g. `loss=0.03`. */
  static async startBehindRelay({ seed, line }) {
    const port = await freeUdpPort();
    const relay = await Relay.start({ target: `127.0.0.1:${port}`, seed, up: line, down: line });
    const server = await Server.start(['--media-port', String(port), '--announce', relay.address]);
    server.relay = relay;
    return server;
  }

  /** The link by which the first administrator sets their password. */
  async adminLink() {
    const [, link] = await this.process.line(/^Set up the first administrator: (\S+)/);
    return link;
  }

  /** Runs one of the program's commands beside the server; the lines it says. */
  async command(...args) {
    const process = new Process(builtProgram('vestibule'), ['--data', this.data, '--public-url', this.origin, ...args]);
    const code = await process.ended();
    if (code !== 0) throw new Error(`vestibule ${args.join(' ')}: ${process.stderr}`);
    return process.lines;
  }

  /**
   * Makes a session, beside the running server, and returns its links in the order in which the participants were named.
   * @param {{provider?: string[], patient?: string, interpreter?: string[], observer?: string[], start?: string | null}} people
   * @returns {Promise<{session: string, links: {participant: string, role: string, name: string, link: string}[]}>}
   */
  async session({ provider = ['Provider'], patient = 'Patient', interpreter = [], observer = [], start = 'now' } = {}) {
    const many = (flag, names) => names.flatMap((name) => [flag, name]);
    const args = [
      ...['--data', this.data, '--public-url', this.origin, 'session', 'create', '--json', '--patient', patient],
      ...many('--provider', provider),
      ...many('--interpreter', interpreter),
      ...many('--observer', observer),
      ...(start ? ['--start', start] : []),
    ];
    const made = new Process(builtProgram('vestibule'), args);
    const [json] = await made.line(/^\{.*\}$/);
    await made.ended();
    return JSON.parse(json);
  }

  /** Ends it; true keeps the data folder. */
  async end(keep = false) {
    const code = await this.process.end();
    await this.relay?.end();
    if (!keep) await rm(this.data, { recursive: true, force: true });
    return code;
  }
}

export class Relay {
  #process;
  #answers = 1;

  constructor(process, address) {
    this.#process = process;
    this.address = address;
  }

  /** Between whoever sends to it and `target`; `up` and `down` say how the line is, to the target and from it. */
  static async start({ target, seed, up = '', down = '', listen = '127.0.0.1:0' }) {
    const args = ['--listen', listen, '--target', target, '--seed', String(seed), '--up', up, '--down', down];
    const process = new Process(builtProgram('vestibule-relay'), args);
    const [, address] = await process.line(/"listen":"([^"]+)"/);
    return new Relay(process, address);
  }

  /** One command of the relay, and its answer. */
  async command(line) {
    const index = this.#answers;
    this.#answers += 1;
    this.#process.write(line);
    const answer = await until(`the relay's answer to ${line}`, () => this.#process.lines[index]);
    return JSON.parse(answer);
  }

  end() {
    return this.#process.end();
  }
}

/** A port nobody has now; somebody could take it before we do, then the server says so. */
async function freeUdpPort() {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}
