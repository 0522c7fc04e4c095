/** What a line is used for, in plain words: to who is on it, and of them to the others. */
import type { BandwidthProfile, Participant, Tier } from '../../sdk/src/index.ts';

export interface TierNoticeWords {
  text: string;
  /** What may be asked for, and how it is called. `busy`: it is being tried, and is not asked for again. */
  offers: { want: BandwidthProfile; word: string; busy?: boolean }[];
}

/** What becomes of more that somebody asked for. `failed`: it takes longer than it would if the line carried it. */
export type Attempt = 'none' | 'trying' | 'failed';

/** How a microphone or camera is: `off` by choice, `failed` against it, `none` if there is none. */
export type DeviceState = 'on' | 'off' | 'starting' | 'failed' | 'none';

const TRY_VIDEO = { want: 'video', word: 'Try video again' } as const;
const WRITE = { want: 'async_text', word: 'Write instead' } as const;
const STAY = { want: 'async_text', word: 'Stay in writing' } as const;

export interface TierWishes {
  /** The most they want. */
  chosen: BandwidthProfile;
  /** They talk in sign language: the picture is the conversation. */
  signs: boolean;
  /** They turned their microphone off. */
  muted: boolean;
  attempt: Attempt;
}

/** What somebody is told of their own line; null while it carries everything. */
export function tierNoticeWords({ profile, reason }: Tier, { chosen, signs, muted, attempt }: TierWishes): TierNoticeWords | null {
  if (profile === 'video') return null;
  if (profile === 'audio_only') {
    if (reason === 'chosen') {
      return { text: 'Video is off, as you chose. You can talk.', offers: [{ want: 'video', word: 'Turn video on' }, WRITE] };
    }
    if (attempt !== 'none') return { text: attemptWords('video', attempt), offers: [tried(TRY_VIDEO, attempt), WRITE] };
    if (reason === 'recovered') {
      const sound = muted ? 'Sound is back, and you are still muted.' : 'You can talk again.';
      return { text: `${sound} Video comes back by itself when your connection carries it.`, offers: [TRY_VIDEO, WRITE] };
    }
    return {
      text: 'Your connection is weak. We turned video off so that you can keep talking.',
      offers: [TRY_VIDEO, WRITE],
    };
  }
  if (reason === 'unreachable') {
    return {
      text: 'There is no connection just now. Go on writing: it is kept on this device, and sent as soon as there is one.',
      offers: [],
    };
  }
  if (reason === 'https_only') {
    return {
      text: `Your network lets only messages through just now. Go on writing; ${signs ? 'video' : 'sound'} comes back by itself.`,
      offers: [],
    };
  }
  if (reason === 'chosen') {
    return {
      text: 'The visit goes on in writing, as you chose. Your camera and microphone are off.',
      offers: [{ want: 'video', word: signs ? 'Back to video' : 'Back to sound and video' }],
    };
  }
  // Who wanted a voice alone gets no more than that.
  const talk = { want: chosen === 'audio_only' ? 'audio_only' : 'video', word: 'Try to talk again' } as const;
  const offers = [tried(signs ? TRY_VIDEO : talk, attempt), STAY];
  const [what, back] = signs ? (['your signs', 'video'] as const) : (['sound', 'sound'] as const);
  if (attempt !== 'none') return { text: `${attemptWords(back, attempt)} You can go on writing.`, offers };
  return { text: `Your connection does not carry ${what} just now. Go on writing; ${back} comes back by itself.`, offers };
}

function attemptWords(what: 'video' | 'sound', attempt: 'trying' | 'failed'): string {
  if (attempt === 'trying') return `Trying ${what} again … This can take half a minute.`;
  return `Your connection does not carry ${what} yet. We keep trying.`;
}

function tried(offer: TierNoticeWords['offers'][number], attempt: Attempt): TierNoticeWords['offers'][number] {
  return attempt === 'trying' ? { ...offer, word: 'Trying …', busy: true } : offer;
}

interface Back {
  microphone: DeviceState;
  camera: DeviceState;
  signs: boolean;
}

/** What somebody is told when their line is used for everything again: what is true of their own devices, and no more. */
export function backWords({ profile, reason }: Tier, { microphone, camera, signs }: Back): string {
  const line = reason === 'chosen' ? '' : 'Your connection is better.';
  const sound = profile === 'async_text' && !signs ? SOUND_BACK[microphone] : '';
  return [line, sound, PICTURE_BACK[camera]].filter(Boolean).join(' ');
}

const SOUND_BACK: Record<DeviceState, string> = {
  on: 'You can talk again.',
  off: 'You are still muted.',
  starting: '',
  failed: 'Your microphone did not start: look under Devices.',
  none: '',
};

const PICTURE_BACK: Record<DeviceState, string> = {
  on: 'Your video is on again.',
  off: 'Video works again; your camera is still off.',
  starting: 'Video works again.',
  failed: 'Video works again, but your camera did not start: look under Devices.',
  none: 'Video works again.',
};

const WEAK: Partial<Record<NonNullable<Participant['tierReason']>, string>> = {
  downlink_rate: 'too little gets through to %',
  uplink_rate: 'too little gets through from %',
  downlink_loss: 'too much of what is sent to % is lost',
  uplink_loss: 'too much of what % sends is lost',
  round_trip: 'answers take too long',
  silence: 'nothing is heard',
  reconnects_failed: 'the connection could not be made again',
  https_only: 'only messages come through from %',
};

/** What somebody's line is used for and why, for who is asked about it. */
export function tierWords(profile: BandwidthProfile, reason: Participant['tierReason'], own: boolean): string {
  if (profile === 'video') {
    return reason === 'new_device' ? 'Video, on another device.' : 'Video: the connection carries it.';
  }
  const what = profile === 'audio_only' ? 'Voice only' : 'In writing only';
  if (reason === 'chosen') return `${what}, as ${own ? 'you' : 'they'} chose.`;
  if (reason === 'recovered') return `${what} for now; the connection is better, and more is tried.`;
  const why = reason ? WEAK[reason] : undefined;
  if (!why) return `${what}.`;
  return own ? `${what}: ${why.replace('% sends', 'you send').replace('%', 'you')}.` : `${what}: ${why.replace('% sends', 'they send').replace('%', 'them')}.`;
}

/** What stands in place of somebody's picture because of a line, theirs or one's own; empty while both carry it. */
export function tierOfTileWords({ name, tier, tierReason }: Pick<Participant, 'name' | 'tier' | 'tierReason'>, own: BandwidthProfile): string {
  const chosen = tierReason === 'chosen';
  if (tier === 'async_text') {
    return chosen ? `${name} goes on in writing.` : `${name}’s connection is weak: they read and write.`;
  }
  if (tier === 'audio_only') {
    return chosen ? `${name} is here by voice.` : `${name}’s connection is weak: voice only.`;
  }
  return own === 'video' ? '' : 'Voice only';
}
