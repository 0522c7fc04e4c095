//! What a run found out, as data; and its forms: a table for people, JSON, a page with plots.
//!
//! The JSON is this structure, in camelCase. Names are stable: a field may be added, none changes its meaning within
//! [`FORMAT`]. Units stand last in a name; what has none is a count. What was not or could not be measured is `null`.

pub mod html;
pub mod json;
pub(crate) mod number;
mod plot;
pub mod table;

use serde::Serialize;

use crate::measure::machine::Machine;
use crate::measure::quantiles::Milliseconds;

/// Names this form of a report.
pub const FORMAT: &str = "vestibule-load/1";

/// All of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// When the window began, RFC 3339.
    pub at: String,
    /// What was played.
    pub scenario: ScenarioPlayed,
    /// Against what.
    pub server: ServerSeen,
    /// On what.
    pub machine: Option<Machine>,
    /// Who came.
    pub joins: Joins,
    /// What was received in the window.
    pub media: Option<Media>,
    /// What the server spent on it.
    pub cost: Option<Cost>,
    /// What the server keeps for it.
    pub memory: Option<Memory>,
    /// How the tester itself did.
    pub tester: Option<Tester>,
    /// Of `reconnect-storm`.
    pub storm: Option<Storm>,
    /// Of `waiting-room`.
    pub waiting_room: Option<WaitingRoom>,
    /// Of `churn`.
    pub churn: Option<Churn>,
    /// Of `staircase`.
    pub staircase: Option<Staircase>,
    /// Joins by their time from token to connected: upper bound in milliseconds, and how many.
    pub join_histogram: Vec<(f64, f64)>,
    /// What happened second by second.
    pub series: Vec<Moment>,
    /// The thresholds that were given.
    pub thresholds: Vec<Threshold>,
    /// Whether all of them were met and everybody got in.
    pub passed: bool,
    /// Why it did not pass, in words.
    pub faults: Vec<String>,
}

/// The scenario and its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioPlayed {
    /// As on the command line.
    pub name: String,
    /// In words.
    pub title: String,
    /// Rooms that were made.
    pub rooms: usize,
    /// People in them.
    pub participants: usize,
    /// SRTP profile, as IANA names it.
    pub srtp_profile: String,
    /// Bit rate of each layer of a camera, from low to high; empty without video, or with a recording.
    pub video_kbps: Vec<u32>,
    /// The recordings that were sent in place of what is made up.
    pub recordings: Vec<String>,
    /// Whether silence is sent as comfort noise.
    pub dtx: bool,
    /// Whether receivers send transport-wide feedback.
    pub transport_feedback: bool,
    /// What the media was made from.
    pub seed: u64,
    /// Joins a second at the beginning.
    pub ramp_per_second: f64,
    /// Between the last join and the window.
    pub warm_up_seconds: f64,
    /// Length of the window.
    pub window_seconds: f64,
}

/// The server that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerSeen {
    /// What it is.
    pub name: String,
    /// Where.
    pub url: String,
    /// Its process, if it is on this machine.
    pub pid: Option<u32>,
    /// The name of its program.
    pub program: Option<String>,
}

/// Who came, and how fast. Times begin when somebody has their token.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joins {
    /// How many were to come.
    pub wanted: usize,
    /// How many got in, with their transport connected.
    pub joined: usize,
    /// How many did not.
    pub failed: usize,
    /// Why, each reason once.
    pub reasons: Vec<Reason>,
    /// Until the transport was connected (ICE and DTLS).
    pub connected_ms: Option<Milliseconds>,
    /// Until the first packet of another participant came, of those who came when somebody sent already.
    pub first_packet_ms: Option<Milliseconds>,
    /// Transports that failed later.
    pub lost_later: usize,
}

/// Something that went wrong, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// In words.
    pub reason: String,
    /// How often.
    pub count: usize,
}

/// What was forwarded in the window, counted at the receivers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Media {
    /// Length of the window as it was.
    pub window_seconds: f64,
    /// Packets the participants sent.
    pub sent: Traffic,
    /// Packets they received: what the server forwarded.
    pub received: Traffic,
    /// Received packets of audio.
    pub received_audio_packets: u64,
    /// Received packets of video.
    pub received_video_packets: u64,
    /// What they should have received, by the counters in the packets.
    pub expected_packets: u64,
    /// Of these, never arrived as they were first sent.
    pub lost_packets: u64,
    /// Lost, in percent of expected.
    pub loss_percent: f64,
    /// Sources of which a receiver that was there all the time got nothing at all, one for each receiver and source.
    pub starved_streams: u64,
    /// Of those lost, repaired by a retransmission.
    pub recovered_packets: u64,
    /// Lost and never repaired.
    pub unrecovered_packets: u64,
    /// Arrived more than once; no forwarding.
    pub duplicate_packets: u64,
    /// Datagrams that did not authenticate, and RTP nobody negotiated.
    pub refused_packets: u64,
    /// RTP without a stamp, as a server's padding and probes; not among the received.
    pub unstamped_packets: u64,
    /// Arrived behind a later one.
    pub reordered_packets: u64,
    /// From just before a packet's `send` until the receiver's kernel had it, all packets.
    pub delay_us: Option<Delay>,
    /// The same of audio.
    pub delay_audio_us: Option<Delay>,
    /// The same of the first packet of each video frame.
    pub delay_frame_us: Option<Delay>,
    /// The same of the rest of each frame: a pacer's hold is in it.
    pub delay_rest_us: Option<Delay>,
    /// Asked for by receivers.
    pub keyframes_requested: u64,
    /// Sent for it.
    pub keyframes_sent: u64,
    /// Receiver reports sent.
    pub receiver_reports: u64,
    /// Transport-wide reports sent.
    pub transport_reports: u64,
    /// NACKs sent.
    pub nacks: u64,
    /// Retransmissions the senders made.
    pub retransmissions: u64,
}

