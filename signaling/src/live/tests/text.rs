//! The thread: kept before it is told, said once, read from any position, on the socket and over HTTPS.

use vestibule_domain::{BandwidthProfile, ParticipantState, TierReason};

use super::*;

const CALLS_OF_A_MINUTE: usize = 20;

impl Harness {
    /// Asks over HTTPS, by the secret of an earlier socket; the name of the answer to come.
    fn ask(&mut self, who: &str, socket: u64, ask: TextAsk) -> TextCall {
        let secret = self.kept_secret(socket);
        self.ask_by(who, &secret, ask)
    }

    fn ask_by(&mut self, who: &str, secret: &str, ask: TextAsk) -> TextCall {
        self.calls += 1;
        let call = TextCall(self.calls);
        self.input(Input::Text { call, participant: self.ids[who], key: key(secret), ask });
        call
    }

    fn kept_secret(&self, socket: u64) -> String {
        self.kept(socket).0
    }

    /// What was answered to an ask, if it was.
    fn answer(&self, call: TextCall) -> Option<Result<TextReply, TextError>> {
        let mut answers = self.did.iter().filter_map(|did| match did {
            Did::Text(to, answer) if *to == call => Some(answer.clone()),
            _ => None,
        });
        let first = answers.next();
        assert!(answers.next().is_none(), "{call:?} is answered once");
        first
    }

    fn page(&self, call: TextCall) -> ThreadPage {
        match self.answer(call) {
            Some(Ok(TextReply::Page(page))) => page,
            other => panic!("no page but {other:?}"),
        }
    }

    fn pass(&mut self, seconds: i64) {
        let until = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        for _ in 0..10_000 {
            let Some(due) = self.live.poll_timeout().filter(|due| *due <= until) else { break };
            self.now = self.now.max(due);
            self.input(Input::Timeout);
        }
        assert!(self.live.poll_timeout().is_none_or(|due| due > until), "timers come to rest");
        self.now = until;
    }

    /// Provider and patient in a visit that has begun.
    fn begun(&mut self) -> (u64, u64) {
        let provider = self.enter("provider");
        let patient = self.enter("patient");
        let participant = self.ids["patient"];
        self.say(provider, json!({"type": "admit", "participantId": participant}));
        (provider, patient)
    }
}

fn words(client_id: &str, text: &str) -> Words {
    Words { client_id: client_id.into(), text: text.into(), attachment: None }
}

fn say(client_id: &str) -> TextAsk {
    TextAsk::Say(words(client_id, client_id))
}

fn texts(page: &ThreadPage) -> Vec<&str> {
    page.lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn what_the_store_does_not_take_is_told_to_its_writer_and_to_nobody_else() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    harness.store = StoreMode::Fails;
    harness.chat(patient, "a", "lost?");
    assert_eq!(harness.errors(patient), ["store_unavailable"]);
    assert!(harness.heard(provider).is_empty());
    harness.store = StoreMode::Works;
    harness.chat(patient, "a", "lost?");
    assert_eq!(harness.heard(provider), ["lost?"]);
}

#[test]
fn a_line_of_an_id_is_said_once_over_restarts_and_beyond_what_memory_keeps() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    for n in 0..=THREAD_LINES_MAX {
        harness.chat(provider, &n.to_string(), "x");
    }
    harness.restart();
    let back = harness.reload("provider", provider);
    harness.say(back, json!({"type": "chat", "clientId": "0", "text": "x", "id": 900}));
    assert_eq!(harness.sent(back).last().unwrap()["replyTo"], 900);
    assert_eq!(harness.thread.len(), THREAD_LINES_MAX + 1);
    let second = harness.enter("second");
    harness.say(second, json!({"type": "chat", "clientId": "0", "text": "x"}));
    assert_eq!(harness.thread.len(), THREAD_LINES_MAX + 2, "another writer's is another line");
}

