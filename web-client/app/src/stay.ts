/**
 * What this tab remembers of the visit it is in, so that a reload goes straight back, with the devices of before. The
 * secret that opens it is kept by the SDK; without it none of this is of use.
 */
import type { BandwidthProfile, JoinReply } from '../../sdk/src/index.ts';
import type { Choices } from './own-media.svelte.ts';

const KEY = 'vestibule.stay';

export interface Stay {
  /** The link's. */
  token: string;
  invitation: Pick<JoinReply, 'clinic' | 'iceServers'> & { participant: Pick<JoinReply['participant'], 'role'> };
  choices: Choices;
  /** The most they want of their line. */
  chosen: BandwidthProfile;
}

export function keepStay(stay: Stay): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(stay));
  } catch {
    // Without storage a reload goes by the link.
  }
}

/** The visit of this link in this tab, if it is in one. */
export function recallStay(token: string | null): Stay | null {
  try {
    const stay = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Stay | null;
    return stay && stay.token === token ? stay : null;
  } catch {
    return null;
  }
}

export function forgetStay(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}
