/** Turns two reports of `getStats` into the few numbers a person wants to see. */

/**
 * @typedef {object} Numbers
 * @property {string} label
 * @property {number} fps
 * @property {number} width
 * @property {number} height
 * @property {number} kbps
 * @property {number | null} lossPercent  packets lost of those expected since the last report; `null` for what is sent
 */

export class Meter {
  #last = new Map();

  /**
   * @param {RTCPeerConnection} pc
   * @returns {Promise<{received: Map<string, Numbers>, sent: Numbers[]}>} what is received by mid, what is sent by rid
   */
  async read(pc) {
    const report = await pc.getStats();
    const received = new Map();
    const sent = [];
    for (const entry of report.values()) {
      const last = this.#last.get(entry.id);
      if (entry.kind !== 'video' || !last) continue;
      if (entry.type === 'inbound-rtp' && entry.mid) received.set(entry.mid, inbound(entry, last));
      if (entry.type === 'outbound-rtp' && entry.packetsSent > last.packetsSent) sent.push(outbound(entry, last));
    }
    sent.sort((one, other) => one.width - other.width);
    this.#last = new Map(report.entries());
    return { received, sent };
  }
}

/** `640×360 · 30 fps · 800 kbit/s · 0.0 % lost` */
export function line({ label, width, height, fps, kbps, lossPercent }) {
  const parts = [`${width}×${height}`, `${fps.toFixed(0)} fps`, `${kbps.toFixed(0)} kbit/s`];
  if (label) parts.unshift(label);
  if (lossPercent !== null) parts.push(`${lossPercent.toFixed(1)} % lost`);
  return parts.join(' · ');
}

function inbound(entry, last) {
  const lost = entry.packetsLost - last.packetsLost;
  const expected = entry.packetsReceived - last.packetsReceived + lost;
  return {
    ...common(entry, last, entry.framesDecoded - last.framesDecoded, entry.bytesReceived - last.bytesReceived),
    label: '',
    lossPercent: expected > 0 ? Math.max(0, (100 * lost) / expected) : 0,
  };
}

function outbound(entry, last) {
  return {
    ...common(entry, last, entry.framesEncoded - last.framesEncoded, entry.bytesSent - last.bytesSent),
    label: entry.rid ?? 'screen',
    lossPercent: null,
  };
}

function common(entry, last, frames, bytes) {
  const seconds = Math.max(0.001, (entry.timestamp - last.timestamp) / 1000);
  return {
    fps: frames / seconds,
    width: entry.frameWidth ?? 0,
    height: entry.frameHeight ?? 0,
    kbps: (8 * bytes) / 1000 / seconds,
  };
}
