//! The sending side of a peer's transport: what its slots share, and what is known of the line.

use std::time::Duration;

use crate::bounds::RTX_BUDGET_BYTES_MAX;
use crate::congestion::{ESTIMATE_MIN_BPS, ESTIMATE_START_BPS, Estimator, Probe, Remb};
use crate::counters::Counters;
use crate::egress::{TxQueue, TxSlab};
use crate::pacer::{Next, Pacer};
use crate::rtp::ExtensionIds;
use crate::srtp::SrtpSealer;
use crate::stats::DownlinkStats;
use crate::time::Time;
use crate::twcc::TwccView;

/// The sending side of a peer's transport, shared by its slots.
#[derive(Default)]
pub(crate) struct Downlink {
    pub(crate) queue: TxQueue,
    /// Video waits: there is no way for it now.
    pub(crate) held: bool,
    /// Nothing is sent: there is no way at all.
    pub(crate) cut_off: bool,
    /// There once DTLS is done.
    pub(crate) sealer: Option<SrtpSealer>,
    pub(crate) extensions: ExtensionIds,
    pub(crate) two_byte_extensions: bool,
    pub(crate) transport_sequence: u16,
    pub(crate) rtx_budget_bytes: u32,
    /// Media was sent since the last report.
    pub(crate) sent_since_report: bool,
    /// UDP payload sent as RTP, all of it.
    pub(crate) sent_bytes: u64,
    /// There where somebody tells of what arrives; all others are sent all they want, at once.
    pub(crate) control: Option<Box<Control>>,
}

/// What a slot needs to send a packet.
pub(crate) struct Egress<'a> {
    pub(crate) slab: &'a mut TxSlab,
    pub(crate) tx: &'a mut Downlink,
    pub(crate) counters: &'a mut Counters,
    pub(crate) now: Time,
    /// When what is sent came: it may have waited for the pacer.
    pub(crate) came_at: Time,
}

/// What is known of one subscriber's line, and what follows from it.
///
/// What each packet touches comes first, in the order of these fields: between two packets of one subscriber come those of
/// all others, and each line of the cache is fetched anew.
#[repr(C, align(128))]
pub(crate) struct Control {
    pub(crate) pacer: Pacer,
    /// How much may be on its way.
    window_bytes: u64,
    retransmit_bytes_max: u32,
    retransmit_divisor: u16,
    /// Earlier frames that go along with each of a voice.
    pub(crate) redundancy: u8,
    pub(crate) probe: Option<Box<ProbeRun>>,
    /// Only voices are sent until then.
    drains_until: Option<Time>,
    /// Nor are they until then.
    rests_until: Option<Time>,
    line: Line,
    pub(crate) allocation: Allocation,
    retransmitted: RetransmitRate,
    /// The window was full, and is not any more.
    reopened: bool,
    /// When feedback was asked for last by a packet that is sent for nothing else.
    asked_at: Option<Time>,
    /// A test of the line of which the answer is awaited.
    test: Option<Box<LineTest>>,
}

/// What a line carries at the least that carries a thrifty voice.
const VOICE_BPS: u64 = 32_000;
/// How long a voice may stand in the queue of a line that carries none, how long it is left out at the most, and not again.
const REST_MARGIN: Duration = Duration::from_millis(300);
const REST_MAX: Duration = Duration::from_millis(400);
const REST_APART: Duration = Duration::from_millis(400);
/// How long video makes way for what stands in a line that is much too slow.
const DRAIN_MIN: Duration = Duration::from_millis(100);
const DRAIN_MAX: Duration = Duration::from_millis(1_000);
/// Of what is sent so much may be sent again, as a divisor; and on a line that is full, where it would be lost again.
const RETRANSMIT_DIVISOR: u16 = 2;
const RETRANSMIT_DIVISOR_FULL: u16 = 8;
/// Retransmissions that may leave at once take the line for so long.
const RETRANSMIT_BURST: Duration = Duration::from_millis(250);
/// After so long without an answer what was sent is taken for lost.
const UNANSWERED: Duration = Duration::from_secs(2);
/// How long nothing is answered before feedback is asked for, and between two such packets.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// For how long after too much was sent loss says nothing else.
const CONGESTED: Duration = Duration::from_secs(3);

