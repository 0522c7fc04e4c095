/**
 * The token of a link. It comes in the fragment, which no server sees, and leaves the address bar at once; for a reload
 * it stays in this tab alone, under a name of its kind: that of links to visits unless another is given.
 */
const KEY = 'vestibule.token';

/** The token of the link just opened, or of this tab; null without either. */
export function takeToken(key = KEY): string | null {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, '', location.pathname);
    remember(key, token);
    return token;
  }
  return recall(key);
}

/** The visit is over, or the link used: a reload need not open it again. */
export function forgetToken(key = KEY): void {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // Without storage nothing was remembered.
  }
}

function remember(key: string, token: string): void {
  try {
    sessionStorage.setItem(key, token);
  } catch {
    // Without storage a reload needs the link again; everything else works.
  }
}

function recall(key: string): string | null {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
