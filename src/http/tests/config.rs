//! The configuration over HTTP.

use std::sync::Arc;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Answer, As, Server};
use crate::rights::Right;
use crate::testing::TempDir;

async fn server(folder: &Arc<TempDir>, participants_limit: u16) -> (Server, String) {
    let server = Server::on(Arc::clone(folder), 100_000, participants_limit).await;
    let rights = [Right::ConfigRead, Right::ConfigWrite, Right::SessionsWrite];
    let key = server.scoped_key(&server.clinic, &rights).await;
    (server, key)
}

async fn change(server: &Server, key: &str, body: Value) -> Answer {
    server.ask(As::Key(key), Method::PATCH, "/v1/config", Some(body)).await
}

async fn schedule(server: &Server, key: &str, people: usize) -> Answer {
    let participants = vec![json!({"role": "observer", "displayName": "x".repeat(60)}); people];
    let body = json!({"patientId": "mrn-1", "providerRef": "dr-a", "participants": participants});
    server.post(As::Key(key), "/v1/sessions", body).await
}

#[tokio::test]
async fn the_operator_says_how_many_participants_a_clinic_may_allow() {
    let folder = Arc::new(TempDir::new());
    let (first, key) = server(&folder, 400).await;
    for many in [1, 401, 1_001] {
        let answer = change(&first, &key, json!({"maxParticipants": many})).await;
        assert_eq!(answer.body["field"], "maxParticipants");
        let said = answer.body["detail"].as_str().unwrap();
        assert!(said.contains("2 to 400") && said.contains("--participants-limit"), "{said}");
        answer.refused(422, "invalid");
    }
    schedule(&first, &key, 21).await.refused(409, "session_full");
    change(&first, &key, json!({"maxParticipants": 300})).await.expect(200);
    let made = schedule(&first, &key, 300).await.expect(201);
    assert_eq!(made["participants"].as_array().unwrap().len(), 300);
    schedule(&first, &key, 301).await.refused(409, "session_full");
    schedule(&first, &key, 1_001).await.refused(422, "invalid");

    first.store.close().await;
    let (second, key) = server(&folder, 10).await;
    let config = second.get(As::Key(&key), "/v1/config").await.expect(200);
    assert_eq!(config["maxParticipants"], 10, "what is shown is what has effect");
    schedule(&second, &key, 11).await.refused(409, "session_full");
    schedule(&second, &key, 10).await.expect(201);
    let config = change(&second, &key, json!({"noShowMinutes": 30})).await.expect(200);
    assert_eq!(config["maxParticipants"], 10, "and stands in the way of nothing else");
    let config = change(&second, &key, json!({"maxParticipants": null})).await.expect(200);
    assert_eq!(config["maxParticipants"], 10);
}
