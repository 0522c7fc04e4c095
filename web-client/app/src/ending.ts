/**
 * Why the visit of this tab is over, so that a reload says so again, and not that a link is needed. Opening a link is
 * another matter: the door is asked then.
 */
import type { JoinReply, Over } from '../../sdk/src/index.ts';

const KEY = 'vestibule.ending';

export interface Ending {
  /** An error in it comes back with its code and without its message, which is for programmers. */
  why: Over;
  mayReturn: boolean;
  /** Whose visit it was, and as what; unknown where the door did not open. */
  visit: { clinic: JoinReply['clinic']; role: JoinReply['participant']['role'] } | null;
}

export function keepEnding(ending: Ending): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(ending));
  } catch {
    // Without storage a reload asks for the link.
  }
}

export function recallEnding(): Ending | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Ending | null;
  } catch {
    return null;
  }
}

export function forgetEnding(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}
