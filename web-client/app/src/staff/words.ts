/** What staff are told, in plain words; all of it in one place. */
import { RequestError } from './client.ts';
import type { Role, Scope } from './client.ts';
import type { Waiting } from './desk.ts';

export const ROLE_WORDS: Record<Role, string> = {
  admin: 'Administrator',
  provider: 'Provider',
  front_desk: 'Front desk',
};

/** Where a visit goes on that this tab came from. */
export const VISIT_PATH = '/j';

/** What each of them may do, to be read before somebody becomes one. */
export const ROLE_MAY: Record<Role, string> = {
  admin: 'An administrator manages the staff, the API keys and the settings, and makes and ends visits; they read no written visits.',
  provider: 'A provider makes and ends visits, lets people in, and reads and answers written visits; they manage neither staff nor keys.',
  front_desk: 'The front desk makes and sees visits and records consents; it lets nobody in, reads no written visits, and manages neither staff nor keys.',
};

export const SCOPE_WORDS: Record<Scope, string> = {
  'sessions:read': 'See visits',
  'sessions:write': 'Schedule and cancel visits, invite people, make links',
  'sessions:control': 'Let people in, send them back, end visits',
  'consents:read': 'See consents',
  'consents:write': 'Record consents that were given to staff',
  'visits:read': 'Read written visits',
  'visits:write': 'Write and send written visits',
  'visits:respond': 'Review and answer written visits',
  'events:read': 'Hear what happens',
  'config:read': 'See the clinic’s settings',
  'config:write': 'Change the clinic’s settings',
  'audit:read': 'Read who did what',
  'keys:manage': 'Make and revoke API keys',
  'staff:manage': 'Manage the staff',
};

/** An error, beside the field it is about; `form` where it is about none. */
export interface Said {
  field: string;
  text: string;
}

/** Where an error belongs and what it says. `fields` are those of the form at hand. */
export function said(error: unknown, fields: readonly string[]): Said {
  const known = error instanceof RequestError ? error : null;
  // Where nobody answered, no field is wrong.
  const wanted = known?.code === 'unreachable' ? 'form' : (FIELD_OF[known?.code ?? ''] ?? known?.field ?? 'form');
  const field = fields.includes(wanted) ? wanted : 'form';
  return { field, text: words(known) };
}

/** Whether somebody has to sign in anew. */
export function isOver(error: unknown): boolean {
  return codeOf(error) === 'unauthenticated';
}

/** What went wrong, for programs; empty where it was no answer of the server. */
export function codeOf(error: unknown): string {
  return error instanceof RequestError ? error.code : '';
}

const FIELD_OF: Record<string, string> = {
  exists: 'login',
  last_admin: 'role',
  password_too_short: 'password',
  password_too_long: 'password',
  password_has_login: 'password',
  password_repeats: 'password',
  password_common: 'password',
};

const WORDS: Record<string, string> = {
  sign_in_failed: 'The login name or the password is wrong.',
  link_not_good: 'This link has expired or was used before. Ask for a new one.',
  password_too_short: 'Use at least 12 characters. A short sentence is easy to remember.',
  password_too_long: 'Use at most 200 characters.',
  password_has_login: 'Leave your login name out of the password.',
  password_repeats: 'Use more different characters.',
  password_common: 'This is one of the passwords that are guessed first. Choose another.',
  last_admin: 'Nobody else could manage the staff then. Make somebody else an administrator first.',
  account_disabled: 'This account is disabled. Enable it first.',
  exists: 'Somebody signs in with this name already. Choose another.',
  limit_reached: 'There are as many as there may be. Take one away first.',
  not_permitted: 'Your role does not allow this.',
  not_found: 'It is not there any more. Load the page again.',
  other_origin: 'Open this page by the clinic’s own address, and try again.',
  not_waiting: 'They are not waiting any more.',
  not_connected: 'Their connection is lost just now. Wait until they are back.',
  session_over: 'This visit is over.',
  join_window_closed: 'The time for this visit is over. Plan it anew.',
  unauthenticated: 'You were signed out. Sign in again.',
  unreachable: 'The server cannot be reached. Try again when it is.',
};

const FIELD_WORDS: Record<string, string> = {
  login: 'Use 3 to 100 characters without blanks, as in an e-mail address.',
  displayName: 'Use 1 to 100 characters.',
  name: 'Use 1 to 100 characters.',
  providerRef: 'Use 1 to 128 letters, digits and signs, without blanks.',
  scopes: 'Choose at least one.',
  expiresAt: 'Choose a date in the future, at most ten years ahead.',
};

function words(error: RequestError | null): string {
  if (!error) return 'That did not work. Try again.';
  if (error.code === 'sign_in_locked') {
    return `There were too many wrong passwords for this name. Try again in ${span(error.waitSeconds ?? 60)}.`;
  }
  const known = WORDS[error.code];
  if (known) return known;
  // What cannot be so will not be in a moment either.
  if (error.field || ['invalid', 'malformed'].includes(error.code)) {
    return FIELD_WORDS[error.field ?? ''] ?? 'Something here cannot be so. Look at it again.';
  }
  if (error.waitSeconds) return `The server has too much to do. Try again in ${span(error.waitSeconds)}.`;
  return 'The server could not do that just now. Try again in a moment.';
}

/** A span of time for people, never shorter than it is. */
export function span(seconds: number): string {
  if (seconds <= 90) return `${Math.ceil(seconds)} ${seconds <= 1 ? 'second' : 'seconds'}`;
  return `${Math.ceil(seconds / 60)} minutes`;
}

/** How long somebody has been waiting. */
export function waitedWords(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 1) return 'Came just now';
  if (minutes < 60) return `Waiting for ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;
  return `Waiting for ${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Those who came or went, to be heard: the first by name. */
export function namesOf(waiting: readonly Waiting[]): string {
  const [first, ...others] = waiting;
  const name = first?.name || 'Somebody';
  return others.length ? `${name}, with ${others.length} more,` : name;
}

/** The time of a day, with the day unless it is today. */
export function timeOf(time: string): string {
  const date = new Date(time);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString(undefined, { timeStyle: 'short' }) : moment(time);
}

/** A moment for people. */
export function moment(time: string): string {
  return new Date(time).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

export function isPast(time: string): boolean {
  return new Date(time).getTime() <= Date.now();
}

/** A day of here, as date fields have it. */
export function dayOf(date: Date): string {
  const two = (number: number) => String(number).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
