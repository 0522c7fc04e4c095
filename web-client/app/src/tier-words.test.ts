import { expect, test } from 'vitest';

import { tierNoticeWords, tierOfTileWords, tierWords } from './tier-words.ts';

test('who has everything is told nothing', () => {
  expect(tierNoticeWords({ profile: 'video', reason: null })).toBeNull();
  expect(tierOfTileWords({ name: 'Anna', tier: 'video', tierReason: null }, 'video')).toBe('');
});

test('a weak line is explained, with a way back and a way further down', () => {
  const words = tierNoticeWords({ profile: 'audio_only', reason: 'downlink_rate' });
  expect(words?.text).toBe('Your connection is weak. We turned video off so that you can keep talking.');
  expect(words?.offers.map(({ want }) => want)).toEqual(['video', 'async_text']);
});

test('what somebody chose is not called weak', () => {
  for (const profile of ['audio_only', 'async_text'] as const) {
    expect(tierNoticeWords({ profile, reason: 'chosen' })?.text).toContain('as you chose');
    expect(tierOfTileWords({ name: 'Anna', tier: profile, tierReason: 'chosen' }, 'video')).not.toContain('weak');
  }
});

test('while there is no connection nothing can be asked for, and what is written is kept', () => {
  const words = tierNoticeWords({ profile: 'async_text', reason: 'unreachable' });
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
