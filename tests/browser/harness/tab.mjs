/** One participant's tab: a bare page around the SDK's `Session`, and what `getStats` says. */
import { until } from './wait.mjs';

export class Tab {
  /** @param {any} page a page of playwright or puppeteer @param {string} name for messages */
  constructor(page, name) {
    this.page = page;
    this.name = name;
  }

  /**
   * Enters a session by a link, with the SDK alone and no user interface, and waits until ICE and DTLS are done.
   * @param {any} browser
   * @param {string} link
   * @param {string} name
   * @param {{width?: number, height?: number} | null} [camera] below 960x540 Chromium sends fewer than three encodings, and
   *   it is the highest rid that it leaves out; null: none
   * @param {import('./server.mjs').Relay} [relay] media goes through it
   * @param {string[]} [without] codecs that the browser is taken not to have
   */
  static async join(browser, link, name, camera = {}, relay = undefined, without = []) {
    const { origin, hash } = new URL(link);
    const tab = new Tab(await browser.open(`${origin}/`), name);
    if (relay) await tab.page.evaluate(reroute, relay.address);
    if (without.length > 0) await tab.page.evaluate(forget, without);
    const size = camera && [camera.width ?? 960, camera.height ?? 540];
    await tab.page.evaluate(enter, [hash.slice(1), size]);
    await tab.connected();
    return tab;
  }

  async connected(deadlineMs = 30_000) {
    await until(
      `${this.name} to connect`,
      () => this.page.evaluate(() => window.vestibule?.pc.connectionState === 'connected'),
      deadlineMs,
    );
    return this;
  }

  id() {
    return this.page.evaluate(() => window.vestibule.session.you.id);
  }

  /** @returns {Promise<{id: number, screen: boolean, participant: string|null, audio: string|null, video: string}[]>} */
  seats() {
    return this.page.evaluate(() => window.vestibule.seats);
  }

  /** All entries of `getStats`, as plain objects. */
  stats() {
    return this.page.evaluate(() => window.vestibule.stats());
  }

  serverStats() {
    return this.page.evaluate(() => window.vestibule.serverStats());
  }

  /** What the browser received in a seat. */
  async received(seat = 0) {
    const seats = await this.seats();
    const { audio, video } = seats.find(({ id }) => id === seat) ?? {};
    const entries = await this.stats();
    const inbound = (mid) => entries.find((entry) => entry.type === 'inbound-rtp' && entry.mid === mid);
    return { audio: inbound(audio), video: inbound(video) };
  }

  /** What the browser sent: audio, and each encoding of the camera by rid. */
  async sent() {
    const entries = (await this.stats()).filter((entry) => entry.type === 'outbound-rtp');
    const encodings = entries.filter((entry) => entry.kind === 'video' && entry.rid);
    // That of the screen comes after it, and has encodings too.
    const first = Math.min(...encodings.map((entry) => Number(entry.mid ?? 0)));
    const camera = encodings.filter((entry) => Number(entry.mid ?? 0) === first);
    return {
      audio: entries.find((entry) => entry.kind === 'audio'),
      camera: Object.fromEntries(camera.map((entry) => [entry.rid, entry])),
    };
  }

  /** The candidate pair in use, with both candidates. */
  async path() {
    const entries = await this.stats();
    const byId = new Map(entries.map((entry) => [entry.id, entry]));
    const transport = entries.find((entry) => entry.type === 'transport');
    const pair =
      byId.get(transport?.selectedCandidatePairId) ??
      entries.find((entry) => entry.type === 'candidate-pair' && entry.selected);
    return { transport, pair, local: byId.get(pair?.localCandidateId), remote: byId.get(pair?.remoteCandidateId) };
  }

  /** Asks for an encoding by the height of a tile in which it is large enough; the camera is 540 pixels high. */
  wishFor(seat, rid) {
    return this.wish(seat, { maxHeight: { q: 135, h: 270, f: null }[rid] });
  }

  wish(seat, wish) {
    return this.page.evaluate(([seat, wish]) => window.vestibule.wish(seat, wish), [seat, wish]);
  }

  setSeat(seat, participant) {
    return this.page.evaluate(([seat, participant]) => window.vestibule.setSeat(seat, participant), [seat, participant]);
  }

  restartIce() {
    return this.page.evaluate(() => window.vestibule.restartIce());
  }

  /** What must not change while seats and layers do: offers made, and the transceivers. */
  descriptions() {
    return this.page.evaluate(() => {
      const { pc, negotiations } = window.vestibule;
      const { length } = pc.getTransceivers();
      return {
        negotiations,
        transceivers: pc.getTransceivers().map(({ mid, currentDirection }) => `${mid} ${currentDirection}`),
        length,
        local: pc.localDescription.sdp,
        remote: pc.remoteDescription.sdp,
      };
    });
  }

  /** Waits until somebody's video and audio are decoded in a seat. */
  async plays(seat = 0, deadlineMs = 30_000) {
    return until(
      `${this.name} to play seat ${seat}`,
      async () => {
        const { audio, video } = await this.received(seat);
        return video?.framesDecoded > 0 && audio?.totalAudioEnergy > 0 && { audio, video };
      },
      deadlineMs,
    );
  }

