//! From video to voice to writing, and back: one person's line.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use vestibule_domain::{
    BandwidthProfile, Communication, FallbackThresholds, Ladder, LineLook, LineTest, Step, ThresholdValues,
    Tier, TierReason,
};

use crate::world::minute;

use BandwidthProfile::{AsyncText, AudioOnly, Video};

/// A line, and somebody on it.
struct Line {
    ladder: Ladder,
    now: Timestamp,
    /// What the line does to bursts, while it is heard at all; none: nothing is known of them yet.
    bursts: Option<LineTest>,
    steps: Vec<(i64, Step)>,
    /// What was to be rehearsed from when on.
    rehearsals: Vec<(i64, Option<BandwidthProfile>)>,
}

const GOOD: LineLook = LineLook {
    downlink_kbps: Some(2_000),
    uplink_kbps: None,
    downlink_loss_permille: 0,
    uplink_loss_permille: 0,
    rtt_ms: Some(60),
    camera_kbps: None,
};
const SLOW: LineLook = LineLook { downlink_kbps: Some(90), ..GOOD };
const PASSED: LineTest = LineTest { lost_permille: Some(0) };

fn start() -> Timestamp {
    minute(0)
}

fn after(at: Timestamp, millis: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_millis(millis)).unwrap()
}

impl Line {
    fn new() -> Self {
        Self::of(Communication::Speech)
    }

    fn of(communication: Communication) -> Self {
        Self::with(FallbackThresholds::default(), communication)
    }

    fn with(thresholds: FallbackThresholds, communication: Communication) -> Self {
        let ladder = Ladder::new(thresholds, communication, start());
        Self { ladder, now: start(), bursts: Some(PASSED), steps: Vec::new(), rehearsals: Vec::new() }
    }

    /// Seconds since the start.
    fn at(&self) -> i64 {
        self.now.duration_since(start()).as_secs()
    }

    fn drain(&mut self) {
        self.note_rehearsal();
        while let Some(step) = self.ladder.poll_step() {
            self.steps.push((self.at(), step));
            if let (Step::TestLine { .. }, Some(bursts)) = (step, self.bursts) {
                self.ladder.tested(self.now, &bursts);
                self.note_rehearsal();
            }
        }
    }

    fn note_rehearsal(&mut self) {
        let now = self.ladder.rehearses();
        if self.rehearsals.last().and_then(|(_, before)| *before) != now {
            self.rehearsals.push((self.at(), now));
        }
    }

    /// Seconds in which the line looks like this.
    fn looks(&mut self, seconds: i64, look: LineLook) -> &mut Self {
        for _ in 0..seconds {
            self.passes(1_000);
            self.ladder.looked(self.now, &look);
            self.drain();
        }
        self
    }

    /// Seconds in which nothing is seen.
    fn passes(&mut self, millis: i64) -> &mut Self {
        let until = after(self.now, millis);
        while let Some(due) = self.ladder.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.ladder.timeout(self.now);
            self.drain();
        }
        self.now = until;
        self
    }

    /// From now on nothing is heard.
    fn falls_silent(&mut self) -> &mut Self {
        self.ladder.heard(self.now, Some(self.now));
        self.drain();
        self
    }

    fn is_heard(&mut self) -> &mut Self {
        self.ladder.heard(self.now, None);
        self.drain();
        self
    }

    fn is_on_https(&mut self, on: bool) -> &mut Self {
        self.ladder.on_https(self.now, on);
        self.drain();
        self
    }

    fn chooses(&mut self, want: BandwidthProfile) -> &mut Self {
        self.ladder.choose(self.now, want);
        self.drain();
        self
    }

    fn profile(&self) -> BandwidthProfile {
        self.ladder.tier().profile
    }

    /// Second, profile and reason of each change.
    fn changes(&self) -> Vec<(i64, BandwidthProfile, TierReason)> {
        let change = |(at, step): &(i64, Step)| match step {
            Step::Changed(Tier { profile, reason, .. }) => Some((*at, *profile, *reason)),
            _ => None,
        };
        self.steps.iter().filter_map(change).collect()
    }

    fn tests(&self) -> Vec<(i64, u32)> {
        let test = |(at, step): &(i64, Step)| match step {
            Step::TestLine { kbps } => Some((*at, *kbps)),
            _ => None,
        };
        self.steps.iter().filter_map(test).collect()
    }
}

