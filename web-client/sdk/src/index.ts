/**
 * Vestibule's client: a page that brings a join token and tracks gets a session with seats to play. It has no
 * dependency and no user interface.
 */
export { Door, DoorError } from './api.ts';
export { serverNow } from './clock.ts';
export {
  canShareScreen,
  DeviceError,
  listDevices,
  openBoth,
  openCamera,
  openMicrophone,
  openScreen,
  refusedDevices,
} from './devices.ts';
export type { Choice, DeviceProblem } from './devices.ts';
export { sendLeftovers } from './leftovers.ts';
export type { Leftovers } from './leftovers.ts';
export { meter } from './meter.ts';
export { OUTBOX_BYTES_MAX, OUTBOX_LINES_MAX } from './outbox.ts';
export type { LineState as UnsaidState, UnsaidLine } from './outbox.ts';
export { bestStore, DeviceStore, MemoryStore } from './outbox-store.ts';
export type { OutboxStore } from './outbox-store.ts';
export { shrunk } from './picture.ts';
export { Session } from './session.ts';
export type { Knock, Over, Phase, Quality, SeatWish, SessionEvents, SessionOptions, Tier, Timeline, Writing } from './session.ts';
export { Refusal } from './signal.ts';
export type { Line } from './signal.ts';
export { tabStore } from './store.ts';
export type { ResumeStore } from './store.ts';
export type { Seat } from './transport.ts';
export type * from './wire.ts';
