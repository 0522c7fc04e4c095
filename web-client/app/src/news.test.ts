import { expect, test } from 'vitest';

import type { Participant } from '../../sdk/src/index.ts';
import { clock, news } from './news.ts';
import { initialsOf } from './words.ts';

const person = (name: string, more: Partial<Participant> = {}): Participant => ({
  id: name,
  role: 'patient',
  name,
  state: 'active',
  media: { audio: 'live', camera: 'live', screen: 'off' },
  tier: 'video',
  tierReason: null,
  lostUntil: null,
  ...more,
});

test('who comes, goes, is lost and comes back is told', () => {
  const alex = person('Alex');
  const lost = person('Alex', { state: 'lost' });
  expect(news([], [alex])).toEqual(['Alex is here.']);
  expect(news([alex], [alex])).toEqual([]);
  expect(news([alex], [lost])).toEqual(['Alex has lost the connection.']);
  expect(news([lost], [lost])).toEqual([]);
  expect(news([lost], [alex])).toEqual(['Alex is back.']);
  expect(news([alex], [])).toEqual(['Alex has left.']);
});

test('what somebody’s line is used for is told when it changes, and why', () => {
  const alex = person('Alex');
  const weak = person('Alex', { tier: 'audio_only', tierReason: 'uplink_rate' });
  expect(news([alex], [weak])).toEqual(['Alex: Voice only: too little gets through from them.']);
  expect(news([weak], [alex])).toEqual(['Alex: Video: the connection carries it.']);
});

test('so are muting and a shared screen', () => {
  const alex = person('Alex');
  const muted = person('Alex', { media: { audio: 'muted', camera: 'live', screen: 'off' } });
  const sharing = person('Alex', { media: { audio: 'live', camera: 'live', screen: 'live' } });
  expect(news([alex], [muted])).toEqual(['Alex is muted.']);
  expect(news([muted], [alex])).toEqual(['Alex is not muted any more.']);
  expect(news([alex], [sharing])).toEqual(['Alex shares a screen.']);
});

test('time is counted up in digits', () => {
  expect([-5, 0, 59_999, 61_000, 3_661_000].map(clock)).toEqual(['00:00', '00:00', '00:59', '01:01', '1:01:01']);
});

test('initials are of names, not of titles', () => {
  expect(['Dr. Grace Okafor', 'Alex', 'Mei-Lin Chen', 'María de la Cruz', '李 小龙', ''].map(initialsOf)).toEqual([
    'GO',
    'A',
    'MC',
    'MC',
    '李小',
    '',
  ]);
});
