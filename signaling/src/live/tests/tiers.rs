//! What follows when a line carries less, and when it carries more again.

use super::*;
use crate::media::{LineSeen, QUIET_AFTER, SeatWish};

const GOOD: LineSeen = LineSeen {
    downlink_bps: Some(2_000_000),
    downlink_loss: Some(0.0),
    uplink_loss: 0.0,
    rtt: None,
    camera_bps: None,
    uplink_bps: None,
};
const SLOW: LineSeen = LineSeen { downlink_bps: Some(90_000), ..GOOD };

/// A visit that has begun.
struct Visit {
    harness: Harness,
    provider: u64,
    patient: u64,
}

impl Visit {
    fn new() -> Self {
        let mut visit = Self::begun();
        visit.harness.did.clear();
        visit
    }

    /// With what was said when it began.
    fn begun() -> Self {
        let mut harness = Harness::new();
        let provider = harness.enter("provider");
        let patient = harness.enter("patient");
        harness.admit(provider, "patient");
        Self { harness, provider, patient }
    }

    fn peer(&self) -> PeerId {
        self.harness.peers[&self.patient]
    }

    /// Seconds in which the patient's line looks like this; what is sent to try it gets through.
    fn looks(&mut self, seconds: u32, seen: LineSeen) {
        for _ in 0..seconds {
            let before = self.harness.did.len();
            self.harness.advance(1);
            let peer = self.peer();
            self.harness.media(MediaEvent::Line { peer, seen });
            self.answer_tests(before);
        }
    }

    fn answer_tests(&mut self, before: usize) {
        let asked = |did: &Did| matches!(did, Did::Media(MediaCommand::TestLine { .. }));
        if self.harness.did[before..].iter().any(asked) {
            let peer = self.peer();
            self.harness.media(MediaEvent::LineTested { peer, lost: Some(0.0) });
        }
    }

    /// Seconds in which nothing is seen.
    fn passes(&mut self, seconds: u32) {
        for _ in 0..seconds {
            let before = self.harness.did.len();
            self.harness.advance(1);
            self.answer_tests(before);
        }
    }

    fn falls_silent(&mut self) {
        let peer = self.peer();
        self.harness.advance(i64::try_from(QUIET_AFTER.as_secs()).unwrap());
        self.harness.media(MediaEvent::Quiet { peer });
    }

    /// What the patient was told of their line.
    fn told(&self) -> Vec<(Value, Value)> {
        let sent = self.harness.sent(self.patient).into_iter();
        let tiers = sent.filter(|message| message["type"] == "tier");
        tiers.map(|message| (message["profile"].clone(), message["reason"].clone())).collect()
    }

    fn rehearsals(&self) -> Vec<Value> {
        let sent = self.harness.sent(self.patient).into_iter();
        sent.filter(|message| message["type"] == "rehearse")
            .map(|message| message["profile"].clone())
            .collect()
    }

    /// How the provider sees the patient.
    fn seen(&self) -> (Value, Value) {
        let seen =
            self.harness.sent(self.provider).into_iter().rfind(|message| message["type"] == "participant");
        let seen = &seen.expect("something was told")["participant"];
        (seen["tier"].clone(), seen["tierReason"].clone())
    }

    /// The height that is wished for last, by viewer and seat.
    fn heights(&self) -> BTreeMap<(PeerId, SeatId), Option<u16>> {
        let wishes = self.harness.did.iter().filter_map(|did| match did {
            Did::Media(MediaCommand::SetSeatWish { peer, seat, wish: SeatWish { max_height, .. } }) => {
                Some(((*peer, *seat), *max_height))
            }
            _ => None,
        });
        wishes.collect()
    }

    fn sought(&self) -> Option<u64> {
        self.harness.did.iter().rev().find_map(|did| match did {
            Did::Media(MediaCommand::SeekRate { bps, .. }) => Some(*bps),
            _ => None,
        })
    }

    fn tier(&self) -> BandwidthProfile {
        self.harness.live.tier_of(self.harness.ids["patient"])
    }

    fn is_on_record(&self) -> bool {
        self.harness.stored.session.fallback_since().is_some()
    }
}

