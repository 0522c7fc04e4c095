import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { OwnMedia } from './own-media.svelte.ts';
import type { Choices, Chosen } from './own-media.svelte.ts';

class FakeTrack extends EventTarget {
  readyState = 'live';

  constructor(
    readonly kind: 'audio' | 'video',
    readonly deviceId: string,
  ) {
    super();
  }

  getSettings(): { deviceId: string } {
    return { deviceId: this.deviceId };
  }

  stop(): void {
    this.readyState = 'ended';
  }
}

type Wish = { deviceId?: { exact: string } } | undefined;
/** What the browser was asked for, one entry a question. */
let asked: string[];
let opened: FakeTrack[];
/** Devices that are there. */
let there: string[];
/** Nobody has answered the browser's question yet. */
let answered: Promise<void>;
/** Why it gives nothing, if it does not. */
let refusal: string | null;
let media: OwnMedia;
let sent: string[];

beforeEach(() => {
  asked = [];
  opened = [];
  sent = [];
  there = ['mic', 'cam', 'other-mic', 'other-cam'];
  answered = Promise.resolve();
  refusal = null;
  const getUserMedia = async ({ audio, video }: { audio?: Wish; video?: Wish }) => {
    const wishes = Object.entries({ audio, video }).filter(([, wish]) => wish);
    asked.push(wishes.map(([kind, wish]) => `${kind} ${wish?.deviceId?.exact ?? 'any'}`).join(', '));
    await answered;
    if (refusal) throw Object.assign(new Error('no'), { name: refusal });
    const of = (kind: string, wish: Wish) => wish?.deviceId?.exact ?? there.find((id) => id.endsWith(kind === 'audio' ? 'mic' : 'cam'));
    const ids = wishes.map(([kind, wish]) => of(kind, wish));
    if (ids.some((id) => !id || !there.includes(id))) throw Object.assign(new Error('none'), { name: 'OverconstrainedError' });
    const tracks = wishes.map(([kind], index) => new FakeTrack(kind as 'audio' | 'video', ids[index] ?? ''));
    opened.push(...tracks);
    const all = (kind: string) => tracks.filter((track) => track.kind === kind);
    return { getTracks: () => tracks, getAudioTracks: () => all('audio'), getVideoTracks: () => all('video') };
  };
  vi.stubGlobal('navigator', { mediaDevices: { getUserMedia, enumerateDevices: () => Promise.resolve([]) } });
  media = new OwnMedia();
  media.onTrack = (kind, track) => sent.push(`${kind} ${(track as FakeTrack | null)?.deviceId ?? 'none'}`);
});

afterEach(() => vi.unstubAllGlobals());

const on = (deviceId: string): Chosen => ({ deviceId, off: false, none: false });
const choices = (more: Partial<Choices>): Choices => ({ microphone: on('mic'), camera: on('cam'), ...more });

test('after a reload the devices of before are taken again, by one question, and sent', async () => {
  await media.reopen(choices({ speakerId: 'speaker', microphone: { ...on('other-mic'), off: true } }));
  expect(asked).toEqual(['audio other-mic, video cam']);
  expect(sent).toEqual(['microphone other-mic', 'camera cam']);
  expect([media.microphone.off, media.camera.off, media.speakerId]).toEqual([true, false, 'speaker']);
  expect(media.choices).toEqual({
    microphone: { deviceId: 'other-mic', off: true, none: false },
    camera: on('cam'),
    speakerId: 'speaker',
  });
});

test('a camera that was off stays off, and what there was not is not asked for', async () => {
  await media.reopen(choices({ camera: { ...on('cam'), off: true } }));
  expect(asked).toEqual(['audio mic']);
  expect(media.camera.off).toBe(true);
  asked = [];
  await new OwnMedia().reopen(choices({ microphone: { off: false, none: true } }));
  expect(asked).toEqual(['video cam']);
});

test('a device that is gone is replaced by another, and one that is missing costs nothing else', async () => {
  there = ['mic', 'other-cam'];
  await media.reopen(choices({}));
  expect(sent).toEqual(['microphone mic', 'camera other-cam']);
  there = ['mic'];
  const alone = new OwnMedia();
  await alone.reopen(choices({}));
  expect(alone.microphone.track).not.toBeNull();
  expect(alone.camera.problem).toBe('missing');
  expect(alone.choices.camera.none, 'it is asked for again: somebody may plug one in').toBe(false);
});

test('what did not open, or not yet, is asked for at the next reload as well', async () => {
  for (const why of ['NotReadableError', 'NotAllowedError', 'TypeError']) {
    refusal = why;
    const failing = new OwnMedia();
    const reopening = failing.reopen(choices({}));
    expect(failing.choices, 'while it opens').toEqual(choices({}));
    await reopening;
    expect([failing.choices.microphone.none, failing.choices.camera.none]).toEqual([false, false]);
    expect([failing.isWithout('microphone'), failing.isWithout('camera')], 'the problem is shown instead').toEqual([false, false]);
  }
});