/// Where this share is lost, the least of an estimate is more than the line carries.
const SUFFERS_LOSS: f64 = 0.1;

/// A probe of less is made of padding, whatever could be sent once more.
const SMALL_PROBE_BYTES: u32 = 3_000;

/// Who tells of what arrives.
#[expect(
    clippy::large_enum_variant,
    reason = "all but a few subscribers tell of each packet; one pointer less to follow"
)]
enum Line {
    /// Transport-wide feedback, on all that is sent.
    Feedback(Estimator),
    /// The receiver's own estimate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb),
}

/// How the estimate was divided last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allocation {
    pub(crate) at: Time,
    pub(crate) estimate_bps: u64,
    /// Whose line it was: who is shown, and in which rank.
    pub(crate) shape: u64,
    /// When something was added last, and what all took then, as far as was known.
    pub(crate) raised_at: Option<Time>,
    pub(crate) raised_bps: u64,
    /// When too much was sent, how much that was, and for how long nothing that takes as much is tried.
    lowered_at: Option<Time>,
    began_at: Option<Time>,
    too_much_bps: u64,
    hold: Duration,
    /// What all that is shown takes, in bits per second, and of that what is sent again.
    pub(crate) allocated_bps: u64,
    pub(crate) repairs_bps: u64,
    /// What all that is wanted would take.
    pub(crate) wanted_bps: u64,
    /// What is to be probed for in any case.
    pub(crate) sought_bps: u64,
    pub(crate) probes: u64,
    /// How many voices are sent, and what they take.
    pub(crate) voices: u64,
    pub(crate) voices_bps: u64,
    /// A voice was asked to take the least there is.
    pub(crate) least: bool,
}

/// More than so many people hardly ever speak at once. A line of which nothing is known yet is taken to carry them.
pub(crate) const VOICES_AT_ONCE: u64 = 4;
/// How long encoders are given to show what they take.
const BEGINNING: Duration = Duration::from_secs(3);
/// Between two things that are added.
const RAISE_INTERVAL: Duration = Duration::from_millis(400);
/// How long nothing is added after something was taken away.
const WAIT: Duration = Duration::from_secs(5);
/// How long as much as was too much is not tried again, at the most.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// What was added and held for so long was no mistake.
const HELD: Duration = Duration::from_secs(20);
/// How long what was lost before less was sent is repaired.
const REPAIRED: Duration = Duration::from_secs(2);
/// A little less than too much may be tried; and a line that is seen to carry so much more is another one.
const LESS_SHARE: f64 = 0.95;
const MORE_SHARE: f64 = 1.25;

impl Allocation {
    /// Too much was sent: the sooner that showed, the longer it is not tried again. In the beginning, when encoders turn
    /// out to take more than was thought, the line has nothing to do with it.
    pub(crate) fn lowered(&mut self, is_congested: bool, now: Time) {
        let begins = now.since(*self.began_at.get_or_insert(now)) < BEGINNING;
        if begins && !is_congested {
            return;
        }
        let too_soon = self.raised_at.take().is_some_and(|at| now.since(at) < HELD);
        // What is lowered further at once is so for the same reason.
        let again = self.lowered_at.is_some_and(|at| now.since(at) < WAIT);
        self.hold = match (too_soon, again) {
            (true, _) => (self.hold * 2).clamp(WAIT, HOLD_MAX),
            (false, true) => self.hold,
            (false, false) => WAIT,
        };
        // Where nothing waits what was lost before was still counted: what is taken further was not too much by itself.
        if too_soon || !again || is_congested {
            let taken = self.allocated_bps - self.repairs_bps;
            // And what was added was known to take before encoders went over it.
            let is_known = too_soon && !is_congested;
            self.too_much_bps = if is_known { taken.min(self.raised_bps) } else { taken };
        }
        self.lowered_at = Some(now);
    }