#[test]
fn a_good_line_carries_video_and_is_never_tried() {
    let mut line = Line::new();
    line.looks(600, GOOD);
    assert_eq!((line.profile(), line.steps.len()), (Video, 0));
}

#[test]
fn a_line_too_slow_for_video_gives_it_up_after_ten_seconds_and_not_before() {
    let mut line = Line::new();
    line.looks(10, SLOW);
    assert_eq!(line.profile(), Video);
    line.looks(1, SLOW);
    assert_eq!(line.changes(), [(11, AudioOnly, TierReason::DownlinkRate)]);
}

#[test]
fn each_trouble_has_its_own_reason() {
    for (look, reason) in [
        (LineLook { downlink_kbps: Some(149), ..GOOD }, TierReason::DownlinkRate),
        (LineLook { uplink_kbps: Some(149), ..GOOD }, TierReason::UplinkRate),
        (LineLook { downlink_loss_permille: 121, ..GOOD }, TierReason::DownlinkLoss),
        (LineLook { uplink_loss_permille: 121, ..GOOD }, TierReason::UplinkLoss),
        (LineLook { rtt_ms: Some(801), ..GOOD }, TierReason::RoundTrip),
    ] {
        let mut line = Line::new();
        line.looks(11, look);
        assert_eq!(line.changes(), [(11, AudioOnly, reason)]);
        line.looks(60, look);
        assert_eq!(line.profile(), AudioOnly, "{reason:?} leaves a voice");
    }
    for look in [
        LineLook { downlink_kbps: Some(150), ..GOOD },
        LineLook { downlink_loss_permille: 120, uplink_loss_permille: 120, ..GOOD },
        LineLook { rtt_ms: Some(800), ..GOOD },
        LineLook::default(),
    ] {
        assert!(Line::new().looks(60, look).changes().is_empty(), "{look:?}");
    }
}

#[test]
fn a_dip_of_five_seconds_changes_nothing() {
    let mut line = Line::new();
    line.looks(30, GOOD).falls_silent().passes(5_000).is_heard().looks(60, GOOD);
    assert!(line.steps.is_empty());
    line.looks(5, SLOW).looks(60, GOOD);
    assert!(line.steps.is_empty());
}

#[test]
fn a_single_good_second_in_between_is_no_pause_and_two_are() {
    let mut line = Line::new();
    line.looks(5, SLOW).looks(1, GOOD).looks(5, SLOW);
    assert_eq!(line.profile(), AudioOnly);
    let mut line = Line::new();
    line.looks(8, SLOW).looks(2, GOOD).looks(8, SLOW);
    assert_eq!(line.profile(), Video);
}

#[test]
fn silence_takes_the_picture_after_ten_seconds_and_the_voice_after_fifteen() {
    let mut line = Line::new();
    line.looks(10, GOOD).falls_silent().passes(300_000);
    assert_eq!(line.changes(), [(20, AudioOnly, TierReason::Silence), (25, AsyncText, TierReason::Silence)]);
    assert!(line.tests().is_empty(), "nobody who is not heard is sent anything");
}

#[test]
fn what_carries_no_voice_goes_on_in_writing() {
    for (look, reason) in [
        (LineLook { downlink_kbps: Some(31), ..GOOD }, TierReason::DownlinkRate),
        (LineLook { uplink_loss_permille: 251, ..GOOD }, TierReason::UplinkLoss),
    ] {
        let mut line = Line::new();
        line.looks(16, look);
        assert_eq!(line.changes(), [(11, AudioOnly, reason), (16, AsyncText, reason)]);
    }
}

#[test]
fn two_reconnects_that_fail_within_a_minute_leave_writing_alone() {
    let mut line = Line::new();
    line.ladder.reconnect_failed(line.now);
    line.passes(61_000).ladder.reconnect_failed(after(start(), 61_000));
    line.drain();
    assert_eq!(line.profile(), Video, "not within a minute");
    line.passes(20_000);
    line.ladder.reconnect_failed(line.now);
    line.drain();
    assert_eq!(line.changes(), [(81, AsyncText, TierReason::ReconnectsFailed)]);
}

