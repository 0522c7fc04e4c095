/**
 * What goes over the wire (docs/protocol.md). Made from the server's own types by a test of the signaling crate; do not
 * edit: UPDATE_WIRE=1 cargo test -p vestibule-signaling
 */

export const SUBPROTOCOL = 'vestibule.v1';

export type ParticipantRole = 'provider' | 'patient' | 'interpreter' | 'observer';

export type ParticipantState = 'invited' | 'waiting' | 'admitted' | 'active' | 'lost' | 'left' | 'removed';

export type SessionStatus = 'scheduled' | 'waiting' | 'active' | 'ended' | 'cancelled' | 'failed';

export type EndReason = 'provider_ended' | 'everyone_left' | 'provider_left' | 'cancelled' | 'no_show_patient' | 'no_show_provider' | 'abandoned' | 'reconnect_expired' | 'backend_lost';

export type DenyReason = 'not_now' | 'wrong_visit' | 'other';

export type ConsentType = 'telehealth' | 'recording';

export type Communication = 'speech' | 'sign';

export type BandwidthProfile = 'video' | 'audio_only' | 'async_text';

export type TierReason = 'recovered' | 'chosen' | 'new_device' | 'downlink_rate' | 'uplink_rate' | 'downlink_loss' | 'uplink_loss' | 'round_trip' | 'silence' | 'reconnects_failed' | 'https_only';

export type RequestId = number;

export type ClientMessage = { 'type': 'hello', 
/**
 * From `POST /v1/join/ticket`.
 */
ticket?: string, 
/**
 * The secret of the last `welcome` or `resumed`.
 */
resume?: string, 
/**
 * That of the last `welcome`; left out by who kept nothing but the secret.
 */
incarnation?: string, 
/**
 * The number of the last message that was received in that incarnation.
 */
lastSeq?: number, }
  | { 'type': 'offer', 
/**
 * The description.
 */
sdp: string, 
/**
 * The client's number of this negotiation; the answer repeats it.
 */
negotiation: number, }
  | { 'type': 'restart', 
/**
 * The client's `ice-ufrag`.
 */
ufrag: string, 
/**
 * The client's `ice-pwd`.
 */
pwd: string, }
  | { 'type': 'subscribe', 
/**
 * All are granted, or none.
 */
slots: Array<SlotWish>, }
  | { 'type': 'publish', 
/**
 * What is sent.
 */
kind: PublishKind, 
/**
 * Not meant to be.
 */
muted: boolean, }
  | { 'type': 'admit', 
/**
 * Who.
 */
participantId: string, 
/**
 * On which device, as their `knock` said. Left out it means who waits, and never another device of who is in.
 */
device?: string, }
  | { 'type': 'deny', 
/**
 * Who.
 */
participantId: string, 
/**
 * Why; `other` when left out.
 */
reason: DenyReason, 
/**
 * As with `admit`.
 */
device?: string, }
  | { 'type': 'sendBack', 
/**
 * Who.
 */
participantId: string, }
  | { 'type': 'remove', 
/**
 * Who.
 */
participantId: string, }
  | { 'type': 'consent', 
/**
 * Which.
 */
consentType: ConsentType, 
/**
 * The version of the text they read.
 */
version: string, 
/**
 * False to withdraw.
 */
granted: boolean, }
  | { 'type': 'tier', 
/**
 * That.
 */
want: BandwidthProfile, }
  | { 'type': 'line', 
/**
 * In kilobits per second.
 */
uplinkKbps: number, }
  | { 'type': 'chat', 
/**
 * The client's id of the line; it comes back with it. A second one of the same id is not said again.
 */
clientId: string, 
/**
 * What is said; may be left out beside an image.
 */
text?: string, 
/**
 * The digest of an image that was sent by `POST /v1/thread/images`.
 */
attachment?: string, }
  | { 'type': 'thread', 
/**
 * Its position; 0 for all.
 */
after: number, }
  | { 'type': 'composing', 
/**
 * Whether it is so.
 */
on: boolean, }
  | { 'type': 'end', }
  | { 'type': 'leave', }
  | { 'type': 'stats', }
  | { 'type': 'timeline', 
/**
 * Whose.
 */
participantId: string, 
/**
 * Only the stretches that end after it; left out, all that are kept.
 */
since?: string, }
  | { 'type': 'ping', 
/**
 * Everything up to this number was received, and need not be kept any longer.
 */
lastSeq?: number, };

