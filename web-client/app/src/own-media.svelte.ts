/** This person's own camera, microphone and speaker: which, whether they are on, and why not. */
import { DeviceError, listDevices, openBoth, openCamera, openMicrophone, refusedDevices } from '../../sdk/src/index.ts';
import type { DeviceProblem } from '../../sdk/src/index.ts';

export type Kind = 'microphone' | 'camera';
const KINDS: readonly Kind[] = ['microphone', 'camera'];

/** What somebody chose of one of the two. */
export interface Chosen {
  deviceId?: string | undefined;
  off: boolean;
  /** They joined without it, on purpose. One that did not work is asked for again: it may by now. */
  none: boolean;
}
export type Choices = Record<Kind, Chosen> & { speakerId?: string | undefined };

/** One of the two. */
export class Input {
  track: MediaStreamTrack | null = $state.raw(null);
  problem: DeviceProblem | null = $state(null);
  /** Meant to be off. */
  off = $state(false);
  /** This person goes without it, of their own choice: only they turn it on again. */
  none = $state(false);
  /** The device chosen. */
  deviceId: string | undefined = $state(undefined);
  /** Somebody is asked, or a device starts. */
  busy = $state(false);
  /** Let go of while nobody is shown it, and taken again by itself. */
  rests = $state(false);
}

export class OwnMedia {
  readonly microphone = new Input();
  readonly camera = new Input();
  devices: Awaited<ReturnType<typeof listDevices>> = $state.raw({ audioinput: [], videoinput: [], audiooutput: [] });
  /** Where the others are heard; the system's choice if undefined. */
  speakerId: string | undefined = $state(undefined);

  /** Told when a track is another, or none. */
  onTrack: (kind: Kind, track: MediaStreamTrack | null) => void = () => undefined;
  /** Told when one is meant to be on or off. */
  onOff: (kind: Kind, off: boolean) => void = () => undefined;

  #opening: Promise<void> | null = null;
  /** Grows when everything is let go: what is opened by then is not wanted any more. */
  #turn = 0;

  /**
   * Asks for both in one question; for each alone where that fails, as a missing camera must not cost the microphone.
   * Devices that were chosen before are taken again.
   */
  open(kinds = KINDS): Promise<void> {
    if (this.#opening) return this.#opening;
    const opening = this.#open(kinds).finally(() => {
      if (this.#opening === opening) this.#opening = null;
    });
    this.#opening = opening;
    return opening;
  }

  /** What was chosen, for {@link reopen}. */
  get choices(): Choices {
    const of = ({ deviceId, off, none }: Input): Chosen => ({ deviceId, off, none });
    return { microphone: of(this.microphone), camera: of(this.camera), speakerId: this.speakerId };
  }

  /** They go in with what there is. What they said no to is not asked for again until they turn it on. */
  settle(): void {
    for (const kind of KINDS) this[kind].none = !this[kind].track && this[kind].problem === 'denied';
  }

  /** Takes what was chosen before, and nothing that they go without on purpose. */
  reopen(choices: Choices): Promise<void> {
    for (const kind of KINDS) {
      this[kind].off = choices[kind].off;
      this[kind].none = choices[kind].none;
      this[kind].deviceId = choices[kind].deviceId;
    }
    this.speakerId = choices.speakerId;
    return this.open(KINDS.filter((kind) => !choices[kind].none));
  }

  /** Whether it could be turned on, and nothing else says so: neither its switch nor a problem. */
  isWithout(kind: Kind): boolean {
    const { track, problem, off, busy, rests } = this[kind];
    return !track && !problem && !busy && !rests && !(kind === 'camera' && off);
  }

  /**
   * One of the two is of use, or of none for now: who is told that they are not seen, or not heard, sees no light and no sign of
   * the browser. Who sends it keeps what it was, and is told when it is there again.
   */
  async use(kind: Kind, isOfUse: boolean): Promise<void> {
    this.#isOfUse[kind] = isOfUse;
    const input = this[kind];
    const { track, busy, rests } = input;
    if (busy) return;
    if (!isOfUse && track) {
      this.#letGo(kind);
      input.rests = true;
    } else if (isOfUse && rests) await this.choose(kind, input.deviceId);
  }

  readonly #isOfUse: Record<Kind, boolean> = { microphone: true, camera: true };