/// An amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Packets a second.
    pub packets_per_second: f64,
    /// Bits a second, of RTP payload and header.
    pub bits_per_second: f64,
}

/// Delays in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// How many packets.
    pub count: u64,
    /// Half of them were no slower.
    pub p50: u64,
    /// 95 of 100 were no slower.
    pub p95: u64,
    /// 99 of 100 were no slower.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

/// The server's CPU time in the window: all its threads, user and system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Of one core, in percent.
    pub cpu_percent: f64,
    /// For each packet that was forwarded.
    pub cpu_us_per_packet: Option<f64>,
    /// Packets that a core forwards in a second of its time.
    pub packets_per_core_second: Option<f64>,
}

/// The server's memory and file descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Resident set before the first participant.
    pub rss_before_bytes: u64,
    /// At the end of the window.
    pub rss_bytes: u64,
    /// The difference, for each participant.
    pub rss_per_participant_bytes: Option<i64>,
    /// After all have left.
    pub rss_after_bytes: Option<u64>,
    /// File descriptors before.
    pub fds_before: Option<u64>,
    /// At the end of the window.
    pub fds: Option<u64>,
    /// After all have left.
    pub fds_after: Option<u64>,
}

/// The tester in the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tester {
    /// All of it, of one core, in percent.
    pub cpu_percent: f64,
    /// The thread that plays media, of one core, in percent.
    pub media_thread_percent: f64,
    /// What all other programs but it and the server took meanwhile, of one core, in percent: delays are theirs, too.
    pub others_percent: Option<f64>,
    /// How late its ticks of 1 ms were.
    pub late_p50_us: u64,
    /// The same, 99th percentile.
    pub late_p99_us: u64,
    /// The same, the latest.
    pub late_max_us: u64,
    /// Datagrams lost in its own sockets.
    pub socket_drops: u64,
    /// Datagrams the kernel did not take from it: they look like the server's loss.
    pub send_failures: u64,
    /// Whether it was in the way.
    pub bottleneck: bool,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// All sockets cut at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storm {
    /// Sockets that were cut.
    pub cut: usize,
    /// That came back.
    pub back: usize,
    /// From the cut until each was back.
    pub back_ms: Option<Milliseconds>,
    /// Until all were.
    pub all_back_ms: Option<f64>,
    /// Why some did not.
    pub reasons: Vec<Reason>,
}

/// Patients let in from the waiting room.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRoom {
    /// How many were let in.
    pub admitted: usize,
    /// From the provider's word until the patient's first packet.
    pub first_packet_ms: Option<Milliseconds>,
    /// Why some were not.
    pub reasons: Vec<Reason>,
}

/// Those who came and went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Churn {
    /// Came in.
    pub joined: usize,
    /// Left again.
    pub left: usize,
    /// Did not come in.
    pub failed: usize,
    /// Their turn came while there was no free place: they stayed out longer than planned.
    pub skipped: usize,
    /// As it came out.
    pub joins_per_second: f64,
    /// Until the transport was connected.
    pub connected_ms: Option<Milliseconds>,
    /// Until their first packet.
    pub first_packet_ms: Option<Milliseconds>,
    /// Why some did not come in.
    pub reasons: Vec<Reason>,
}

/// Step by step until something gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Staircase {
    /// All steps, the last one that on which something gave.
    pub steps: Vec<Step>,
    /// Visits of the highest step that held.
    pub held_visits: usize,
    /// What gave: `tester`, `joins`, `starved`, `loss`, `delay`; nothing if the top was reached.
    pub limit: Option<String>,
    /// The same in words.
    pub why: String,
}

/// A step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Visits that ran.
    pub visits: usize,
    /// Packets forwarded in a second.
    pub packets_per_second: f64,
    /// Loss.
    pub loss_percent: f64,
    /// Forward delay, 99th percentile.
    pub delay_p99_us: u64,
    /// The server's CPU, of one core.
    pub cpu_percent: Option<f64>,
    /// For each packet that was forwarded.
    pub cpu_us_per_packet: Option<f64>,
    /// The tester's media thread, of one core.
    pub media_thread_percent: f64,
}

/// About a second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// Since the first join.
    pub seconds: f64,
    /// Transports that are connected.
    pub transports: usize,
    /// Packets sent in a second.
    pub sent_per_second: f64,
    /// Packets received in a second.
    pub received_per_second: f64,
    /// Bits received in a second.
    pub received_bits_per_second: f64,
    /// Forward delay, median.
    pub delay_p50_us: Option<u64>,
    /// Forward delay, 99th percentile.
    pub delay_p99_us: Option<u64>,
    /// The server's CPU, of one core.
    pub server_cpu_percent: Option<f64>,
    /// The server's resident set.
    pub server_rss_bytes: Option<u64>,
    /// The tester's media thread, of one core.
    pub media_thread_percent: f64,
    /// Whether it lies in the window.
    pub in_window: bool,
}

/// A threshold of the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// The option.
    pub option: String,
    /// What may be.
    pub limit: f64,
    /// What was; `null` where nothing was measured, which does not pass.
    pub value: Option<f64>,
    /// Whether it passed.
    pub passed: bool,
}