export type SlotWish = { 
/**
 * The server's number of the seat.
 */
seat: number, 
/**
 * Who is to sit in it; `null` empties it.
 */
participant?: string | null, 
/**
 * No picture higher than this is to be sent, in pixels. Ask for half as much again as it is shown at: of encodings that
 * halve, the one below is half as sharp. `null`: as high as there is; 0: none.
 */
maxHeight?: number | null, 
/**
 * Who goes first where the line does not carry everything: the higher.
 */
priority?: number, };

export type PublishKind = 'audio' | 'camera' | 'screen';

export type ServerMessage = { 'type': 'welcome', 
/**
 * Who is welcome.
 */
you: Participant, 
/**
 * You are in already on another device, which goes on; this one is let in in its place, or not.
 */
newDevice: boolean, 
/**
 * Where the session stands.
 */
session: SessionState, 
/**
 * Those `you` may see, in join order, without `you`.
 */
participants: Array<Participant>, 
/**
 * How many seats to offer.
 */
seats: SeatCounts, 
/**
 * What was said so far; empty for who waits.
 */
chat: Array<ChatLine>, 
/**
 * The rules that matter to a client.
 */
policy: Policy, 
/**
 * The secret to come back with. `null`: the one before stays good.
 */
resume: string | null, 
/**
 * Names the numbers of the messages from here on.
 */
incarnation: string, 
/**
 * The `hello`.
 */
replyTo: RequestId | null, }
  | { 'type': 'resumed', 
/**
 * The secret to come back with next time. `null`: the one before stays good.
 */
resume: string | null, 
/**
 * The highest number of a request that was heard in this incarnation; 0 if none was.
 */
heard: RequestId, 
/**
 * The `hello`.
 */
replyTo: RequestId | null, }
  | { 'type': 'waiting', 
/**
 * The patient's place in this provider's queue, from 1.
 */
position: number | null, 
/**
 * Whether a provider is connected.
 */
providerPresent: boolean, 
/**
 * Whether somebody sees to the patients of this provider, here or elsewhere.
 */
deskAttended: boolean, }
  | { 'type': 'knock', 
/**
 * Who.
 */
participant: Participant, 
/**
 * They came before, and this may be another device.
 */
newDevice: boolean, 
/**
 * Names it: to be said with `admit` and `deny`, so that nobody else is let in than who knocked.
 */
device: string, }
  | { 'type': 'knockOver', 
/**
 * Who.
 */
participantId: string, }
  | { 'type': 'admitted', 
/**
 * Those you may see now.
 */
participants: Array<Participant>, 
/**
 * What was said so far.
 */
chat: Array<ChatLine>, }
  | { 'type': 'denied', 
/**
 * Why.
 */
reason: DenyReason, }
  | { 'type': 'answer', 
/**
 * The description.
 */
sdp: string, 
/**
 * The offer's.
 */
negotiation: number, 
/**
 * All your seats.
 */
seats: Array<SeatMids>, 
/**
 * The offer.
 */
replyTo: RequestId | null, }
  | { 'type': 'restarted', 
/**
 * The server's `ice-ufrag`.
 */
ufrag: string, 
/**
 * The server's `ice-pwd`.
 */
pwd: string, 
/**
 * The restart.
 */
replyTo: RequestId | null, }
  | { 'type': 'seats', 
/**
 * All your seats.
 */
seats: Array<SeatTaken>, 
/**
 * Seats for people you should have offered.
 */
people: number, }
  | { 'type': 'participant', 
/**
 * Who.
 */
participantId: string, 
/**
 * What they are now; `null` when they are out of your sight.
 */
participant: Participant | null, }
  | { 'type': 'session', 
/**
 * Its status.
 */
status: SessionStatus, 
/**
 * Its version.
 */
version: number, 
/**
 * When it became active.
 */
startedAt: string | null, }
  | { 'type': 'chat', 
/**
 * Its place in the thread of the session, from 1: the same for everybody, and for good.
 */
position: number, 
/**
 * Who said it.
 */
from: string, 
/**
 * Under which name.
 */
name: string, 
/**
 * The writer's own id of it.
 */
clientId: string, 
/**
 * What was said; empty of an image alone.
 */
text: string, 
/**
 * What was shown.
 */
attachment: Attachment | null, 
/**
 * When the server heard it.
 */
at: string, }
  | { 'type': 'thread', 
/**
 * The request.
 */
replyTo: RequestId | null, 
/**
 * In order.
 */
lines: Array<ChatLine>, 
/**
 * Up to this position nothing is missing: what to ask after next.
 */
upTo: number, 
/**
 * There is more after it already.
 */
more: boolean, }
  | { 'type': 'recording', 
/**
 * Which.
 */
on: boolean, }
  | { 'type': 'tier', 
/**
 * For what.
 */
profile: BandwidthProfile, 
/**
 * Why no more.
 */
reason: TierReason, 
/**
 * Since when.
 */
since: string, }
  | { 'type': 'rehearse', 
/**
 * What; `null`: no more.
 */
profile: BandwidthProfile | null, }
  | { 'type': 'encodings', 
/**
 * What you send.
 */
kind: VideoKind, 
/**
 * Their rids, lowest first (RFC 8851).
 */
active: Array<string>, }
  | { 'type': 'videoCodec', 
/**
 * What you send.
 */
kind: VideoKind, 
/**
 * The codec.
 */
codec: VideoCodec, }
  | { 'type': 'audioEncoding', 
/**
 * Bits per second at the most; `null`: as you like.
 */
maxBitrateBps: number | null, 
/**
 * Milliseconds of a packet; `null`: as you like.
 */
frameMs: number | null, }
  | { 'type': 'speaker', 
/**
 * Who; `null` when they are not in any more.
 */
participantId: string | null, }
  | { 'type': 'quality', 
/**
 * Whose.
 */
participantId: string, 
/**
 * How good it is.
 */
level: QualityLevel, 
/**
 * Why it is no better; of every level but `good`.
 */
reason: QualityReason | null, }
  | { 'type': 'timeline', 
/**
 * Whose.
 */
participantId: string, 
/**
 * While media flowed.
 */
stretches: Array<Stretch>, 
/**
 * What their line was used for from when on, if that changed.
 */
tiers: Array<TierChange>, 
/**
 * The request.
 */
replyTo: RequestId | null, }
  | { 'type': 'superseded', }
  | { 'type': 'removed', }
  | { 'type': 'ended', 
/**
 * Why.
 */
reason: EndReason, }
  | { 'type': 'disconnected', 
/**
 * In words.
 */
reason: string, }
  | { 'type': 'stats', 
/**
 * Fields as in `getStats`.
 */
stats: unknown, 
/**
 * The request.
 */
replyTo: RequestId | null, }
  | { 'type': 'done', 
/**
 * The request.
 */
replyTo: RequestId | null, }
  | { 'type': 'error', 
/**
 * For programs.
 */
code: string, 
/**
 * For people who write programs.
 */
message: string, 
/**
 * Whether the same may work a moment later.
 */
retryable: boolean, 
/**
 * The request.
 */
replyTo: RequestId | null, };