    /// What is sent again is still what was lost before less was sent.
    pub(crate) fn repairs_before(&self, now: Time) -> bool {
        self.lowered_at.is_some_and(|at| now.since(at) < REPAIRED)
    }

    /// Something may be added now: what was added last has had time to show that it was too much.
    pub(crate) fn may_raise(&self, now: Time) -> bool {
        self.raised_at.is_none_or(|at| now.since(at) >= RAISE_INTERVAL)
    }

    /// Nothing is to be added yet; `borne_bps` is what the line was seen to carry at length.
    pub(crate) fn waits(&self, borne_bps: u64, now: Time) -> bool {
        self.lowered_at.is_some_and(|at| now.since(at) < WAIT) && !self.is_another_line(borne_bps)
    }

    fn is_another_line(&self, borne_bps: u64) -> bool {
        borne_bps as f64 > self.too_much_bps as f64 * MORE_SHARE
    }

    /// How much must not be sent yet; `borne_bps` is what the line was seen to carry at length.
    pub(crate) fn too_much_bps(&self, borne_bps: u64, now: Time) -> u64 {
        let holds = self.lowered_at.is_some_and(|at| now.since(at) < self.hold);
        if !holds || self.is_another_line(borne_bps) {
            return u64::MAX;
        }
        (self.too_much_bps as f64 * LESS_SHARE) as u64
    }
}

/// A probe that is being sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeRun {
    pub(crate) probe: Probe,
    began_at: Time,
    sent_bytes: u64,
    sent_packets: u32,
    /// How far back the next packet is that is sent once more to fill it.
    pub(crate) back: u64,
}

/// A test of the line: more than is wanted is sent for a moment, and what arrives of it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineTest {
    number: u16,
    /// Packets, once all were sent.
    sent: Option<u32>,
}

/// How long a test takes.
const TEST_DURATION: Duration = Duration::from_millis(500);
/// What has not arrived so long after a round trip was too much for the line.
const TEST_PATIENCE: Duration = Duration::from_millis(300);
/// A queue that grows as long as this tells all there is to know, and makes a voice wait.
const TEST_STANDS_MAX: Duration = Duration::from_millis(200);

/// What retransmissions take, over the last second.
#[derive(Clone, Copy, Debug, Default)]
struct RetransmitRate {
    since: Time,
    bytes: u64,
    bps: u64,
}

impl RetransmitRate {
    fn note(&mut self, bytes: usize, now: Time) {
        if now.since(self.since) >= Self::SPAN {
            *self = Self { since: now, bytes: 0, bps: self.bps_at(now) };
        }
        self.bytes += bytes as u64;
    }

    /// What was sent again in the last whole second: long after nothing was, that is nothing.
    fn bps_at(&self, now: Time) -> u64 {
        let passed = now.since(self.since);
        match passed {
            _ if passed < Self::SPAN => self.bps,
            _ if passed < Self::SPAN * 2 => self.bytes * 8_000_000 / passed.as_micros() as u64,
            _ => 0,
        }
    }

    const SPAN: Duration = Duration::from_secs(1);
}

impl Downlink {
    pub(crate) fn new() -> Self {
        Self { rtx_budget_bytes: RTX_BUDGET_BYTES_MAX / 4, ..Self::default() }
    }