test('what somebody said no to and joined without stays so, until they turn it on', async () => {
  refusal = 'NotAllowedError';
  await media.open();
  media.settle();
  const kept = media.choices;
  expect([kept.microphone.none, kept.camera.none]).toEqual([true, true]);
  asked = [];
  refusal = null;
  const again = new OwnMedia();
  await again.reopen(kept);
  expect(asked).toEqual([]);
  expect(again.choices).toEqual(kept);
  expect([again.isWithout('microphone'), again.isWithout('camera')]).toEqual([true, true]);
  await again.choose('camera');
  expect(again.camera.track).not.toBeNull();
  expect([again.choices.microphone.none, again.choices.camera.none]).toEqual([true, false]);
});

test('a camera that is of no use is let go of, and taken again by itself', async () => {
  await media.open();
  const [, camera] = opened;
  sent = [];
  await media.use('camera', false);
  expect(camera?.readyState, 'its light is out').toBe('ended');
  expect([media.isWithout('camera'), media.canToggle('camera'), sent]).toEqual([false, true, []]);
  await media.use('camera', true);
  expect(asked).toEqual(['audio any, video any', 'video cam']);
  expect(sent).toEqual(['camera cam']);
  expect(media.camera.rests).toBe(false);
});

test('a microphone that is of no use is let go of as well, and is as it was when it is taken again', async () => {
  await media.open();
  const [microphone, camera] = opened;
  await media.toggle('microphone');
  sent = [];
  await media.use('microphone', false);
  expect([microphone?.readyState, camera?.readyState]).toEqual(['ended', 'live']);
  expect([media.isWithout('microphone'), media.canToggle('microphone')]).toEqual([false, true]);
  await media.use('microphone', true);
  expect(sent).toEqual(['microphone mic']);
  expect([media.microphone.off, media.microphone.rests], 'muted').toEqual([true, false]);
});

test('who turns a camera off that is of no use keeps it off', async () => {
  await media.open();
  await media.use('camera', false);
  await media.toggle('camera');
  await media.use('camera', true);
  expect([media.camera.off, media.camera.track]).toEqual([true, null]);
  expect(asked).toHaveLength(1);
});

test('a camera that was asked for while it is of no use is let go of again', async () => {
  await media.open(['microphone']);
  await media.use('camera', false);
  await media.choose('camera', 'other-cam');
  expect(opened.at(-1)?.readyState).toBe('ended');
  expect([media.camera.rests, media.camera.track]).toEqual([true, null]);
});

test('whoever asks while it is asked for waits for the same', async () => {
  let answer = () => {};
  answered = new Promise((resolve) => (answer = resolve));
  const both = [media.open(), media.open()];
  answer();
  await Promise.all(both);
  expect(asked).toHaveLength(1);
  expect(opened.map(({ readyState }) => readyState)).toEqual(['live', 'live']);
});

test('what is opened after everything was let go is let go, too', async () => {
  let answer = () => {};
  answered = new Promise((resolve) => (answer = resolve));
  const opening = media.reopen(choices({}));
  media.close();
  answer();
  await opening;
  expect(opened.map(({ readyState }) => readyState)).toEqual(['ended', 'ended']);
  expect([media.microphone.track, media.camera.track]).toEqual([null, null]);
  await media.open();
  expect(opened.slice(2).map(({ readyState }) => readyState)).toEqual(['live', 'live']);
});

test('nothing is opened one by one any more after everything was let go', async () => {
  refusal = 'NotReadableError';
  let answer = () => {};
  answered = new Promise((resolve) => (answer = resolve));
  const opening = media.open();
  media.close();
  answer();
  await opening;
  expect(asked, 'neither alone').toEqual(['audio any, video any']);

  // The second of two that are opened alone, and the stand-in for one that is gone.
  refusal = null;
  there = ['mic', 'other-cam'];
  const alone = new OwnMedia();
  alone.onTrack = () => alone.close();
  asked = [];
  await alone.reopen(choices({}));
  expect(asked).toEqual(['audio mic, video cam', 'audio mic']);
  expect([alone.microphone.track, alone.camera.track]).toEqual([null, null]);
  expect(opened.map(({ readyState }) => readyState)).toEqual(['ended']);
});

test('a device that was chosen and comes too late is let go, and does not disturb what was opened since', async () => {
  let answer = () => {};
  answered = new Promise((resolve) => (answer = resolve));
  const choosing = media.choose('camera', 'cam');
  media.close();
  expect(media.camera.busy).toBe(false);
  const again = media.choose('camera', 'other-cam');
  answer();
  await Promise.all([choosing, again]);
  expect(opened.map(({ deviceId, readyState }) => `${deviceId} ${readyState}`)).toEqual(['cam ended', 'other-cam live']);
  expect((media.camera.track as unknown as FakeTrack).deviceId).toBe('other-cam');
  expect(sent).toEqual([]);
});
