/** One request to the API, and its answer as a program sees it. */
import { randomUUID } from 'node:crypto';

/**
 * @typedef {Record<string, string>} Credentials headers that say who asks
 * @typedef {{status: number, headers: Headers, type: string, text: string, body: any}} Answer
 */

/** @returns {Credentials} */
export const byKey = (key) => ({ authorization: `Bearer ${key}` });

/** The cookie an answer sets, as a browser would give it back from a page of `origin`. @returns {Credentials} */
export function byCookie(answer, origin) {
  const [cookie] = answer.headers.getSetCookie().map((line) => line.split(';')[0]);
  if (!cookie) throw new Error(`no cookie is set: ${answer.status} ${answer.text}`);
  return { cookie, origin };
}

/**
 * @param {string} origin
 * @param {string} method
 * @param {string} path with its query
 * @param {{as?: Credentials, headers?: Record<string, string>, body?: unknown}} [request] a body that is no text and no
 *   bytes goes as JSON
 * @returns {Promise<Answer>}
 */
export async function call(origin, method, path, { as = {}, headers = {}, body } = {}) {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const content = body === undefined || isRaw ? /** @type {BodyInit | undefined} */ (body) : JSON.stringify(body);
  const type = content === undefined ? {} : { 'content-type': 'application/json' };
  const stop = new AbortController();
  const response = await fetch(origin + path, {
    method,
    headers: { ...type, ...as, ...headers },
    body: content,
    redirect: 'manual',
    signal: stop.signal,
  });
  const contentType = response.headers.get('content-type') ?? '';
  if (contentType.startsWith('text/event-stream')) {
    // It would never end; who wants to hear it opens it with stream.mjs.
    stop.abort();
    return { status: response.status, headers: response.headers, type: contentType, text: '', body: null };
  }
  const text = await response.text();
  const isJson = /[/+]json\b/.test(contentType);
  return {
    status: response.status,
    headers: response.headers,
    type: contentType,
    text,
    body: isJson && text ? JSON.parse(text) : null,
  };
}

/** An id that nobody has: of the version ours have, and made now. */
export function absentId() {
  const time = Date.now().toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}
