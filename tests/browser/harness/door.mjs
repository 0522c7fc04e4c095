/** The door over HTTP, as a client that is no browser sees it. */

/** The join token in a link. */
export const tokenOf = (link) => new URL(link).hash.slice(1);

/**
 * One request to the door.
 * @param {string} origin
 * @param {string} path after `/v1/`
 * @param {unknown} body
 * @returns {Promise<{status: number, type: string | null, body: any}>}
 */
export async function post(origin, path, body, headers = /** @type {Record<string, string>} */ ({ 'content-type': 'application/json' })) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(`${origin}/v1/${path}`, { method: 'POST', headers, body: text });
  const content = await response.text();
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    body: content ? JSON.parse(content) : null,
  };
}

/** Gives every consent that is asked of the holder of a link. */
export async function consent(origin, link) {
  const token = tokenOf(link);
  const { body } = await post(origin, 'join', { token });
  const consents = body.consents.map(({ type, version }) => ({ type, version, granted: true }));
  if (consents.length) await post(origin, 'join/consents', { token, consents });
}

/** A connection ticket for the holder of a link. */
export async function ticket(origin, link) {
  const { status, body } = await post(origin, 'join/ticket', { token: tokenOf(link) });
  if (status !== 201) throw new Error(`no ticket: ${JSON.stringify(body)}`);
  return body.ticket;
}
