/** A peer made of @roamhq/wrtc, an older libwebrtc: commands as lines of JSON on standard input (program.mjs). */
import { createInterface } from 'node:readline';

import wrtc from '@roamhq/wrtc';

const { RTCPeerConnection, RTCSessionDescription, MediaStream } = wrtc;
const { RTCAudioSink, RTCAudioSource, RTCVideoSink, RTCVideoSource } = wrtc.nonstandard;

const [WIDTH, HEIGHT, SAMPLE_RATE] = [320, 240, 48_000];

let connection;
const seen = { frames: 0, size: null, energy: 0 };
const kept = [];

const commands = {
  async offer({ iceServers, relayOnly, codec }) {
    const iceTransportPolicy = relayOnly ? 'relay' : 'all';
    connection = new RTCPeerConnection({ iceServers, iceTransportPolicy, bundlePolicy: 'max-bundle' });
    connection.ontrack = ({ track }) => play(track);
    connection.addTransceiver(tone(), { direction: 'sendonly', streams: [new MediaStream()] });
    const camera = { direction: 'sendonly', streams: [new MediaStream()], sendEncodings: [{ maxBitrate: 150_000 }] };
    connection.addTransceiver(picture(), camera);
    connection.addTransceiver('audio', { direction: 'recvonly' });
    connection.addTransceiver('video', { direction: 'recvonly' });
    const { sdp } = await connection.createOffer();
    await connection.setLocalDescription({ type: 'offer', sdp: withCodec(sdp, codec) });
    // The server needs none of them: a connection begins with a check of ours.
    return { sdp: connection.localDescription.sdp };
  },
  async answer({ sdp }) {
    await connection.setRemoteDescription(new RTCSessionDescription({ type: 'answer', sdp }));
    return {};
  },
  received: async () => ({ state: connection.connectionState, ...seen, ...(await path()) }),
};

/** Leaves one video codec in an offer, with its retransmissions. */
function withCodec(sdp, codec) {
  return sdp.replace(/^m=video .*(?:\r\n(?!m=).*)*/gm, (media) => {
    const of = (pattern) => [...media.matchAll(pattern)].map(([, type]) => type);
    const types = of(new RegExp(`^a=rtpmap:(\\d+) ${codec}/`, 'gim'));
    const rtx = types.flatMap((type) => of(new RegExp(`^a=fmtp:(\\d+) apt=${type}\\b`, 'gm')));
    const wanted = new Set([...types, ...rtx]);
    const lines = media.split('\r\n').filter((line) => {
      const type = /^a=(?:rtpmap|fmtp|rtcp-fb):(\d+) /.exec(line)?.[1];
      return type === undefined || wanted.has(type);
    });
    lines[0] = lines[0].split(' ').slice(0, 3).concat([...wanted]).join(' ');
    return lines.join('\r\n');
  });
}

function picture() {
  const source = new RTCVideoSource();
  /** @type {any} */
  const data = new Uint8ClampedArray(WIDTH * HEIGHT * 1.5).fill(128);
  let count = 0;
  setInterval(() => {
    count += 3;
    for (let y = 0; y < HEIGHT; y += 1) {
      for (let x = 0; x < WIDTH; x += 1) data[y * WIDTH + x] = (x + y + count) & 0xff;
    }
    source.onFrame({ width: WIDTH, height: HEIGHT, data });
  }, 33);
  return source.createTrack();
}

function tone() {
  const source = new RTCAudioSource();
  const numberOfFrames = SAMPLE_RATE / 100;
  let at = 0;
  setInterval(() => {
    const samples = Int16Array.from({ length: numberOfFrames }, (_, index) => 8_000 * Math.sin(((at + index) * 440 * 2 * Math.PI) / SAMPLE_RATE));
    at += numberOfFrames;
    source.onData({ samples, sampleRate: SAMPLE_RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames });
  }, 10);
  return source.createTrack();
}

function play(track) {
  if (track.kind === 'video') {
    const sink = new RTCVideoSink(track);
    sink.onframe = ({ frame }) => {
      seen.frames += 1;
      seen.size = `${frame.width}x${frame.height}`;
    };
    kept.push(sink);
  } else {
    const sink = new RTCAudioSink(track);
    sink.ondata = ({ samples, sampleRate }) => {
      for (const sample of samples) seen.energy += (sample / 32_768) ** 2 / sampleRate;
    };
    kept.push(sink);
  }
}

/** What the pair in use is made of. */
async function path() {
  const entries = [...(await connection.getStats()).values()];
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const transport = entries.find(({ type }) => type === 'transport');
  const pair = byId.get(transport?.selectedCandidatePairId);
  const [local, remote] = [byId.get(pair?.localCandidateId), byId.get(pair?.remoteCandidateId)];
  return { protocol: remote?.protocol, local: local?.candidateType, remote: remote?.ip ?? remote?.address };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  commands[method](params ?? {}).then(
    (result) => console.log(JSON.stringify({ id, result })),
    (error) => console.log(JSON.stringify({ id, error: String(error?.message ?? error) })),
  );
}
process.exit(0);
