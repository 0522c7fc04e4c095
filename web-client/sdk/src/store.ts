/** Where the secret to come back with is kept: by which a reload is no new arrival. */

/** Keeps one secret, of one link. */
export interface ResumeStore {
  /** The secret kept for this link, if there is one. */
  load: (token: string) => string | null;
  save: (token: string, secret: string) => void;
  forget: () => void;
}

const KEY = 'vestibule.resume';

/** In this tab, until it is closed. Without storage a reload comes by the link; everything else works. */
export const tabStore: ResumeStore = {
  load(token) {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as { token: string; secret: string } | null;
      return kept?.token === token ? kept.secret : null;
    } catch {
      return null;
    }
  },
  save(token, secret) {
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ token, secret }));
    } catch {
      // There is none, or it is full.
    }
  },
  forget() {
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // Nothing was kept.
    }
  },
};
