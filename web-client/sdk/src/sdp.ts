/** The few things a client reads and rewrites in SDP: ICE credentials (RFC 8839), and what an offer can do without. */

export interface IceCredentials {
  ufrag: string;
  pwd: string;
}

/** The ICE credentials of a description; with BUNDLE all m-lines carry the same. */
export function iceCredentials(sdp: string): IceCredentials {
  const ufrag = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];
  const pwd = /^a=ice-pwd:(\S+)/m.exec(sdp)?.[1];
  if (!ufrag || !pwd) throw new Error('the description carries no ICE credentials');
  return { ufrag, pwd };
}

/** The same description with other ICE credentials. */
export function withIceCredentials(sdp: string, { ufrag, pwd }: IceCredentials): string {
  return sdp
    .replace(/^a=ice-ufrag:\S+/gm, () => `a=ice-ufrag:${ufrag}`)
    .replace(/^a=ice-pwd:\S+/gm, () => `a=ice-pwd:${pwd}`);
}

/** How a voice is wanted; `null`: as the browser likes. */
export interface AudioEncoding {
  maxBitrateBps: number | null;
  frameMs: number | null;
  /** With redundancy (RFC 2198), where both sides have it; not with a rate or length that is to spare the line. */
  redundant: boolean;
}

/** Whether they ask for the same. */
export function isAlike(one: AudioEncoding, other: AudioEncoding): boolean {
  return one.maxBitrateBps === other.maxBitrateBps && one.frameMs === other.frameMs && one.redundant === other.redundant;
}

/**
 * The same answer, which asks for the voice of its first audio m-line as said (RFC 7587, RFC 8866). Browsers take what a
 * remote description asks of them: they send the format it names first (RFC 3264 section 7), and Opus packets of that
 * length and rate.
 */
export function withVoice(sdp: string, { maxBitrateBps, frameMs, redundant }: AudioEncoding): string {
  const start = sdp.search(/^m=audio /m);
  if (start < 0) return sdp;
  const next = sdp.indexOf('\r\nm=', start);
  const end = next < 0 ? sdp.length : next + 2;
  let lines = sdp.slice(start, end);
  const payloadType = /^a=rtpmap:(\d+) opus\//im.exec(lines)?.[1];
  if (!payloadType) return sdp;
  const red = /^a=rtpmap:(\d+) red\//im.exec(lines)?.[1];
  if (redundant && red && maxBitrateBps === null && frameMs === null) {
    lines = lines.replace(/^m=.*/, (line) => {
      const [media, port, protocol, ...formats] = line.split(' ');
      return [media, port, protocol, red, ...formats.filter((format) => format !== red)].join(' ');
    });
  }
  if (maxBitrateBps !== null) {
    const fmtp = new RegExp(`^a=fmtp:${payloadType} (.*)\r\n`, 'm');
    const given = fmtp.exec(lines)?.[1]?.split(';') ?? [];
    const others = given.filter((parameter) => !/^\s*maxaveragebitrate=/.test(parameter));
    lines = lines.replace(fmtp, '');
    lines += `a=fmtp:${payloadType} ${[...others, `maxaveragebitrate=${maxBitrateBps}`].join(';')}\r\n`;
  }
  if (frameMs !== null) {
    lines = lines.replace(/^a=(max)?ptime:.*\r\n/gm, '');
    lines += `a=ptime:${frameMs}\r\na=maxptime:${frameMs}\r\n`;
  }
  return sdp.slice(0, start) + lines + sdp.slice(end);
}

/**
 * The same answer, which asks for a codec on the m-line of this mid: browsers send the format a remote description names
 * first (RFC 3264 section 7). Unchanged where it has no such m-line or codec.
 */
export function withCodec(sdp: string, mid: string, codec: string): string {
  const sections = sdp.split(/(?=^m=)/m);
  const at = sections.findIndex((section) => section.includes(`\r\na=mid:${mid}\r\n`));
  const section = sections[at];
  const payloadType = section && new RegExp(`^a=rtpmap:(\\d+) ${codec}/`, 'im').exec(section)?.[1];
  if (!payloadType) return sdp;
  sections[at] = section.replace(/^m=.*/, (line) => {
    const [media, port, protocol, ...formats] = line.split(' ');
    return [media, port, protocol, payloadType, ...formats.filter((format) => format !== payloadType)].join(' ');
  });
  return sections.join('');
}

/** The codec that stands first on the m-line of this mid; null where there is none. */
export function firstCodec(sdp: string, mid: string): string | null {
  const section = sdp.split(/(?=^m=)/m).find((candidate) => candidate.includes(`\r\na=mid:${mid}\r\n`));
  const payloadType = section && /^m=\S+ \d+ \S+ (\d+)/.exec(section)?.[1];
  return (payloadType && new RegExp(`^a=rtpmap:${payloadType} ([^/\\s]+)/`, 'm').exec(section)?.[1]) || null;
}

/** The header extensions the server takes part in. */
const EXTENSIONS = new Set([
  'urn:ietf:params:rtp-hdrext:sdes:mid',
  'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id',
  'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id',
  'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  'urn:3gpp:video-orientation',
  'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
  'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay',
  'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension',
]);

/**
 * The offer as it goes over the wire: without what the server would only ignore. Candidates are none of its business,
 * as ICE is lite on its side; Firefox leaves feedback lines of codecs it was told not to offer.
 */
export function slimOffer(sdp: string): string {
  let payloadTypes = new Set<string>();
  let mediaLines = 0;
  // What feedback the server never gives or takes where the browser has the better one.
  const isOutdone = (feedback: string): boolean =>
    (feedback === 'goog-remb' && sdp.includes(' transport-cc\r\n')) ||
    (feedback === 'ccm fir' && sdp.includes(' nack pli\r\n'));
  const isWanted = (line: string): boolean => {
    if (line.startsWith('m=')) {
      payloadTypes = new Set(line.split(' ').slice(3));
      mediaLines += 1;
    }
    // All are one transport, and the first m-line says which (RFC 8829 section 5.2.2).
    if (mediaLines > 1 && /^a=(ice-ufrag|ice-pwd|ice-options|fingerprint|setup):/.test(line)) return false;
    if (/^a=(candidate:|end-of-candidates)/.test(line)) return false;
    const [, payloadType, feedback] = /^a=rtcp-fb:(\d+) (.*)/.exec(line) ?? [];
    if (payloadType && feedback) return payloadTypes.has(payloadType) && !isOutdone(feedback);
    const extension = /^a=extmap:\S+ (\S+)/.exec(line)?.[1];
    return !extension || EXTENSIONS.has(extension);
  };
  return sdp.split('\r\n').filter(isWanted).join('\r\n');
}