export type Participant = { 
/**
 * Who.
 */
id: string, 
/**
 * What they are here as.
 */
role: ParticipantRole, 
/**
 * How they are called.
 */
name: string, 
/**
 * Where they are.
 */
state: ParticipantState, 
/**
 * What they send.
 */
media: ParticipantMedia, 
/**
 * What their line is used for.
 */
tier: BandwidthProfile, 
/**
 * Why not for everything.
 */
tierReason: TierReason | null, 
/**
 * Until when they are waited for, while they are lost to a visit that has begun.
 */
lostUntil: string | null, };

export type ParticipantMedia = { 
/**
 * The microphone.
 */
audio: MediaState, 
/**
 * The camera.
 */
camera: MediaState, 
/**
 * A shared screen.
 */
screen: MediaState, };

export type MediaState = 'off' | 'muted' | 'live';

export type TierChange = { 
/**
 * From when on.
 */
since: string, 
/**
 * For what.
 */
profile: BandwidthProfile, 
/**
 * Why no more.
 */
reason: TierReason, };

export type VideoKind = 'camera' | 'screen';

export type VideoCodec = 'VP8' | 'VP9' | 'H264' | 'AV1';

export type QualityLevel = 'good' | 'fair' | 'poor' | 'bad';

export type QualityReason = { 
/**
 * What.
 */
code: QualityCode, 
/**
 * How much, in the unit of the code.
 */
value: number, };

