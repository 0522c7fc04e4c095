//! The bounds table: every queue, table and rate of the core has its limit here, and nowhere else.
//!
//! What goes over a bound is dropped and counted, or refused with a typed error; nothing grows with what a peer sends.

use std::time::Duration;

/// Rooms on one shard.
pub const ROOMS_MAX: usize = 4_096;
/// Peers in one room.
pub const PEERS_PER_ROOM_MAX: usize = 1_024;
/// Peers on one shard.
pub const PEERS_MAX: usize = 8_192;
/// m-lines in one offer.
pub const MEDIA_LINES_MAX: usize = 512;
/// Bytes of one SDP offer.
pub const OFFER_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one line of an SDP offer.
pub const OFFER_LINE_BYTES_MAX: usize = 4 * 1024;
/// Lines of one SDP offer.
pub const OFFER_LINES_MAX: usize = 16 * 1024;
/// Simulcast encodings of one source.
pub const ENCODINGS_MAX: usize = 3;
/// Bytes of a MID (RFC 8843) or RID (RFC 8852) this server accepts.
pub const STREAM_ID_BYTES_MAX: usize = 16;
/// Sources one peer may publish: audio, camera, screen, and one spare.
pub const SOURCES_PER_PEER_MAX: usize = 4;
/// Estimates of streams apart that are kept of one receiver.
pub const REMB_ENTRIES_MAX: usize = 16;
/// Remote SSRCs one peer may use at a time; the oldest unused one gives way.
pub const SSRCS_PER_PEER_MAX: usize = 32;
/// Remote addresses one peer may have validated by STUN at a time.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Bytes of one datagram: what does not fit is cut by the socket and fails its authentication.
pub const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Bytes of one packet this server sends: an MTU of 1,500 less the headers of IPv4 and UDP. Over IPv6 the largest may be
/// fragmented; browsers send 1,200.
pub const PACKET_BYTES_MAX: usize = 1_472;
/// Bytes of RTCP in one datagram this server sends, SRTCP trailer not counted.
pub const RTCP_BYTES_MAX: usize = 1_200;
/// Datagrams per second taken from one IP address outside validated paths; a clinic behind one NAT has to fit.
pub const UNKNOWN_DATAGRAMS_PER_SECOND: u16 = 400;
/// Buckets of the unknown-address limiter; addresses share one only by a seeded hash.
pub const UNKNOWN_BUCKETS: usize = 4_096;
/// Bytes waiting to leave in one turn of a shard; above it packets are dropped and counted.
pub const TX_SLAB_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes waiting to leave at which the engine is asked to flush before it reads on.
///
/// As late as a whole fan-out still fits behind it: the packets of one frame then reach each peer in one GSO run. The
/// benchmark at 200 subscribers costs 2.4 times as much with a flush at 256 KiB.
pub const TX_SLAB_BYTES_FLUSH: usize = 3 * 1024 * 1024;
/// Packets waiting to leave at which the engine is asked to flush before it reads on.
pub const TX_PACKETS_FLUSH: usize = TX_PACKETS_MAX - 2_048;
/// Packets waiting to leave in one turn of a shard.
pub const TX_PACKETS_MAX: usize = 8_192;
/// Events and DTLS datagrams waiting to be polled.
pub const OUTPUT_QUEUE_MAX: usize = 4_096;

/// Packets remembered for one encoding of a video source; a power of two.
pub const VIDEO_RING_PACKETS: usize = 1_024;
/// Packets remembered for one audio source; a power of two.
pub const AUDIO_RING_PACKETS: usize = 128;
/// Bytes remembered for one encoding of a video source, at the most.
pub const VIDEO_RING_BYTES_MAX: usize = 1024 * 1024;
/// Bytes a ring starts with; it doubles while it holds less than [`RING_SPAN`].
pub const RING_BYTES_MIN: usize = 16 * 1024;
/// Bytes remembered for one audio source, at the most.
pub const AUDIO_RING_BYTES_MAX: usize = 32 * 1024;
/// How far back a ring reaches where its byte bound allows.
pub const RING_SPAN: Duration = Duration::from_millis(1_500);

/// Packets of one encoding that may be missing at a time; more, and a keyframe is asked for instead.
pub const MISSING_MAX: usize = 256;
/// A jump in sequence numbers larger than this restarts the stream instead of making a gap.
pub const SEQUENCE_GAP_MAX: u64 = 1_000;
/// NACKs sent for one missing packet before it is given up.
pub const NACK_TRIES_MAX: u8 = 10;
/// Sequence numbers taken from one subscriber's NACKs in one second.
pub const NACKED_PACKETS_PER_SECOND: u32 = 2_000;
/// Retransmission bytes a subscriber may have saved up.
pub const RTX_BUDGET_BYTES_MAX: u32 = 128 * 1024;
/// Retransmissions remembered per slot for the hold-off; a power of two.
pub const RTX_HISTORY: usize = 256;
/// Closed segments kept per slot, so that NACKs over a switch can be answered; a frame that is left out closes one.
pub const SEGMENTS_PER_SLOT_MAX: usize = 128;
/// Transport-wide sequence numbers one feedback message may cover.
pub const TWCC_STATUSES_PER_FEEDBACK_MAX: u16 = 2_000;
/// Transport-wide arrivals remembered between two feedback messages; a power of two.
pub const TWCC_ARRIVALS: usize = 4_096;

/// Packets of video that wait for one subscriber's pacer; what comes on top is left out, as if the line had lost it.
pub const PACED_OFFERS_MAX: usize = 1_024;
/// Retransmissions that wait for one subscriber's pacer.
pub const PACED_REPAIRS_MAX: usize = 256;

