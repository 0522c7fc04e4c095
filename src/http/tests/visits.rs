//! Asynchronous visits over HTTP.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vestibule_domain::{AsyncVisitId, ConfigValues, ContentDigest};

use super::{Answer, As, Server};
use crate::clock;
use crate::ids::Ids;
use crate::images::IMAGE_BYTES_MAX;
use crate::keys::{self, NewKey};
use crate::rights::Right;
use crate::store::{PersonText, Tenant};
use crate::tenants;

const TEXT: &str = "a rash on my left arm since Monday";

fn id(number: u8) -> AsyncVisitId {
    AsyncVisitId::new(clock::now(), [number; 10])
}

fn draft(text: &str) -> Value {
    json!({"patientId": "mrn-1", "providerRef": "dr-a", "text": text})
}

/// A PNG with a comment in it.
pub(super) fn picture() -> Vec<u8> {
    let chunk = |name: &[u8; 4], body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let checksum = crc32fast::hash(&[name, body].concat()).to_be_bytes();
        [&length[..], name, body, &checksum].concat()
    };
    let header = [0, 0, 0, 7, 0, 0, 0, 5, 8, 6, 0, 0, 0];
    let chunks =
        [chunk(b"IHDR", &header), chunk(b"tEXt", b"where\0here"), chunk(b"IDAT", b"x"), chunk(b"IEND", b"")];
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat()
}

impl Server {
    pub(super) async fn scoped_key(&self, tenant: &Tenant, scopes: &[Right]) -> String {
        let new = NewKey {
            tenant: tenant.id,
            name: PersonText::parse("a device").unwrap(),
            scopes: scopes.iter().copied().collect(),
            expires_at: None,
            created_by: None,
        };
        let (text, kept) = keys::fresh(new, &Ids::system(), clock::now());
        self.store.create_api_key(&kept, crate::store::Beside::default()).await.unwrap();
        text.reveal()
    }

    async fn put(&self, key: &str, path: &str, body: Value) -> Answer {
        self.ask(As::Key(key), Method::PUT, path, Some(body)).await
    }

    /// Sends a file under a wrong name and type.
    async fn upload(&self, key: &str, visit: AsyncVisitId, file: Vec<u8>) -> Answer {
        let request = Request::post(format!("/v1/async-visits/{visit}/images"))
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "text/html")
            .body(Body::from(file));
        self.send(request.unwrap()).await
    }

    async fn step(&self, key: &str, visit: AsyncVisitId, step: &str) -> Answer {
        self.ask(As::Key(key), Method::POST, &format!("/v1/async-visits/{visit}/{step}"), None).await
    }

    async fn audited(&self, action: &str) -> usize {
        let page = crate::store::Page { after: None, limit: 1_000 };
        let rows = self.store.audit(self.clinic.id, &Default::default(), page).await.unwrap();
        rows.iter().filter(|row| row.action == action).count()
    }
}

const AUTHOR: [Right; 2] = [Right::VisitsRead, Right::VisitsWrite];
const PROVIDER: [Right; 2] = [Right::VisitsRead, Right::VisitsRespond];