    /// What the peer's offer says of who tells what arrives: of each packet, or an estimate.
    pub(crate) fn negotiated(&mut self, transport_cc: bool, remb: bool) {
        // Both take an offer: packets are to be numbered, and feedback on the numbers is sent.
        let feedback = transport_cc && self.extensions.transport_cc.is_some();
        let same = match self.control.as_deref().map(|control| &control.line) {
            Some(Line::Feedback(_)) => feedback,
            Some(Line::Remb(_)) => !feedback && remb,
            None => !feedback && !remb,
        };
        if same {
            return;
        }
        let line = match (feedback, remb) {
            (true, _) => Line::Feedback(Estimator::new()),
            (false, true) => Line::Remb(Remb::default()),
            (false, false) => return self.control = None,
        };
        self.control = Some(Box::new(Control::new(line)));
    }

    /// A packet of RTP has left.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize, now: Time) {
        self.sent_bytes += bytes as u64;
        let sequence = self.transport_sequence;
        if self.extensions.transport_cc.is_some() {
            self.transport_sequence = sequence.wrapping_add(1);
        }
        if let Some(control) = &mut self.control {
            control.sent(sequence, bytes, now);
        }
    }

    /// What is sent for the first time allows for some of it to be sent again.
    #[inline]
    pub(crate) fn earn_retransmissions(&mut self, bytes: usize) {
        let (divisor, most) = match &self.control {
            Some(control) => (control.retransmit_divisor, control.retransmit_bytes_max),
            None => (RETRANSMIT_DIVISOR, RTX_BUDGET_BYTES_MAX),
        };
        self.rtx_budget_bytes = (self.rtx_budget_bytes + bytes as u32 / u32::from(divisor)).min(most);
    }

    /// A keyframe leaves.
    pub(crate) fn keyframe(&mut self, now: Time) {
        if let Some(Line::Feedback(estimator)) = self.control.as_mut().map(|control| &mut control.line) {
            estimator.burst(now);
        }
    }

    /// Whether a voice may leave.
    #[inline]
    pub(crate) fn is_free_for_voice(&self, now: Time) -> bool {
        self.control.as_ref().is_none_or(|control| !control.rests(now))
    }

    /// Whether a packet that may wait may leave at once.
    #[inline]
    pub(crate) fn is_free(&mut self, now: Time) -> bool {
        !self.held
            && self.control.as_mut().is_none_or(|control| {
                control.drains_until.is_none() && control.pacer.is_free(now) && !control.is_window_full()
            })
    }

    /// Too much was sent lately.
    pub(crate) fn is_congested(&self, now: Time) -> bool {
        self.control.as_ref().is_some_and(|control| control.is_congested(now))
    }

    /// Only voices are sent for a moment.
    pub(crate) fn drains(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.drains_until.is_some())
    }

    /// Only voices are sent until the line has drained, until it is known what became of what was sent, or until there is a way.
    pub(crate) fn is_stopped(&self) -> bool {
        self.held || self.drains() || self.control.as_ref().is_some_and(|control| control.is_window_full())
    }

    /// Packets go another way from now on.
    pub(crate) fn path_changed(&mut self, now: Time) {
        if let Some(control) = &mut self.control {
            control.path_changed(now);
        }
    }

    /// Earlier frames that go along with each of a voice.
    pub(crate) fn redundancy(&self) -> u8 {
        self.control.as_ref().map_or(0, |control| control.redundancy)
    }
}

impl Control {
    fn new(line: Line) -> Self {
        Self {
            pacer: Pacer::new(ESTIMATE_START_BPS),
            window_bytes: u64::MAX,
            retransmit_bytes_max: RTX_BUDGET_BYTES_MAX,
            retransmit_divisor: RETRANSMIT_DIVISOR,
            redundancy: 0,
            probe: None,
            drains_until: None,
            rests_until: None,
            line,
            allocation: Allocation::default(),
            retransmitted: RetransmitRate::default(),
            reopened: false,
            asked_at: None,
            test: None,
        }
    }

