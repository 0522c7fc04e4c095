/** This person's own camera, microphone and speaker: which, whether they are on, and why not. */
import { DeviceError, listDevices, openBoth, openCamera, openMicrophone, refusedDevices } from '../../sdk/src/index.ts';
import type { DeviceProblem } from '../../sdk/src/index.ts';

export type Kind = 'microphone' | 'camera';

/** One of the two. */
class Input {
  track: MediaStreamTrack | null = $state.raw(null);
  problem: DeviceProblem | null = $state(null);
  /** Meant to be off. */
  off = $state(false);
  /** The device chosen. */
  deviceId: string | undefined = $state(undefined);
  /** Somebody is asked, or a device starts. */
  busy = $state(false);
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

  /** Asks for both in one question; for each alone where that fails, as a missing camera must not cost the microphone. */
  async open(): Promise<void> {
    navigator.mediaDevices?.addEventListener?.('devicechange', this.#plugged);
    const alone = await this.#openBoth();
    for (const kind of alone) await this.choose(kind);
  }

  /** Opens a device; another one than before, or the same again. */
  async choose(kind: Kind, deviceId?: string): Promise<void> {
    const input = this[kind];
    input.busy = true;
    // Some systems give a device to one at a time: let go first. A phone has one camera pipeline.
    this.#letGo(kind);
    try {
      this.#take(kind, await open(kind, deviceId));
    } catch (error) {
      input.problem = problemOf(error);
      if (input.problem === 'missing') input.deviceId = undefined;
    }
    input.busy = false;
    await this.#list();
    this.onTrack(kind, input.track);
  }

  /** On or off. A camera that is off is let go of, so that its light is, too; a microphone is only muted. */
  async toggle(kind: Kind): Promise<void> {
    const input = this[kind];
    if (input.busy) return;
    input.off = !input.off;
    this.onOff(kind, input.off);
    if (kind === 'microphone') return;
    if (input.off) {
      this.#letGo(kind);
      this.onTrack(kind, null);
    } else await this.choose(kind, input.deviceId);
  }

  /** Whether pressing its button does anything. */
  canToggle(kind: Kind): boolean {
    const { track, off, busy } = this[kind];
    return !busy && (track !== null || (kind === 'camera' && off));
  }

  /** Lets everything go: the camera's light goes out. */
  close(): void {
    navigator.mediaDevices?.removeEventListener?.('devicechange', this.#plugged);
    this.onTrack = () => undefined;
    this.onOff = () => undefined;
    this.#letGo('microphone');
    this.#letGo('camera');
  }

  /** Those that have to be asked for alone. A camera that was turned off before stays so. */
  async #openBoth(): Promise<Kind[]> {
    if (this.camera.off) return ['microphone'];
    const { microphone, camera } = this;
    microphone.busy = camera.busy = true;
    try {
      const tracks = await openBoth();
      this.#take('microphone', tracks.microphone);
      this.#take('camera', tracks.camera);
      return [];
    } catch (error) {
      const problem = problemOf(error);
      if (problem === 'insecure') {
        microphone.problem = camera.problem = problem;
        return [];
      }
      if (problem !== 'denied') return ['microphone', 'camera'];
      // Whom nobody asked does not have to be told that they said no.
      const no = await refusedDevices();
      if (no.microphone) microphone.problem = problem;
      if (no.camera) camera.problem = problem;
      return (['microphone', 'camera'] as const).filter((kind) => !no[kind]);
    } finally {
      microphone.busy = camera.busy = false;
      await this.#list();
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
    await this.#list();
    for (const [kind, list] of [['microphone', 'audioinput'], ['camera', 'videoinput']] as const) {
      const input = this[kind];
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

/** Opens a device, or any other of its kind if it was unplugged since the list was made. */
async function open(kind: Kind, deviceId: string | undefined): Promise<MediaStreamTrack> {
  const openOne = kind === 'camera' ? openCamera : openMicrophone;
  try {
    return await openOne({ deviceId });
  } catch (error) {
    if (deviceId === undefined || problemOf(error) !== 'missing') throw error;
    return openOne();
  }
}

const problemOf = (error: unknown): DeviceProblem => (error instanceof DeviceError ? error.problem : 'failed');
