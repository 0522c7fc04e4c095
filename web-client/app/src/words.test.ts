import { expect, test } from 'vitest';

import type { DenyReason, DeviceProblem, EndReason } from '../../sdk/src/index.ts';
import { DoorError } from '../../sdk/src/index.ts';
import { deviceWords, doorWords, overWords, refusalWords } from './words.ts';

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

test('everything that can go wrong is said in plain words, with what to do', () => {
  for (const reason of ENDS) for (const role of ['patient', 'provider'] as const) isPlain(overWords({ name: 'ended', reason }, role).text);
  for (const reason of DENIALS) isPlain(overWords({ name: 'denied', reason }).text);
  for (const problem of PROBLEMS) for (const what of ['camera', 'microphone'] as const) isPlain(deviceWords(what, problem));
  for (const code of DOOR) isPlain(doorWords(new DoorError(code, 'technical')).text);
  for (const error of [new Error('technical'), new DoorError('busy', 'technical'), 'technical']) isPlain(refusalWords(error));
});
