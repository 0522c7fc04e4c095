//! What callers must not get by a detour: rights by an account or a key they make, events after their key is gone, a link
//! that is dead when it arrives.

use axum::body::Body;
use axum::http::{Method, Request, header};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{As, Server};
use crate::rights::Right;

const ANY_TIME_TO_COME: &str = "2099-01-01T00:00:00Z";

impl Server {
    async fn session(&self, key: &str) -> Value {
        let body = json!({
            "patientId": "mrn-1",
            "providerRef": "desk",
            "participants": [{"role": "provider"}, {"role": "patient"}],
        });
        self.post(As::Key(key), "/v1/sessions", body).await.expect(201)
    }
}

#[tokio::test]
async fn a_key_for_staff_gives_no_account_more_than_it_has() {
    let server = Server::start().await;
    let managing = server.scoped_key(&server.clinic, &[Right::StaffManage]).await;
    let account = |login: &str, role: &str| json!({"login": login, "displayName": "E", "role": role});
    for role in ["admin", "provider", "front_desk"] {
        let made = server.post(As::Key(&managing), "/v1/staff", account("evil", role)).await;
        made.refused(403, "not_permitted");
    }
    let all: Vec<Right> = crate::rights::Role::Admin.rights().to_vec();
    let admin = server.scoped_key(&server.clinic, &all).await;
    let made = server.post(As::Key(&admin), "/v1/staff", account("ada", "provider")).await.expect(201);
    let path = format!("/v1/staff/{}", made["id"].as_str().unwrap());
    let link = server.post(As::Key(&managing), &format!("{path}/link"), json!({})).await;
    link.refused(403, "not_permitted");
    let change =
        server.ask(As::Key(&managing), Method::PATCH, &path, Some(json!({"role": "front_desk"}))).await;
    change.refused(403, "not_permitted");
}

#[tokio::test]
async fn a_key_that_ends_makes_none_that_outlives_it() {
    let server = Server::start().await;
    let lasting = server.scoped_key(&server.clinic, &[Right::KeysManage]).await;
    let key = |expires: Option<&str>| json!({"name": "k", "scopes": ["keys:manage"], "expiresAt": expires});
    let made = server.post(As::Key(&lasting), "/v1/api-keys", key(Some(ANY_TIME_TO_COME))).await.expect(201);
    let ending = made["key"].as_str().unwrap();
    server.post(As::Key(ending), "/v1/api-keys", key(None)).await.refused(422, "invalid");
    server
        .post(As::Key(ending), "/v1/api-keys", key(Some("2099-01-02T00:00:00Z")))
        .await
        .refused(422, "invalid");
    server.post(As::Key(ending), "/v1/api-keys", key(Some(ANY_TIME_TO_COME))).await.expect(201);
}

#[tokio::test]
async fn the_secret_from_before_a_rotation_does_not_rotate() {
    let server = Server::start().await;
    let old = server.scoped_key(&server.clinic, &[Right::KeysManage, Right::SessionsRead]).await;
    let id = server.get(As::Key(&old), "/v1/api-keys").await.expect(200)["items"][0]["id"].clone();
    let path = format!("/v1/api-keys/{}/rotate", id.as_str().unwrap());
    server.post(As::Key(&old), &path, json!({"graceMinutes": 60})).await.expect(200);
    server.get(As::Key(&old), "/v1/sessions").await.expect(200);
    server.post(As::Key(&old), &path, json!({})).await.refused(403, "not_permitted");
}

