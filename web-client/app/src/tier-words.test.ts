import { expect, test } from 'vitest';

import { tierNoticeWords, tierOfTileWords, tierWords } from './tier-words.ts';

const ALL = { chosen: 'video', signs: false } as const;

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
  expect(tierNoticeWords(fallen, ALL)?.offers.map(({ want }) => want)).toEqual(['video']);
  expect(tierNoticeWords(fallen, { ...ALL, chosen: 'audio_only' })?.offers.map(({ want }) => want)).toEqual(['audio_only']);
  for (const reason of ['uplink_rate', 'https_only', 'chosen'] as const) {
    expect(JSON.stringify(tierNoticeWords({ profile: 'async_text', reason }, { ...ALL, signs: true }))).not.toMatch(/sound|talk/);
  }
});
