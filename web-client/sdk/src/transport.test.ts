import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { peerConnections, stubBrowser } from './testing/browser.ts';
import type { FakePage } from './testing/browser.ts';
import { Transport } from './transport.ts';

/** The m-lines of one who sends, and has a seat for a person and one for a screen. */
const SEATS = { people: 1, screens: 1 };

let page: FakePage;

beforeEach(() => {
  page = stubBrowser();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

function codecs(): string[][] | undefined {
  const never = () => Promise.reject(new Error('not asked for'));
  new Transport({ offer: never, restart: never }, [], SEATS);
  return peerConnections[0]?.codecs;
}

test('a voice is plain Opus first, and both ways may have redundancy where the browser does', () => {
  const [audio, video] = [['audio/opus', 'audio/red'], ['video/VP8', 'video/VP9', 'video/AV1', 'video/rtx']];
  expect(codecs()).toEqual([audio, video, video, audio, video, video]);
});

test('a browser without redundancy offers Opus alone', () => {
  page.codecs.audio = ['audio/opus', 'audio/G722'];
  expect([codecs()?.[0], codecs()?.[3]]).toEqual([['audio/opus'], ['audio/opus']]);
});