#[test]
fn video_comes_back_after_three_bursts_and_a_rehearsal() {
    let mut line = Line::new();
    line.looks(11, SLOW);
    line.looks(60, GOOD);
    let begun = 14;
    assert_eq!(line.tests(), [(begun, 330), (begun + 10, 330), (begun + 20, 330)]);
    assert_eq!(line.rehearsals, [(begun + 20, Some(Video)), (begun + 25, None)]);
    assert_eq!(line.changes()[1..], [(begun + 25, Video, TierReason::Recovered)]);
}

#[test]
fn a_line_that_is_slow_still_is_not_sent_bursts() {
    let mut line = Line::new();
    line.looks(11, SLOW).looks(120, SLOW);
    assert!(line.tests().is_empty());
    line.looks(60, LineLook { downlink_loss_permille: 50, ..GOOD });
    assert!(line.tests().is_empty(), "nor one that loses");
}

#[test]
fn one_burst_that_does_not_get_through_ends_the_try_and_each_failure_doubles_the_wait() {
    let mut line = Line::new();
    line.bursts = Some(LineTest { lost_permille: Some(200) });
    line.looks(11, SLOW).looks(3_700, GOOD);
    let begun: Vec<i64> = line.tests().iter().map(|(at, _)| *at).collect();
    assert_eq!(begun, [14, 74, 194, 434, 914, 1_874, 2_834]);
    assert_eq!(line.profile(), AudioOnly);
}

#[test]
fn a_rehearsal_that_loses_ends_the_try_unseen() {
    let mut line = Line::new();
    line.looks(11, SLOW).looks(23, GOOD);
    assert_eq!(line.ladder.rehearses(), Some(Video));
    line.looks(5, LineLook { uplink_loss_permille: 60, camera_kbps: Some(140), ..GOOD });
    assert_eq!((line.profile(), line.ladder.rehearses()), (AudioOnly, None));
    assert_eq!(line.rehearsals.last().map(|(_, what)| *what), Some(None));
    let mut line = Line::new();
    line.looks(11, SLOW).looks(23, GOOD).looks(6, LineLook { camera_kbps: Some(20), ..GOOD });
    assert_eq!(line.profile(), AudioOnly, "their device held the picture back");
}

#[test]
fn a_picture_that_is_meant_to_come_and_does_not_was_not_shown_to_be_carried() {
    let none_comes = LineLook { camera_kbps: Some(0), ..GOOD };
    let mut line = Line::new();
    line.looks(11, SLOW).looks(23, none_comes).looks(6, none_comes);
    assert_eq!((line.profile(), line.ladder.rehearses()), (AudioOnly, None));
    let mut slow_camera = Line::new();
    let comes = LineLook { camera_kbps: Some(140), ..GOOD };
    slow_camera.looks(11, SLOW).looks(23, none_comes).looks(2, none_comes).looks(4, comes);
    assert_eq!(slow_camera.profile(), Video, "a camera may take its time");
    let mut line = Line::new();
    line.looks(11, SLOW).looks(27, none_comes).looks(2, LineLook { camera_kbps: Some(51), ..GOOD });
    assert_eq!(line.profile(), AudioOnly, "what waited in the line is no picture");
    let mut no_camera = Line::new();
    no_camera.looks(11, SLOW).looks(23, GOOD).looks(6, GOOD);
    assert_eq!(no_camera.profile(), Video, "of a camera that is off nothing is to come");
}

#[test]
fn a_picture_that_their_device_says_it_has_no_room_for_is_not_shown_to_be_carried() {
    let narrow = LineLook { uplink_kbps: Some(100), camera_kbps: Some(60), ..GOOD };
    let mut line = Line::new();
    line.looks(11, LineLook { uplink_kbps: Some(100), ..GOOD }).looks(23, GOOD).looks(6, narrow);
    assert_eq!(line.profile(), AudioOnly);
    let mut wide = Line::new();
    let enough = LineLook { uplink_kbps: Some(150), camera_kbps: Some(60), ..GOOD };
    wide.looks(11, LineLook { uplink_kbps: Some(100), ..GOOD }).looks(23, GOOD).looks(6, enough);
    assert_eq!(wide.profile(), Video);
}