/// Packets to one subscriber that are remembered until feedback tells of them, at first; a power of two.
pub const SENT_PACKETS_MIN: usize = 128;
/// The most of them: what leaves in four seconds at a thousand packets a second.
pub const SENT_PACKETS_MAX: usize = 4_096;

/// Fragments of one ClientHello.
pub const CLIENT_HELLO_FRAGMENTS_MAX: usize = 8;
/// Bytes of one ClientHello.
pub const CLIENT_HELLO_BYTES_MAX: usize = 8 * 1024;
/// ClientHellos of one peer that reach the DTLS worker: two, and their repeats.
pub const CLIENT_HELLOS_MAX: u32 = 32;
/// Handshake records of one peer that reach the DTLS worker before the handshake is over.
pub const DTLS_HANDSHAKE_RECORDS_MAX: u32 = 200;
/// Records of one peer that reach the DTLS worker after the handshake: repeats of its last flight, and alerts.
pub const DTLS_LATE_RECORDS_MAX: u32 = 100;
/// Bytes of one handshake message after the ClientHello.
pub const DTLS_MESSAGE_BYTES_MAX: u32 = 8 * 1024;
/// Fragments of one handshake message after the ClientHello.
pub const DTLS_MESSAGE_FRAGMENTS_MAX: u32 = 16;

/// How long without an authenticated check before a path is dead (RFC 7675 section 5.1).
pub const CONSENT_EXPIRY: Duration = Duration::from_secs(30);
/// How long without anything authenticated before a connected peer counts as quiet: longer than the 4 to 6 s between
/// the checks of a browser that sends nothing else (RFC 7675 section 5.1). Where one of them is lost, the next is heard.
pub const QUIET_AFTER: Duration = Duration::from_secs(8);
/// What became of a test of a line is said by then.
pub const LINE_TEST_EXPIRY: Duration = Duration::from_secs(3);
/// How long the previous ICE credentials stay valid after the new ones carried the switch.
pub const ICE_PREVIOUS_GENERATION: Duration = Duration::from_secs(10);
/// How long a restart may take before it counts as failed.
pub const ICE_RESTART_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a peer may take from its offer to completed DTLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long without a packet before a source counts as stopped.
pub const SOURCE_STOPPED: Duration = Duration::from_secs(3);
/// How long without a packet before an encoding counts as not flowing.
pub const ENCODING_STOPPED: Duration = Duration::from_millis(1_500);
/// How long without a packet, while its source's other encodings go on, before an encoding counts as not flowing.
pub const ENCODING_OUTPACED: Duration = Duration::from_millis(400);
/// Frames the other encodings must have brought meanwhile: after an outage all come back within one frame.
pub const ENCODING_OUTPACED_FRAMES: u32 = 8;
/// How long after a check an address is its peer's alone: checks of another peer from there are dropped. Longer than
/// the interval of consent checks (RFC 7675 section 5.1: 4 to 6 s).
pub const ADDRESS_HELD: Duration = Duration::from_secs(10);
/// Least time between two keyframe requests for one encoding.
pub const KEYFRAME_REQUEST_INTERVAL_MIN: Duration = Duration::from_millis(300);
/// Longest time between two keyframe requests while somebody waits for one.
pub const KEYFRAME_REQUEST_INTERVAL_MAX: Duration = Duration::from_secs(3);
/// Time between a gap and the first NACK for it: a reordered packet may still come.
pub const NACK_DELAY: Duration = Duration::from_millis(10);
/// Least time between two NACKs for one packet, on top of the round trip.
pub const NACK_RETRY_MIN: Duration = Duration::from_millis(30);
/// Packets a publisher may be asked to send again at once: what is lost of a camera in some 400 ms.
pub const REPAIRS_AT_ONCE_MAX: u32 = 60;
/// How long a missing packet is waited for at the most.
pub const MISSING_AGE_MAX: Duration = Duration::from_secs(5);
/// Round trip assumed until one was measured.
pub const RTT_DEFAULT: Duration = Duration::from_millis(100);
/// Longest round trip that is believed.
pub const RTT_MAX: Duration = Duration::from_secs(3);
/// Least time between two retransmissions of one packet to one subscriber.
pub const RTX_HOLD_OFF_MIN: Duration = Duration::from_millis(20);
/// Time from the first packet to the transport-wide feedback that reports it; longer where the way to whom it is for carries
/// little, so that it takes no more than this share of it. As libwebrtc does, within what its own estimators are used to.
pub const TWCC_INTERVAL: Duration = Duration::from_millis(100);
/// The longest it is.
pub const TWCC_INTERVAL_MAX: Duration = Duration::from_millis(250);
/// The share.
pub const TWCC_SHARE: f64 = 0.05;
/// What one takes, in bytes: IPv4, UDP, SRTCP, and some thirty packets' arrivals.
pub const TWCC_BYTES: usize = 84;
/// Time between two sender or receiver reports of one peer, while anything flows.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Reports leave at multiples of it, so that those of many peers leave together.
pub const REPORT_GRID: Duration = Duration::from_millis(20);
/// How long a seat goes on showing the video of who sat there, at the most, until the next one's keyframe is there.
pub const SEAT_LINGER: Duration = Duration::from_millis(600);
/// How long a step of a connection's quality is.
pub const QUALITY_STEP: Duration = Duration::from_secs(10);
/// Seats of one peer.
pub const SEATS_PER_PEER_MAX: usize = 256;