#[test]
fn a_line_whose_keeping_was_not_confirmed_is_told_when_it_is_sent_again() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let second = harness.enter("second");
    // The store took it, and its answer was lost.
    let participant = harness.ids["provider"];
    harness.input(Input::Frame {
        connection: ConnectionId(provider),
        frame: Frame::parse(r#"{"type":"ping"}"#),
    });
    let written = ThreadLine {
        position: 1,
        at: harness.now,
        from: participant,
        client_id: "a".into(),
        text: "once".into(),
        attachment: None,
        audience: BTreeSet::from([participant, harness.ids["second"]]),
    };
    harness.live.handle(
        harness.now,
        Input::Frame {
            connection: ConnectionId(provider),
            frame: Frame::parse(r#"{"type":"chat","clientId":"a","text":"once"}"#),
        },
    );
    while let Some(output) = harness.live.poll_output() {
        assert!(matches!(output, Output::Keep(_)), "{output:?}");
    }
    // It is in the store already, and new to those who are in.
    harness.live.kept(harness.now, Ok(vec![written]));
    harness.drain();
    assert_eq!(harness.heard(second), ["once"]);
}

#[test]
fn who_asks_gets_all_lines_after_a_position_and_none_that_are_for_others() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    harness.chat(provider, "secret", SECRET_LINE);
    let second = harness.enter("second");
    for n in 0..250 {
        harness.chat(provider, &n.to_string(), &n.to_string());
    }
    let (mut after, mut heard) = (0, Vec::new());
    loop {
        harness.say(second, json!({"type": "thread", "after": after, "id": 100 + after}));
        let page = harness.sent(second).last().copied().unwrap().clone();
        assert_eq!((&page["type"], &page["replyTo"]), (&json!("thread"), &json!(100 + after)), "{page}");
        heard.extend(page["lines"].as_array().unwrap().iter().map(|line| line["text"].clone()));
        after = page["upTo"].as_u64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(heard, (0..250).map(|n| json!(n.to_string())).collect::<Vec<_>>());
    harness.store = StoreMode::Fails;
    harness.say(second, json!({"type": "thread", "after": 0}));
    assert_eq!(harness.errors(second), ["store_unavailable"]);
    harness.say(second, json!({"type": "thread", "after": 240}));
    assert_eq!(harness.sent(second).last().unwrap()["type"], "thread", "what memory has needs no store");
}

#[test]
fn an_image_is_shown_by_who_sent_it() {
    let mut harness = Harness::new();
    let provider = harness.enter("provider");
    let image =
        |bytes: &[u8]| json!({"type": "chat", "clientId": "i", "attachment": ContentDigest::of(bytes)});
    harness.say(provider, image(b"never sent"));
    assert_eq!(harness.errors(provider), ["unknown_image"]);
    harness.say(provider, image(b"sent"));
    let sent = harness.sent(provider);
    let line = sent.iter().find(|message| message["type"] == "chat").unwrap();
    assert_eq!((&line["text"], &line["attachment"]["mediaType"]), (&json!(""), &json!("image/png")));
}

#[test]
fn over_https_by_the_secret_a_line_is_said_and_heard() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    harness.vanish(patient);
    let poll = harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    assert_eq!(harness.answer(poll), None, "it waits for news");
    harness.chat(provider, "p", "can you read me?");
    assert_eq!(texts(&harness.page(poll)), ["can you read me?"]);
    let said = harness.ask("patient", patient, say("yes"));
    assert_eq!(harness.answer(said), Some(Ok(TextReply::Done)));
    assert_eq!(harness.heard(provider), ["can you read me?", "yes"]);
    let again = harness.ask("patient", patient, say("yes"));
    assert_eq!(harness.answer(again), Some(Ok(TextReply::Done)));
    assert_eq!(harness.thread.len(), 2);
    // The secret is as good as before.
    let back = harness.resume("patient", patient);
    assert_eq!(harness.types(back)[0], "resumed");
}

#[test]
fn who_comes_back_over_https_alone_is_told_how_the_visit_stands() {
    let mut harness = Harness::new();
    let (_, patient) = harness.begun();
    harness.vanish(patient);
    let asked = harness.ask("patient", patient, TextAsk::Visit);
    let Some(Ok(TextReply::Visit(state))) = harness.answer(asked) else { panic!("it is told") };
    assert_eq!(state.you.id, harness.ids["patient"]);
    assert_eq!(state.you.state, ParticipantState::Lost, "until their line is settled");
    assert_eq!(state.session.status, SessionStatus::Active);
    let names: Vec<_> = state.participants.iter().map(|other| other.id).collect();
    assert_eq!(names, [harness.ids["provider"]]);
    harness.pass(1);
    let asked = harness.ask("patient", patient, TextAsk::Visit);
    let Some(Ok(TextReply::Visit(state))) = harness.answer(asked) else { panic!("it is told") };
    assert_eq!((state.you.state, state.you.tier), (ParticipantState::Admitted, BandwidthProfile::AsyncText));
}

#[test]
fn a_poll_waits_so_long_and_a_second_one_takes_its_place() {
    let mut harness = Harness::new();
    let (_, patient) = harness.begun();
    let first = harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    let second = harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    assert_eq!(harness.page(first), ThreadPage::default(), "it is let go");
    harness.pass(24);
    assert_eq!(harness.answer(second), None);
    harness.pass(1);
    assert_eq!(harness.page(second), ThreadPage::default());
    let third = harness.ask("patient", patient, TextAsk::Poll { after: u64::MAX });
    assert_eq!(harness.answer(third), None, "a position that never was is the last");
}

