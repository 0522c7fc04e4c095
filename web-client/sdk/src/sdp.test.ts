import { expect, test } from 'vitest';

import { iceCredentials, slimOffer, withIceCredentials } from './sdp.ts';

const OFFER = [
  'v=0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:secretsecretsecretsecret',
  'a=candidate:1 1 udp 1 192.0.2.1 5 typ host',
  'a=rtcp-fb:111 transport-cc',
  'a=rtcp-fb:96 nack',
  'a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid',
  'a=extmap:2 urn:3gpp:never-heard-of',
  'a=end-of-candidates',
  '',
].join('\r\n');

test('an offer goes over the line without what the server would ignore', () => {
  const slim = slimOffer(OFFER).split('\r\n');
  expect(slim).toEqual([
    'v=0',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    'a=ice-ufrag:abcd',
    'a=ice-pwd:secretsecretsecretsecret',
    'a=rtcp-fb:111 transport-cc',
    'a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid',
    '',
  ]);
});

test('ICE credentials are read and replaced, whatever characters are in them', () => {
  expect(iceCredentials(OFFER)).toEqual({ ufrag: 'abcd', pwd: 'secretsecretsecretsecret' });
  const other = { ufrag: '$&+/', pwd: '$1$1$1$1$1$1$1$1$1$1$1$1' };
  expect(iceCredentials(withIceCredentials(OFFER, other))).toEqual(other);
  expect(() => iceCredentials('v=0')).toThrow(/no ICE credentials/);
});