  /** Opens a device; another one than before, or the same again. */
  async choose(kind: Kind, deviceId?: string): Promise<void> {
    const input = this[kind];
    input.rests = false;
    const turn = this.#turn;
    const isWanted = () => turn === this.#turn;
    input.busy = true;
    input.none = false;
    // Some systems give a device to one at a time: let go first. A phone has one camera pipeline.
    this.#letGo(kind);
    try {
      const track = await open(kind, deviceId, isWanted);
      if (isWanted()) this.#take(kind, track);
      else track.stop();
    } catch (error) {
      if (isWanted()) input.problem = problemOf(error);
      if (input.problem === 'missing') input.deviceId = undefined;
    }
    // What goes on by now is another's: it is for them to say.
    if (!isWanted()) return;
    input.busy = false;
    await this.#list();
    if (!isWanted()) return;
    this.onTrack(kind, input.track);
    if (!this.#isOfUse[kind]) await this.use(kind, false);
  }

  /** On or off. A camera that is off is let go of, so that its light is, too; a microphone is only muted. */
  async toggle(kind: Kind): Promise<void> {
    const input = this[kind];
    if (input.busy) return;
    input.off = !input.off;
    this.onOff(kind, input.off);
    if (kind === 'microphone') return;
    if (input.off) {
      input.rests = false;
      this.#letGo(kind);
      this.onTrack(kind, null);
    } else await this.choose(kind, input.deviceId);
  }

  /** Whether pressing its button does anything. */
  canToggle(kind: Kind): boolean {
    const { track, off, busy, rests } = this[kind];
    return !busy && (track !== null || rests || (kind === 'camera' && off));
  }

  /** Lets everything go: the camera's light goes out. */
  close(): void {
    navigator.mediaDevices?.removeEventListener?.('devicechange', this.#plugged);
    this.#turn += 1;
    this.#opening = null;
    this.onTrack = () => undefined;
    this.onOff = () => undefined;
    for (const kind of KINDS) {
      this.#isOfUse[kind] = true;
      this.#letGo(kind);
      this[kind].busy = this[kind].rests = false;
    }
  }

  async #open(kinds: readonly Kind[]): Promise<void> {
    navigator.mediaDevices?.addEventListener?.('devicechange', this.#plugged);
    // A camera that was turned off before stays so.
    const wanted = kinds.filter((kind) => kind === 'microphone' || !this.camera.off);
    const turn = this.#turn;
    const alone = wanted.length > 1 ? await this.#openBoth(turn) : wanted;
    for (const kind of alone) {
      // All is let go by now: a camera must not go on after its owner has left.
      if (turn !== this.#turn) return;
      await this.choose(kind, this[kind].deviceId);
    }
    if (wanted.length === 0) await this.#list();
  }

  /** Those that have to be asked for alone. */
  async #openBoth(turn: number): Promise<readonly Kind[]> {
    const { microphone, camera } = this;
    microphone.busy = camera.busy = true;
    microphone.none = camera.none = false;
    try {
      const tracks = await openBoth({ microphone, camera });
      for (const kind of KINDS) {
        const track = tracks[kind];
        if (turn === this.#turn) {
          this.#take(kind, track);
          this.onTrack(kind, track);
        } else track.stop();
      }
      return [];
    } catch (error) {
      if (turn !== this.#turn) return [];
      const problem = problemOf(error);
      if (problem === 'insecure') {
        microphone.problem = camera.problem = problem;
        return [];
      }
      if (problem !== 'denied') return KINDS;
      // Whom nobody asked does not have to be told that they said no.
      const no = await refusedDevices();
      if (turn !== this.#turn) return [];
      if (no.microphone) microphone.problem = problem;
      if (no.camera) camera.problem = problem;
      return KINDS.filter((kind) => !no[kind]);
    } finally {
      if (turn === this.#turn) {
        microphone.busy = camera.busy = false;
        await this.#list();
      }
    }
  }

  #take(kind: Kind, track: MediaStreamTrack): void {
    const input = this[kind];
    input.track = track;
    input.problem = null;
    input.deviceId = track.getSettings().deviceId ?? input.deviceId;
    // Unplugged, or its battery is empty: whatever else there is must do.
    track.addEventListener('ended', () => {
      if (input.track === track) void this.choose(kind);
    });
  }

  /** Something was plugged in or out. What was missing may be there now. */
  readonly #plugged = async (): Promise<void> => {
    const turn = this.#turn;
    await this.#list();
    for (const [kind, list] of [['microphone', 'audioinput'], ['camera', 'videoinput']] as const) {
      const input = this[kind];
      if (turn !== this.#turn) return;
      if (input.problem === 'missing' && !input.busy && this.devices[list].length > 0) await this.choose(kind);
    }
  };

  async #list(): Promise<void> {
    this.devices = await listDevices().catch(() => this.devices);
  }

  #letGo(kind: Kind): void {
    const { track } = this[kind];
    this[kind].track = null;
    track?.stop();
  }
}

/** Opens a device, or any other of its kind if it was unplugged since the list was made and one is still wanted. */
async function open(kind: Kind, deviceId: string | undefined, isWanted: () => boolean): Promise<MediaStreamTrack> {
  const openOne = kind === 'camera' ? openCamera : openMicrophone;
  try {
    return await openOne({ deviceId });
  } catch (error) {
    if (deviceId === undefined || problemOf(error) !== 'missing' || !isWanted()) throw error;
    return openOne();
  }
}

const problemOf = (error: unknown): DeviceProblem => (error instanceof DeviceError ? error.problem : 'failed');
