import { describe, expect, test } from 'vitest';

import { Refusal } from '../../sdk/src/index.ts';
import type { UnsaidLine } from '../../sdk/src/index.ts';
import { failureWords, sentWords, unsaidWords, writingWords } from './thread-words.ts';

const line = (more: Partial<UnsaidLine> = {}): UnsaidLine => ({
  clientId: 'c',
  text: 'hello',
  image: null,
  state: 'sending',
  progress: 0,
  reason: null,
  ...more,
});

describe('of a line that is not sent', () => {
  test('it is said where it is, and an image how far', () => {
    expect(unsaidWords(line(), 'socket')).toBe('sending …');
    expect(unsaidWords(line({ image: new Blob(['x']), progress: 0.42 }), 'https')).toBe('sending, 42 %');
    expect(unsaidWords(line({ state: 'queued' }), 'none')).toContain('kept on this device');
    expect(unsaidWords(line({ state: 'failed' }), 'none')).toBe('not sent');
  });

  test('every reason has its own words, and none speaks of codes', () => {
    const codes = ['outbox_full', 'image_too_large', 'heic_not_taken', 'not_an_image', 'damaged_image', 'limit_reached', 'x'];
    const words = codes.map((code) => failureWords(new Refusal(code, '', false)));
    expect(new Set(words).size).toBe(codes.length);
    expect(words.join(' ')).not.toMatch(/_|error|code/i);
  });
});

test('nothing is said of a line that is as usual', () => {
  expect(writingWords('socket', 3)).toBe('');
  expect(writingWords('none', 0)).not.toBe(writingWords('none', 1));
});

test('what became of the last lines is said for each way it can be over', () => {
  const ended = { name: 'ended', reason: 'provider_ended' } as const;
  expect(sentWords(null, ended)).toBe('');
  expect(sentWords('said', ended)).toBe('All that you wrote is sent.');
  expect(sentWords('handed_over', ended)).toContain('The clinic has it now');
  const undelivered = [ended, { name: 'removed' }, { name: 'superseded' }] as const;
  expect(new Set(undelivered.map((why) => sentWords('undelivered', why))).size).toBe(3);
});