#[test]
fn who_polls_is_there_in_writing_and_the_visit_goes_on() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    harness.vanish(patient);
    assert_eq!(harness.state_of(provider, "patient"), "lost");
    for _ in 0..CALLS_OF_A_MINUTE {
        harness.ask("patient", patient, TextAsk::Poll { after: 0 });
        harness.pass(12);
    }
    assert_eq!(harness.live.session().status(), SessionStatus::Active, "longer than the grace");
    assert_eq!(harness.state_of(provider, "patient"), "admitted");
    assert!(harness.live.session().fallback_since().is_some());
    let tier = harness.live.describe(harness.ids["patient"]).unwrap().tier;
    assert_eq!(tier, BandwidthProfile::AsyncText);
    // It is a change as any other: told to who counts and keeps them, and on the timeline.
    let patient_id = harness.ids["patient"];
    let told = |did: &Did| match did {
        Did::TierChanged(who, tier) if *who == patient_id => Some((tier.profile, tier.reason)),
        _ => None,
    };
    let changes: Vec<_> = harness.did.iter().filter_map(told).collect();
    assert_eq!(changes, [(BandwidthProfile::AsyncText, TierReason::HttpsOnly)]);
    harness.say(provider, json!({"type": "timeline", "participantId": patient_id, "id": 77}));
    let timeline = harness.told(provider, "timeline").pop().unwrap();
    assert_eq!(timeline["tiers"][0]["reason"], "https_only");

    // They are away by design from then on.
    harness.pass(20 * 60);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    harness.pass(20 * 60);
    assert_eq!(harness.live.session().end_reason(), Some(EndReason::ReconnectExpired));
}

#[test]
fn who_comes_back_by_the_socket_is_in_writing_no_longer_than_their_line_is() {
    let mut harness = Harness::new();
    let (_, patient) = harness.begun();
    harness.vanish(patient);
    harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    let id = harness.ids["patient"];
    assert!(harness.live.asking.is_alone(id));
    assert!(harness.live.session().fallback_since().is_some());
    harness.resume("patient", patient);
    assert!(!harness.live.asking.is_alone(id), "what their line carries is the ladder's to say");
}

#[test]
fn who_may_not_read_and_write_on_a_socket_may_not_over_https() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    harness.chat(provider, "a", SECRET_LINE);
    let waiting = harness.enter("interpreter");
    let refused = |harness: &Harness, call, error| {
        assert_eq!(harness.answer(call), Some(Err(error)));
    };
    for ask in [TextAsk::Look, TextAsk::Visit, say("x"), TextAsk::Poll { after: 0 }, TextAsk::Composing(true)]
    {
        let call = harness.ask("interpreter", waiting, ask.clone());
        refused(&harness, call, TextError::NotIn);
        let call = harness.ask("interpreter", patient, ask);
        refused(&harness, call, TextError::Void);
    }
    let poll = harness.ask("patient", patient, TextAsk::Poll { after: 1 });
    let participant = harness.ids["patient"];
    harness.say(provider, json!({"type": "sendBack", "participantId": participant}));
    refused(&harness, poll, TextError::NotIn);
    harness.say(provider, json!({"type": "remove", "participantId": participant}));
    let call = harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    refused(&harness, call, TextError::Removed);
    assert_eq!(harness.thread.len(), 1);
}

#[test]
fn whose_device_said_that_they_write_is_waited_for_as_long_as_text_is() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    harness.say(patient, json!({"type": "composing", "on": true}));
    harness.vanish(patient);
    harness.pass(10 * 60);
    assert_eq!(harness.live.session().status(), SessionStatus::Active);
    assert_eq!(harness.state_of(provider, "patient"), "lost", "the others see that they are away");
    let back = harness.resume("patient", patient);
    harness.say(back, json!({"type": "composing", "on": true}));
    let back = harness.reload("patient", back);
    harness.vanish(back);
    harness.pass(61);
    assert_eq!(harness.live.session().status(), SessionStatus::Failed);
}

#[test]
fn what_a_patient_could_not_send_in_time_is_kept_for_the_desk() {
    let mut harness = Harness::new();
    let (provider, patient) = harness.begun();
    let poll = harness.ask("patient", patient, TextAsk::Poll { after: 0 });
    let theirs = harness.kept_secret(patient);
    harness.say(provider, json!({"type": "end"}));
    let over = TextError::Over(EndReason::ProviderEnded);
    assert_eq!(harness.answer(poll), Some(Err(over.clone())));
    let ask = |harness: &mut Harness, who: &str, secret: &str, ask| {
        let call = harness.ask_by(who, secret, ask);
        harness.answer(call).unwrap()
    };
    assert_eq!(ask(&mut harness, "patient", &theirs, say("late")), Ok(TextReply::HandedOver));
    assert_eq!(ask(&mut harness, "patient", &theirs, say("late")), Ok(TextReply::HandedOver));
    assert_eq!(harness.thread.len(), 1);
    assert_eq!(harness.thread[0].audience, BTreeSet::from([harness.ids["patient"]]));
    assert_eq!(ask(&mut harness, "patient", &theirs, TextAsk::Poll { after: 0 }), Err(over.clone()));
    let providers = harness.kept_secret(provider);
    assert_eq!(ask(&mut harness, "provider", &providers, say("late")), Err(over));
}
