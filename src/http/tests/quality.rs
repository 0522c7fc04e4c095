//! How the connections of a session were, over HTTP.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::timeout;
use vestibule_domain::{Command, ConfigValues, ParticipantId};
use vestibule_media_core::srtp::SrtpProfile;
use vestibule_media_core::{Event, PeerId};
use vestibule_media_engine::EventSink as _;
use vestibule_signaling::wire::{Frame, QualityCode, QualityLevel, QualityReason};
use vestibule_signaling::{Quality, QualityStep};

use super::signal::Invited;
use super::{As, Server};
use crate::ids::Ids;
use crate::live::Seated;
use crate::rights::Right;
use crate::store::{KeptStep, Page, StepKey};
use crate::{clock, tenants};

/// Longer than anything here takes: what does not come fails the test.
const PATIENCE: Duration = Duration::from_secs(10);

fn step(start: Timestamp, number: i64, who: ParticipantId) -> KeptStep {
    let reason = QualityReason { code: QualityCode::UplinkLoss, value: 8 };
    let measured = QualityStep {
        quality: Quality { level: QualityLevel::Poor, reason: Some(reason) },
        uplink_loss: Some(0.084),
        downlink_bps: 1_234_567,
        video_height: Some(180),
        ..QualityStep::default()
    };
    KeptStep::of(start.checked_add(SignedDuration::from_secs(10 * number)).unwrap(), who, &measured)
}

#[tokio::test]
async fn a_clinic_reads_how_the_connections_of_its_sessions_were_page_by_page() {
    let server = Server::start().await;
    let invited = server.invited("dr-a", "Pat").await;
    let start: Timestamp = "2026-11-29T10:00:00Z".parse().unwrap();
    let steps: Vec<KeptStep> = (1..=3)
        .flat_map(|number| [invited.provider, invited.patient].map(|who| step(start, number, who)))
        .collect();
    server.store.keep_steps(invited.session, &steps).await.unwrap();

    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead]).await;
    let path = format!("/v1/sessions/{}/quality", invited.session);
    let first = server.get(As::Key(&key), &format!("{path}?limit=4")).await.expect(200);
    assert_eq!(
        first["items"][0],
        json!({"at": "2026-11-29T10:00:10Z", "participantId": invited.provider.min(invited.patient),
            "level": "poor", "reason": {"code": "uplink_loss", "value": 8},
            "uplinkLossPercent": 8.4, "downlinkLossPercent": null, "uplinkJitterMs": null,
            "roundTripMs": null, "uplinkKbps": 0, "downlinkKbps": 1_234, "downlinkEstimateKbps": null,
            "videoHeight": 180})
    );
    let next = first["next"].as_str().unwrap();
    let second = server.get(As::Key(&key), &format!("{path}?limit=4&cursor={next}")).await.expect(200);
    let count = |page: &serde_json::Value| page["items"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), &second["next"]), (4, 2, &json!(null)));
    let theirs = format!("{path}?participantId={}", invited.patient);
    assert_eq!(count(&server.get(As::Key(&key), &theirs).await.expect(200)), 3);

    server.get(As::Key(&key), &format!("{path}?cursor=eA")).await.refused(422, "invalid");
    server.get(As::Nobody, &path).await.refused(401, "unauthenticated");
    let blind = server.scoped_key(&server.clinic, &[Right::SessionsWrite]).await;
    server.get(As::Key(&blind), &path).await.refused(403, "not_permitted");
    let (ids, values) = (Ids::system(), ConfigValues::default());
    let other = tenants::of_name(&server.store, &ids, "Another", values, clock::now()).await.unwrap();
    let foreign = server.scoped_key(&other, &[Right::SessionsRead]).await;
    server.get(As::Key(&foreign), &path).await.refused(404, "not_found");
}

#[tokio::test]
async fn the_last_seconds_of_who_was_there_until_the_end_are_kept() {
    let server = Server::start().await;
    let invited = server.invited("dr-a", "Pat").await;
    let _provider = server.connected(&invited).await;
    let _patient = server.seat(&invited, invited.patient).await;
    server.command(&invited, Command::Admit { participant: invited.patient }, invited.provider).await;
    server.command(&invited, Command::End, invited.provider).await;
    server.measures();
    let kept = server.kept(&invited, 1).await;
    assert_eq!((kept.len(), kept[0].participant), (1, invited.provider));
}

#[tokio::test]
async fn after_a_restart_a_provider_is_told_how_connections_were_before() {
    let server = Server::start().await;
    let invited = server.invited("dr-a", "Pat").await;
    let _provider = server.connected(&invited).await;
    server.measures();
    let before = server.kept(&invited, 1).await;

    let server = server.restart().await;
    let mut provider = server.connected(&invited).await;
    assert_eq!(told(&mut provider, &invited, 1).await[0]["until"], json!(before[0].at));
    server.measures();
    let stretches = told(&mut provider, &invited, 2).await;
    let kept = server.kept(&invited, 2).await;
    assert_eq!((stretches.len(), kept.len(), kept[0]), (2, 2, before[0]));
    assert_eq!(stretches[1]["until"], json!(kept[1].at), "what is told is what is kept");
}

#[tokio::test]
async fn a_visit_goes_on_without_what_cannot_be_read_of_before() {
    let server = Server::start().await;
    let invited = server.invited("dr-a", "Pat").await;
    let _provider = server.connected(&invited).await;
    server.measures();
    server.kept(&invited, 1).await;
    server.execute("ALTER TABLE quality_step RENAME TO gone").await;

    let server = server.restart().await;
    let mut provider = server.connected(&invited).await;
    server.measures();
    assert_eq!(told(&mut provider, &invited, 1).await.len(), 1);
}

/// The first peer of the first room.
const PEER: PeerId = PeerId(1 << 32 | 1);

impl Server {
    /// The provider, alone in the session, whose media flow.
    async fn connected(&self, invited: &Invited) -> Seated {
        let mut provider = self.seat(invited, invited.provider).await;
        timeout(PATIENCE, provider.outbox.recv()).await.expect("a welcome").unwrap();
        self.events.event(Event::Connected { peer: PEER, profile: SrtpProfile::AeadAes128Gcm });
        provider
    }

    fn measures(&self) {
        self.events.event(Event::QualityStep { peer: PEER, step: Box::default() });
    }

    /// What is kept of the session, once it is so much.
    async fn kept(&self, invited: &Invited, count: usize) -> Vec<KeptStep> {
        let kept = async {
            loop {
                self.app.registry.write_timelines().await;
                let page = Page::<StepKey> { after: None, limit: 10 };
                let steps = self.store.steps(invited.session, None, page).await.unwrap();
                if steps.len() >= count {
                    break steps;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, kept).await.expect("steps")
    }
}

/// What a provider is told of their own connection, once it is so many stretches.
async fn told(provider: &mut Seated, invited: &Invited, count: usize) -> Vec<Value> {
    let ask = json!({"type": "timeline", "participantId": invited.provider}).to_string();
    let told = async {
        loop {
            assert!(provider.voice.say(Frame::parse(&ask)).await);
            let answer = loop {
                let message = provider.outbox.recv().await.expect("the socket stays open");
                let message: Value = serde_json::from_str(&message.text).unwrap();
                if message["type"] == "timeline" {
                    break message;
                }
            };
            let stretches = answer["stretches"].as_array().unwrap();
            if stretches.len() >= count {
                break stretches.clone();
            }
        }
    };
    timeout(PATIENCE, told).await.expect("stretches")
}
