import { expect, test } from 'vitest';

import { ROLES, RequestError, SCOPES } from './client.ts';
import type { Waiting } from './desk.ts';
import { ROLE_MAY, ROLE_WORDS, SCOPE_WORDS, isOver, namesOf, said, span, waitedWords } from './words.ts';

const CODES = [
  'sign_in_failed',
  'sign_in_locked',
  'link_not_good',
  'password_too_short',
  'password_too_long',
  'password_has_login',
  'password_repeats',
  'password_common',
  'last_admin',
  'account_disabled',
  'exists',
  'limit_reached',
  'not_permitted',
  'not_found',
  'other_origin',
  'unauthenticated',
  'invalid',
  'not_waiting',
  'not_connected',
  'session_over',
  'join_window_closed',
  'busy',
  'unreachable',
  'store_unavailable',
];

test('whatever goes wrong is said in plain words', () => {
  for (const code of CODES) {
    const { text } = said(new RequestError(code, 'technical'), []);
    expect(text).not.toMatch(/_|undefined|null|technical|token/);
    expect(text).toMatch(/\.$/);
  }
  expect(said('a bug', []).text).toBe('That did not work. Try again.');
});

test('an error stands beside its field, if the form has it', () => {
  const taken = new RequestError('exists', '');
  expect(said(taken, ['login', 'role']).field).toBe('login');
  expect(said(taken, ['name']).field).toBe('form');
  expect(said(new RequestError('invalid', '', 'displayName'), ['displayName'])).toEqual({
    field: 'displayName',
    text: 'Use 1 to 100 characters.',
  });
  expect(said(new RequestError('password_common', '', 'password'), ['password']).field).toBe('password');
});

test('where nobody answers no field is wrong, and what cannot be so is not to be tried again', () => {
  const gone = said(new RequestError('unreachable', '', 'login'), ['login', 'password']);
  expect(gone).toEqual({ field: 'form', text: 'The server cannot be reached. Try again when it is.' });
  for (const [code, field] of [['invalid', 'expiresAt'], ['malformed', 'expiresAt'], ['invalid', 'graceMinutes'], ['malformed', null]] as const) {
    expect(said(new RequestError(code, '', field), ['expiresAt']).text).not.toContain('Try again');
  }
});

test('who is locked hears how long', () => {
  expect(said(new RequestError('sign_in_locked', '', null, 61), []).text).toContain('61 seconds');
  expect(said(new RequestError('sign_in_locked', '', null, 121), []).text).toContain('3 minutes');
  expect(span(1)).toBe('1 second');
});

test('every right and role has words', () => {
  for (const scope of SCOPES) expect(SCOPE_WORDS[scope]).toBeTruthy();
  for (const role of ROLES) expect([ROLE_WORDS[role], ROLE_MAY[role]].every(Boolean)).toBe(true);
  expect(isOver(new RequestError('unauthenticated', ''))).toBe(true);
  expect(isOver(new RequestError('not_permitted', ''))).toBe(false);
});

test('how long somebody has been waiting is told in minutes', () => {
  const minute = 60_000;
  expect([-5, 59_000, minute, 5 * minute, 65 * minute].map(waitedWords)).toEqual([
    'Came just now',
    'Came just now',
    'Waiting for 1 minute',
    'Waiting for 5 minutes',
    'Waiting for 1 h 5 min',
  ]);
  const people = ['Alex', 'Kim', ''].map((name) => ({ name }) as Waiting);
  expect(namesOf(people.slice(0, 1))).toBe('Alex');
  expect(namesOf(people)).toBe('Alex, with 2 more,');
  expect(namesOf(people.slice(2))).toBe('Somebody');
});
