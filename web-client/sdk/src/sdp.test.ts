import { expect, test } from 'vitest';

import { firstCodec, iceCredentials, slimOffer, withCodec, withIceCredentials, withVoice } from './sdp.ts';

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

test('what all m-lines have in common goes once, and no feedback that is outdone', () => {
  const transport = ['a=ice-ufrag:abcd', 'a=ice-pwd:secretsecretsecretsecret', 'a=setup:actpass', 'a=fingerprint:sha-256 AB'];
  const feedback = ['goog-remb', 'transport-cc', 'ccm fir', 'nack', 'nack pli'].map((name) => `a=rtcp-fb:96 ${name}`);
  const line = (mid: number) => ['m=video 9 UDP/TLS/RTP/SAVPF 96', ...transport, `a=mid:${mid}`, 'a=rtcp-mux', ...feedback];
  const kept = feedback.filter((attribute) => !/goog-remb|ccm fir/.test(attribute));
  const slim = slimOffer(['v=0', ...line(0), ...line(1), ''].join('\r\n')).split('\r\n');
  const [first, second] = [line(0), line(1)].map((lines) => lines.filter((text) => !feedback.includes(text) || kept.includes(text)));
  expect(slim).toEqual(['v=0', ...first!, ...second!.filter((text) => !transport.includes(text)), '']);
});

test('ICE credentials are read and replaced, whatever characters are in them', () => {
  expect(iceCredentials(OFFER)).toEqual({ ufrag: 'abcd', pwd: 'secretsecretsecretsecret' });
  const other = { ufrag: '$&+/', pwd: '$1$1$1$1$1$1$1$1$1$1$1$1' };
  expect(iceCredentials(withIceCredentials(OFFER, other))).toEqual(other);
  expect(() => iceCredentials('v=0')).toThrow(/no ICE credentials/);
});

const AS_IT_LIKES = { maxBitrateBps: null, frameMs: null, redundant: false };

const ANSWER = [
  'v=0',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=rtpmap:111 opus/48000/2',
  'a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=64000',
  'a=ptime:20',
  'm=video 9 UDP/TLS/RTP/SAVPF 96',
  'a=rtpmap:96 VP8/90000',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=rtpmap:111 opus/48000/2',
  '',
].join('\r\n');

test('an answer asks for another voice on the first audio line alone', () => {
  const thrifty = withVoice(ANSWER, { maxBitrateBps: 16_000, frameMs: 60, redundant: false }).split('\r\n');
  expect(thrifty).toEqual([
    'v=0',
    'm=audio 9 UDP/TLS/RTP/SAVPF 111',
    'a=rtpmap:111 opus/48000/2',
    'a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=16000',
    'a=ptime:60',
    'a=maxptime:60',
    ...ANSWER.split('\r\n').slice(5),
  ]);
  expect(withVoice(ANSWER, AS_IT_LIKES)).toBe(ANSWER);
  const bare = 'm=audio 9 RTP 9\r\na=rtpmap:9 opus/48000/2\r\n';
  expect(withVoice(bare, { ...AS_IT_LIKES, maxBitrateBps: 1 })).toBe(`${bare}a=fmtp:9 maxaveragebitrate=1\r\n`);
  for (const other of ['', 'm=audio 9 RTP 0\r\na=rtpmap:0 PCMU/8000\r\n']) {
    expect(withVoice(other, { maxBitrateBps: 1, frameMs: 60, redundant: true })).toBe(other);
  }
});

test('an answer asks for redundancy by naming it first, where it is there and the line need not be spared', () => {
  const rtpmap = 'a=rtpmap:111 opus/48000/2\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n';
  const both = `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n${rtpmap}m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\n${rtpmap}`;
  const redundant = { ...AS_IT_LIKES, redundant: true };
  expect(withVoice(both, redundant)).toBe(both.replace('SAVPF 111 63', 'SAVPF 63 111'));
  expect(withVoice(both, AS_IT_LIKES)).toBe(both);
  expect(withVoice(ANSWER, redundant)).toBe(ANSWER);
  expect(withVoice(both, { ...redundant, maxBitrateBps: 16_000, frameMs: 60 })).toContain('SAVPF 111 63\r\n');
});

test('the codec of one m-line is asked for by what stands first, and no other m-line changes', () => {
  const line = (mid: string) =>
    `m=video 9 UDP/TLS/RTP/SAVPF 96 97 108 109\r\na=mid:${mid}\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n` +
    'a=rtpmap:108 H264/90000\r\na=rtpmap:109 rtx/90000\r\n';
  const answer = `v=0\r\n${line('1')}${line('11')}`;
  const changed = withCodec(answer, '1', 'H264');
  expect(changed).toBe(`v=0\r\n${line('1').replace('96 97 108 109', '108 96 97 109')}${line('11')}`);
  expect([firstCodec(answer, '1'), firstCodec(changed, '1'), firstCodec(changed, '11')]).toEqual(['VP8', 'H264', 'VP8']);
  expect(withCodec(answer, '1', 'AV1')).toBe(answer);
  expect(withCodec(answer, '2', 'H264')).toBe(answer);
  expect(firstCodec(answer, '2')).toBeNull();
});
