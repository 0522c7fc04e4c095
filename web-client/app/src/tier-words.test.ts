import { expect, test } from 'vitest';

import { backWords, tierNoticeWords, tierOfTileWords, tierWords } from './tier-words.ts';

const ALL = { chosen: 'video', signs: false, muted: false, attempt: 'none' } as const;

test('who has everything is told nothing', () => {
  expect(tierNoticeWords({ profile: 'video', reason: null }, ALL)).toBeNull();
  expect(tierOfTileWords({ name: 'Anna', tier: 'video', tierReason: null }, 'video')).toBe('');
});

test('a weak line is explained, with a way back and a way further down', () => {
  const words = tierNoticeWords({ profile: 'audio_only', reason: 'downlink_rate' }, ALL);
  expect(words?.text).toBe('Your connection is weak. We turned video off so that you can keep talking.');
  expect(words?.offers.map(({ want }) => want)).toEqual(['video', 'async_text']);
});

test('what somebody chose is not called weak', () => {
  for (const profile of ['audio_only', 'async_text'] as const) {
    expect(tierNoticeWords({ profile, reason: 'chosen' }, ALL)?.text).toContain('as you chose');
    expect(tierOfTileWords({ name: 'Anna', tier: profile, tierReason: 'chosen' }, 'video')).not.toContain('weak');
  }
});

test('while there is no connection nothing can be asked for, and what is written is kept', () => {
  const words = tierNoticeWords({ profile: 'async_text', reason: 'unreachable' }, ALL);
  expect(words?.offers).toEqual([]);
  expect(words?.text).toContain('kept on this device');
});

test('a provider reads why', () => {
  expect(tierWords('audio_only', 'uplink_loss', false)).toBe('Voice only: too much of what they send is lost.');
  expect(tierWords('async_text', 'silence', false)).toBe('In writing only: nothing is heard.');
  expect(tierWords('async_text', 'https_only', false)).toBe('In writing only: only messages come through from them.');
  expect(tierWords('video', 'recovered', true)).toBe('Video: the connection carries it.');
  expect(tierWords('audio_only', 'downlink_rate', true)).toBe('Voice only: too little gets through to you.');
});

test('who wanted a voice alone is offered no more than that, and who signs is told of the picture', () => {
  const fallen = { profile: 'async_text', reason: 'uplink_rate' } as const;
  expect(tierNoticeWords(fallen, ALL)?.offers.map(({ want }) => want)).toEqual(['video', 'async_text']);
  expect(tierNoticeWords(fallen, { ...ALL, chosen: 'audio_only' })?.offers.map(({ want }) => want)).toEqual(['audio_only', 'async_text']);
  for (const reason of ['uplink_rate', 'https_only', 'chosen'] as const) {
    expect(JSON.stringify(tierNoticeWords({ profile: 'async_text', reason }, { ...ALL, signs: true }))).not.toMatch(/sound|talk/);
  }
});

test('what is tried is said, with how long it takes, and its button does nothing meanwhile', () => {
  const weak = { profile: 'audio_only', reason: 'downlink_rate' } as const;
  expect(tierNoticeWords(weak, { ...ALL, attempt: 'trying' })).toMatchObject({
    text: 'Trying video again … This can take half a minute.',
    offers: [{ want: 'video', busy: true }, { want: 'async_text' }],
  });
  expect(tierNoticeWords(weak, { ...ALL, attempt: 'failed' })).toMatchObject({
    text: 'Your connection does not carry video yet. We keep trying.',
    offers: [{ want: 'video', word: 'Try video again' }, { want: 'async_text' }],
  });
  const inWriting = { profile: 'async_text', reason: 'uplink_rate' } as const;
  expect(tierNoticeWords(inWriting, { ...ALL, attempt: 'trying' })?.text).toMatch(/^Trying sound again …/);
  expect(tierNoticeWords(inWriting, { ...ALL, attempt: 'failed' })?.text).toMatch(/does not carry sound yet. We keep trying./);
  expect(tierNoticeWords(inWriting, { ...ALL, signs: true, attempt: 'failed' })?.text).toMatch(/does not carry video yet/);
});

test('whose sound is back while they are muted is not told that they can talk', () => {
  const back = { profile: 'audio_only', reason: 'recovered' } as const;
  expect(tierNoticeWords(back, ALL)?.text).toMatch(/^You can talk again/);
  expect(tierNoticeWords(back, { ...ALL, muted: true })?.text).toMatch(/you are still muted/);
});

test('that the picture is back is said as it is true of their own camera and microphone', () => {
  const voice = { profile: 'audio_only', reason: 'recovered' } as const;
  const on = { microphone: 'on', camera: 'on', signs: false } as const;
  expect(backWords(voice, on)).toBe('Your connection is better. Your video is on again.');
  expect(backWords(voice, { ...on, camera: 'off' })).toBe('Your connection is better. Video works again; your camera is still off.');
  expect(backWords(voice, { ...on, camera: 'failed' })).toMatch(/your camera did not start/);
  expect(backWords({ profile: 'audio_only', reason: 'chosen' }, on)).toBe('Your video is on again.');
  const writing = { profile: 'async_text', reason: 'unreachable' } as const;
  expect(backWords(writing, on)).toBe('Your connection is better. You can talk again. Your video is on again.');
  expect(backWords(writing, { ...on, microphone: 'off' })).toMatch(/You are still muted./);
  expect(backWords(writing, { ...on, signs: true })).not.toMatch(/talk/);
});
