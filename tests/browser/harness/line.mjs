/** A TCP line to the server that a test can spoil: what is on it gets lost, it is cut, it stays down. */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { until } from './wait.mjs';

/** How the request for a WebSocket begins. */
const SIGNAL = 'GET /v1/signal';

export class Line {
  /** @type {Set<import('node:net').Socket>} */
  #sockets = new Set();
  #server;
  #target;
  #isDown = false;
  #isSilent = false;
  #blocksSockets = false;
  /**
   * Bytes that were lost each way since the last cut; `null` where nothing gets lost.
   * @type {Record<'up' | 'down', number | null>}
   */
  #lost = { up: null, down: null };

  /** To the server at `origin`. @param {string} origin */
  static async start(origin) {
    const line = new Line();
    const { hostname, port } = new URL(origin);
    line.#target = { host: hostname, port: Number(port) };
    line.#server = createServer((socket) => line.#carry(socket)).listen(0, '127.0.0.1');
    await once(line.#server, 'listening');
    return line;
  }

  /** A link as somebody at this end of the line has it. */
  link(link) {
    const here = new URL(link);
    here.port = String(this.#server.address().port);
    return here.href;
  }

  /**
   * From now on nothing arrives any more that goes this way, and nobody is told; but for the first of a new connection,
   * which is its handshake.
   * @param {'up' | 'down'} way
   */
  lose(way) {
    this.#lost[way] = 0;
  }

  /** Waits until something got lost. @param {'up' | 'down'} way */
  async hasLost(way) {
    await until(`something to get lost on its way ${way}`, () => this.#lost[way] > 0);
  }

  /** From now on nothing gets through either way, and neither end is told: not of what is new, and not that the other closes. */
  fallSilent() {
    this.#isSilent = true;
  }

  /** Cuts what is connected; the line is good again after that. */
  cut() {
    this.#lost = { up: null, down: null };
    this.#isSilent = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** From now on requests get through and no WebSocket does, as behind many a proxy; what is connected is cut. */
  blockSockets() {
    this.#blocksSockets = true;
    this.cut();
  }

  letSocketsThrough() {
    this.#blocksSockets = false;
  }

  /** Cuts it, and nobody gets through. */
  takeDown() {
    this.#isDown = true;
    this.cut();
  }

  bringUp() {
    this.#isDown = false;
  }

  end() {
    this.#server.close();
    this.cut();
  }

  #carry(here) {
    if (this.#isDown) return here.destroy();
    const there = connect(this.#target);
    this.#pass('up', here, there);
    this.#pass('down', there, here);
  }

  #pass(way, from, to) {
    this.#sockets.add(from);
    let isFirst = true;
    from.on('data', (data) => {
      if (this.#isSilent) return;
      if (way === 'up' && this.#blocksSockets && data.toString('latin1', 0, SIGNAL.length) === SIGNAL) return from.destroy();
      if (isFirst || this.#lost[way] === null) to.write(data);
      else this.#lost[way] += data.length;
      isFirst = false;
    });
    from.on('error', () => undefined);
    from.on('close', () => {
      this.#sockets.delete(from);
      if (!this.#isSilent) to.destroy();
    });
  }
}