#[test]
fn a_camera_in_the_dark_is_no_line_that_carries_no_picture() {
    let dark = LineLook { uplink_kbps: Some(900), camera_kbps: Some(9), ..GOOD };
    let mut line = Line::new();
    line.looks(11, SLOW).looks(23, GOOD).looks(6, dark);
    assert_eq!(line.profile(), Video, "their device has room for more");
    let none_comes = LineLook { camera_kbps: Some(0), ..dark };
    let mut line = Line::new();
    line.looks(11, SLOW).looks(23, GOOD).looks(6, none_comes);
    assert_eq!(line.profile(), AudioOnly, "nothing at all is no picture");
}

#[test]
fn who_is_not_heard_any_more_during_a_rehearsal_has_not_come_back() {
    let mut line = Line::new();
    line.looks(11, SLOW).looks(24, LineLook { camera_kbps: Some(140), ..GOOD });
    assert_eq!(line.ladder.rehearses(), Some(Video));
    line.falls_silent();
    assert_eq!(line.ladder.rehearses(), None);
    line.passes(60_000);
    let changes = line.changes();
    assert_eq!(changes[0], (11, AudioOnly, TierReason::DownlinkRate));
    assert_eq!(changes.last(), Some(&(50, AsyncText, TierReason::Silence)));
    assert!(changes.iter().all(|(_, profile, _)| *profile != Video));
}

#[test]
fn each_change_has_its_own_time_also_where_only_the_reason_is_another() {
    let mut line = Line::new();
    line.looks(5, GOOD).chooses(AudioOnly).looks(11, SLOW);
    assert_eq!(line.changes().len(), 1, "{:?}", line.changes());
    line.passes(1_000).is_on_https(true).falls_silent().passes(20_000);
    let since = line.steps.iter().filter_map(|(_, step)| match step {
        Step::Changed(tier) => Some(tier.since),
        Step::TestLine { .. } => None,
    });
    let since: Vec<Timestamp> = since.collect();
    assert_eq!(since.len(), 3, "{:?}", line.changes());
    assert!(since.windows(2).all(|pair| pair[0] < pair[1]), "{since:?}");
}

#[test]
fn another_device_begins_with_all_that_its_person_wants() {
    let mut line = Line::new();
    line.looks(11, SLOW);
    line.ladder.moved(line.now);
    line.drain();
    assert_eq!(line.changes()[1..], [(11, Video, TierReason::NewDevice)]);
    // Its line is looked at as any other, and what failed on the other device is not forgotten.
    line.looks(11, SLOW).looks(40, GOOD);
    assert_eq!(line.changes()[2..], [(22, AudioOnly, TierReason::DownlinkRate)]);
    line.looks(60, GOOD);
    assert_eq!(line.profile(), Video);

    let mut chosen = Line::new();
    chosen.looks(5, GOOD).chooses(AudioOnly);
    chosen.ladder.moved(chosen.now);
    chosen.drain();
    assert_eq!(
        chosen.changes(),
        [(5, AudioOnly, TierReason::Chosen)],
        "nothing changes for who wants no more"
    );
    let mut good = Line::new();
    good.looks(5, GOOD).ladder.moved(after(start(), 5_000));
    good.drain();
    assert!(good.steps.is_empty());
}

#[test]
fn who_comes_through_over_https_alone_is_in_writing_until_anything_else_does() {
    let mut line = Line::new();
    line.looks(5, GOOD).is_on_https(true);
    assert_eq!(line.changes(), [(5, AsyncText, TierReason::HttpsOnly)]);
    line.passes(30_000).is_on_https(false);
    assert_eq!(line.changes()[1..], [(35, Video, TierReason::Recovered)]);
    // A line that was cut first, is what it was.
    line.falls_silent().passes(20_000).is_on_https(true).passes(20_000).is_on_https(false);
    assert_eq!(line.profile(), AsyncText);
    assert_eq!(line.ladder.tier().reason, TierReason::Silence);
    line.chooses(AsyncText).is_heard().looks(60, GOOD).is_on_https(true).chooses(Video);
    assert_eq!(line.profile(), AsyncText, "it is not theirs to choose");
}

