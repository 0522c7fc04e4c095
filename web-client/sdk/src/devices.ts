/** Cameras, microphones, speakers and screens, and why there are none. */

/** Why a device cannot be used; what to do about each is for the page to say. */
export type DeviceProblem =
  /** The page is not on https, nor on localhost: browsers give it no devices. */
  | 'insecure'
  /** The person, the browser or the system said no. */
  | 'denied'
  /** There is none. */
  | 'missing'
  /** Another program uses it, or it is broken. */
  | 'busy'
  /** Something else. */
  | 'failed';

export class DeviceError extends Error {
  override name = 'DeviceError';

  constructor(
    readonly problem: DeviceProblem,
    message: string,
  ) {
    super(message);
  }
}

/** Speech, in a room with a loudspeaker. */
const SOUND: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
/** 960×540 is the least from which browsers make three encodings. */
const PICTURE: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30, max: 30 },
  facingMode: 'user',
};

/** Which device; any if left out or gone. */
export interface Choice {
  deviceId?: string | undefined;
}

/** Both at once: the browser asks one question instead of two. Fails if either cannot be had. */
export async function openBoth(
  chosen: { microphone?: Choice; camera?: Choice } = {},
): Promise<{ microphone: MediaStreamTrack; camera: MediaStreamTrack }> {
  const audio = { ...SOUND, ...wish(chosen.microphone?.deviceId) };
  const video = { ...PICTURE, ...wish(chosen.camera?.deviceId) };
  const stream = await openStream({ audio, video });
  const [microphone] = stream.getAudioTracks();
  const [camera] = stream.getVideoTracks();
  if (microphone && camera) return { microphone, camera };
  for (const track of stream.getTracks()) track.stop();
  throw new DeviceError('missing', 'no track');
}

/** Which of the two the person, or the browser in their name, has refused for good; both where it does not say. */
export async function refusedDevices(): Promise<{ microphone: boolean; camera: boolean }> {
  const isDenied = async (name: string): Promise<boolean> => {
    try {
      return (await navigator.permissions.query({ name: name as PermissionName })).state === 'denied';
    } catch {
      return true;
    }
  };
  const [microphone, camera] = await Promise.all([isDenied('microphone'), isDenied('camera')]);
  // A question closed without an answer is a no to both, for now.
  return microphone || camera ? { microphone, camera } : { microphone: true, camera: true };
}

export function openMicrophone({ deviceId }: Choice = {}): Promise<MediaStreamTrack> {
  return open({ audio: { ...SOUND, ...wish(deviceId) } });
}

export function openCamera({ deviceId }: Choice = {}): Promise<MediaStreamTrack> {
  return open({ video: { ...PICTURE, ...wish(deviceId) } });
}

/** Asks for a screen to share; null if the person chose none. */
export async function openScreen(): Promise<MediaStreamTrack | null> {
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 15 } } });
    const track = stream.getVideoTracks()[0] ?? null;
    // Letters are to stay sharp; that they come less often does no harm.
    if (track) track.contentHint = 'detail';
    return track;
  } catch (error) {
    const problem = problemOf(error);
    if (problem === 'denied') return null;
    throw new DeviceError(problem, String(error));
  }
}

/** Whether this browser can share a screen at all; phones cannot. */
export function canShareScreen(): boolean {
  return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}

/** What there is. Names are there once the person has said yes to one. */
export async function listDevices(): Promise<Record<'audioinput' | 'videoinput' | 'audiooutput', MediaDeviceInfo[]>> {
  const found = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  const of = (kind: MediaDeviceKind) => found.filter((device) => device.kind === kind && device.deviceId !== '');
  return { audioinput: of('audioinput'), videoinput: of('videoinput'), audiooutput: of('audiooutput') };
}

function wish(deviceId: string | undefined): MediaTrackConstraints {
  return deviceId ? { deviceId: { exact: deviceId } } : {};
}

async function open(constraints: MediaStreamConstraints): Promise<MediaStreamTrack> {
  const [track] = (await openStream(constraints)).getTracks();
  if (!track) throw new DeviceError('missing', 'no track');
  return track;
}

async function openStream(constraints: MediaStreamConstraints): Promise<MediaStream> {
  if (!navigator.mediaDevices) throw new DeviceError('insecure', 'no secure context');
  try {
    return await navigator.mediaDevices.getUserMedia(constraints);
  } catch (error) {
    throw new DeviceError(problemOf(error), String(error));
  }
}

function problemOf(error: unknown): DeviceProblem {
  switch (error instanceof Error ? error.name : '') {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'denied';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    default:
      return 'failed';
  }
}
