//! The desk as a page hears it.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, header};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;
use vestibule_domain::Command;

use super::{As, ORIGIN, Server};
use crate::live::Seated;
use crate::rights::{Right, Role};

const PATIENCE: Duration = Duration::from_secs(20);

/// An open stream.
struct Stream(BodyDataStream);

impl Stream {
    async fn open(server: &Server, who: As<'_>, query: &str) -> Self {
        let request = Request::get(format!("/v1/desk{query}")).header(header::HOST, "localhost");
        let request = match who {
            As::Key(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")),
            As::Cookie(cookie) => request.header(header::COOKIE, cookie).header(header::ORIGIN, ORIGIN),
            other => panic!("nobody looks at a desk as {other:?}"),
        };
        let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self(response.into_body().into_data_stream())
    }

    /// The next snapshot; none when the stream has ended.
    async fn next(&mut self) -> Option<Value> {
        let chunk = timeout(PATIENCE, self.0.next()).await.expect("an event")?.unwrap();
        let text = std::str::from_utf8(&chunk).unwrap();
        let data = text.strip_prefix("event: queue\ndata: ").unwrap_or_else(|| panic!("{text}"));
        Some(serde_json::from_str(data.trim()).unwrap())
    }

    /// The first snapshot in which these wait.
    async fn until(&mut self, names: &[&str]) -> Value {
        loop {
            let queue = self.next().await.expect("it goes on");
            if names_in(&queue) == names {
                return queue;
            }
        }
    }
}

fn names_in(queue: &Value) -> Vec<&str> {
    queue["waiting"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// What somebody who waits is told of their place, until it is this.
async fn told_position(seated: &mut Seated, position: u64) -> Value {
    loop {
        let message = timeout(PATIENCE, seated.outbox.recv()).await.expect("a message").unwrap();
        let message: Value = serde_json::from_str(&message.text).unwrap();
        if message["type"] == "waiting" && message["position"] == position {
            return message;
        }
    }
}

#[tokio::test]
async fn two_wait_at_one_desk_in_order_and_move_up() {
    let server = Server::start().await;
    let provider = server.settle_at(&server.clinic, "ada", Role::Provider, Some("dr-a")).await;
    let (first, second) = (server.invited("dr-a", "Pat").await, server.invited("dr-a", "Quinn").await);
    let elsewhere = server.invited("dr-b", "Robin").await;
    let mut desk = Stream::open(&server, As::Cookie(&provider), "").await;
    let empty = desk.next().await.unwrap();
    assert_eq!(empty, json!({"providerRef": "dr-a", "waiting": []}), "at once");

    let mut pat = server.seat(&first, first.patient).await;
    desk.until(&["Pat"]).await;
    let _robin = server.seat(&elsewhere, elsewhere.patient).await;
    let mut quinn = server.seat(&second, second.patient).await;
    let queue = desk.until(&["Pat", "Quinn"]).await;
    let shown = &queue["waiting"][1];
    assert_eq!(shown["position"], 2);
    assert_eq!(shown["sessionId"], second.session.to_string());
    assert_eq!(shown["participantId"], second.patient.to_string());
    assert_eq!(
        (&shown["connected"], &shown["newDevice"], &shown["providerPresent"], &shown["scheduledStart"]),
        (&json!(true), &json!(false), &json!(false), &Value::Null)
    );
    assert!(shown["since"].is_string());
    told_position(&mut pat, 1).await;
    let told = told_position(&mut quinn, 2).await;
    assert_eq!(told["deskAttended"], true, "somebody looks at the desk");

    let _ada = server.seat(&first, first.provider).await;
    server.command(&first, Command::Admit { participant: first.patient }, first.provider).await;
    let queue = desk.until(&["Quinn"]).await;
    assert_eq!(queue["waiting"][0]["position"], 1);
    told_position(&mut quinn, 1).await;
}

#[tokio::test]
async fn who_looks_at_which_desk() {
    let server = Server::start().await;
    let at_a_desk = server.settle_at(&server.clinic, "ada", Role::Provider, Some("dr-a")).await;
    let without = server.settle("bob", Role::FrontDesk).await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead]).await;
    let visit = server.invited("dr-a", "Pat").await;
    let _pat = server.seat(&visit, visit.patient).await;
    Stream::open(&server, As::Cookie(&at_a_desk), "").await.until(&["Pat"]).await;
    for who in [As::Cookie(&without), As::Key(&key)] {
        let refused = server.get(who, "/v1/desk").await;
        assert_eq!(refused.body["field"], "providerRef");
        refused.refused(422, "invalid");
        Stream::open(&server, who, "?providerRef=dr-a").await.until(&["Pat"]).await;
    }
    server.get(As::Key(&key), "/v1/desk?providerRef=").await.refused(422, "invalid");
    server.get(As::Key(&key), "/v1/desk?desk=dr-a").await.refused(400, "malformed");
    server.get(As::Nobody, "/v1/desk?providerRef=dr-a").await.refused(401, "unauthenticated");
    let other = server.scoped_key(&server.clinic, &[Right::SessionsWrite]).await;
    server.get(As::Key(&other), "/v1/desk?providerRef=dr-a").await.refused(403, "not_permitted");

    let stranger = server.settle_at_another_clinic("eve", Role::Provider).await;
    let mut theirs = Stream::open(&server, As::Cookie(&stranger), "?providerRef=dr-a").await;
    assert_eq!(names_in(&theirs.next().await.unwrap()), [""; 0], "another clinic's desk of that name");
}

#[tokio::test]
async fn a_look_at_a_desk_ends_with_its_key_and_with_the_server() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead]).await;
    let managing = server.scoped_key(&server.clinic, &[Right::KeysManage]).await;
    let mut desk = Stream::open(&server, As::Key(&key), "?providerRef=dr-a").await;
    desk.next().await.unwrap();
    let keys = server.get(As::Key(&managing), "/v1/api-keys").await.expect(200);
    let listed = keys["items"].as_array().unwrap();
    let id = listed.iter().find(|key| key["scopes"] == json!(["sessions:read"])).unwrap()["id"].clone();
    let path = format!("/v1/api-keys/{}", id.as_str().unwrap());
    server.ask(As::Key(&managing), Method::DELETE, &path, None).await.expect(204);
    let visit = server.invited("dr-a", "Pat").await;
    let _pat = server.seat(&visit, visit.patient).await;
    assert_eq!(desk.next().await, None, "it hears of nobody");

    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead]).await;
    let mut desk = Stream::open(&server, As::Key(&key), "?providerRef=dr-b").await;
    desk.next().await.unwrap();
    server.app.registry.stop();
    assert_eq!(desk.next().await, None);
}

#[tokio::test]
async fn so_many_look_at_once() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &[Right::SessionsRead]).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(Stream::open(&server, As::Key(&key), "?providerRef=dr-a").await);
    }
    server.get(As::Key(&key), "/v1/desk?providerRef=dr-a").await.refused(429, "too_many_requests");
    open.pop();
    open.push(Stream::open(&server, As::Key(&key), "?providerRef=dr-a").await);
}