#[test]
fn on_a_slow_line_no_picture_goes_either_way_and_both_are_told_why() {
    let mut visit = Visit::new();
    visit.looks(10, SLOW);
    assert!(visit.told().is_empty());
    visit.looks(1, SLOW);
    assert_eq!(visit.told(), [(json!("audio_only"), json!("downlink_rate"))]);
    assert_eq!(visit.seen(), (json!("audio_only"), json!("downlink_rate")));
    let (patient, provider) = (visit.peer(), visit.harness.peers[&visit.provider]);
    let none: BTreeMap<_, _> = [((provider, SeatId(0)), Some(0))]
        .into_iter()
        .chain((0..3).map(|seat| ((patient, SeatId(seat)), Some(0))))
        .collect();
    assert_eq!(visit.heights(), none);
    assert_eq!(visit.sought(), Some(396_000));
    assert_ne!(visit.harness.gate(patient), Some(false), "the voice goes on");
    assert!(!visit.is_on_record(), "nothing of it is fallback to text");

    visit.looks(40, GOOD);
    assert_eq!(visit.rehearsals(), [json!("video"), json!(null)]);
    assert_eq!(visit.told().last(), Some(&(json!("video"), json!("recovered"))));
    assert_eq!(visit.seen(), (json!("video"), json!(null)));
    assert!(visit.heights().values().all(Option::is_none), "{:?}", visit.heights());
    assert_eq!(visit.sought(), Some(0));
}

#[test]
fn what_people_wish_meanwhile_is_so_when_the_picture_is_back() {
    let mut visit = Visit::new();
    visit.looks(11, SLOW);
    visit.harness.say(visit.patient, json!({"type": "subscribe", "slots": [{"seat": 0, "maxHeight": 360}]}));
    let patient = visit.peer();
    assert_eq!(visit.heights()[&(patient, SeatId(0))], Some(0));
    visit.looks(40, GOOD);
    assert_eq!(visit.heights()[&(patient, SeatId(0))], Some(360));
}

#[test]
fn who_is_not_heard_goes_on_in_writing_and_comes_back_unheard_first() {
    let mut visit = Visit::new();
    visit.looks(5, GOOD);
    visit.falls_silent();
    visit.passes(8);
    assert_eq!(
        visit.told(),
        [(json!("audio_only"), json!("silence")), (json!("async_text"), json!("silence"))]
    );
    let patient = visit.peer();
    assert_eq!(visit.harness.gate(patient), Some(false));
    assert!(visit.is_on_record());
    let commit = visit.harness.commits.last().unwrap();
    assert!(matches!(commit.events[..], [Event::FallbackInitiated { .. }]));
    assert_eq!(commit.actor, Actor::System);
    // The cut lasts, and the visit with it.
    visit.passes(280);
    assert_eq!(visit.harness.live.session().status(), SessionStatus::Active);

    visit.harness.media(MediaEvent::Heard { peer: patient });
    visit.passes(4);
    assert_eq!(visit.rehearsals(), [json!("audio_only")]);
    assert_eq!(visit.harness.gate(patient), Some(true));
    let seated = |visit: &Visit| {
        visit.harness.did.iter().rev().find_map(|did| match did {
            Did::Media(MediaCommand::SetSeat { peer, occupant, .. }) if *peer != patient => Some(*occupant),
            _ => None,
        })
    };
    assert_eq!(seated(&visit), Some(None), "nobody hears it");
    visit.looks(10, GOOD);
    assert_eq!(visit.told().last(), Some(&(json!("audio_only"), json!("recovered"))));
    assert_eq!(visit.rehearsals(), [json!("audio_only"), json!(null)]);
    assert_eq!(seated(&visit), Some(Some(patient)));
    assert!(!visit.is_on_record());
}

#[test]
fn who_hangs_up_is_lost_and_not_in_writing() {
    let mut visit = Visit::new();
    visit.looks(5, GOOD);
    visit.harness.lose(visit.patient);
    visit.falls_silent();
    visit.passes(61);
    assert!(!visit.is_on_record());
    assert_eq!(visit.harness.stored.session.end_reason(), Some(EndReason::ReconnectExpired));
}

#[test]
fn a_socket_on_which_nothing_is_heard_is_not_hung_up() {
    let mut visit = Visit::new();
    visit.looks(5, GOOD);
    visit.harness.input(Input::Closed { connection: ConnectionId(visit.patient), hung_up: false });
    visit.falls_silent();
    visit.passes(300);
    assert!(visit.is_on_record());
    assert_eq!(visit.harness.live.session().status(), SessionStatus::Active);
}