#[test]
fn words_have_a_full_line_for_themselves_before_anything_is_tried() {
    let mut line = Line::new();
    let full = LineLook { uplink_loss_permille: 500, ..GOOD };
    line.looks(16, full);
    assert_eq!(line.profile(), AsyncText);
    line.looks(9, GOOD);
    assert!(line.tests().is_empty());
    line.looks(5, GOOD);
    assert_eq!(line.tests()[0], (26, 48));
}

#[test]
fn from_writing_a_voice_comes_back_first_and_then_the_picture() {
    let mut line = Line::new();
    line.looks(10, GOOD).falls_silent().passes(290_000).is_heard().passes(5_000);
    assert_eq!(line.ladder.rehearses(), Some(AudioOnly), "heard by the server alone");
    line.looks(60, GOOD);
    let heard = 300;
    let changes = line.changes();
    assert_eq!(changes.len(), 4);
    assert_eq!(changes[2], (heard + 9, AudioOnly, TierReason::Recovered));
    assert_eq!(changes[3].1, Video);
    assert!(changes[3].0 <= heard + 45, "{changes:?}");
    assert_eq!(line.tests()[..3], [(heard + 3, 48), (heard + 6, 48), (heard + 9, 48)]);
}

#[test]
fn a_burst_that_left_late_may_be_answered_as_late_as_any() {
    let mut line = Line::new();
    line.looks(10, GOOD).falls_silent().passes(60_000).is_heard();
    line.bursts = None;
    for burst in 1..=3 {
        while line.tests().len() < burst {
            line.passes(100);
        }
        // Each is answered after the next one should have left, and each within five seconds.
        line.passes(4_500);
        line.ladder.tested(line.now, &PASSED);
        line.drain();
    }
    assert_eq!(line.profile(), AudioOnly, "{:?}", line.changes());
}

#[test]
fn of_a_voice_that_a_line_hardly_carries_the_least_is_wanted_for_a_minute() {
    const HARDLY: LineLook = LineLook { downlink_kbps: Some(20), ..GOOD };
    let mut line = Line::new();
    line.looks(10, HARDLY);
    assert!(!line.ladder.hardly_carries_voice(), "a picture may be what it is too little for");
    line.looks(1, HARDLY);
    assert_eq!((line.profile(), line.ladder.hardly_carries_voice()), (AudioOnly, true));
    line.looks(58, SLOW);
    assert!(line.ladder.hardly_carries_voice());
    line.looks(4, SLOW);
    assert_eq!((line.profile(), line.ladder.hardly_carries_voice()), (AudioOnly, false));
    line.looks(1, HARDLY);
    assert!(line.ladder.hardly_carries_voice(), "it was one good look");
    line.looks(20, HARDLY);
    assert_eq!((line.profile(), line.ladder.hardly_carries_voice()), (AsyncText, false), "none is sent");
}

#[test]
fn a_moment_without_a_line_leaves_no_voice_at_the_least() {
    let mut line = Line::new();
    line.chooses(AudioOnly).looks(10, GOOD).falls_silent().passes(8_000).is_heard().looks(5, GOOD);
    assert_eq!(line.profile(), AudioOnly);
    assert!(!line.ladder.hardly_carries_voice());
}

#[test]
fn what_a_person_chose_is_never_exceeded_and_their_way_up_is_tried_at_once() {
    let mut line = Line::new();
    line.looks(5, GOOD).chooses(AudioOnly).looks(600, GOOD);
    assert_eq!(line.changes(), [(5, AudioOnly, TierReason::Chosen)]);
    line.chooses(Video);
    assert_eq!(
        line.changes()[1..],
        [(605, Video, TierReason::Recovered)],
        "the line carried it all the time"
    );
    // Fallen by the line, and tried in vain.
    line.bursts = Some(LineTest { lost_permille: None });
    line.looks(11, SLOW);
    line.bursts = Some(LineTest { lost_permille: Some(500) });
    line.looks(30, GOOD);
    let tried = line.tests().len();
    assert_eq!(tried, 1);
    line.bursts = Some(PASSED);
    line.looks(5, GOOD).chooses(Video).looks(30, GOOD);
    assert!(line.tests().len() > tried);
    assert_eq!(line.profile(), Video);
    // Lower by the line than by choice, and the other way round.
    line.looks(11, SLOW).chooses(AudioOnly).looks(120, GOOD);
    assert_eq!(line.profile(), AudioOnly);
    assert_eq!(line.ladder.rehearses(), None, "nothing is tried for what nobody wants");
}

