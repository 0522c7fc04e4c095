//! The thread over HTTPS, and what becomes of it when a visit ends in writing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vestibule_domain::{Command, ContentDigest, ParticipantId};
use vestibule_signaling::wire::Frame;

use super::signal::Invited;
use super::visits::picture;
use super::{Answer, As, Server};
use crate::clock;
use crate::live::Seated;
use crate::rights::Right;

/// Longer than anything here takes: what does not come fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody in a visit: a socket that is read by nobody but the test, and the secret that came with it.
struct Person {
    id: ParticipantId,
    secret: String,
    seated: Seated,
}

impl Person {
    async fn sits(server: &Server, visit: &Invited, id: ParticipantId) -> Self {
        let mut seated = server.seat(visit, id).await;
        let welcome: Value = serde_json::from_str(&seated.outbox.recv().await.unwrap().text).unwrap();
        Self { id, secret: welcome["resume"].as_str().unwrap().to_owned(), seated }
    }

    async fn says(&self, message: Value) {
        assert!(self.seated.voice.say(Frame::parse(&message.to_string())).await);
    }

    /// All that was said to them until a message of that type.
    async fn hears(&mut self, kind: &str) -> Value {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.seated.outbox.recv()).await.expect("a message");
            let message: Value = serde_json::from_str(&next.expect("an open socket").text).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }
}

impl Server {
    /// A visit that has begun, with a provider and a patient in it.
    async fn begun(&self) -> (Invited, Person, Person) {
        let visit = self.invited("desk", "Pat").await;
        let mut provider = Person::sits(self, &visit, visit.provider).await;
        let mut patient = Person::sits(self, &visit, visit.patient).await;
        provider.hears("knock").await;
        provider.says(json!({"type": "admit", "participantId": patient.id})).await;
        patient.hears("admitted").await;
        (visit, provider, patient)
    }

    async fn writes(&self, secret: &str, lines: Value) -> Answer {
        self.post(As::Key(secret), "/v1/thread", json!({"lines": lines})).await
    }

    async fn reads(&self, secret: &str, after: u64) -> Answer {
        self.get(As::Key(secret), &format!("/v1/thread?after={after}")).await
    }

    async fn shows(&self, secret: &str, file: Vec<u8>) -> Answer {
        let request = Request::post("/v1/thread/images")
            .header(header::AUTHORIZATION, format!("Bearer {secret}"))
            .body(Body::from(file));
        self.send(request.unwrap()).await
    }

    async fn visits_on_the_desk(&self) -> Vec<Value> {
        let key = self.scoped_key(&self.clinic, &[Right::VisitsRead]).await;
        let listed = self.get(As::Key(&key), "/v1/async-visits?providerRef=desk").await.expect(200);
        let mut visits = Vec::new();
        for item in listed["items"].as_array().unwrap() {
            let path = format!("/v1/async-visits/{}", item["id"].as_str().unwrap());
            visits.push(self.get(As::Key(&key), &path).await.expect(200));
        }
        visits.sort_by_key(|visit| visit["createdAt"].as_str().unwrap().to_owned());
        visits
    }
}

fn line(client_id: &str, text: &str) -> Value {
    json!({"clientId": client_id, "text": text})
}