export type QualityCode = 'uplink_loss' | 'downlink_loss' | 'round_trip' | 'uplink_jitter' | 'downlink_rate' | 'uplink_rate' | 'silence';

export type Stretch = { 
/**
 * From when.
 */
from: string, 
/**
 * Until when.
 */
until: string, 
/**
 * How good it was.
 */
level: QualityLevel, 
/**
 * Why it was no better, with the worst value.
 */
reason: QualityReason | null, };

export type Policy = { 
/**
 * How long somebody lost is waited for.
 */
graceReconnectSeconds: number, 
/**
 * How long somebody is waited for who goes on in writing.
 */
textGraceMinutes: number, 
/**
 * Whether anything may be recorded at all.
 */
recordingAllowed: boolean, 
/**
 * How they talk.
 */
communication: Communication, 
/**
 * A line that carries less carries no voice, in kilobits per second.
 */
audioMinKbps: number, 
/**
 * Nor does one that loses more.
 */
audioLossMaxPercent: number, 
/**
 * For how long that has to be so until a voice is given up.
 */
audioHoldMs: number, };

export type SessionState = { 
/**
 * Which.
 */
id: string, 
/**
 * Its status.
 */
status: SessionStatus, 
/**
 * Its version.
 */
version: number, 
/**
 * When it became active.
 */
startedAt: string | null, };

export type SeatCounts = { 
/**
 * For people.
 */
people: number, 
/**
 * For screens.
 */
screens: number, };

export type SeatMids = { 
/**
 * The seat.
 */
seat: number, 
/**
 * `null` for a screen seat.
 */
audio: string | null, 
/**
 * The mid of its video.
 */
video: string | null, };

export type SeatTaken = { 
/**
 * The seat.
 */
seat: number, 
/**
 * Nobody if `null`.
 */
participant: string | null, };

export type ChatLine = { 
/**
 * Its place in the thread of the session, from 1: the same for everybody, and for good.
 */
position: number, 
/**
 * Who said it.
 */
from: string, 
/**
 * Under which name.
 */
name: string, 
/**
 * The writer's own id of it.
 */
clientId: string, 
/**
 * What was said; empty of an image alone.
 */
text: string, 
/**
 * What was shown.
 */
attachment: Attachment | null, 
/**
 * When the server heard it.
 */
at: string, };

export type Attachment = { 
/**
 * The SHA-256 of its bytes.
 */
digest: string, 
/**
 * `image/jpeg`, `image/png` or `image/webp`.
 */
mediaType: string, 
/**
 * Pixels, before a turn that the image asks for.
 */
width: number, 
/**
 * Likewise.
 */
height: number, 
/**
 * How many.
 */
bytes: number, };

export type ThreadPage = { 
/**
 * In order.
 */
lines: Array<ChatLine>, 
/**
 * Up to this position nothing is missing: what to ask after next.
 */
upTo: number, 
/**
 * There is more after it already.
 */
more: boolean, };

export type VisitState = { 
/**
 * Who asks.
 */
you: Participant, 
/**
 * The session.
 */
session: SessionState, 
/**
 * Those they may see, in join order, without themselves.
 */
participants: Array<Participant>, 
/**
 * Its rules.
 */
policy: Policy, };

export type ThreadRequest = { 
/**
 * Said in this order. `clientId` as in `chat`.
 */
lines: Array<LineWords>, 
/**
 * As the message `composing`.
 */
composing?: boolean, };

