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

/** The header extensions the server takes part in. */
const EXTENSIONS = new Set([
  'urn:ietf:params:rtp-hdrext:sdes:mid',
  'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id',
  'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id',
  'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  'urn:3gpp:video-orientation',
  'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
  'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay',
]);

/**
 * The offer as it goes over the wire: without what the server would only ignore. Candidates are none of its business,
 * as ICE is lite on its side; Firefox leaves feedback lines of codecs it was told not to offer.
 */
export function slimOffer(sdp: string): string {
  let payloadTypes = new Set<string>();
  const isWanted = (line: string): boolean => {
    if (line.startsWith('m=')) payloadTypes = new Set(line.split(' ').slice(3));
    if (/^a=(candidate:|end-of-candidates)/.test(line)) return false;
    const feedback = /^a=rtcp-fb:(\d+) /.exec(line)?.[1];
    if (feedback) return payloadTypes.has(feedback);
    const extension = /^a=extmap:\S+ (\S+)/.exec(line)?.[1];
    return !extension || EXTENSIONS.has(extension);
  };
  return sdp.split('\r\n').filter(isWanted).join('\r\n');
}