fn texts(page: &Value) -> Vec<&str> {
    page["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lines_pass_between_a_socket_and_https_each_once() {
    let server = Server::start().await;
    let (_visit, mut provider, patient) = server.begun().await;
    provider.says(json!({"type": "chat", "clientId": "p1", "text": "can you read me?"})).await;
    provider.hears("chat").await;
    let page = server.reads(&patient.secret, 0).await.expect(200);
    assert_eq!(
        (texts(&page), &page["upTo"], &page["more"]),
        (vec!["can you read me?"], &json!(1), &json!(false))
    );

    let lines = json!([line("a", "yes"), line("b", "it began on Monday"), line("a", "yes")]);
    let said = server.writes(&patient.secret, lines.clone()).await.expect(200);
    assert_eq!(
        said["lines"],
        json!([
            {"clientId": "a", "state": "said", "code": null},
            {"clientId": "b", "state": "said", "code": null},
            {"clientId": "a", "state": "said", "code": null},
        ])
    );
    for text in ["yes", "it began on Monday"] {
        assert_eq!(provider.hears("chat").await["text"], text);
    }
    let server = server.restart().await;
    server.writes(&patient.secret, lines).await.expect(200);
    let page = server.reads(&patient.secret, 0).await.expect(200);
    assert_eq!(texts(&page), ["can you read me?", "yes", "it began on Monday"]);
}

#[tokio::test]
async fn a_poll_waits_for_news() {
    let server = Arc::new(Server::start().await);
    let (_visit, mut provider, patient) = server.begun().await;
    let poll = tokio::spawn({
        let (server, secret) = (Arc::clone(&server), patient.secret.clone());
        async move { server.reads(&secret, 0).await }
    });
    // It is there when the line is said, or comes after it: both are answered with it.
    provider.says(json!({"type": "chat", "clientId": "p1", "text": "news"})).await;
    provider.hears("chat").await;
    let page = tokio::time::timeout(PATIENCE, poll).await.expect("an answer").unwrap().expect(200);
    assert_eq!(texts(&page), ["news"]);
}

#[tokio::test]
async fn who_may_not_is_told_so_by_a_problem() {
    let server = Server::start().await;
    let (visit, provider, patient) = server.begun().await;
    server.ask(As::Nobody, Method::GET, "/v1/thread", None).await.refused(401, "resume_invalid");
    let guessed = crate::resume::fresh(visit.session, visit.patient).secret;
    for secret in [guessed.as_str(), "nonsense"] {
        server.reads(secret, 0).await.refused(401, "resume_invalid");
        server.writes(secret, json!([line("a", "x")])).await.refused(401, "resume_invalid");
        server.shows(secret, picture()).await.refused(401, "resume_invalid");
    }
    server.writes(&patient.secret, json!([line("a", " ")])).await.expect(200);
    let refused = server.writes(&patient.secret, json!([line("", "x"), line("b", "x")])).await.expect(200);
    assert_eq!(
        (&refused["lines"][0]["state"], &refused["lines"][0]["code"], &refused["lines"][1]["state"]),
        (&json!("refused"), &json!("malformed"), &json!("said"))
    );
    let many: Vec<Value> = (0..21).map(|number| line(&number.to_string(), "x")).collect();
    server.writes(&patient.secret, json!(many)).await.refused(400, "malformed");
    server.get(As::Key(&patient.secret), "/v1/thread?after=-1").await.refused(400, "malformed");

    server.command(&visit, Command::SendBack { participant: visit.patient }, provider.id).await;
    server.reads(&patient.secret, 0).await.refused(409, "not_admitted");
    server.command(&visit, Command::Remove { participant: visit.patient }, provider.id).await;
    server.writes(&patient.secret, json!([line("c", "x")])).await.refused(409, "removed");
}

#[tokio::test]
async fn what_the_store_does_not_take_is_said_and_nothing_is_lost() {
    let server = Server::start().await;
    let (_visit, _provider, patient) = server.begun().await;
    server.execute("ALTER TABLE thread_line RENAME TO gone").await;
    let lines = json!([line("a", "one"), line("b", "two")]);
    server.writes(&patient.secret, lines.clone()).await.refused(503, "store_unavailable");
    server.execute("ALTER TABLE gone RENAME TO thread_line").await;
    server.writes(&patient.secret, lines).await.expect(200);
    assert_eq!(texts(&server.reads(&patient.secret, 0).await.expect(200)), ["one", "two"]);
}

#[tokio::test]
async fn older_lines_are_read_page_by_page() {
    let server = Server::start().await;
    let (_visit, _provider, patient) = server.begun().await;
    for first in (0..260).step_by(20) {
        let lines: Vec<Value> = (first..first + 20).map(|n| line(&n.to_string(), &n.to_string())).collect();
        server.writes(&patient.secret, json!(lines)).await.expect(200);
    }
    let (mut after, mut heard) = (0, Vec::new());
    loop {
        let page = server.reads(&patient.secret, after).await.expect(200);
        heard.extend(texts(&page).into_iter().map(str::to_owned));
        after = page["upTo"].as_u64().unwrap();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(heard, (0..260).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_image_is_for_those_who_may_read_the_line_that_shows_it() {
    let server = Server::start().await;
    let (_visit, mut provider, patient) = server.begun().await;
    let sent = server.shows(&patient.secret, picture()).await.expect(201);
    assert_eq!(server.shows(&patient.secret, picture()).await.expect(201), sent);
    let path = format!("/v1/thread/images/{}", sent["digest"].as_str().unwrap());
    server.get(As::Key(&provider.secret), &path).await.refused(404, "not_found");
    let shown = json!([{"clientId": "i", "attachment": sent["digest"]}]);
    let stolen = server.writes(&provider.secret, shown.clone()).await.expect(200);
    assert_eq!(stolen["lines"][0]["code"], "unknown_image", "only who sent it shows it");
    server.writes(&patient.secret, shown).await.expect(200);
    assert_eq!(provider.hears("chat").await["attachment"], sent);

    let request = Request::get(&path).header(header::AUTHORIZATION, format!("Bearer {}", provider.secret));
    let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "image/png");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(json!(ContentDigest::of(&bytes)), sent["digest"]);
    assert!(!bytes.windows(4).any(|window| window == b"tEXt"), "without what was written beside the picture");
    server.shows(&patient.secret, b"<svg/>".to_vec()).await.refused(415, "not_an_image");
}

#[tokio::test]
async fn a_thread_that_nobody_answered_goes_to_the_desk_once() {
    let server = Server::start().await;
    let (visit, provider, mut patient) = server.begun().await;
    provider.says(json!({"type": "chat", "clientId": "p0", "text": "before"})).await;
    patient.says(json!({"type": "chat", "clientId": "a0", "text": "by voice"})).await;
    // Both lines are kept, at a time before that of the change: times have no finer part than a millisecond.
    let mut heard = BTreeSet::new();
    while heard.len() < 2 {
        heard.insert(patient.hears("chat").await["text"].as_str().unwrap().to_owned());
    }
    let kept_by = clock::now();
    while clock::now() <= kept_by {
        tokio::task::yield_now().await;
    }
    patient.says(json!({"type": "tier", "want": "async_text"})).await;
    patient.hears("tier").await;
    let sent = server.shows(&patient.secret, picture()).await.expect(201);
    let lines = json!([line("a", "it began on Monday"), {"clientId": "b", "attachment": sent["digest"]}]);
    server.writes(&patient.secret, lines).await.expect(200);
    provider.says(json!({"type": "end"})).await;
    patient.hears("ended").await;
    server.app.threads.hand_on_due(clock::now()).await;
    server.app.threads.hand_on_due(clock::now()).await;
    let visits = server.visits_on_the_desk().await;
    let [handed] = visits.as_slice() else { panic!("{visits:?}") };
    assert_eq!((&handed["status"], &handed["sessionId"]), (&json!("submitted"), &json!(visit.session)));
    let text = handed["revisions"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("it began on Monday") && !text.contains("by voice") && !text.contains("before"),
        "{text}"
    );
    assert_eq!(handed["revisions"][0]["images"], json!([sent["digest"]]));

    // What the device could send only now goes there, too.
    let late = server.writes(&patient.secret, json!([line("c", "and on both arms")])).await.expect(200);
    assert_eq!(late["lines"][0]["state"], "handed_over");
    server.writes(&patient.secret, json!([line("c", "and on both arms")])).await.expect(200);
    server.reads(&patient.secret, 0).await.refused(410, "session_over");
    server.writes(&provider.secret, json!([line("x", "late")])).await.refused(410, "session_over");
    server.app.threads.hand_on_due(clock::now()).await;
    let visits = server.visits_on_the_desk().await;
    let [handed] = visits.as_slice() else { panic!("{visits:?}") };
    assert_eq!(handed["revisions"].as_array().unwrap().len(), 2, "an amendment");
    let text = handed["revisions"][1]["text"].as_str().unwrap();
    assert!(text.contains("Monday") && text.matches("both arms").count() == 1, "{text}");

    // After an answer it is another visit.
    let key = server.scoped_key(&server.clinic, &[Right::VisitsRespond]).await;
    let path = format!("/v1/async-visits/{}/respond", handed["id"].as_str().unwrap());
    server.post(As::Key(&key), &path, json!({"text": "a cream"})).await.expect(200);
    server.writes(&patient.secret, json!([line("d", "thank you")])).await.expect(200);
    server.app.threads.hand_on_due(clock::now()).await;
    let visits = server.visits_on_the_desk().await;
    assert_eq!(visits.len(), 2);
    assert!(visits.iter().any(|visit| {
        let text = visit["revisions"][0]["text"].as_str().unwrap();
        text.ends_with("thank you") && !text.contains("Monday")
    }));
}

#[tokio::test]
async fn a_thread_that_was_answered_ends_with_the_visit() {
    let server = Server::start().await;
    let (_visit, mut provider, mut patient) = server.begun().await;
    patient.says(json!({"type": "tier", "want": "async_text"})).await;
    patient.hears("tier").await;
    server.writes(&patient.secret, json!([line("a", "shall I come in?")])).await.expect(200);
    server.writes(&provider.secret, json!([line("p", "yes, on Friday")])).await.expect(200);
    provider.says(json!({"type": "end"})).await;
    patient.hears("ended").await;
    provider.hears("ended").await;
    server.app.threads.hand_on_due(clock::now()).await;
    assert_eq!(server.visits_on_the_desk().await, [Value::Null; 0]);
}

#[tokio::test]
async fn what_cannot_be_handed_on_is_tried_again_and_is_one_visit() {
    let server = Server::start().await;
    let (_visit, provider, mut patient) = server.begun().await;
    patient.says(json!({"type": "tier", "want": "async_text"})).await;
    patient.hears("tier").await;
    server.writes(&patient.secret, json!([line("a", "it began on Monday")])).await.expect(200);
    provider.says(json!({"type": "end"})).await;
    patient.hears("ended").await;
    server.execute("ALTER TABLE async_visit_revision RENAME TO gone").await;
    server.app.threads.hand_on_due(clock::now()).await;
    server.execute("ALTER TABLE gone RENAME TO async_visit_revision").await;
    assert!(server.visits_on_the_desk().await.iter().all(|visit| visit["status"] == "draft"));
    let later = clock::now().checked_add(jiff::SignedDuration::from_secs(5)).unwrap();
    server.app.threads.hand_on_due(later).await;
    let visits = server.visits_on_the_desk().await;
    assert_eq!(visits.len(), 1);
    assert_eq!(visits[0]["status"], "submitted");
}
