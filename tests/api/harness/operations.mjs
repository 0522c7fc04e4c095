/**
 * A good request for every operation of the description. What an operation uses up is made anew for each request; the
 * rest is made once for a clinic.
 */
import { absentId, byCookie, call } from './http.mjs';
import { aSession, aVisit, participantOf, PASSWORD } from './clinic.mjs';
import { picture } from './picture.mjs';

/**
 * @typedef {{path?: Record<string, string>, query?: string, headers?: Record<string, string>, body?: unknown,
 *   as?: import('./http.mjs').Credentials}} Made `as`: instead of the caller's own credentials
 * @typedef {(clinic: import('./clinic.mjs').Clinic, caller: Caller) => Made | Promise<Made>} Maker
 * @typedef {{name: string, as: import('./http.mjs').Credentials, role?: string, scopes?: string[]}} Caller
 */

/** @type {Record<string, Maker>} */
export const MAKERS = {
  listSessions: () => ({ query: '?limit=1' }),
  scheduleSession: () => ({ body: aSession() }),
  getSession: async (clinic) => ({ path: await seat(clinic) }),
  rescheduleSession: async (clinic) => ({
    path: await freshSession(clinic),
    body: { scheduledStart: new Date(Date.now() + 3_600_000).toISOString(), scheduledEnd: null },
  }),
  cancelSession: async (clinic) => ({ path: await freshSession(clinic) }),
  // Nobody is connected to these: an answer of 409 says that they were asked by somebody who may.
  endSession: async (clinic) => ({ path: await seat(clinic) }),
  listQuality: async (clinic) => ({ path: await seat(clinic) }),
  inviteParticipant: async (clinic) => ({ path: await freshSession(clinic), body: { role: 'observer' } }),
  issueToken: async (clinic) => ({ path: await seat(clinic), body: {} }),
  admitParticipant: async (clinic) => ({ path: await seat(clinic) }),
  denyParticipant: async (clinic) => ({ path: await seat(clinic), body: { reason: 'not_now' } }),
  sendParticipantBack: async (clinic) => ({ path: await seat(clinic) }),
  removeParticipant: async (clinic) => ({ path: await freshSession(clinic) }),
  watchDesk: () => ({ query: '?providerRef=Practitioner/12' }),
  listConsents: async (clinic) => ({ path: await seat(clinic) }),
  attestConsent: async (clinic) => ({ path: await freshSession(clinic), body: { type: 'telehealth', granted: true } }),
  listAsyncVisits: () => ({ query: '?limit=1' }),
  getAsyncVisit: async (clinic) => ({ path: await shared(clinic, 'submitted') }),
  saveAsyncVisit: async (clinic) => ({ path: { visitId: await clinic.draft() }, body: aVisit() }),
  submitAsyncVisit: async (clinic) => ({ path: { visitId: await clinic.draft() }, body: aVisit() }),
  amendAsyncVisit: async (clinic) => ({ path: await shared(clinic, 'submitted'), body: { text: 'It burns.' } }),
  addAsyncVisitImage: async (clinic) => ({
    path: { visitId: await clinic.draft() },
    headers: { 'content-type': 'image/png' },
    body: picture(),
  }),
  getAsyncVisitImage: async (clinic) => {
    const visitId = await clinic.draft();
    return { path: { visitId, sha256: (await clinic.image(visitId)).digest } };
  },
  reviewAsyncVisit: async (clinic) => ({ path: { visitId: await clinic.submitted() } }),
  respondToAsyncVisit: async (clinic) => ({
    path: { visitId: await clinic.submitted() },
    body: { text: 'Leave it alone.' },
  }),
  closeAsyncVisit: async (clinic) => ({ path: { visitId: await clinic.submitted() } }),
  getConfiguration: () => ({}),
  changeConfiguration: () => ({ body: { noShowMinutes: 20 } }),
  listEvents: () => ({ query: '?limit=1' }),
  streamEvents: () => ({}),
  listAudit: () => ({ query: '?limit=1' }),
  listApiKeys: () => ({ query: '?limit=1' }),
  createApiKey: () => ({ body: { name: 'made by a test', scopes: ['keys:manage'] } }),
  rotateApiKey: async (clinic) => ({ path: { keyId: (await clinic.key(['keys:manage'])).id }, body: {} }),
  revokeApiKey: async (clinic) => ({ path: { keyId: (await clinic.key(['keys:manage'])).id } }),
  listStaff: () => ({ query: '?limit=1' }),
  addStaff: () => ({ body: { login: `new-${absentId()}`, displayName: 'New', role: 'provider' } }),
  changeStaff: async (clinic) => ({ path: await colleague(clinic), body: { displayName: 'Another' } }),
  makeStaffLink: async (clinic) => ({ path: await colleague(clinic) }),
  whoAmI: () => ({}),
  // These end sessions of their caller.
  changePassword: async (clinic, caller) => ({
    as: await again(clinic, caller),
    body: { currentPassword: PASSWORD, newPassword: PASSWORD },
  }),
  signOut: async (clinic, caller) => ({ as: await again(clinic, caller) }),
  signOutEverywhere: async (clinic, caller) => ({ as: await again(clinic, caller) }),
  signIn: async (clinic) => {
    const { login, password } = await once(clinic, 'member', () => clinic.member('front_desk'));
    return { body: { login, password } };
  },
  lookAtLink: async (clinic) => ({ body: { token: tokenOf(await clinic.colleague()) } }),
  setUp: async (clinic) => ({ body: { token: tokenOf(await clinic.colleague()), password: PASSWORD } }),
};

/** The operations of a description. @returns {{id: string, method: string, template: string, described: any}[]} */
export function operationsOf(description) {
  return Object.entries(description.paths).flatMap(([template, item]) =>
    Object.entries(item)
      .filter(([, described]) => described.operationId)
      .map(([method, described]) => ({ id: described.operationId, method: method.toUpperCase(), template, described })),
  );
}

/** A template of the description with its parameters. */
export function pathOf(template, values = {}) {
  return template.replaceAll(/\{(\w+)\}/g, (_, name) => {
    if (!(name in values)) throw new Error(`no ${name} for ${template}`);
    return encodeURIComponent(values[name]);
  });
}

/** The one session of a clinic that nothing changes, and its patient. */
export const seat = (clinic) => once(clinic, 'seat', () => freshSession(clinic));

async function freshSession(clinic) {
  const session = await clinic.session();
  return { sessionId: session.id, participantId: participantOf(session, 'patient') };
}

const shared = (clinic, kind) => once(clinic, kind, async () => ({ visitId: await clinic[kind]() }));

const colleague = (clinic) => once(clinic, 'colleague', async () => ({ accountId: (await clinic.colleague()).id }));

const tokenOf = ({ link }) => new URL(link.url).hash.slice(1);

/**
 * A session that may end: of a colleague of the caller's role; of who cannot sign in, their own credentials.
 * @param {import('./clinic.mjs').Clinic} clinic @param {Caller} caller
 */
async function again(clinic, { as, role }) {
  if (!role) return as;
  const { login, password } = await once(clinic, `spare ${role}`, () => clinic.member(role));
  const answer = await call(clinic.origin, 'POST', '/v1/auth/sign-in', { body: { login, password } });
  return byCookie(answer, clinic.origin);
}

/** What was made for each clinic. @type {WeakMap<object, Map<string, Promise<any>>>} */
const MADE = new WeakMap();

function once(clinic, what, make) {
  const made = MADE.get(clinic) ?? new Map();
  MADE.set(clinic, made);
  if (!made.has(what)) made.set(what, make());
  return made.get(what);
}
