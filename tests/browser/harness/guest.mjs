/** A person in front of the real page: opens their link, clicks what people click, and notes what the server said. */
import { reroute } from './tab.mjs';
import { until } from './wait.mjs';

export class Guest {
  /** What came over the signaling socket, as text. */
  heard = [];
  /** Signaling sockets that were opened so far. */
  sockets = 0;

  /** @param {any} page a page of playwright @param {string} name */
  constructor(page, name) {
    this.page = page;
    this.name = name;
    page.on('websocket', (socket) => {
      this.sockets += 1;
      socket.on('framereceived', ({ payload }) => this.heard.push(String(payload)));
    });
  }

  /** Opens a link in a tab of its own, and with media through a relay if there is one. */
  static async open(browser, link, name, { relay = undefined, ...options } = {}) {
    const page = await browser.blank(options);
    if (relay) await page.addInitScript(reroute, relay.address);
    const guest = new Guest(page, name);
    await page.goto(link);
    return guest;
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  press(name) {
    return this.button(name).click();
  }

  heading(name) {
    return this.page.getByRole('heading', { name, level: 1 });
  }

  heading2(name) {
    return this.page.getByRole('heading', { name, level: 2 });
  }

  /** From the device check into the waiting room or the visit; returns the milliseconds from the click to a transport. */
  async join() {
    await this.devicesReady();
    const begun = performance.now();
    await this.press('Join');
    await this.connected();
    return performance.now() - begun;
  }

  /** The device check has asked for camera and microphone, and may be left. */
  devicesReady() {
    return until(`${this.name} to be able to join`, () => this.button('Join').isEnabled());
  }

  /** Has somebody wait again who was let in. */
  sendBack(participant) {
    return this.page.evaluate((participant) => window.vestibule.session.sendBack(participant), participant);
  }

  async agree() {
    await this.button('I agree and continue').waitFor();
    for (const box of await this.page.getByRole('checkbox').all()) await box.check();
    await this.press('I agree and continue');
  }

  connected() {
    return until(`${this.name} to connect`, () =>
      this.page.evaluate(() => window.vestibule?.session?.peerConnection?.connectionState === 'connected'),
    );
  }

  /** Sums over `getStats`: packets and frames each way. */
  traffic() {
    return this.page.evaluate(async () => {
      const entries = [...(await window.vestibule.session.peerConnection.getStats()).values()];
      const sum = (type, field, kind) =>
        entries
          .filter((entry) => entry.type === type && (!kind || entry.kind === kind))
          .reduce((total, entry) => total + (entry[field] ?? 0), 0);
      return {
        packetsSent: sum('outbound-rtp', 'packetsSent'),
        packetsReceived: sum('inbound-rtp', 'packetsReceived'),
        framesDecoded: sum('inbound-rtp', 'framesDecoded', 'video'),
        audioEnergy: sum('inbound-rtp', 'totalAudioEnergy', 'audio'),
      };
    });
  }

  /** Waits until somebody in a seat of this kind is seen (and heard); returns the seat's participant. */
  plays(participant, screen = false, deadlineMs = 30_000) {
    return until(
      `${this.name} to see ${screen ? 'the screen of ' : ''}${participant}`,
      () =>
        this.page.evaluate(
          async ([participant, screen]) => {
            const { session } = window.vestibule;
            const seat = session.seats.find((seat) => seat.participant === participant && seat.screen === screen);
            if (!seat) return false;
            const entries = [...(await session.peerConnection.getStats()).values()];
            const inbound = (mid) => entries.find((entry) => entry.type === 'inbound-rtp' && entry.mid === mid);
            const seen = (inbound(seat.video.mid)?.framesDecoded ?? 0) > 0;
            return seen && (screen || (inbound(seat.audio?.mid)?.totalAudioEnergy ?? 0) > 0);
          },
          [participant, screen],
        ),
      deadlineMs,
    );
  }

  /** Waits until more is heard: what a browser decodes and does not play has no energy. */
  async hears() {
    const { audioEnergy } = await this.traffic();
    await until(`${this.name} to hear more`, async () => (await this.traffic()).audioEnergy > audioEnergy);
  }

  /** Frames decoded in a participant's seat, and whether the page shows them in a video that is visible and moves on. */
  shown(participant) {
    return this.page.evaluate((participant) => {
      const { session } = window.vestibule;
      const seat = session.seats.find((seat) => seat.participant === participant && !seat.screen);
      const playing = [...document.querySelectorAll('video')].find(
        (video) => video.checkVisibility() && seat && video.srcObject === seat.picture,
      );
      return Boolean(playing && playing.videoWidth > 0 && playing.currentTime > 0);
    }, participant);
  }

  id() {
    return this.page.evaluate(() => window.vestibule.session.you.id);
  }
}