#[test]
fn media_ends_though_the_store_does_not_take_that_it_went_on_in_writing() {
    let mut visit = Visit::new();
    visit.harness.store = StoreMode::Fails;
    visit.harness.say(visit.patient, json!({"type": "tier", "want": "async_text", "id": 3}));
    assert_eq!(visit.harness.gate(visit.peer()), Some(false));
    visit.passes(5);
    assert!(!visit.is_on_record());
    let tried = visit.harness.did.iter().filter(|did| matches!(did, Did::Commit(_))).count();
    assert!((2..=12).contains(&tried), "{tried} in five seconds");
    visit.harness.store = StoreMode::Works;
    visit.passes(2);
    assert!(visit.is_on_record());
    let commit = visit.harness.commits.last().unwrap();
    assert_eq!(commit.actor, Actor::Participant(visit.harness.ids["patient"]), "who chose it");
}

#[test]
fn after_a_restart_who_has_not_returned_may_be_in_writing_still() {
    let mut visit = Visit::begun();
    visit.looks(5, GOOD);
    visit.falls_silent();
    visit.passes(8);
    assert!(visit.is_on_record());
    visit.harness.restart();
    let provider = visit.harness.reload("provider", visit.provider);
    visit.passes(60);
    visit.harness.say(provider, json!({"type": "tier", "want": "audio_only", "id": 3}));
    visit.passes(60);
    assert!(visit.is_on_record(), "what the patient wrote is to come to somebody's desk if they stay away");
    visit.harness.reload("patient", visit.patient);
    visit.passes(10);
    assert!(!visit.is_on_record());
}

#[test]
fn two_transports_that_never_stand_leave_writing() {
    let mut visit = Visit::new();
    for _ in 0..2 {
        let peer = visit.peer();
        visit.harness.media(MediaEvent::Disconnected { peer, why: "gone".into() });
        let added = visit.harness.did.iter().rev().find_map(|did| match did {
            Did::Media(MediaCommand::AddPeer(peer)) => Some(*peer),
            _ => None,
        });
        visit.harness.peers.insert(visit.patient, added.unwrap());
    }
    assert!(visit.told().is_empty(), "the first one stood");
    let peer = visit.peer();
    visit.harness.media(MediaEvent::Disconnected { peer, why: "gone".into() });
    assert_eq!(visit.told(), [(json!("async_text"), json!("reconnects_failed"))]);
    assert!(visit.is_on_record());
}

#[test]
fn what_a_device_thinks_of_its_way_up_is_noted_and_counts_with_what_is_seen() {
    let mut visit = Visit::new();
    visit.harness.say(visit.patient, json!({"type": "line", "uplinkKbps": 80}));
    let (peer, bps) = (visit.peer(), 80_000);
    assert!(visit.harness.did.contains(&Did::Media(MediaCommand::NoteUplink { peer, bps })));
    visit.looks(11, LineSeen { uplink_bps: Some(bps), ..GOOD });
    assert_eq!(visit.told(), [(json!("audio_only"), json!("uplink_rate"))]);
}

#[test]
fn every_change_is_in_the_timeline_and_told_to_who_counts() {
    let mut visit = Visit::new();
    visit.looks(11, SLOW);
    let patient = visit.harness.ids["patient"];
    visit.harness.say(visit.provider, json!({"type": "timeline", "participantId": patient, "id": 9}));
    let timeline = visit
        .harness
        .sent(visit.provider)
        .into_iter()
        .rfind(|message| message["type"] == "timeline")
        .unwrap();
    assert_eq!(timeline["tiers"][0]["profile"], "audio_only");
    assert_eq!(timeline["tiers"][0]["reason"], "downlink_rate");
    let counted: Vec<_> = visit
        .harness
        .did
        .iter()
        .filter(|did| matches!(did, Did::TierChanged(who, _) if *who == patient))
        .collect();
    assert_eq!(counted.len(), 1);
}

#[test]
fn a_look_that_changes_nothing_tells_nobody_anything() {
    let mut visit = Visit::new();
    visit.looks(2, GOOD);
    visit.harness.did.clear();
    let peer = visit.peer();
    visit.harness.media(MediaEvent::Line { peer, seen: GOOD });
    assert!(visit.harness.did.is_empty(), "{:?}", visit.harness.did);
}

