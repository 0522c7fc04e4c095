import { expect, test } from 'vitest';

import type { DenyReason, DeviceProblem, EndReason, Knock, Phase, QualityReason } from '../../sdk/src/index.ts';
import { DoorError } from '../../sdk/src/index.ts';
import { person } from '../../sdk/src/testing/server.ts';
import {
  CLOSE,
  deviceWords,
  doorWords,
  knockWords,
  lengthWords,
  overWords,
  reasonWords,
  refusalWords,
  waitingWords,
  withoutWords,
} from './words.ts';

const ENDS: EndReason[] = [
  'provider_ended',
  'everyone_left',
  'provider_left',
  'cancelled',
  'no_show_patient',
  'no_show_provider',
  'abandoned',
  'reconnect_expired',
  'backend_lost',
];
const DENIALS: DenyReason[] = ['not_now', 'wrong_visit', 'other'];
const PROBLEMS: DeviceProblem[] = ['insecure', 'denied', 'missing', 'busy', 'failed'];
const DOOR = ['join_token_expired', 'join_token_revoked', 'join_token_invalid', 'session_over', 'consent_missing', 'not_permitted', 'unreachable'];

/** No code and no jargon reaches a person, and each sentence ends. */
function isPlain(text: string): void {
  expect(text).not.toMatch(/_|undefined|null|token|WebRTC|ICE|SDP/);
  expect(text).toMatch(/[.…]$/);
}

test('that the page can be closed is for the page to say, which knows whether something is still being sent', () => {
  for (const reason of ENDS) for (const role of ['patient', 'provider'] as const) expect(overWords({ name: 'ended', reason }, role).text).not.toContain(CLOSE);
});

test('everything that can go wrong is said in plain words, with what to do', () => {
  for (const reason of ENDS) for (const role of ['patient', 'provider'] as const) isPlain(overWords({ name: 'ended', reason }, role).text);
  for (const reason of DENIALS) {
    for (const newDevice of [true, false]) isPlain(overWords({ name: 'denied', reason, newDevice }).text);
  }
  for (const role of ['patient', 'provider', 'interpreter'] as const) {
    for (const name of ['left', 'removed', 'superseded'] as const) isPlain(overWords({ name }, role).text);
  }
  for (const problem of PROBLEMS) for (const what of ['camera', 'microphone'] as const) isPlain(deviceWords(what, problem));
  for (const code of DOOR) isPlain(doorWords(new DoorError(code, 'technical')).text);
  for (const error of [new Error('technical'), new DoorError('busy', 'technical'), 'technical']) isPlain(refusalWords(error));
});

type Waiting = Extract<Phase, { name: 'waiting' }>;
const WAITING: Waiting = {
  name: 'waiting',
  position: 1,
  providerPresent: false,
  deskAttended: false,
  newDevice: false,
  sentBack: false,
};

test('who waits is told by whom they are waited for, and what happens next', () => {
  const words = (more: Partial<Waiting>, role: 'patient' | 'provider' | 'interpreter' = 'patient') =>
    waitingWords({ ...WAITING, ...more }, role);
  expect(words({}).text).toMatch(/^Your provider has not come in yet/);
  expect(words({ deskAttended: true }).text).toMatch(/^Your provider’s desk is open/);
  expect(words({ deskAttended: true, providerPresent: true }).text).toMatch(/knows that you are here/);
  expect(words({ providerPresent: true }, 'interpreter').text).toMatch(/^The provider knows/);
  expect(words({ sentBack: true, providerPresent: true })).toMatchObject({ title: 'You are in the waiting room again' });
  expect(words({ newDevice: true }).text).toMatch(/open on another device/);
  expect(words({ newDevice: true }, 'provider')).toMatchObject({
    title: 'Your visit is open on another device',
    text: expect.stringMatching(/sign in here.*Without a login, ask the clinic\.$/),
  });
  for (const role of ['patient', 'provider', 'interpreter'] as const) {
    for (const flag of ['deskAttended', 'providerPresent', 'newDevice', 'sentBack'] as const) isPlain(words({ [flag]: true }, role).text);
  }
});

test('a knock says what is different about it', () => {
  const knock = (more: Partial<Knock>, state: 'waiting' | 'lost' = 'waiting'): string =>
    knockWords({ participant: person('p', { state }), newDevice: false, device: 'd', isIn: false, ...more });
  expect(knock({})).toBe('');
  expect(knock({ newDevice: true })).toBe('Same link, another device.');
  expect(knock({ newDevice: true, isIn: true })).toMatch(/takes the place of the first/);
  const other = { participant: person('p', { state: 'waiting' }), newDevice: true, device: 'd', isIn: true };
  expect(knockWords(other, true)).toBe('Same link, another device. The first one has lost the connection.');
  expect(knock({ newDevice: true }, 'lost')).toBe('Connection lost.');
});

test('who is back without what they had is told what the others miss', () => {
  expect(withoutWords(['camera'])).toMatch(/without your camera: the others do not see you/);
  expect(withoutWords(['microphone', 'camera'])).toMatch(/without your microphone and camera: the others neither hear nor see you/);
});

test('why a connection is no better is said in a short sentence', () => {
  const codes: QualityReason['code'][] = ['uplink_loss', 'downlink_loss', 'round_trip', 'uplink_jitter', 'downlink_rate', 'uplink_rate', 'silence'];
  for (const code of codes) for (const own of [true, false]) isPlain(reasonWords({ code, value: 8 }, own));
  expect(reasonWords({ code: 'uplink_loss', value: 8 }, true)).toBe('Your connection loses 8\u00a0% of what you send.');
  // A mean (RFC 3550), and no bound.
  expect(reasonWords({ code: 'uplink_jitter', value: 60 }, true)).toBe('What you send arrives unevenly, late by about 60\u00a0ms.');
  expect(reasonWords({ code: 'silence', value: 0 }, false)).toBe('Nothing arrives from them.');
  expect([lengthWords(30), lengthWords(150)]).toEqual(['30 seconds', '3 minutes']);
});
