/** A signaling socket, as a program that is no browser opens one: as much of RFC 6455 as it takes to wait and to be let in. */
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';

import { ticket } from '../../browser/harness/door.mjs';
import { until } from '../../browser/harness/wait.mjs';

const TEXT = 1;
const PING = 9;
const PONG = 10;

export class Socket {
  /** What was said, in order. @type {any[]} */
  heard = [];
  #socket;
  #rest;

  constructor(socket, head) {
    this.#socket = socket;
    this.#rest = head;
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => undefined);
    this.#take(Buffer.alloc(0));
  }

  /** Presses *join* for the holder of a link. @param {string} origin @param {string} link */
  static async join(origin, link) {
    const headers = {
      connection: 'upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'),
      'sec-websocket-protocol': 'vestibule.v1',
    };
    const hello = { type: 'hello', ticket: await ticket(origin, link) };
    return new Promise((resolve, reject) => {
      const asked = request(`${origin}/v1/signal`, { headers });
      asked.on('upgrade', (_, socket, head) => {
        const opened = new Socket(socket, head);
        opened.say(hello);
        resolve(opened);
      });
      asked.on('response', (response) => reject(new Error(`no socket: ${response.statusCode}`)));
      asked.on('error', reject);
      asked.end();
    });
  }

  say(message) {
    this.#send(TEXT, Buffer.from(JSON.stringify(message)));
  }

  /** The last message of a type, once it is as wanted. @param {(message: any) => boolean} [wanted] */
  hears(type, wanted = () => true) {
    const found = () => this.heard.findLast((message) => message.type === type && wanted(message));
    return until(`"${type}" among ${JSON.stringify(this.heard.map((message) => message.type))}`, found);
  }

  close() {
    this.#socket.destroy();
  }

  /** A frame of a client is masked (section 5.3). */
  #send(opcode, payload) {
    const mask = randomBytes(4);
    const head = Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 0xff]);
    this.#socket.write(Buffer.concat([head, mask, payload.map((byte, index) => byte ^ mask[index % 4])]));
  }

  /** Frames of a server are not masked; ours are never in pieces. */
  #take(chunk) {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (this.#rest.length < 2) return;
      const [first, second] = this.#rest;
      const more = { 126: 2, 127: 8 }[second] ?? 0;
      if (this.#rest.length < 2 + more) return;
      const length = more ? Number(BigInt(`0x${this.#rest.subarray(2, 2 + more).toString('hex')}`)) : second;
      const end = 2 + more + length;
      if (this.#rest.length < end) return;
      const payload = this.#rest.subarray(2 + more, end);
      this.#rest = this.#rest.subarray(end);
      const opcode = first & 0x0f;
      if (opcode === TEXT) this.heard.push(JSON.parse(payload.toString()));
      if (opcode === PING) this.#send(PONG, payload);
    }
  }
}
