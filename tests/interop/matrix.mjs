/** Who is to talk to whom, in which codec, over which network; and what is not tried, because a peer itself cannot do it. */
import { fileURLToPath } from 'node:url';

import { BrowserPeer } from './peers/browser.mjs';
import { ProgramPeer } from './peers/program.mjs';

const here = (name) => fileURLToPath(new URL(`peers/${name}`, import.meta.url));
const python = () => `${process.env.VESTIBULE_INTEROP_VENV}/bin/python`;

/** One reason for all networks. */
const everywhere = (why) => ({ udp: why, tcp: why, turn: why, ipv6: why });

/**
 * @typedef {object} Peer
 * @property {string} title
 * @property {string[]} codecs what it sends and decodes of what the server forwards; one more is one word more
 * @property {Record<string, string>} [cannot] networks in which it cannot take part, and why
 * @property {(link: string, wish: {codec: string, relayOnly: boolean}) => Promise<any>} join
 */

/** @type {Record<string, Peer>} */
export const PEERS = {
  chromium: { title: 'Chromium', codecs: ['VP8'], join: (link) => BrowserPeer.join('chromium', link) },
  firefox: {
    title: 'Firefox ESR',
    codecs: ['VP8'],
    cannot: { ipv6: 'it does not connect in a namespace with IPv6 alone; why is not known yet' },
    join: (link) => BrowserPeer.join('firefox', link),
  },
  wrtc: {
    title: '@roamhq/wrtc',
    codecs: ['VP8'],
    join: (link, wish) => ProgramPeer.join({ program: process.execPath, args: [here('wrtc_peer.mjs')] }, link, wish),
  },
  aiortc: {
    title: 'aiortc',
    codecs: ['VP8'],
    cannot: { tcp: 'aioice connects by UDP alone: it passes over candidates of TCP' },
    join: (link, wish) => ProgramPeer.join({ program: python(), args: [here('aiortc_peer.py')] }, link, wish),
  },
  gstreamer: {
    title: 'GStreamer webrtcbin',
    codecs: ['VP8'],
    cannot: everywhere('as it is built here its own voice stalls once it plays what it receives; why is not known yet'),
    join: (link, wish) => ProgramPeer.join({ program: '/usr/bin/python3', args: [here('gstreamer_peer.py')] }, link, wish),
  },
};

/** @type {Record<string, {title: string, kind: 'ipv4' | 'ipv6'}>} */
export const NETWORKS = {
  udp: { title: 'UDP', kind: 'ipv4' },
  tcp: { title: 'TCP only', kind: 'ipv4' },
  turn: { title: 'TURN only', kind: 'ipv4' },
  ipv6: { title: 'IPv6 only', kind: 'ipv6' },
};

/** The few calls of `make test`: each peer once, each network once. @type {[string, string, string][]} */
export const SHORT = [
  ['udp', 'chromium', 'aiortc'],
  ['udp', 'firefox', 'wrtc'],
  ['tcp', 'chromium', 'wrtc'],
  ['turn', 'aiortc', 'wrtc'],
  ['ipv6', 'aiortc', 'wrtc'],
];
