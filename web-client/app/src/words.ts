/** What people are told: what happened and what to do, in plain words. All of it in one place, to be read in one go. */
import type {
  DenyReason,
  DeviceProblem,
  DoorError,
  EndReason,
  Knock,
  Over,
  ParticipantRole,
  Phase,
  QualityLevel,
  QualityReason,
  Refusal,
} from '../../sdk/src/index.ts';

/** A heading and what to do. */
export interface Words {
  title: string;
  text: string;
}

export const ROLES: Record<ParticipantRole, string> = {
  provider: 'provider',
  patient: 'patient',
  interpreter: 'interpreter',
  observer: 'guest',
};

/** Why the door does not open. */
export function doorWords(error: DoorError | Refusal): Words {
  switch (error.code) {
    case 'join_token_expired':
      return { title: 'This link has expired', text: 'Ask the clinic for a new link to your visit.' };
    case 'join_token_revoked':
      return {
        title: 'This link no longer works',
        text: 'You may have been sent a newer link: open the latest one. If you have none, ask the clinic.',
      };
    case 'join_token_invalid':
      return {
        title: 'This link is not complete',
        text: 'Part of it may be missing. Open it again from the message you were sent, or copy all of it.',
      };
    case 'session_over':
      return overWords({ name: 'ended', reason: ('reason' in error && error.reason) || 'provider_ended' });
    case 'consent_missing':
      return { title: 'Your agreement is missing', text: 'Open your link again, read the text, and agree to it.' };
    case 'session_full':
      return { title: 'The visit is full', text: 'As many people are in it as may be. Ask the provider to make room.' };
    case 'removed':
      return { title: 'You were taken out of this visit', text: 'If that was a mistake, call the clinic.' };
    default:
      if (!error.retryable) {
        return { title: 'You could not be let in', text: 'Open your link again. If it happens again, call the clinic.' };
      }
      return {
        title: 'The clinic’s server cannot be reached',
        text: 'Check that you are online. If you are, the server may be busy: wait a moment and try again.',
      };
  }
}

/** There is nothing more to do, and nothing on its way. */
export const CLOSE = 'You can close this page.';

const ENDS: Record<EndReason, Words> = {
  provider_ended: { title: 'Your visit has ended', text: 'Your provider ended the visit.' },
  everyone_left: { title: 'The visit is over', text: 'Everybody has left.' },
  provider_left: {
    title: 'The visit is over',
    text: 'Your provider left and did not come back. If there is more to talk about, call the clinic.',
  },
  cancelled: { title: 'This visit was cancelled, and is over', text: 'Call the clinic if you need another time.' },
  no_show_patient: {
    title: 'This visit is over',
    text: 'Nobody came at the time it was planned for. Call the clinic for another time.',
  },
  no_show_provider: {
    title: 'This visit is over',
    text: 'No provider could come. We are sorry. The clinic will contact you, or call them for another time.',
  },
  abandoned: { title: 'This visit is over', text: 'Nobody was in it for a while. Call the clinic for another time.' },
  reconnect_expired: {
    title: 'The visit is over: the connection was lost',
    text: 'One side could not come back in time. The clinic will contact you, or call them.',
  },
  backend_lost: {
    title: 'The visit is over: the video service failed',
    text: 'The clinic will contact you, or call them.',
  },
};

/** The same for those who are not the patient. */
const ENDS_FOR_STAFF: Record<EndReason, string> = {
  provider_ended: 'It was ended for everybody.',
  everyone_left: 'Everybody has left.',
  provider_left: 'No provider was in it for a while.',
  cancelled: 'It was cancelled.',
  no_show_patient: 'The patient did not come.',
  no_show_provider: 'No provider came.',
  abandoned: 'Nobody was in it for a while.',
  reconnect_expired: 'The connection was lost, and one side could not come back in time.',
  backend_lost: 'The video service failed.',
};

const DENIALS: Record<DenyReason, string> = {
  not_now: 'Your provider cannot see you yet. Stay near your device and knock again in a few minutes.',
  wrong_visit: 'This may be the link to another visit. Check the message you were sent, or call the clinic.',
  other: 'You may knock again in a few minutes. If it is urgent, call the clinic.',
};

/** Why it is over, for whom. */
export function overWords(why: Over, role: ParticipantRole = 'patient'): Words {
  switch (why.name) {
    case 'ended':
      if (role === 'patient') return ENDS[why.reason];
      return { title: 'This visit has ended', text: ENDS_FOR_STAFF[why.reason] };
    case 'left':
      return { title: 'You left the visit', text: 'You can come back while it goes on.' };
    case 'denied':
      if (why.newDevice) {
        return {
          title: 'Your visit stays on the other device',
          text: 'You were not let in on this one. Go on there, or ask again if you want the visit here.',
        };
      }
      return { title: 'Not yet', text: DENIALS[why.reason].replace('Your provider', role === 'patient' ? 'Your provider' : 'The provider') };
    case 'removed':
      return {
        title: 'You were taken out of this visit',
        text: 'Your link does not open it any more. If that was a mistake, call the clinic and ask for a new one.',
      };
    case 'superseded':
      return {
        title: 'Your visit continues on another device',
        text: `It was opened there, or in another window, so it is closed here. You can ask to have it here again: ${
          role === 'provider' ? 'you confirm it there, or sign in.' : 'you wait until the provider lets you in.'
        }`,
      };
    case 'refused':
      return doorWords(why.error);
  }
}

/** Where somebody signs in who was about to enter a visit, to come back to it. */
export const SIGN_IN_PATH = '/staff?return=visit';

