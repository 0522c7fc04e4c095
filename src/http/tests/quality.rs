//! How the connections of a session were, over HTTP.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::timeout;
use vestibule_domain::{Command, ConfigValues, ParticipantId};
use vestibule_media_core::srtp::SrtpProfile;
use vestibule_media_core::{Event, PeerId};
use vestibule_media_engine::EventSink as _;
use vestibule_signaling::wire::{QualityCode, QualityLevel, QualityReason};
use vestibule_signaling::{Quality, QualityStep};

use super::{As, Server};
use crate::ids::Ids;
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
    let mut provider = server.seat(&invited, invited.provider).await;
    timeout(PATIENCE, provider.outbox.recv()).await.expect("a welcome").unwrap();
    // The first peer of the first room.
    let peer = PeerId(1 << 32 | 1);
    server.events.event(Event::Connected { peer, profile: SrtpProfile::AeadAes128Gcm });
    let _patient = server.seat(&invited, invited.patient).await;
    server.command(&invited, Command::Admit { participant: invited.patient }, invited.provider).await;
    server.command(&invited, Command::End, invited.provider).await;
    server.events.event(Event::QualityStep { peer, step: Box::default() });
    let kept = async {
        loop {
            server.app.registry.write_timelines().await;
            let page = Page::<StepKey> { after: None, limit: 10 };
            let steps = server.store.steps(invited.session, None, page).await.unwrap();
            if !steps.is_empty() {
                break steps;
            }
            tokio::task::yield_now().await;
        }
    };
    let kept = timeout(PATIENCE, kept).await.expect("a step");
    assert_eq!((kept.len(), kept[0].participant), (1, invited.provider));
}
