/** A server and a browser for all tests of a file, ended after the last of them. */
import assert from 'node:assert/strict';
import { after } from 'node:test';

import { startChromium } from './browsers.mjs';
import { Server } from './server.mjs';

/** Starts both; to be awaited at the head of a file. The browser is ended first. */
export async function serverAndBrowser() {
  const chromium = await startChromium();
  after(() => chromium.end());
  const server = await Server.start();
  after(async () => assert.equal(await server.end(), 0, 'the server ends cleanly'));
  return { server, chromium };
}