#[tokio::test]
async fn a_visit_is_written_sent_read_and_answered() {
    let server = Server::start().await;
    let (author, provider) = (
        server.scoped_key(&server.clinic, &AUTHOR).await,
        server.scoped_key(&server.clinic, &PROVIDER).await,
    );
    let visit = id(1);
    let path = format!("/v1/async-visits/{visit}");
    let made = server.put(&author, &path, draft(TEXT)).await;
    assert_eq!(
        (&made.headers[header::ETAG], &made.headers[header::LOCATION]),
        (&"\"1\"".parse().unwrap(), &path.parse().unwrap())
    );
    let made = made.expect(201);
    assert!(made["status"] == "draft" && made.get("text").is_none());
    server.put(&author, &path, draft(TEXT)).await.expect(200);

    let sent = server.upload(&author, visit, picture()).await.expect(201);
    assert_eq!(
        (&sent["mediaType"], &sent["width"], &sent["height"]),
        (&json!("image/png"), &json!(7), &json!(5))
    );
    assert_eq!(
        server.upload(&author, visit, picture()).await.expect(201),
        sent,
        "the same image, the same answer"
    );
    let mut content = draft(TEXT);
    content["images"] = json!([sent["digest"]]);
    let submitted = server.post(As::Key(&author), &format!("{path}/submit"), content).await;
    assert_eq!(submitted.headers[header::ETAG], "\"2\"");
    submitted.expect(200);
    assert_eq!(server.step(&author, visit, "submit").await.expect(200)["version"], 2, "twice is one visit");
    let amendment = json!({"text": "both arms by now", "images": [sent["digest"]]});
    server.post(As::Key(&author), &format!("{path}/amend"), amendment).await.expect(200);

    assert_eq!(server.audited("visit.read").await, 0, "who writes reads nothing");
    let read = server.get(As::Key(&provider), &path).await.expect(200);
    assert_eq!(server.audited("visit.read").await, 1);
    assert_eq!(read["draft"], Value::Null);
    let texts: Vec<_> =
        read["revisions"].as_array().unwrap().iter().map(|revision| &revision["text"]).collect();
    assert_eq!(texts, [&json!(TEXT), &json!("both arms by now")], "all revisions are readable");
    assert_eq!((&read["revisions"][1]["supersedes"], &read["images"][0]), (&json!(1), &sent));

    server.step(&provider, visit, "close").await.refused(409, "not_answered");
    server.step(&provider, visit, "review").await.expect(200);
    server.post(As::Key(&provider), &format!("{path}/respond"), json!({"text": "a cream"})).await.expect(200);
    server
        .post(As::Key(&provider), &format!("{path}/respond"), json!({"text": "a pill"}))
        .await
        .refused(409, "already_answered");
    server.step(&provider, visit, "close").await.expect(200);
    server.upload(&author, visit, picture()).await.refused(409, "already_answered");
    let read = server.get(As::Key(&author), &path).await.expect(200);
    assert_eq!((&read["response"]["text"], &read["status"]), (&json!("a cream"), &json!("closed")));
    let listed =
        server.get(As::Key(&author), "/v1/async-visits?status=closed&patientId=mrn-1").await.expect(200);
    assert_eq!(listed["items"][0]["id"], json!(visit));
    assert!(!listed.to_string().contains("cream"));
}

#[tokio::test]
async fn an_image_is_given_as_what_it_is_and_kept_nowhere() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &AUTHOR).await;
    let visit = id(1);
    server.put(&key, &format!("/v1/async-visits/{visit}"), draft(TEXT)).await.expect(201);
    let sent = server.upload(&key, visit, picture()).await;
    let location = sent.headers[header::LOCATION].to_str().unwrap().to_owned();
    let digest = sent.expect(201)["digest"].as_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/async-visits/{visit}/images/{digest}"));
    let request = Request::get(&location).header(header::AUTHORIZATION, format!("Bearer {key}"));
    let response = server.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers().clone();
    assert_eq!(headers[header::CONTENT_TYPE], "image/png");
    assert_eq!(headers[header::CONTENT_DISPOSITION], format!("inline; filename=\"{digest}.png\""));
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::CACHE_CONTROL], "private, no-store");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(ContentDigest::of(&bytes).to_string(), digest);
    assert!(!bytes.windows(4).any(|window| window == b"tEXt"));
    assert_eq!(server.audited("visit.read").await, 1);
    let unknown = format!("/v1/async-visits/{visit}/images/{}", ContentDigest::of(b"other"));
    server.get(As::Key(&key), &unknown).await.refused(404, "not_found");
    server.get(As::Key(&key), &format!("/v1/async-visits/{visit}/images/..")).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_no_image_is_refused_with_the_word_for_it() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &AUTHOR).await;
    let visit = id(1);
    server.upload(&key, visit, picture()).await.refused(404, "not_found");
    server.put(&key, &format!("/v1/async-visits/{visit}"), draft(TEXT)).await.expect(201);
    server.upload(&key, visit, b"\0\0\0\x18ftypheic\0\0\0\0".to_vec()).await.refused(415, "heic_not_taken");
    server.upload(&key, visit, b"<svg/>".to_vec()).await.refused(415, "not_an_image");
    server.upload(&key, visit, Vec::new()).await.refused(415, "not_an_image");
    server.upload(&key, visit, picture()[..30].to_vec()).await.refused(422, "damaged_image");
    for more in [1, 2] {
        server.upload(&key, visit, vec![0xff; IMAGE_BYTES_MAX + more]).await.refused(413, "image_too_large");
    }
    let mut largest = picture();
    largest.resize(IMAGE_BYTES_MAX, 0);
    server.upload(&key, visit, largest).await.expect(201);
}