export type LineWords = { 
/**
 * As in `chat`.
 */
clientId: string, 
/**
 * As in `chat`.
 */
text?: string, 
/**
 * As in `chat`.
 */
attachment?: string, };

export type ThreadReply = { 
/**
 * In order.
 */
lines: Array<LineOutcome>, };

export type LineOutcome = { 
/**
 * Which.
 */
clientId: string, 
/**
 * What.
 */
state: LineState, 
/**
 * Why it is refused: an `error.code` of the socket.
 */
code: string | null, };

export type LineState = 'said' | 'handed_over' | 'refused';

export type JoinRequest = { 
/**
 * The join token of the link.
 */
token: string, };

export type JoinReply = { 
/**
 * Whom the link is for.
 */
participant: Who, 
/**
 * Who invites.
 */
clinic: Clinic, 
/**
 * To what.
 */
session: SessionSummary, 
/**
 * Consents still to be asked for.
 */
consents: Array<ConsentForm>, 
/**
 * As `RTCConfiguration.iceServers` (W3C WebRTC).
 */
iceServers: Array<IceServer>, };

export type Who = { 
/**
 * The participant.
 */
id: string, 
/**
 * What they are here as.
 */
role: ParticipantRole, 
/**
 * How they are called.
 */
name: string, };

export type Clinic = { 
/**
 * The tenant's name.
 */
name: string, 
/**
 * HTTPS.
 */
logoUrl: string | null, 
/**
 * CSS hex.
 */
primaryColor: string | null, };

export type SessionSummary = { 
/**
 * Which.
 */
id: string, 
/**
 * Its status.
 */
status: SessionStatus, 
/**
 * When it is to start.
 */
scheduledStart: string | null, 
/**
 * When it is to end.
 */
scheduledEnd: string | null, 
/**
 * When the door opens.
 */
opensAt: string, 
/**
 * When it closes; never, where links are short-lived instead.
 */
closesAt: string | null, 
/**
 * Speech or sign.
 */
communication: Communication, };

export type ConsentForm = { 
/**
 * Which consent.
 */
type: ConsentType, 
/**
 * The version of its text.
 */
version: string, 
/**
 * Whether there is no visit without it.
 */
required: boolean, 
/**
 * Its heading.
 */
title: string, 
/**
 * Its paragraphs.
 */
text: Array<string>, };

export type ConsentsRequest = { 
/**
 * The join token of the link.
 */
token: string, 
/**
 * What the patient says to each.
 */
consents: Array<ConsentAnswer>, };

export type ConsentAnswer = { 
/**
 * Which consent.
 */
type: ConsentType, 
/**
 * The version that was shown.
 */
version: string, 
/**
 * Yes or no.
 */
granted: boolean, };

export type ConsentsReply = { 
/**
 * Consents still to be asked for.
 */
consents: Array<ConsentForm>, };

export type Ticket = { 
/**
 * For `hello`, once.
 */
ticket: string, 
/**
 * When it is of no use any more.
 */
expiresAt: string, };

export type IceServer = { 
/**
 * `stun:` or `turn:` (RFC 7064, RFC 7065).
 */
urls: Array<string>, 
/**
 * For TURN.
 */
username?: string, 
/**
 * For TURN.
 */
credential?: string, };

export type Problem = { 
/**
 * `urn:vestibule:problem:` and the code.
 */
type: string, 
/**
 * The kind of error, in words.
 */
title: string, 
/**
 * The HTTP status.
 */
status: number, 
/**
 * For programs.
 */
code: string, 
/**
 * This error, in words.
 */
detail: string, 
/**
 * With `join_window_not_open`.
 */
opensAt?: string, 
/**
 * With `session_over`.
 */
reason?: EndReason, 
/**
 * With `invalid`: the field that cannot be so.
 */
field?: string, 
/**
 * With `version_mismatch`: what there is by now.
 */
currentVersion?: number, 
/**
 * Names the request in the server's log.
 */
requestId?: string, };

/** A frame of the client: a message, and the number its reply names. */
export type ClientFrame = ClientMessage & { id?: number };

/** A frame of the server: a message, and its number in this incarnation, from 1. */
export type ServerFrame = ServerMessage & { seq: number };
