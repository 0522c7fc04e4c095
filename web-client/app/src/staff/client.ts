/** The API for people who have signed in: the cookie says who they are, the browser sends it along. It knows no screen. */
import { noteServerTime } from '../../../sdk/src/clock.ts';

export type Role = 'admin' | 'provider' | 'front_desk';
export const ROLES: readonly Role[] = ['admin', 'provider', 'front_desk'];

/** The scopes of keys, which are the rights of people. */
export const SCOPES = [
  'sessions:read',
  'sessions:write',
  'sessions:control',
  'consents:read',
  'consents:write',
  'visits:read',
  'visits:write',
  'visits:respond',
  'events:read',
  'config:read',
  'config:write',
  'audit:read',
  'keys:manage',
  'staff:manage',
] as const;
export type Scope = (typeof SCOPES)[number];

export interface Account {
  id: string;
  login: string;
  displayName: string;
  role: Role;
  providerRef?: string;
  disabled: boolean;
  hasPassword: boolean;
  lockedUntil?: string;
  createdAt: string;
}

export interface Me {
  clinic: { id: string; name: string };
  account?: Account;
  rights: Scope[];
}

export interface SetUpLink {
  url: string;
  expiresAt: string;
}

export interface LinkOwner {
  login: string;
  displayName: string;
  clinic: string;
  expiresAt: string;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: Scope[];
  createdBy: string;
  createdAt: string;
  expiresAt?: string;
  lastUsedAt?: string;
  formerSecretUntil?: string;
}

export type NewApiKey = ApiKey & { key: string };
export type NewAccount = Account & { link: SetUpLink };

/** Why something did not work; `code` is for programs, `message` for people who write them. */
export class RequestError extends Error {
  override name = 'RequestError';
  readonly code: string;
  /** The field of the request that cannot be so. */
  readonly field: string | null;
  /** When to try again. */
  readonly waitSeconds: number | null;

  constructor(code: string, message: string, field: string | null = null, waitSeconds: number | null = null) {
    super(message);
    this.code = code;
    this.field = field;
    this.waitSeconds = waitSeconds;
  }
}

interface Listed<Item> {
  items: Item[];
  next: string | null;
}

/** Pages of a list that are fetched; what is beyond is not shown. */
const PAGES_MAX = 20;

export async function request<Reply>(method: string, path: string, body?: object): Promise<Reply> {
  const init: RequestInit = { method, headers: { accept: 'application/json' }, credentials: 'same-origin' };
  if (body) {
    init.headers = { ...init.headers, 'content-type': 'application/json' };
    init.body = JSON.stringify(body);
  }
  let response: Response;
  try {
    response = await fetch(`/v1${path}`, init);
  } catch {
    throw new RequestError('unreachable', 'the server cannot be reached');
  }
  noteServerTime(response.headers.get('date'));
  if (response.status === 204) return undefined as Reply;
  if (response.ok) return (await response.json()) as Reply;
  throw await problemOf(response);
}

/** What an answer that is no success says; a proxy in between may answer in its own words. */
export async function problemOf(response: Response): Promise<RequestError> {
  const problem = (await response.json().catch(() => ({}))) as { code?: string; detail?: string; field?: string };
  const wait = Number(response.headers.get('retry-after'));
  return new RequestError(
    problem.code ?? 'unreachable',
    problem.detail ?? `the server said ${response.status}`,
    problem.field ?? null,
    wait > 0 ? wait : null,
  );
}

async function all<Item>(path: string): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const query: string = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
    const listed: Listed<Item> = await request<Listed<Item>>('GET', `${path}?limit=100${query}`);
    items.push(...listed.items);
    cursor = listed.next;
    if (!cursor) break;
  }
  return items;
}

export const me = () => request<Me>('GET', '/auth/me');
export const signIn = (login: string, password: string) => request<Me>('POST', '/auth/sign-in', { login, password });
export const signOut = () => request<void>('POST', '/auth/sign-out');
export const signOutEverywhere = () => request<void>('POST', '/auth/sign-out-everywhere');
export const changePassword = (currentPassword: string, newPassword: string) =>
  request<Me>('POST', '/auth/password', { currentPassword, newPassword });
export const lookAtLink = (token: string) => request<LinkOwner>('POST', '/auth/link', { token });
export const setUp = (token: string, password: string) => request<Me>('POST', '/auth/setup', { token, password });

export interface AccountPlan {
  login: string;
  displayName: string;
  role: Role;
  providerRef?: string;
}
export const staff = () => all<Account>('/staff');
export const addStaff = (plan: AccountPlan) => request<NewAccount>('POST', '/staff', plan);
/** `null` takes the desk away. */
export type AccountChange = Partial<Pick<Account, 'displayName' | 'role' | 'disabled'>> & { providerRef?: string | null };
export const changeStaff = (id: string, change: AccountChange) =>
  request<Account>('PATCH', `/staff/${id}`, change);
export const newLink = (id: string) => request<SetUpLink>('POST', `/staff/${id}/link`);

export interface KeyPlan {
  name: string;
  scopes: Scope[];
  expiresAt?: string;
}
export const apiKeys = () => all<ApiKey>('/api-keys');
export const createApiKey = (plan: KeyPlan) => request<NewApiKey>('POST', '/api-keys', plan);
export const rotateApiKey = (id: string, graceMinutes: number) =>
  request<NewApiKey>('POST', `/api-keys/${id}/rotate`, { graceMinutes });
export const revokeApiKey = (id: string) => request<void>('DELETE', `/api-keys/${id}`);