#[test]
fn that_somebody_writes_is_not_put_on_record_by_who_chose_something_else() {
    let mut visit = Visit::new();
    visit.looks(5, GOOD);
    visit.harness.store = StoreMode::Fails;
    visit.falls_silent();
    visit.passes(8);
    visit.harness.say(visit.provider, json!({"type": "tier", "want": "audio_only", "id": 3}));
    visit.harness.store = StoreMode::Works;
    visit.passes(2);
    assert!(visit.is_on_record());
    assert_eq!(visit.harness.commits.last().unwrap().actor, Actor::System);
}

#[test]
fn a_voice_takes_as_little_as_a_voice_can_on_a_line_without_a_picture() {
    let mut visit = Visit::new();
    let patient = visit.patient;
    visit.looks(11, SLOW);
    let thrifty = json!({"type": "audioEncoding", "maxBitrateBps": 16_000, "frameMs": 60});
    assert_eq!(visit.harness.told(patient, "audioEncoding"), std::slice::from_ref(&thrifty));
    assert!(visit.harness.told(visit.provider, "audioEncoding").is_empty(), "their line is good");
    visit.harness.say(patient, json!({"type": "tier", "want": "video", "id": 3}));
    visit.looks(60, GOOD);
    assert_eq!(visit.told().last(), Some(&(json!("video"), json!("recovered"))));
    let full = json!({"type": "audioEncoding", "maxBitrateBps": null, "frameMs": null});
    assert_eq!(visit.harness.told(patient, "audioEncoding"), [thrifty, full]);
}

#[test]
fn a_voice_takes_the_least_there_is_on_a_line_that_hardly_carries_one() {
    const HARDLY: LineSeen = LineSeen { downlink_bps: Some(20_000), ..GOOD };
    let mut visit = Visit::new();
    visit.looks(11, SLOW);
    visit.looks(1, HARDLY);
    let asked = visit.harness.told(visit.patient, "audioEncoding");
    let bits: Vec<_> = asked.iter().map(|told| (&told["maxBitrateBps"], &told["frameMs"])).collect();
    assert_eq!(bits, [(&json!(16_000), &json!(60)), (&json!(8_000), &json!(120))]);
    let peer = visit.harness.peers[&visit.provider];
    visit.harness.media(MediaEvent::AudioWanted { peer, profile: AudioProfile::Least });
    let asked = visit.harness.told(visit.provider, "audioEncoding");
    assert_eq!(asked.last().expect("something")["maxBitrateBps"], 8_000, "nobody's line carries more of it");
}

#[test]
fn looks_at_a_line_on_which_nobody_is_heard_do_not_hide_that_they_are_not() {
    let mut visit = Visit::new();
    visit.looks(5, GOOD);
    let fell_silent_at = visit.harness.now;
    visit.falls_silent();
    let peer = visit.peer();
    // Voices still go to them, and so it is still looked.
    while visit.tier() != BandwidthProfile::AsyncText {
        visit.harness.advance(1);
        visit.harness.media(MediaEvent::Line { peer, seen: GOOD });
        let silent_for = visit.harness.now.duration_since(fell_silent_at);
        assert!(silent_for <= SignedDuration::from_secs(15), "still {:?}", visit.told());
    }
}

#[test]
fn another_device_has_a_line_of_its_own_and_what_was_chosen_stays() {
    let mut visit = Visit::new();
    visit.looks(11, SLOW);
    assert_eq!(visit.seen().0, json!("audio_only"));
    let other = visit.harness.enter("patient");
    let wanted = |visit: &Visit, socket| visit.harness.told(socket, "audioEncoding").len();
    assert_eq!(wanted(&visit, other), 0, "its line is not theirs");
    visit.harness.admit(visit.provider, "patient");
    assert_eq!(visit.seen().0, json!("video"));
    assert_eq!(visit.harness.told(other, "tier").last().unwrap()["profile"], "video");

    visit.patient = other;
    visit.harness.say(other, json!({"type": "tier", "want": "audio_only", "id": 9}));
    let third = visit.harness.enter("patient");
    visit.harness.admit(visit.provider, "patient");
    assert_eq!(visit.seen(), (json!("audio_only"), json!("chosen")));
    assert_eq!(visit.harness.told(third, "tier").last().unwrap()["reason"], "chosen");
}
