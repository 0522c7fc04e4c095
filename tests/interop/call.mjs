/** One call of two peers in the network this process is in: each must decode the other's picture and hear its voice. */
import { ADDRESS, drop } from '../browser/harness/namespace.mjs';
import { Server } from '../browser/harness/server.mjs';
import { startTurn, TURN_ARGS } from '../browser/harness/turn.mjs';
import { until } from '../browser/harness/wait.mjs';
import { endBrowsers } from './peers/browser.mjs';
import { PEERS } from './matrix.mjs';

/** How many pictures show that they go on and do not only begin; a voice must be heard after them. */
const FRAMES_MIN = 30;
/** Of a camera: below the other Chromium sends fewer than three sizes. */
const SMALL = [640, 360];
const LARGE = [960, 540];
const DEADLINE_MS = 30_000;
/** An estimate of the receiver's own rises by 8 % in a second. */
const ESTIMATED_MS = 60_000;

/** The server, and what the network is to be like. */
export class Network {
  #turn;

  constructor(name, server) {
    this.name = name;
    this.server = server;
  }

  /** @param {keyof typeof import('./matrix.mjs').NETWORKS} name @param {string} codec that of its sessions, as far as all have it */
  static async start(name, codec) {
    const args = { ipv6: ['--media-bind', '::'], turn: ['--media-bind', ADDRESS, ...TURN_ARGS] };
    // Firefox looks for the address it sends from in the version of the page's.
    const listen = name === 'ipv6' ? '[::1]:0' : undefined;
    const bind = args[name] ?? ['--media-bind', ADDRESS];
    const server = await Server.start([...bind, '--video-codec', codec.toLowerCase()], { listen });
    const network = new Network(name, server);
    const port = server.media.split(':').at(-1);
    if (name === 'tcp') drop('meta l4proto udp');
    if (name === 'turn') {
      network.#turn = await startTurn();
      drop(`iifname lo udp dport ${port}`, `iifname lo tcp dport ${port}`);
    }
    return network;
  }

  async end() {
    await endBrowsers();
    await this.#turn?.end();
    await this.server.end();
  }

  /**
   * @param {string[]} names
   * @param {string} codec
   * @returns {Promise<{received: any[], errors: (string | null)[]}>} what each had of the other
   */
  async call(names, codec) {
    const { links } = await this.server.session({ provider: ['One', 'Two'] });
    // Who tells of each packet is shown more by a probe; who estimates by themselves has to come to large pictures, too.
    const rises = names.some((name) => PEERS[name].estimates) && names.some((name) => PEERS[name].simulcast);
    const size = rises ? LARGE : SMALL;
    const wish = { codec, size, relayOnly: this.name === 'turn', tcpOnly: this.name === 'tcp' };
    const joined = await Promise.allSettled(names.map((name, index) => PEERS[name].join(links[index].link, wish)));
    const failed = joined.map((one) => (one.status === 'rejected' ? String(one.reason?.message ?? one.reason) : null));
    const peers = joined.map((one) => (one.status === 'fulfilled' ? one.value : null));
    try {
      if (failed.some(Boolean)) return { received: [null, null], errors: failed };
      const received = [null, null];
      const errors = await Promise.all(
        peers.map((peer, index) => {
          const full = rises && PEERS[names[index]].estimates ? LARGE.join('x') : undefined;
          return decodes(peer, { codec, full }, (now) => (received[index] = now)).catch((error) => String(error.message));
        }),
      );
      return { received, errors };
    } finally {
      await Promise.allSettled(peers.map((peer) => peer?.end()));
    }
  }
}

/** Waits until a peer has decoded enough, in that codec if it says in which, of that size if one is given; null then. */
async function decodes(peer, { codec, full }, note) {
  let last = null;
  let heard = Infinity;
  const enough = async () => {
    last = await peer.received();
    note(last);
    if (last.frames < FRAMES_MIN || (last.codec ?? codec) !== codec) return false;
    if (full && last.size !== full) return false;
    heard = Math.min(heard, last.energy);
    return last.energy > heard;
  };
  try {
    await until(full ? `pictures of ${full} and a voice` : 'pictures and a voice', enough, full ? ESTIMATED_MS : DEADLINE_MS);
    return null;
  } catch (error) {
    throw new Error(`${error.message}; had ${JSON.stringify(last)}`);
  }
}
