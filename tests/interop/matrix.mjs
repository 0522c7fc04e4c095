/** Who is to talk to whom, in which codec, over which network; and what is not tried, because a peer itself cannot do it. */
import { fileURLToPath } from 'node:url';

import { BrowserPeer } from './peers/browser.mjs';
import { ProgramPeer } from './peers/program.mjs';

const here = (name) => fileURLToPath(new URL(`peers/${name}`, import.meta.url));
const python = () => `${process.env.VESTIBULE_INTEROP_VENV}/bin/python`;

const webrtc = () => String(process.env.VESTIBULE_INTEROP_WEBRTC);

/**
 * @typedef {object} Peer
 * @property {string} title
 * @property {string[]} codecs what it sends and decodes of what the server forwards
 * @property {Record<string, string>} [lacks] other codecs of the protocol, and why
 * @property {Record<string, string>} [cannot] networks in which it cannot take part, and why
 * @property {boolean} [estimates] it tells of its line by an estimate of its own (REMB) alone, which rises as more is sent to it
 * @property {boolean} [simulcast] it sends a picture in several sizes, if that is large
 * @property {(link: string, wish: {codec: string, relayOnly: boolean, tcpOnly: boolean, size: number[]}) => Promise<any>} join
 */

/** @type {Record<string, Peer>} */
export const PEERS = {
  chromium: {
    title: 'Chromium',
    codecs: ['VP8', 'VP9', 'H264', 'AV1'],
    simulcast: true,
    join: (link, wish) => BrowserPeer.join('chromium', link, wish),
  },
  firefox: {
    title: 'Firefox ESR',
    codecs: ['VP8', 'VP9', 'AV1'],
    lacks: { H264: 'it fetches what decodes it from elsewhere, and no network here leads there' },
    join: (link, wish) => BrowserPeer.join('firefox', link, wish),
  },
  wrtc: {
    title: '@roamhq/wrtc',
    codecs: ['VP8', 'VP9', 'AV1'],
    lacks: { H264: 'it is built without' },
    join: (link, wish) => ProgramPeer.join({ program: process.execPath, args: [here('wrtc_peer.mjs')] }, link, wish),
  },
  aiortc: {
    title: 'aiortc',
    estimates: true,
    codecs: ['VP8', 'H264'],
    lacks: { VP9: 'it has none', AV1: 'it has none' },
    cannot: { tcp: 'aioice connects by UDP alone: it passes over candidates of TCP' },
    join: (link, wish) => ProgramPeer.join({ program: python(), args: [here('aiortc_peer.py')] }, link, wish),
  },
  gstreamer: {
    title: 'GStreamer webrtcbin',
    codecs: ['VP8', 'VP9', 'H264'],
    lacks: { AV1: 'Debian has none of its elements that put AV1 into packets of RTP' },
    join: (link, wish) => ProgramPeer.join({ program: '/usr/bin/python3', args: [here('gstreamer_peer.py')] }, link, wish),
  },
  webrtc: {
    title: 'webrtc crate',
    codecs: ['VP8', 'VP9', 'H264', 'AV1'],
    join: (link, wish) => ProgramPeer.join({ program: webrtc(), args: [python(), here('webrtc/codec.py')] }, link, wish),
  },
};

/** The codecs of a call: those both have. @param {string} one @param {string} two */
export function codecsOf(one, two) {
  return PEERS[one].codecs.filter((codec) => PEERS[two].codecs.includes(codec));
}

/** @type {Record<string, {title: string, kind: 'ipv4' | 'ipv6'}>} */
export const NETWORKS = {
  udp: { title: 'UDP', kind: 'ipv4' },
  tcp: { title: 'TCP only', kind: 'ipv4' },
  turn: { title: 'TURN only', kind: 'ipv4' },
  ipv6: { title: 'IPv6 only', kind: 'ipv6' },
};

/** The few calls of `make test`: each network once, and each peer but the crate, which takes a build of its own. @type {[string, string, string][]} */
export const SHORT = [
  ['udp', 'chromium', 'aiortc'],
  ['udp', 'firefox', 'wrtc'],
  ['udp', 'gstreamer', 'aiortc'],
  ['tcp', 'chromium', 'wrtc'],
  ['turn', 'aiortc', 'wrtc'],
  ['ipv6', 'aiortc', 'wrtc'],
];
