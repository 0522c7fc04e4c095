/** A clinic on the server under test: its keys, its staff, and what the tests need to be there. */
import { randomBytes } from 'node:crypto';

import { builtProgram } from '../../browser/harness/find.mjs';
import { Process } from '../../browser/harness/process.mjs';
import { until } from '../../browser/harness/wait.mjs';
import { absentId, byCookie, byKey, call } from './http.mjs';
import { picture } from './picture.mjs';

export const PASSWORD = 'four blue herons wade';
export const ROLES = ['admin', 'provider', 'front_desk'];

/** @typedef {{as: import('./http.mjs').Credentials, login: string, password: string}} Member */

export class Clinic {
  #count = 0;

  /** @param {import('../../browser/harness/server.mjs').Server} server @param {string} name */
  constructor(server, name, key) {
    this.server = server;
    this.origin = server.origin;
    this.name = name;
    /** The clinic's own system, which may do everything. */
    this.owner = byKey(key);
    /** For names that have to differ, on the whole server. */
    this.tag = randomBytes(4).toString('hex');
  }

  /** A clinic with a key of all `scopes`, made at the terminal. `args` are what the server was started with. */
  static async make(server, name, scopes, args = []) {
    return new Clinic(server, name, await keyAtTerminal(server, { clinic: name, scopes, args }));
  }

  /** @param {{as?: any, headers?: any, body?: unknown}} [request] */
  call(method, path, request = {}) {
    return call(this.origin, method, path, { as: this.owner, ...request });
  }

  /** A call that has to work; its body. @param {{as?: any, headers?: any, body?: unknown}} [request] */
  async must(method, path, request = {}) {
    const answer = await this.call(method, path, request);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  /**
   * The events of one type, when those that were wanted are among them: a place in the feed may be given after the answer.
   * @param {string} type @param {(events: any[]) => unknown} wanted
   */
  async fed(type, wanted) {
    return until(`the wanted ${type} in the feed`, async () => {
      const events = [];
      for (let after = 0, more = true; more; ) {
        const { items, next } = await this.must('GET', `/v1/events?limit=100&type=${type}&after=${after}`);
        events.push(...items.map(({ event }) => event));
        [after, more] = [next, items.length > 0];
      }
      return wanted(events) && events;
    });
  }

  /** The first administrator, by the link that was printed at the first start. @returns {Promise<Member>} */
  async admin() {
    const [, link] = await this.server.process.line(/^Set up the first administrator: (\S+)/);
    return { as: await this.#setUp(new URL(link).hash.slice(1)), login: 'admin', password: PASSWORD };
  }

  /** A colleague who has set their password. @returns {Promise<Member & {id: string}>} */
  async member(role, displayName = `A ${role}`) {
    const { id, login, link } = await this.colleague(role, displayName);
    return { id, as: await this.#setUp(new URL(link.url).hash.slice(1)), login, password: PASSWORD };
  }

  /** A colleague who has not come yet. */
  colleague(role = 'front_desk', displayName = 'A colleague') {
    this.#count += 1;
    const login = `${role}-${this.tag}-${this.#count}`;
    return this.must('POST', '/v1/staff', { body: { login, displayName, role } });
  }

  /** @returns {Promise<{id: string, key: string}>} */
  key(scopes, more = {}) {
    return this.must('POST', '/v1/api-keys', { body: { name: scopes.join(' ').slice(0, 100), scopes, ...more } });
  }

  /** A session whose door is open, with a provider and a patient unless told otherwise. */
  session(more = {}) {
    return this.must('POST', '/v1/sessions', { body: { ...aSession(), ...more } });
  }

  /** The token of a link into a session. @param {{revokeEarlier?: boolean}} [how] */
  token(session, participant, how = {}) {
    const path = `/v1/sessions/${session}/participants/${participant}/tokens`;
    return this.must('POST', path, { body: how });
  }

  /** A visit that is written and not submitted. */
  async draft(more = {}) {
    const id = absentId();
    await this.must('PUT', `/v1/async-visits/${id}`, { body: { ...aVisit(), ...more } });
    return id;
  }

  async submitted() {
    const id = await this.draft();
    await this.must('POST', `/v1/async-visits/${id}/submit`);
    return id;
  }

  async image(visit) {
    const headers = { 'content-type': 'image/png' };
    return this.must('POST', `/v1/async-visits/${visit}/images`, { headers, body: picture() });
  }

  async #setUp(token) {
    const answer = await call(this.origin, 'POST', '/v1/auth/setup', { body: { token, password: PASSWORD } });
    return byCookie(answer, this.origin);
  }
}

export const aSession = () => ({
  patientId: 'mrn-1',
  providerRef: 'Practitioner/12',
  scheduledStart: new Date().toISOString(),
  participants: [
    { role: 'provider', displayName: 'Dr. Ada' },
    { role: 'patient', displayName: 'Pat' },
  ],
});

export const aVisit = () => ({ patientId: 'mrn-1', providerRef: 'Practitioner/12', text: 'It itches.' });

export const participantOf = (session, role) => session.participants.find((one) => one.role === role).id;

/** A key made by `vestibule key create`, beside the running server. */
export async function keyAtTerminal(server, { clinic, scopes, args = [] }) {
  const line = ['--data', server.data, ...args, 'key', 'create', '--clinic', clinic, '--name', 'tests'];
  const made = new Process(builtProgram('vestibule'), [...line, '--scopes', scopes.join(',')]);
  const [key] = await made.line(/^vst_\S+$/);
  await made.ended();
  return key;
}

/** All scopes there are, as the description has them. @returns {string[]} */
export const scopesOf = (description) => description.components.schemas.CreateApiKey.properties.scopes.items.enum;
