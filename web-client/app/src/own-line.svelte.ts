/** What this person is told of their own line as it changes: that more of it is tried, and that it is back. */
import type { BandwidthProfile, Tier } from '../../sdk/src/index.ts';
import type { Input } from './own-media.svelte.ts';
import { backWords } from './tier-words.ts';
import type { Attempt, DeviceState } from './tier-words.ts';

/** A try takes half a minute where all goes well: three bursts, and a rehearsal. After this long, in milliseconds, it did not. */
const TRY_MS = 45_000;
/** How long it stands on the page that something is back, in milliseconds. */
const BACK_MS = 12_000;

/** From the most to the least. */
const ORDER: BandwidthProfile[] = ['video', 'audio_only', 'async_text'];
const isMore = (one: BandwidthProfile, other: BandwidthProfile) => ORDER.indexOf(one) < ORDER.indexOf(other);

export interface OwnDevices {
  microphone: DeviceState;
  camera: DeviceState;
}

export class OwnLine {
  /** Of a tier above that the person asked for. */
  attempt: Attempt = $state('none');
  /** That the picture is back, for a while. */
  back = $state('');
  readonly #signs: () => boolean;
  #known: Tier | null = null;
  /** From where the picture is back, while the devices are not ready to say how. */
  #cameFrom: Tier | null = null;
  #trying: ReturnType<typeof setTimeout> | undefined;
  #telling: ReturnType<typeof setTimeout> | undefined;

  /** @param signs whether they talk in sign language */
  constructor(signs: () => boolean) {
    this.#signs = signs;
  }

  /** What the line is used for now, and with which devices. */
  looked(tier: Tier, devices: OwnDevices): void {
    const before = this.#known;
    this.#known = tier;
    if (before && before.profile !== tier.profile) {
      this.#endAttempt();
      this.#tell('');
      this.#cameFrom = tier.profile === 'video' ? before : null;
    }
    // A camera that was let go of takes a moment, and may not start.
    if (!this.#cameFrom || devices.camera === 'starting' || devices.microphone === 'starting') return;
    this.#tell(backWords(this.#cameFrom, { ...devices, signs: this.#signs() }));
    this.#cameFrom = null;
  }

  /** The person asks for a tier. `choose`: whether the server was told, or will be. */
  async ask(want: BandwidthProfile, choose: (want: BandwidthProfile) => Promise<boolean>): Promise<void> {
    if (this.#known && isMore(want, this.#known.profile)) {
      clearTimeout(this.#trying);
      this.attempt = 'trying';
      this.#trying = setTimeout(() => (this.attempt = 'failed'), TRY_MS);
    } else this.#endAttempt();
    if (!(await choose(want))) this.#endAttempt();
  }

  /** Nobody looks any more. */
  stop(): void {
    clearTimeout(this.#trying);
    clearTimeout(this.#telling);
  }

  #endAttempt(): void {
    clearTimeout(this.#trying);
    this.attempt = 'none';
  }

  #tell(words: string): void {
    clearTimeout(this.#telling);
    this.back = words;
    if (words) this.#telling = setTimeout(() => (this.back = ''), BACK_MS);
  }
}

/** How one of the two is, as far as the others get something of it. */
export function deviceState({ track, problem, off, busy, rests }: Input): DeviceState {
  if (off) return 'off';
  if (busy || rests) return 'starting';
  return track ? 'on' : problem ? 'failed' : 'none';
}