/** Where somebody stands who waits, and what happens next. */
export function waitingWords(phase: Extract<Phase, { name: 'waiting' }>, role: ParticipantRole = 'patient'): Words {
  const provider = role === 'patient' ? 'Your provider' : 'The provider';
  if (phase.newDevice && role === 'provider') {
    return {
      title: 'Your visit is open on another device',
      text: 'Confirm it there, or sign in here: then it continues here. Without a login, ask the clinic.',
    };
  }
  const title = phase.sentBack ? 'You are in the waiting room again' : 'You are in the waiting room';
  if (phase.newDevice) {
    return {
      title,
      text: `Your visit is open on another device, and goes on there. ${provider} is asked to let you in on this one instead.`,
    };
  }
  if (phase.sentBack) {
    return { title, text: `${provider} asked you to wait here for a while, and will let you in again.` };
  }
  if (phase.providerPresent) return { title, text: `${provider} knows that you are here and will let you in soon.` };
  if (phase.deskAttended) {
    return { title, text: `${provider}’s desk is open, and they can see that you are waiting.` };
  }
  return { title, text: `${provider} has not come in yet, and will see that you are waiting.` };
}

/** Who is back after a reload without what they had before. */
export function withoutWords(kinds: readonly ('microphone' | 'camera')[]): string {
  const what = kinds.join(' and ');
  const [first] = kinds;
  const so = kinds.length > 1 ? 'neither hear nor see you' : first === 'microphone' ? 'do not hear you' : 'do not see you';
  return `You are back without your ${what}: the others ${so}. Look under Devices to try again.`;
}

/** What the browser does not play before this person has touched the page, or their own camera is on. */
export const PLAY_WORDS = { sound: 'Tap to hear them', picture: 'Tap to see them', all: 'Tap to hear and see them' };

/** Somebody at the door, as those hear of it who can let them in. `firstIsLost`: the device that they are in on is away. */
export function knockWords({ participant, newDevice, isIn }: Knock, firstIsLost = false): string {
  if (participant.state === 'lost') return 'Connection lost.';
  if (!newDevice) return '';
  if (!isIn) return 'Same link, another device.';
  if (firstIsLost) return 'Same link, another device. The first one has lost the connection.';
  return 'Same link, another device. If you admit this one, it takes the place of the first.';
}

/** Why a camera, a microphone, or both cannot be used. */
export function deviceWords(what: string, problem: DeviceProblem): string {
  const both = what.includes(' and ');
  switch (problem) {
    case 'insecure':
      return `Browsers allow the ${what} only on secure pages. Open your link with https, or ask the clinic.`;
    case 'denied':
      return `Your browser does not let this page use your ${what}. Select the icon beside the page’s address, allow ${both ? 'them' : 'it'}, and try again. If that does not help, look in your device’s settings.`;
    case 'missing':
      return `No ${what} ${both ? 'were' : 'was'} found. Connect one, or go on without.`;
    case 'busy':
      return `Another program is using the ${what}. Close it and try again.`;
    case 'failed':
      return `Your ${what} did not start. Restart the browser, or use another device.`;
  }
}

/** Something that was asked for in a visit and did not work. */
export function refusalWords(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  switch (code) {
    case 'provider_absent':
      return 'The patient can be let in only while a provider is connected.';
    case 'not_waiting':
    case 'not_connected':
      return 'They are not waiting any more. They can knock again by their link.';
    case 'session_full':
      return 'The visit is full: as many people are in it as may be.';
    case 'not_active':
      return 'The visit has not begun yet. Leave instead.';
    case 'restart_failed':
      return 'No way to the server was found. Check your network.';
    case 'busy':
    case 'store_unavailable':
    case 'timeout':
    case 'unreachable':
      return 'The server could not do that just now. Try again in a moment.';
    default:
      return 'That did not work. Try again.';
  }
}

export const QUALITIES: Record<QualityLevel, string> = {
  good: 'Good connection',
  fair: 'Fair connection',
  poor: 'Poor connection',
  bad: 'Very poor connection',
};

/** Why a connection is no better: one’s own, or of those who are talked about. */
export function reasonWords({ code, value }: QualityReason, own: boolean): string {
  const [whose, they, them] = own ? ['Your', 'you', 'you'] : ['Their', 'they', 'them'];
  switch (code) {
    case 'uplink_loss':
      return `${whose} connection loses ${value} % of what ${they} send.`;
    case 'downlink_loss':
      return `${whose} connection loses ${value} % of what the others send.`;
    case 'round_trip':
      return `${whose} connection is slow: ${value} ms to the server and back.`;
    case 'uplink_jitter':
      return `What ${they} send arrives unevenly, late by about ${value} ms.`;
    case 'downlink_rate':
      return `${whose} connection carries ${value} kbit/s: less than the pictures need.`;
    case 'uplink_rate':
      return `${whose} connection carries ${value} kbit/s of what ${they} send: less than a sharp picture needs.`;
    case 'silence':
      return `Nothing arrives from ${them}.`;
  }
}

/** How long something was. */
export function lengthWords(seconds: number): string {
  return seconds < 90 ? `${seconds} seconds` : `${Math.round(seconds / 60)} minutes`;
}

/** Up to two letters that stand for a name; `Dr.` and the like stand for nobody. */
export function initialsOf(name: string): string {
  const words = name.split(/\s+/).filter((word) => /^\p{L}/u.test(word) && !word.endsWith('.'));
  const letters = words.map((word) => [...word][0] ?? '');
  return letters.filter((_, index) => index === 0 || index === letters.length - 1).join('').toUpperCase();
}