#[test]
fn what_a_person_asks_for_is_tried_once_though_the_line_looks_too_slow_for_it() {
    let slow = LineLook { downlink_kbps: Some(180), ..GOOD };
    let mut line = Line::new();
    line.looks(11, SLOW).looks(60, slow);
    assert!(line.tests().is_empty(), "unasked it is not");
    line.bursts = Some(LineTest { lost_permille: Some(500) });
    line.chooses(Video).looks(3, slow);
    assert_eq!(line.tests(), [(71, 330)]);
    line.looks(120, slow);
    assert_eq!(line.tests().len(), 1);
    assert_eq!(line.profile(), AudioOnly);
    // An estimate of what was sent may be far too low: then the bursts tell.
    line.bursts = Some(PASSED);
    line.chooses(Video).looks(40, GOOD);
    assert_eq!(line.profile(), Video);
}

#[test]
fn what_is_asked_for_again_while_it_is_tried_is_not_tried_again_for_that() {
    let slow = LineLook { downlink_kbps: Some(180), ..GOOD };
    let mut line = Line::new();
    line.looks(11, SLOW).looks(10, slow);
    line.bursts = None;
    line.chooses(Video).looks(1, slow).chooses(Video).looks(1_000, slow);
    assert_eq!(line.tests().len(), 1, "nobody answers it, and the line looks too slow");
}

#[test]
fn on_a_line_that_is_as_low_as_a_person_wants_it_nothing_more_is_promised() {
    let mut line = Line::new();
    line.looks(5, GOOD)
        .chooses(AudioOnly)
        .looks(20, GOOD)
        .falls_silent()
        .passes(60_000)
        .is_heard()
        .passes(5_000);
    line.looks(60, GOOD);
    let told: Vec<_> = line.changes().iter().map(|(_, to, why)| (*to, *why)).collect();
    let cut = (AsyncText, TierReason::Silence);
    assert_eq!(told, [(AudioOnly, TierReason::Chosen), cut, (AudioOnly, TierReason::Chosen)]);

    let mut line = Line::new();
    line.looks(5, GOOD)
        .chooses(AsyncText)
        .falls_silent()
        .passes(60_000)
        .is_heard()
        .passes(5_000)
        .looks(60, GOOD);
    assert_eq!(line.changes(), [(5, AsyncText, TierReason::Chosen)]);
    assert_eq!(line.ladder.rehearses(), None);
}

#[test]
fn who_signs_goes_from_the_picture_to_writing_and_back_to_the_picture() {
    let mut line = Line::of(Communication::Sign);
    line.looks(11, SLOW);
    assert_eq!(line.changes(), [(11, AsyncText, TierReason::DownlinkRate)]);
    line.looks(60, GOOD);
    let changes = line.changes();
    assert_eq!(changes.last().unwrap().1, Video);
    assert!(changes.iter().all(|(_, profile, _)| *profile != AudioOnly));
    assert!(
        line.rehearsals.contains(&(21, Some(AudioOnly))),
        "so that there is something to see of the line"
    );
}

#[test]
fn from_writing_bursts_count_and_an_estimate_of_before_does_not() {
    let mut line = Line::of(Communication::Sign);
    // What was sent last was little, so little is thought to be carried.
    line.looks(11, SLOW).looks(60, SLOW);
    assert_eq!(line.tests().len(), 3);
    assert_eq!(line.changes()[1], (46, Video, TierReason::Recovered));
}

#[test]
fn a_line_that_falls_back_at_once_is_left_alone_for_longer_each_time() {
    let mut line = Line::new();
    let mut climbs = Vec::new();
    for _ in 0..200 {
        line.looks(12, SLOW).looks(40, GOOD);
        climbs = line.changes().iter().filter(|(_, to, _)| *to == Video).map(|(at, ..)| *at).collect();
    }
    let gaps: Vec<i64> = climbs.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(climbs.len() <= 16, "{climbs:?}");
    assert!(gaps.last().unwrap() > &600, "{gaps:?}");
}

