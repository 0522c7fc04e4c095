/** A peer that is a browser, through the SDK. One browser serves a whole run; each call has a page. */
import { startChromium, startFirefox } from '../../browser/harness/browsers.mjs';
import { Tab } from '../../browser/harness/tab.mjs';

const STARTS = { chromium: startChromium, firefox: startFirefox };
const running = new Map();

export class BrowserPeer {
  #tab;

  constructor(tab) {
    this.#tab = tab;
  }

  /** @param {keyof typeof STARTS} name @param {string} link @param {{size: number[]}} wish */
  static async join(name, link, { size: [width, height] }) {
    if (!running.has(name)) running.set(name, STARTS[name]());
    const tab = await Tab.join(await running.get(name), link, name, { width, height });
    return new BrowserPeer(tab);
  }

  async received() {
    const { audio, video } = await this.#tab.received();
    const { local, remote } = await this.#tab.path();
    const codec = (await this.#tab.stats()).find(({ id }) => id === video?.codecId)?.mimeType;
    return {
      codec: codec?.split('/')[1],
      frames: video?.framesDecoded ?? 0,
      size: video?.frameWidth ? `${video.frameWidth}x${video.frameHeight}` : null,
      energy: audio?.totalAudioEnergy ?? 0,
      protocol: remote?.protocol,
      local: local?.candidateType,
      remote: remote?.address ?? remote?.ip,
    };
  }

  end() {
    return this.#tab.page.close();
  }
}

/** What was started is ended. */
export async function endBrowsers() {
  const browsers = await Promise.all(running.values());
  running.clear();
  await Promise.all(browsers.map((browser) => browser.end()));
}