    /// Much more was sent than the line carries: what stands in it leaves first, and video begins anew.
    pub(crate) fn drain(&mut self, now: Time) {
        self.pacer.clear();
        let stands = match &self.line {
            Line::Feedback(estimator) => estimator.stands(),
            Line::Remb(_) => DRAIN_MIN,
        };
        self.drains_until = Some(now + stands.clamp(DRAIN_MIN, DRAIN_MAX));
    }

    /// So much is on its way that video waits for what feedback has to say.
    pub(crate) fn is_window_full(&self) -> bool {
        match &self.line {
            Line::Feedback(estimator) => estimator.in_flight_bytes() > self.window_bytes,
            Line::Remb(_) => false,
        }
    }

    /// Another rate is to be sent, or answers come sooner or later than before.
    pub(crate) fn follow_window(&mut self) {
        let was_full = self.is_window_full();
        if let Line::Feedback(estimator) = &self.line {
            self.window_bytes = estimator.window_bytes(self.allocation.allocated_bps);
        }
        self.reopened |= was_full && !self.is_window_full();
    }

    /// What may leave of what waits; it waits no longer.
    pub(crate) fn next(&mut self, now: Time) -> Option<Next> {
        if self.pacer.waiting() == 0 || self.is_window_full() { None } else { self.pacer.next(now) }
    }

    /// When more may leave. While feedback has to come first that is one small packet now and then.
    pub(crate) fn due_at(&self, now: Time) -> Option<Time> {
        let probe = self.probe.as_ref().map(|run| run.due_at().max(now));
        let paced = match self.is_window_full() {
            true => self.asks_at(),
            false => self.pacer.due_at(now),
        };
        [paced, probe, self.drains_until].into_iter().flatten().min()
    }

    /// When the next small packet is to leave that asks for feedback: where nothing is answered any more because all of it
    /// was lost, nothing else would leave, and nothing would be answered (as TCP probes a window of zero, RFC 9293 section
    /// 3.8.6.1).
    fn asks_at(&self) -> Option<Time> {
        let Line::Feedback(estimator) = &self.line else { return None };
        let before = estimator.answered_at().max(self.asked_at).unwrap_or(Time::ZERO);
        (self.pacer.waiting() > 0).then(|| before + ASK_INTERVAL)
    }

    /// True if a small packet that asks for feedback is to leave now.
    pub(crate) fn asks(&mut self, now: Time) -> bool {
        let asks = self.is_window_full() && self.asks_at().is_some_and(|at| at <= now);
        if asks {
            self.asked_at = Some(now);
        }
        asks
    }

    /// Until when only voices are sent.
    pub(crate) const fn drains_until(&self) -> Option<Time> {
        self.drains_until
    }

    /// True once, when what stood in the line has left.
    pub(crate) fn take_drained(&mut self, now: Time) -> bool {
        let drained = self.drains_until.is_some_and(|until| now >= until);
        if drained {
            self.drains_until = None;
        }
        drained
    }

    /// The estimate is another one.
    fn follow_estimate(&mut self, now: Time) {
        let congested = self.is_congested(now);
        self.retransmit_divisor = if congested { RETRANSMIT_DIVISOR_FULL } else { RETRANSMIT_DIVISOR };
        let estimate = self.estimate_bps();
        self.pacer.set_estimate(estimate);
        let bytes = estimate * RETRANSMIT_BURST.as_millis() as u64 / 8_000;
        self.retransmit_bytes_max = RTX_BUDGET_BYTES_MAX.min(bytes as u32);
    }

    /// Too much was sent lately: what is lost is not lost by chance.
    pub(crate) fn is_congested(&self, now: Time) -> bool {
        match &self.line {
            Line::Feedback(estimator) => estimator.lowered_since(now).is_some_and(|since| since < CONGESTED),
            Line::Remb(remb) => remb.fell_at().is_some_and(|at| now.since(at) < CONGESTED),
        }
    }