#[test]
fn thresholds_are_the_clinics() {
    let values = ThresholdValues { video_hold_ms: 3_000, video_min_kbps: 80, ..ThresholdValues::default() };
    let thresholds = FallbackThresholds::new(values).unwrap();
    let mut line = Line::with(thresholds, Communication::Speech);
    line.looks(60, SLOW);
    assert_eq!(line.profile(), Video, "90 kbit/s are enough here");
    line.looks(4, LineLook { downlink_kbps: Some(79), ..GOOD });
    assert_eq!(line.profile(), AudioOnly);
}

// --- any life ----------------------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Happens {
    Looks(LineLook, i64),
    Silent(i64),
    Choice(BandwidthProfile),
    ReconnectFails,
    Https(i64),
    Moves,
    /// What becomes of them from now on; of none nothing is told.
    Bursts(Option<LineTest>),
    Passes(i64),
}

/// What clinics may choose. Times are whole seconds, as changes are noted.
fn thresholds() -> impl Strategy<Value = FallbackThresholds> {
    let times = (1_u32..=20, 1_u32..=20, 1_u32..=20, 5_u32..=120);
    let rates = (50_u32..=400, 1_u32..=300, 6_u32..=48, 1_u32..=100);
    let chosen = (times, rates).prop_map(|((video, audio, probe, retry), (min, more, least, above))| {
        let values = ThresholdValues {
            video_min_kbps: min,
            video_resume_kbps: min + more,
            video_hold_ms: video * 1_000,
            audio_min_kbps: least,
            audio_resume_kbps: least + above,
            audio_hold_ms: audio * 1_000,
            probe_interval_ms: probe * 1_000,
            retry_after_ms: retry * 1_000,
            ..ThresholdValues::default()
        };
        FallbackThresholds::new(values).unwrap()
    });
    prop_oneof![Just(FallbackThresholds::default()), chosen]
}