  /** Waits until pictures of that width are decoded in a seat; a sender may take a while to trust its line with it. */
  async showsWidth(width, seat = 0, deadlineMs = 60_000) {
    return until(
      `${this.name} to show ${width} pixels in seat ${seat}`,
      async () => {
        const { video } = await this.received(seat);
        return video?.frameWidth === width && video;
      },
      deadlineMs,
    );
  }

  /** Waits until `count` more pictures are decoded in a seat. */
  async playsOn(count, seat = 0, deadlineMs = 30_000) {
    const start = (await this.received(seat)).video.framesDecoded;
    await until(
      `${this.name} to decode ${count} more frames`,
      async () => (await this.received(seat)).video.framesDecoded >= start + count,
      deadlineMs,
    );
  }

  /** Starts noting the time between pictures presented in a seat. */
  async noteGaps(seat = 0) {
    await this.page.evaluate((seat) => {
      const video = window.vestibule.video(seat);
      const notes = { frames: 0, last: 0, gapMsMax: 0 };
      window.gaps = { ...window.gaps, [seat]: notes };
      const frame = (now) => {
        if (window.gaps[seat] !== notes) return;
        if (notes.last) notes.gapMsMax = Math.max(notes.gapMsMax, now - notes.last);
        notes.last = now;
        notes.frames += 1;
        video.requestVideoFrameCallback(frame);
      };
      video.requestVideoFrameCallback(frame);
    }, seat);
  }

  /** Pictures presented since `noteGaps` and the longest time between two, the one still running included. */
  gaps(seat = 0) {
    return this.page.evaluate((seat) => {
      const { frames, last, gapMsMax } = window.gaps[seat];
      return { frames, gapMsMax: Math.round(Math.max(gapMsMax, last ? performance.now() - last : 0)) };
    }, seat);
  }
}

/**
 * Opens a tab for each name in one session, all of them let in at once, and closes them when the test is over.
 * @returns {Promise<Tab[]>}
 */
export async function joinAll(t, browser, server, names, camera = {}) {
  const { links } = await server.session({ provider: names });
  const tabs = [];
  for (const name of names) {
    const { link } = links.find((candidate) => candidate.name === name);
    const tab = await Tab.join(browser, link, name, camera);
    t.after(() => tab.page.close());
    tabs.push(tab);
  }
  return tabs;
}

/**
 * Runs in a page: whatever address the server says it has, it is reached at this one, and by UDP alone.
 * @param {string} address
 */
export function reroute(address) {
  const [host, port] = address.split(':');
  const { setRemoteDescription } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    const lines = sdp.split('\r\n').filter((line) => !/^a=candidate:\S+ \d+ tcp /i.test(line));
    const there = lines.map((line) => line.replace(/^(a=candidate:\S+ \d+ udp \d+) \S+ \d+/i, `$1 ${host} ${port}`));
    return Reflect.apply(setRemoteDescription, this, [{ type, sdp: there.join('\r\n') }]);
  };
}

/** Runs in a page: these codecs are none of its browser's. */
function forget(mimeTypes) {
  for (const side of [RTCRtpReceiver, RTCRtpSender]) {
    const { getCapabilities } = side;
    side.getCapabilities = (kind) => {
      const found = getCapabilities.call(side, kind);
      return found && { ...found, codecs: found.codecs.filter(({ mimeType }) => !mimeTypes.includes(mimeType)) };
    };
  }
}

/** Runs in the page. */
async function enter([token, size]) {
  // @ts-expect-error the server's own module
  const { Door, Session } = await import('/sdk.js');
  const { iceServers } = await new Door(token).open();
  const [width, height] = size ?? [];
  const video = size && { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: 30, max: 30 } };
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: video ?? false });
  const session = new Session({
    token,
    iceServers,
    microphone: media.getAudioTracks()[0],
    camera: media.getVideoTracks()[0] ?? null,
    people: 3,
    screens: 1,
  });
  const videos = new Map();
  window.vestibule = {
    session,
    get pc() {
      return session.peerConnection;
    },
    get negotiations() {
      return session.negotiations;
    },
    get seats() {
      return session.seats.map(({ id, screen, participant, audio, video }) => ({
        id,
        screen,
        participant,
        audio: audio?.mid ?? null,
        video: video.mid,
      }));
    },
    wish: (seat, wish) => session.wish(seat, wish),
    setSeat: (seat, participant) => session.setSeat(seat, participant),
    restartIce: () => session.restartIce(),
    video: (seat) => videos.get(seat),
    stats: async () => [...(await session.peerConnection.getStats()).values()],
    serverStats: () => session.serverStats(),
  };
  window.vestibule.joinsAt = Date.now();
  await session.join();
  document.body.replaceChildren();
  for (const seat of session.seats) {
    const silent = { autoplay: true, muted: true, playsInline: true, width: 320, srcObject: seat.picture };
    const element = Object.assign(document.createElement('video'), silent);
    videos.set(seat.id, element);
    document.body.append(element);
    if (seat.voice) document.body.append(Object.assign(new Audio(), { autoplay: true, srcObject: seat.voice }));
  }
}