    /// What the line carries, in bits per second of UDP payload.
    pub(crate) fn estimate_bps(&self) -> u64 {
        match &self.line {
            Line::Feedback(estimator) => estimator.estimate_bps(),
            Line::Remb(remb) => remb.estimate_bps(),
        }
    }

    /// What the line carries, in bits per second of UDP payload. The estimate ends where it still lets a voice be tried: where
    /// that does not get through, it is what does.
    pub(crate) fn carried_bps(&self, now: Time) -> u64 {
        let estimate = self.estimate_bps();
        let is_least = estimate <= ESTIMATE_MIN_BPS;
        let suffers = self.is_congested(now) || self.loss_share() > SUFFERS_LOSS;
        match self.acknowledged_bps() {
            Some(through) if is_least && suffers => through.min(estimate),
            _ => estimate,
        }
    }

    /// What has been seen to get through: nothing beyond it is added.
    pub(crate) fn proven_bps(&self) -> u64 {
        match &self.line {
            Line::Feedback(estimator) => estimator.proven_bps(),
            // What the receiver says it has seen is all there is to know.
            Line::Remb(_) => self.estimate_bps(),
        }
    }

    /// What has been seen to get through at length: more than was too much before is another line.
    pub(crate) fn borne_bps(&self) -> u64 {
        match &self.line {
            Line::Feedback(estimator) => estimator.borne_bps(),
            Line::Remb(_) => self.estimate_bps(),
        }
    }

    /// What is seen to arrive, in bits per second.
    pub(crate) fn acknowledged_bps(&self) -> Option<u64> {
        match &self.line {
            Line::Feedback(estimator) => estimator.acknowledged_bps(),
            Line::Remb(_) => None,
        }
    }

    /// Nothing of what was sent lately is known to have come, nor to have been lost: as far as anybody can tell all of it was.
    pub(crate) fn is_unanswered(&self, now: Time) -> bool {
        let Line::Feedback(estimator) = &self.line else { return false };
        estimator.unanswered_since().is_some_and(|at| now.since(at) > UNANSWERED)
    }

    /// Voices are others from now on, and take much less.
    pub(crate) const fn forget_loss(&mut self) {
        if let Line::Feedback(estimator) = &mut self.line {
            estimator.forget_loss();
        }
    }

    /// The share of packets that got lost lately.
    pub(crate) const fn loss_share(&self) -> f64 {
        match &self.line {
            Line::Feedback(estimator) => estimator.loss_share(),
            Line::Remb(remb) => remb.loss_share(),
        }
    }

    /// What retransmissions take of the line.
    pub(crate) fn retransmitted_bps(&self, now: Time) -> u64 {
        self.retransmitted.bps_at(now)
    }

    pub(crate) fn feedback(&mut self, feedback: &TwccView<'_>, rtt: Option<Duration>, now: Time) {
        let was_full = self.is_window_full();
        if let Line::Feedback(estimator) = &mut self.line {
            estimator.feedback(feedback, rtt, now);
            self.reopened |= was_full && !self.is_window_full();
            self.follow_estimate(now);
            self.follow_window();
            self.rest(now);
        }
    }

    /// On a line that carries no voice one that stands in its queue is of no use to anybody, nor is what stands behind it, as
    /// words: it is left out a moment.
    fn rest(&mut self, now: Time) {
        let Line::Feedback(estimator) = &self.line else { return };
        let carried = self.carried_bps(now);
        let may = self.allocation.least
            && carried < VOICE_BPS
            && self.rests_until.is_none_or(|until| now.since(until) >= REST_APART);
        let stands = if may { estimator.stands_for(carried, REST_MARGIN) } else { Duration::ZERO };
        if stands > Duration::ZERO {
            self.rests_until = Some(now + stands.min(REST_MAX));
        }
    }

