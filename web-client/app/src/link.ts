/**
 * The join token of the link. It comes in the fragment, which no server sees, and leaves the address bar at once; for a
 * reload it stays in this tab alone.
 */
const KEY = 'vestibule.token';

/** The token of the link just opened, or of this tab; null without either. */
export function takeToken(): string | null {
  const token = location.hash.slice(1);
  if (token) {
    history.replaceState(null, '', location.pathname);
    remember(token);
    return token;
  }
  return recall();
}

/** The visit is over: a reload need not open the door again. */
export function forgetToken(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Without storage nothing was remembered.
  }
}

function remember(token: string): void {
  try {
    sessionStorage.setItem(KEY, token);
  } catch {
    // Without storage a reload needs the link again; everything else works.
  }
}

function recall(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