fn happens() -> impl Strategy<Value = Happens> {
    let rate = prop_oneof![Just(None), (0_u32..400).prop_map(Some), Just(Some(3_000))];
    let loss = prop_oneof![3 => Just(0_u16), 1 => 0_u16..=1_000];
    let camera = proptest::option::of(0_u32..300);
    let look = (rate.clone(), rate, loss.clone(), loss, proptest::option::of(0_u32..2_000), camera).prop_map(
        |(downlink_kbps, uplink_kbps, downlink_loss_permille, uplink_loss_permille, rtt_ms, camera_kbps)| {
            LineLook {
                downlink_kbps,
                uplink_kbps,
                downlink_loss_permille,
                uplink_loss_permille,
                rtt_ms,
                camera_kbps,
            }
        },
    );
    let look = prop_oneof![Just(GOOD), Just(SLOW), look];
    let lost = prop_oneof![Just(None), (0_u16..=100).prop_map(Some), Just(Some(0))];
    let bursts =
        prop_oneof![1 => Just(None), 4 => lost.prop_map(|lost_permille| Some(LineTest { lost_permille }))];
    let profile = prop_oneof![Just(Video), Just(AudioOnly), Just(AsyncText)];
    prop_oneof![
        8 => (look, 1_i64..40).prop_map(|(look, seconds)| Happens::Looks(look, seconds)),
        2 => (0_i64..120_000).prop_map(Happens::Silent),
        1 => profile.prop_map(Happens::Choice),
        1 => Just(Happens::ReconnectFails),
        1 => (0_i64..60_000).prop_map(Happens::Https),
        1 => Just(Happens::Moves),
        2 => bursts.prop_map(Happens::Bursts),
        2 => (0_i64..60_000).prop_map(Happens::Passes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_life_flaps_exceeds_a_choice_or_changes_without_a_reason(
        life in proptest::collection::vec(happens(), 1..80),
        sign in any::<bool>(),
        thresholds in thresholds(),
    ) {
        let retry = i64::from(thresholds.retry_after_ms / 1_000);
        let communication = if sign { Communication::Sign } else { Communication::Speech };
        let mut line = Line::with(thresholds, communication);
        let mut choices = vec![(start(), Video)];
        let mut others = Vec::new();
        for event in life {
            match event {
                Happens::Looks(look, seconds) => { line.looks(seconds, look); }
                Happens::Silent(millis) => { line.falls_silent().passes(millis).is_heard(); }
                Happens::Choice(want) => {
                    choices.push((line.now, want));
                    line.chooses(want);
                }
                Happens::ReconnectFails => {
                    line.ladder.reconnect_failed(line.now);
                    line.drain();
                }
                Happens::Https(millis) => {
                    others.push(line.at());
                    line.is_on_https(true).passes(millis).is_on_https(false);
                    others.push(line.at());
                }
                Happens::Moves => {
                    others.push(line.at());
                    line.ladder.moved(line.now);
                    line.drain();
                }
                Happens::Bursts(bursts) => line.bursts = bursts,
                Happens::Passes(millis) => { line.passes(millis); }
            }
            let wanted = choices.last().unwrap().1;
            prop_assert!(line.profile() >= wanted, "{:?} though {wanted:?} was chosen", line.profile());
            // What is sent unseen goes no further than what may come of it.
            prop_assert!(line.ladder.rehearses().is_none() || line.profile() != Video);
        }
        // What is no line's doing: a choice, another device, another way to the server.
        let choices = choices.into_iter().map(|(at, want)| (at.duration_since(start()).as_secs(), want));
        let choices: Vec<(i64, BandwidthProfile)> = choices.collect();
        let chosen_at: Vec<i64> = choices.iter().map(|(at, _)| *at).chain(others).collect();
        let changes = line.changes();
        let mut before = Video;
        for (at, profile, reason) in &changes {
            // What was chosen before that second, and in it.
            let stands = choices.iter().rfind(|(chosen, _)| chosen < at);
            let now = choices.iter().filter(|(chosen, _)| chosen == at);
            let allowed = stands.into_iter().chain(now).map(|(_, want)| *want).min();
            prop_assert!(allowed.is_some_and(|want| *profile >= want), "{profile:?} at {at}: {choices:?}");
            match profile.cmp(&before) {
                // Worse comes first in the order of profiles.
                std::cmp::Ordering::Greater => prop_assert_ne!(*reason, TierReason::Recovered, "at {}", at),
                std::cmp::Ordering::Less => {
                    let up = matches!(reason, TierReason::Recovered | TierReason::Chosen | TierReason::NewDevice);
                    prop_assert!(up || chosen_at.contains(at), "at {at}: {reason:?}");
                }
                std::cmp::Ordering::Equal => {}
            }
            let is_wanted = choices.iter().any(|(_, want)| *want == AudioOnly);
            prop_assert!(!sign || *profile != AudioOnly || is_wanted);
            before = *profile;
        }
        // After each fall soon after a climb nothing is reached for as long, then for twice as long, to sixteen times.
        let (mut climbed_at, mut failures, mut not_before, mut from) = (None, 0_u32, 0, Video);
        for (at, profile, _) in &changes {
            if chosen_at.contains(at) {
                (climbed_at, not_before) = (None, 0);
            } else if *profile < from {
                let asked = chosen_at.iter().any(|asked| (not_before - 16 * retry..=*at).contains(asked));
                prop_assert!(asked || *at + 1 >= not_before, "up at {at}, and not before {not_before}");
                climbed_at = Some(*at);
            } else if *profile > from
                && let Some(climbed) = climbed_at.take()
            {
                failures = if at - climbed >= 10 * retry { 0 } else { failures };
                if at - climbed < retry {
                    not_before = at + retry * 2_i64.pow(failures.min(4));
                    failures += 1;
                }
            }
            from = *profile;
        }
        // Climbs that nobody asked for: who fell back soon waits as long again.
        for tier in [Video, AudioOnly] {
            let climbs = changes.iter().scan(Video, |before, &(at, to, _)| {
                Some((at, to, std::mem::replace(before, to) > to))
            });
            let climbs: Vec<i64> = climbs
                .filter(|(at, to, is_up)| *is_up && *to == tier && !chosen_at.contains(at))
                .map(|(at, ..)| at)
                .collect();
            for three in climbs.windows(3) {
                let asked = chosen_at.iter().any(|at| (three[0]..=three[2]).contains(at));
                prop_assert!(asked || three[2] - three[0] >= retry, "climbs to {tier:?} at {three:?}");
            }
        }
    }
}
