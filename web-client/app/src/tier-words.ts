/** What a line is used for, in plain words: to who is on it, and of them to the others. */
import type { BandwidthProfile, Participant, Tier } from '../../sdk/src/index.ts';

export interface TierNoticeWords {
  text: string;
  /** What may be asked for, and how it is called. */
  offers: { want: BandwidthProfile; word: string }[];
}

const TRY_VIDEO = { want: 'video', word: 'Try video again' } as const;
const WRITE = { want: 'async_text', word: 'Write instead' } as const;

export interface TierWishes {
  /** The most they want. */
  chosen: BandwidthProfile;
  /** They talk in sign language: the picture is the conversation. */
  signs: boolean;
}

/** What somebody is told of their own line; null while it carries everything. */
export function tierNoticeWords({ profile, reason }: Tier, { chosen, signs }: TierWishes): TierNoticeWords | null {
  if (profile === 'video') return null;
  if (profile === 'audio_only') {
    if (reason === 'chosen') {
      return { text: 'Video is off, as you chose. You can talk.', offers: [{ want: 'video', word: 'Turn video on' }, WRITE] };
    }
    if (reason === 'recovered') {
      return { text: 'You can talk again. Video comes back by itself when your connection carries it.', offers: [TRY_VIDEO, WRITE] };
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
      text: 'The visit goes on in writing, as you chose.',
      offers: [{ want: 'video', word: signs ? 'Back to video' : 'Back to sound and video' }],
    };
  }
  if (signs) {
    return {
      text: 'Your connection does not carry your signs just now. Go on writing; video comes back by itself.',
      offers: [TRY_VIDEO],
    };
  }
  return {
    text: 'Your connection does not carry sound just now. Go on writing; sound comes back by itself.',
    // Who wanted a voice alone gets no more than that.
    offers: [{ want: chosen === 'audio_only' ? 'audio_only' : 'video', word: 'Try to talk again' }],
  };
}

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