#[tokio::test]
async fn who_may_not_does_not() {
    let server = Server::start().await;
    let visit = id(1);
    let path = format!("/v1/async-visits/{visit}");
    let author = server.scoped_key(&server.clinic, &[Right::VisitsWrite]).await;
    let desk = server.scoped_key(&server.clinic, &[Right::SessionsRead, Right::SessionsWrite]).await;
    server.ask(As::Nobody, Method::PUT, &path, Some(draft(TEXT))).await.refused(401, "unauthenticated");
    server.put(&desk, &path, draft(TEXT)).await.refused(403, "not_permitted");
    server.put(&author, &path, draft(TEXT)).await.expect(201);
    let sent = server.upload(&author, visit, picture()).await.expect(201);
    let image = format!("{path}/images/{}", sent["digest"].as_str().unwrap());
    for path in ["/v1/async-visits", &path, &image] {
        server.get(As::Key(&author), path).await.refused(403, "not_permitted");
    }
    server.step(&author, visit, "review").await.refused(403, "not_permitted");
    server.upload(&desk, visit, picture()).await.refused(403, "not_permitted");

    let values = ConfigValues::default();
    let other = tenants::of_name(&server.store, &Ids::system(), "Other", values, clock::now()).await.unwrap();
    let stranger =
        server.scoped_key(&other, &[Right::VisitsRead, Right::VisitsWrite, Right::VisitsRespond]).await;
    server.put(&stranger, &path, draft(TEXT)).await.refused(404, "not_found");
    server.post(As::Key(&stranger), &format!("{path}/submit"), draft(TEXT)).await.refused(404, "not_found");
    let amendment = json!({"text": TEXT});
    server
        .post(As::Key(&stranger), &format!("{path}/amend"), amendment.clone())
        .await
        .refused(404, "not_found");
    server.post(As::Key(&stranger), &format!("{path}/respond"), amendment).await.refused(404, "not_found");
    server.upload(&stranger, visit, picture()).await.refused(404, "not_found");
    for step in ["submit", "review", "close"] {
        server.step(&stranger, visit, step).await.refused(404, "not_found");
    }
    for path in [&path, &image] {
        server.get(As::Key(&stranger), path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_stale_version_and_a_wrong_body_change_nothing() {
    let server = Server::start().await;
    let key = server.scoped_key(&server.clinic, &AUTHOR).await;
    let visit = id(1);
    let path = format!("/v1/async-visits/{visit}");
    server.put(&key, &path, draft(TEXT)).await.expect(201);
    let request = |version: &str, text: &str| {
        Request::put(&path)
            .header(header::AUTHORIZATION, format!("Bearer {key}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::IF_MATCH, version)
            .body(Body::from(draft(text).to_string()))
            .unwrap()
    };
    let stale = server.send(request("\"7\"", "other")).await;
    assert_eq!(stale.body["currentVersion"], 1);
    stale.refused(412, "version_mismatch");
    server.send(request("\"1\"", "other")).await.expect(200);

    let mut wrong = draft(TEXT);
    wrong["subject"] = json!("x");
    server.put(&key, &path, wrong).await.refused(400, "malformed");
    server.put(&key, &path, draft(&"ä".repeat(20_001))).await.refused(422, "invalid");
    server.put(&key, &path, draft(&"\u{1}".repeat(20_000))).await.expect(200);
    let mut wrong = draft(TEXT);
    wrong["images"] = json!([ContentDigest::of(b"other")]);
    server.put(&key, &path, wrong).await.refused(422, "invalid");
    let mut wrong = draft(TEXT);
    wrong["patientId"] = json!("mrn-2");
    server.put(&key, &path, wrong).await.refused(409, "another_visit");
    let version4 = "/v1/async-visits/3f2b8a52-7c1d-4e0f-9a6b-0123456789ab";
    server.put(&key, version4, draft(TEXT)).await.refused(404, "not_found");
}
