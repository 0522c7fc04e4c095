/** The server under test, alone or behind a bad line. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

import { builtProgram } from './find.mjs';
import { Process } from './process.mjs';
import { until } from './wait.mjs';

export class Server {
  /** @type {Relay | undefined} */
  relay;

  /** @param {Process} process @param {string} origin @param {string} media */
  constructor(process, origin, media) {
    this.process = process;
    this.origin = origin;
    this.media = media;
  }

  /** Starts on free ports. */
  static async start(args = []) {
    const process = new Process(builtProgram('vestibule'), ['--listen', '127.0.0.1:0', ...args]);
    const [, origin] = await process.line(/(http:\/\/[^/\s]+)/);
    const [, media] = await process.line(/udp ([^\s,]+)/);
    return new Server(process, origin, media);
  }

  /** Starts behind a relay that treats datagrams each way as `line` says, e.g. `loss=0.03`. */
  static async startBehindRelay({ seed, line }) {
    const port = await freeUdpPort();
    const relay = await Relay.start({ target: `127.0.0.1:${port}`, seed, line });
    const server = await Server.start(['--media-port', String(port), '--announce', relay.address]);
    server.relay = relay;
    return server;
  }

  page(room, query = '') {
    return `${this.origin}/?room=${room}${query}`;
  }

  async end() {
    const code = await this.process.end();
    await this.relay?.end();
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

  static async start({ target, seed, line }) {
    const args = ['--target', target, '--seed', String(seed), '--up', line, '--down', line];
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