/// Each answer is the same link, and it is one that opens the door.
#[tokio::test]
async fn a_link_asked_for_several_times_at_once_is_one_and_good() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead, Right::SessionsWrite]).await;
    let session = server.session(&key).await;
    let (id, who) = (session["id"].as_str().unwrap(), session["participants"][1]["id"].as_str().unwrap());
    let path = format!("/v1/sessions/{id}/participants/{who}/tokens");
    let asks = (0..6).map(|_| {
        let request = Request::post(&path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", "once")
            .body(Body::from(r#"{"revokeEarlier": true}"#))
            .unwrap();
        server.send(request)
    });
    let answers = futures_util::future::join_all(asks).await;
    let tokens: Vec<Value> = answers.into_iter().map(|answer| answer.expect(201)["token"].clone()).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    server.post(As::Nobody, "/v1/join", json!({"token": tokens[0]})).await.expect(200);
    let now = server.get(As::Key(&key), &format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(now["version"], 2, "revoked once");
}

#[tokio::test]
async fn who_is_cancelled_twice_hears_the_same() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead, Right::SessionsWrite]).await;
    let session = server.session(&key).await;
    let path = format!("/v1/sessions/{}/cancel", session["id"].as_str().unwrap());
    let first = server.post(As::Key(&key), &path, json!({})).await.expect(200);
    assert_eq!(server.post(As::Key(&key), &path, json!({})).await.expect(200), first);
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let server = Server::start().await;
    let rights = [Right::KeysManage, Right::EventsRead, Right::SessionsWrite];
    let (listening, other) = (
        server.scoped_key(&server.clinic, &[Right::EventsRead]).await,
        server.scoped_key(&server.clinic, &rights).await,
    );
    let request = Request::get("/v1/events/stream?after=0")
        .header(header::AUTHORIZATION, format!("Bearer {listening}"))
        .body(Body::empty())
        .unwrap();
    let mut stream = server.router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    server.session(&other).await;
    while server.store.sequence(10).await.unwrap() > 0 {}
    server.feed.nudge();
    assert!(stream.next().await.is_some(), "it hears while it may");

    let keys = server.get(As::Key(&other), "/v1/api-keys").await.expect(200);
    let id =
        keys["items"].as_array().unwrap().iter().find(|key| key["scopes"] == json!(["events:read"])).unwrap();
    let path = format!("/v1/api-keys/{}", id["id"].as_str().unwrap());
    assert_eq!(server.ask(As::Key(&other), Method::DELETE, &path, None).await.status, 204);
    server.session(&other).await;
    while server.store.sequence(10).await.unwrap() > 0 {}
    server.feed.nudge();
    assert!(stream.next().await.is_none(), "and no longer");
}

#[tokio::test]
async fn the_audit_names_whom_an_act_was_about_and_refuses_what_nobody_is_called() {
    let server = Server::start().await;
    let rights = [Right::AuditRead, Right::SessionsRead, Right::SessionsWrite];
    let key = server.scoped_key(&server.clinic, &rights).await;
    let session = server.session(&key).await;
    let (id, who) = (session["id"].as_str().unwrap(), session["participants"][1]["id"].as_str().unwrap());
    server
        .post(As::Key(&key), &format!("/v1/sessions/{id}/participants/{who}/remove"), json!({}))
        .await
        .expect(200);
    let lines = server.get(As::Key(&key), &format!("/v1/audit?sessionId={id}")).await.expect(200);
    let removed =
        lines["items"].as_array().unwrap().iter().find(|line| line["action"] == "session.removed").unwrap();
    assert_eq!((&removed["subjectKind"], &removed["subjectId"]), (&json!("participant"), &json!(who)));
    assert!(removed["requestId"].is_string() && removed["sessionId"] == id);
    server.get(As::Key(&key), "/v1/audit?actor=%00").await.refused(422, "invalid");
    server.get(As::Key(&key), "/v1/audit?cursor=AA").await.refused(422, "invalid");
}

#[tokio::test]
async fn a_list_in_the_place_of_an_object_is_none() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsWrite]).await;
    let list = json!(["mrn-1", "desk", null, null, "speech", []]);
    server.post(As::Key(&key), "/v1/sessions", list).await.refused(400, "malformed");
    for content_type in ["application/foo+json", "application/json; charset=utf-16", "text/plain"] {
        let request = Request::post("/v1/sessions")
            .header(header::AUTHORIZATION, format!("bearer {key}"))
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(r#"{"patientId": "p", "providerRef": "d"}"#))
            .unwrap();
        server.send(request).await.refused(415, "unsupported_media_type");
    }
}
