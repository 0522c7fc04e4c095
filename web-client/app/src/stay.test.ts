import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { FakeStorage } from '../../sdk/src/testing/browser.ts';
import { forgetStay, keepStay, recallStay } from './stay.ts';
import type { Stay } from './stay.ts';

const STAY: Stay = {
  chosen: 'audio_only',
  token: 'token',
  invitation: { clinic: { name: 'Clinic', logoUrl: null, primaryColor: null }, iceServers: [], participant: { role: 'patient' } },
  choices: { microphone: { deviceId: 'mic', off: true, none: false }, camera: { off: false, none: true } },
};

beforeEach(() => vi.stubGlobal('sessionStorage', new FakeStorage()));
afterEach(() => vi.unstubAllGlobals());

test('a reload finds the visit of its link and no other', () => {
  expect(recallStay('token')).toBeNull();
  keepStay(STAY);
  expect(recallStay('token')).toEqual(STAY);
  expect(recallStay('another')).toBeNull();
  expect(recallStay(null)).toBeNull();
  forgetStay();
  expect(recallStay('token')).toBeNull();
});

test('without storage, or with something else in it, there is none', () => {
  sessionStorage.setItem('vestibule.stay', 'nonsense');
  expect(recallStay('token')).toBeNull();
  vi.stubGlobal('sessionStorage', undefined);
  keepStay(STAY);
  forgetStay();
  expect(recallStay('token')).toBeNull();
});
