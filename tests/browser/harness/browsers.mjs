/** Real browsers with false cameras. */
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

import { chromiumPath, firefoxPath } from './find.mjs';

const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows',
  '--use-fake-device-for-media-stream=fps=30',
  '--use-fake-ui-for-media-stream',
  '--auto-select-desktop-capture-source=Entire screen',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // No updates of codecs or lists from the network.
  'media.gmp-manager.updateEnabled': false,
  'app.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};

/** Starts Chromium; `open(url)` gives a page with `evaluate`. */
export async function startChromium() {
  const browser = await chromium.launch({ executablePath: chromiumPath(), headless: true, args: CHROMIUM_FLAGS });
  return {
    name: 'Chromium',
    version: browser.version(),
    async open(url) {
      const page = await this.blank();
      await page.goto(url);
      return page;
    },
    /** A page of a browser that nobody used before, to be listened to before it goes anywhere. */
    async blank(options = {}) {
      // Each page in a window of its own: behind another tab it would hardly be painted.
      const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options });
      report(page);
      return page;
    },
    end: () => browser.close(),
  };
}

/** Starts Firefox, spoken to by WebDriver BiDi; `open(url)` gives a page with `evaluate`. */
export async function startFirefox() {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: firefoxPath(),
    headless: true,
    extraPrefsFirefox: FIREFOX_PREFS,
  });
  return {
    name: 'Firefox',
    version: await browser.version(),
    async open(url) {
      const page = await browser.newPage();
      report(page);
      await page.goto(url);
      return page;
    },
    end: () => browser.close(),
  };
}

/** A page's own errors belong into the test's output. */
function report(page) {
  page.on('pageerror', (error) => console.error(`page error: ${error?.message ?? error}`));
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(`page console: ${message.text()}`);
  });
}