    /// A thrifty voice takes more than the line carries: much of it is lost, or stands in the line's queue.
    pub(crate) fn hardly_carries_voice(&self, now: Time) -> bool {
        let Line::Feedback(estimator) = &self.line else { return false };
        let carried = self.carried_bps(now);
        let stands = || estimator.stands_for(carried, REST_MARGIN) > Duration::ZERO;
        let loses = || self.loss_share() > SUFFERS_LOSS && !estimator.gets_through();
        carried < VOICE_BPS && (loses() || stands())
    }

    /// Several voices are sent, each of which takes so much, and together they are more than the line carries.
    pub(crate) fn is_crowded(&self, each_bps: u64) -> bool {
        let voices = self.allocation.voices;
        voices > 1 && self.estimate_bps() < voices.min(VOICES_AT_ONCE) * each_bps
    }

    /// Voices are left out just now.
    #[inline]
    pub(crate) fn rests(&self, now: Time) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// True once, when video may leave again after its window was full.
    pub(crate) const fn take_reopened(&mut self) -> bool {
        std::mem::replace(&mut self.reopened, false)
    }

    /// The receiver's own estimate of the streams of which `ssrc` is the first; voices may be none of them.
    pub(crate) fn remb(&mut self, ssrc: u32, bps: u64, has_voices: bool, now: Time) {
        if let Line::Remb(remb) = &mut self.line {
            let beside = if has_voices { 0 } else { self.allocation.voices_bps };
            remb.told(ssrc, bps, beside, now);
            self.follow_estimate(now);
        }
    }

    /// What a receiver report says of loss, in 1/256; feedback on each packet says it better.
    pub(crate) fn reported_loss(&mut self, fraction_lost: u8) {
        if let Line::Remb(remb) = &mut self.line {
            remb.lost(f64::from(fraction_lost) / 256.0);
        }
    }

    /// How much would be sent at the most if the line carried it.
    pub(crate) fn want(&mut self, bps: u64) {
        match &mut self.line {
            Line::Feedback(estimator) => estimator.want(bps),
            Line::Remb(remb) => remb.want(bps),
        }
    }

    /// Begins the probe that is due now, if one is. True if one was begun.
    pub(crate) fn begin_probe(&mut self, now: Time) -> bool {
        let was_none = self.probe.is_none();
        let due = match &mut self.line {
            Line::Feedback(estimator) if was_none => estimator.probe_due(now),
            Line::Feedback(_) => return false,
            // What fills a line goes on as fast as is told by now, or not at all.
            Line::Remb(remb) => remb.fill_due(now),
        };
        self.probe = due.map(|probe| Box::new(ProbeRun::new(probe, now)));
        self.allocation.probes += u64::from(was_none && self.probe.is_some());
        self.probe.is_some()
    }

    /// Begins a test of the line, in place of a probe that may run. False where nobody tells what arrives.
    pub(crate) fn begin_test(&mut self, rate_bps: u64, now: Time) -> bool {
        let Line::Feedback(estimator) = &mut self.line else { return false };
        let bytes = rate_bps * TEST_DURATION.as_millis() as u64 / 8_000;
        let probe = estimator.begin_test(rate_bps, bytes as u32, now);
        self.test = Some(Box::new(LineTest { number: probe.number, sent: None }));
        self.probe = Some(Box::new(ProbeRun::new(probe, now)));
        true
    }

    /// What runs is over. When what became of it is to be looked at, if it was a test.
    pub(crate) fn end_probe(&mut self, rtt: Duration, now: Time) -> Option<Time> {
        let run = self.probe.take()?;
        let test = self.test.as_mut().filter(|test| test.number == run.probe.number)?;
        test.sent = Some(run.sent_packets);
        Some(now + rtt + TEST_PATIENCE)
    }

    /// A test makes a queue in the line: it is over, and failed.
    pub(crate) fn is_test_too_much(&self) -> bool {
        match (&self.test, &self.line) {
            (Some(_), Line::Feedback(estimator)) => estimator.stands() > TEST_STANDS_MAX,
            _ => false,
        }
    }

    /// The share of a test's packets that did not arrive in time; it is over.
    pub(crate) fn end_test(&mut self) -> Option<f32> {
        let too_much = self.is_test_too_much();
        let test = self.test.take()?;
        let Line::Feedback(estimator) = &mut self.line else { return None };
        let arrived = estimator.end_test().unwrap_or(0);
        let cut_short = self.probe.take_if(|run| run.probe.number == test.number).is_some();
        if too_much || cut_short {
            return Some(1.0);
        }
        let sent = test.sent.filter(|sent| *sent > 0)?;
        Some(1.0 - (arrived.min(sent) as f32 / sent as f32))
    }

    /// A retransmission that was asked for has left.
    pub(crate) fn retransmitted(&mut self, bytes: usize, now: Time) {
        self.retransmitted.note(bytes, now);
    }

    #[inline]
    fn sent(&mut self, sequence: u16, bytes: usize, now: Time) {
        self.pacer.spend(bytes);
        let probe = match &mut self.probe {
            None => 0,
            Some(run) => {
                run.sent_bytes += bytes as u64;
                run.sent_packets += 1;
                run.probe.number
            }
        };
        if let Line::Feedback(estimator) = &mut self.line {
            estimator.sent(sequence, bytes as u16, probe, now);
        }
    }

    fn path_changed(&mut self, now: Time) {
        match &mut self.line {
            Line::Feedback(estimator) => estimator.path_changed(),
            Line::Remb(remb) => *remb = Remb::default(),
        }
        self.probe = None;
        self.pacer.path_changed();
        // Nothing of ours stands in the new way.
        (self.allocation.allocated_bps, self.allocation.repairs_bps) = (0, 0);
        self.follow_estimate(now);
    }
}

impl From<&Control> for DownlinkStats {
    fn from(control: &Control) -> Self {
        Self {
            estimate_bps: Some(control.estimate_bps()),
            acknowledged_bps: control.acknowledged_bps(),
            loss_share: control.loss_share(),
            allocated_bps: control.allocation.allocated_bps,
            wanted_bps: control.allocation.wanted_bps,
            paced_packets: control.pacer.waiting(),
            probes: control.allocation.probes,
            audio_redundancy: control.redundancy,
        }
    }
}

impl ProbeRun {
    const fn new(probe: Probe, began_at: Time) -> Self {
        Self { probe, began_at, sent_bytes: 0, sent_packets: 0, back: 0 }
    }

    /// It is made of small packets: there have to be some.
    pub(crate) const fn is_small(&self) -> bool {
        self.probe.bytes < SMALL_PROBE_BYTES
    }

    /// All of it has been sent.
    pub(crate) fn is_over(&self) -> bool {
        self.sent_bytes >= u64::from(self.probe.bytes)
    }

    /// When its next packet is to leave.
    pub(crate) fn due_at(&self) -> Time {
        self.began_at + Duration::from_micros(self.sent_bytes * 8_000_000 / self.probe.rate_bps.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_numbers_packets_and_tells_nothing_of_the_numbers_is_believed_by_their_own_estimate() {
        let mut downlink = Downlink::new();
        downlink.extensions.transport_cc = Some(3);
        downlink.negotiated(false, true);
        let control = downlink.control.as_mut().expect("an estimate is told");
        control.remb(1, 700_000, true, Time::from_millis(1));
        assert_eq!(control.estimate_bps(), 700_000);
        control.allocation.voices_bps = 40_000;
        control.remb(1, 700_000, false, Time::from_millis(2));
        assert_eq!(control.estimate_bps(), 740_000, "what it does not tell of is not taken from it");
        downlink.negotiated(false, false);
        assert!(downlink.control.is_none());
        downlink.negotiated(true, false);
        assert!(matches!(downlink.control.as_ref().map(|control| &control.line), Some(Line::Feedback(_))));
    }
}
