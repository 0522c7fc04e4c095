//! Staff and keys over HTTP.

use axum::http::Method;
use serde_json::{Value, json};
use vestibule_domain::{Actor, ConfigValues};

use super::{As, ORIGIN, Server};
use crate::accounts::{Asked, Attempts, LoginName, NewLink};
use crate::clock;
use crate::ids::Ids;
use crate::keys::{self, NewKey};
use crate::rights::{Right, Role};
use crate::store::{AuditFilter, Beside, Outcome, Page, PersonText, StaffAccount, Tenant};
use crate::tenants;

const PASSWORD: &str = "a plain long sentence";

impl Server {
    /// Makes an account as the first start does, and signs it in by its link: the cookie.
    pub(super) async fn settle(&self, login: &str, role: Role) -> String {
        self.settle_at(&self.clinic, login, role, None).await
    }

    pub(super) async fn settle_at_another_clinic(&self, login: &str, role: Role) -> String {
        let (ids, values) = (Ids::system(), ConfigValues::default());
        let other = tenants::of_name(&self.store, &ids, "Another", values, clock::now()).await.unwrap();
        self.settle_at(&other, login, role, None).await
    }

    /// At a desk of their own, if they have one.
    pub(super) async fn settle_at(
        &self,
        clinic: &Tenant,
        login: &str,
        role: Role,
        desk: Option<&str>,
    ) -> String {
        let token = self.invite_to(clinic, login, role, desk).await;
        let answer =
            self.post(As::Nobody, "/v1/auth/setup", json!({ "token": token, "password": PASSWORD })).await;
        let cookie = answer.cookie();
        answer.expect(200);
        cookie
    }

    async fn invite(&self, login: &str, role: Role) -> String {
        self.invite_to(&self.clinic, login, role, None).await
    }

    async fn invite_to(&self, clinic: &Tenant, login: &str, role: Role, desk: Option<&str>) -> String {
        let now = clock::now();
        let account = StaffAccount {
            id: Ids::system().staff_account(now),
            tenant: clinic.id,
            login: LoginName::parse(login).unwrap(),
            display_name: PersonText::parse("Zebulon Quixworthy").unwrap(),
            role,
            provider_ref: desk.map(|desk| desk.parse().unwrap()),
            disabled: false,
            password: None,
            attempts: Attempts::default(),
            created_at: now,
        };
        let (link, kept) = NewLink::fresh(now);
        let made = self.store.create_account(&account, kept, Beside::default()).await.unwrap();
        assert_eq!(made, Outcome::Done(()));
        token_of(&link.url(&ORIGIN.parse().unwrap()))
    }

    async fn sign_in(&self, login: &str, password: &str) -> super::Answer {
        self.post(As::Nobody, "/v1/auth/sign-in", json!({ "login": login, "password": password })).await
    }

    async fn is_in(&self, cookie: &str) -> bool {
        self.get(As::Cookie(cookie), "/v1/auth/me").await.status == 200
    }

    async fn key(&self, cookie: &str, scopes: &[&str]) -> Value {
        let body = json!({ "name": "EHR", "scopes": scopes });
        self.post(As::Cookie(cookie), "/v1/api-keys", body).await.expect(201)
    }
}

fn token_of(url: &str) -> String {
    url.strip_prefix(&format!("{ORIGIN}/setup#")).unwrap().to_owned()
}

#[tokio::test]
async fn a_link_signs_its_owner_in_and_says_who_they_are() {
    let server = Server::start().await;
    let token = server.invite("admin", Role::Admin).await;
    let whose = server.post(As::Nobody, "/v1/auth/link", json!({ "token": token })).await.expect(200);
    assert_eq!((&whose["login"], &whose["clinic"]), (&json!("admin"), &json!("Clinic")));
    let weak = json!({ "token": token, "password": "short" });
    let refused = server.post(As::Nobody, "/v1/auth/setup", weak).await;
    assert_eq!(refused.body["field"], "password");
    refused.refused(422, "password_too_short");
    let set = json!({ "token": token, "password": PASSWORD });
    let answer = server.post(As::Nobody, "/v1/auth/setup", set.clone()).await;
    let cookie = answer.cookie();
    answer.expect(200);
    server.post(As::Nobody, "/v1/auth/setup", set).await.refused(403, "link_not_good");
    server
        .post(As::Nobody, "/v1/auth/link", json!({ "token": "nonsense" }))
        .await
        .refused(403, "link_not_good");

    let me = server.get(As::Cookie(&cookie), "/v1/auth/me").await.expect(200);
    assert_eq!((&me["clinic"]["name"], &me["account"]["role"]), (&json!("Clinic"), &json!("admin")));
    let rights: Vec<_> = me["rights"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(rights.contains(&"staff:manage") && !rights.contains(&"visits:read"), "{rights:?}");
    assert!(!me.to_string().contains("argon2"));
}

#[tokio::test]
async fn who_is_not_signed_in_gets_nowhere() {
    let server = Server::start().await;
    for path in ["/v1/auth/me", "/v1/staff", "/v1/api-keys"] {
        server.get(As::Nobody, path).await.refused(401, "unauthenticated");
        server.get(As::Key("vst_nonsense"), path).await.refused(401, "unauthenticated");
        server.get(As::Cookie("__Host-vestibule=nonsense"), path).await.refused(401, "unauthenticated");
    }
}

#[tokio::test]
async fn names_with_and_without_an_account_are_answered_alike_and_locked_alike() {
    let server = Server::start().await;
    server.settle("admin", Role::Admin).await;
    for attempt in 1..=6 {
        let (known, unknown) =
            (server.sign_in("admin", "wrong").await, server.sign_in("nobody", "wrong").await);
        assert_eq!(known.status, unknown.status, "{attempt}");
        for field in ["code", "title", "status"] {
            assert_eq!(known.body[field], unknown.body[field], "{attempt}");
        }
        if attempt < 5 {
            known.refused(401, "sign_in_failed");
        } else {
            let wait: u64 = known.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((55..=61).contains(&wait), "{wait}");
            known.refused(429, "sign_in_locked");
        }
    }
    server.sign_in("admin", PASSWORD).await.refused(429, "sign_in_locked");
}

#[tokio::test]
async fn another_sites_page_speaks_for_nobody() {
    let server = Server::start().await;
    let cookie = server.settle("admin", Role::Admin).await;
    let body = json!({ "name": "stolen", "scopes": ["config:read"] });
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let who = As::CookieFrom(&cookie, origin);
        server.post(who, "/v1/api-keys", body.clone()).await.refused(403, "other_origin");
        server.ask(who, Method::POST, "/v1/auth/sign-out", None).await.refused(403, "other_origin");
    }
    assert!(server.is_in(&cookie).await);
    let sign_in = json!({ "login": "admin", "password": PASSWORD });
    let who = As::CookieFrom("", Some("https://evil.example"));
    server.post(who, "/v1/auth/sign-in", sign_in).await.refused(403, "other_origin");
}

#[tokio::test]
async fn signing_out_ends_one_session_or_all() {
    let server = Server::start().await;
    let first = server.settle("admin", Role::Admin).await;
    let second = server.sign_in("admin", PASSWORD).await.cookie();
    let third = server.sign_in("admin", PASSWORD).await.cookie();
    let out = server.ask(As::Cookie(&first), Method::POST, "/v1/auth/sign-out", None).await;
    assert_eq!(out.status, 204);
    assert_eq!(out.cookie(), "__Host-vestibule=");
    assert!(!server.is_in(&first).await && server.is_in(&second).await);
    server.ask(As::Cookie(&second), Method::POST, "/v1/auth/sign-out-everywhere", None).await.expect(204);
    assert!(!server.is_in(&second).await && !server.is_in(&third).await);
}

#[tokio::test]
async fn another_password_ends_the_sessions_of_before() {
    let server = Server::start().await;
    let cookie = server.settle("admin", Role::Admin).await;
    let other = server.sign_in("admin", PASSWORD).await.cookie();
    let body = |current: &str| json!({ "currentPassword": current, "newPassword": "another long sentence" });
    server.post(As::Cookie(&cookie), "/v1/auth/password", body("wrong")).await.refused(401, "sign_in_failed");
    let changed = server.post(As::Cookie(&cookie), "/v1/auth/password", body(PASSWORD)).await;
    let fresh = changed.cookie();
    changed.expect(200);
    assert!(server.is_in(&fresh).await && !server.is_in(&cookie).await && !server.is_in(&other).await);
}

#[tokio::test]
async fn an_administrator_sees_to_the_others() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let body = json!({ "login": "Dr.Q@clinic.example", "displayName": "Dr. Q", "role": "provider", "providerRef": "desk-1" });
    let made = server.post(As::Cookie(&admin), "/v1/staff", body.clone()).await.expect(201);
    assert_eq!((&made["login"], &made["hasPassword"]), (&json!("dr.q@clinic.example"), &json!(false)));
    server.post(As::Cookie(&admin), "/v1/staff", body).await.refused(409, "exists");
    let token = token_of(made["link"]["url"].as_str().unwrap());
    let set = json!({ "token": token, "password": "quite another sentence" });
    let theirs = server.post(As::Nobody, "/v1/auth/setup", set).await.cookie();
    server.get(As::Cookie(&theirs), "/v1/staff").await.refused(403, "not_permitted");

    let path = format!("/v1/staff/{}", made["id"].as_str().unwrap());
    let patch = async |body: Value| server.ask(As::Cookie(&admin), Method::PATCH, &path, Some(body)).await;
    let after = patch(json!({ "displayName": "Doctor Q", "providerRef": null })).await.expect(200);
    assert_eq!((&after["displayName"], after.get("providerRef")), (&json!("Doctor Q"), None));
    assert!(server.is_in(&theirs).await);
    patch(json!({ "role": "front_desk" })).await.expect(200);
    assert!(!server.is_in(&theirs).await, "another role, another sign-in");
    patch(json!({ "disabled": true })).await.expect(200);
    server.sign_in("dr.q@clinic.example", "quite another sentence").await.refused(401, "sign_in_failed");
    let link = format!("{path}/link");
    server.ask(As::Cookie(&admin), Method::POST, &link, None).await.refused(409, "account_disabled");
    patch(json!({ "disabled": false })).await.expect(200);
    let link = server.ask(As::Cookie(&admin), Method::POST, &link, None).await.expect(201);
    token_of(link["url"].as_str().unwrap());
    patch(json!({ "role": "king" })).await.refused(422, "invalid");
    patch(json!({ "login": "other" })).await.refused(400, "malformed");

    let listed = server.get(As::Cookie(&admin), "/v1/staff?limit=1").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    let next = format!("/v1/staff?cursor={}", listed["next"].as_str().unwrap());
    let rest = server.get(As::Cookie(&admin), &next).await.expect(200);
    assert_eq!(rest["items"][0]["login"], "dr.q@clinic.example");
    assert_eq!(rest["next"], Value::Null);
}

#[tokio::test]
async fn the_last_administrator_cannot_go() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let me = server.get(As::Cookie(&admin), "/v1/auth/me").await.expect(200);
    let path = format!("/v1/staff/{}", me["account"]["id"].as_str().unwrap());
    for body in [json!({ "disabled": true }), json!({ "role": "provider" })] {
        server.ask(As::Cookie(&admin), Method::PATCH, &path, Some(body)).await.refused(409, "last_admin");
    }
    server.settle("second", Role::Admin).await;
    server
        .ask(As::Cookie(&admin), Method::PATCH, &path, Some(json!({ "role": "provider" })))
        .await
        .expect(200);
    assert!(!server.is_in(&admin).await);
}

#[tokio::test]
async fn a_key_may_what_it_was_made_for() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let made = server.key(&admin, &["sessions:read", "config:read"]).await;
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    server.get(As::Key(key), "/v1/sessions").await.expect(200);
    server.get(As::Key(key), "/v1/staff").await.refused(403, "not_permitted");
    let me = server.get(As::Key(key), "/v1/auth/me").await.expect(200);
    assert_eq!((&me["rights"], me.get("account")), (&json!(["sessions:read", "config:read"]), None));
    server.ask(As::Key(key), Method::POST, "/v1/auth/sign-out", None).await.refused(401, "unauthenticated");

    let listed = server.get(As::Cookie(&admin), "/v1/api-keys").await.expect(200);
    assert!(!listed.to_string().contains(&key[37..]), "the secret is shown once");
    assert!(listed["items"][0]["lastUsedAt"].is_string());

    let more = json!({ "name": "more", "scopes": ["visits:read"] });
    server.post(As::Cookie(&admin), "/v1/api-keys", more).await.refused(403, "not_permitted");
    for (field, value) in
        [("scopes", json!([])), ("scopes", json!(["all"])), ("expiresAt", json!("2020-01-01T00:00:00Z"))]
    {
        let mut body = json!({ "name": "EHR", "scopes": ["config:read"] });
        body[field] = value;
        let refused = server.post(As::Cookie(&admin), "/v1/api-keys", body).await;
        assert_eq!(refused.body["field"], field);
        refused.refused(422, "invalid");
    }
}

#[tokio::test]
async fn a_key_is_rotated_and_revoked() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let made = server.key(&admin, &["config:read"]).await;
    let first = made["key"].as_str().unwrap();
    let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
    let rotate = async |minutes| {
        let body = json!({ "graceMinutes": minutes });
        server.post(As::Cookie(&admin), &format!("{path}/rotate"), body).await
    };
    rotate(1_441).await.refused(422, "invalid");
    let second = rotate(10).await.expect(200);
    assert!(second["formerSecretUntil"].is_string());
    let second = second["key"].as_str().unwrap();
    assert_eq!(first[..37], second[..37], "the same key");
    for key in [first, second] {
        server.get(As::Key(key), "/v1/config").await.expect(200);
    }
    let third = rotate(0).await.expect(200);
    let third = third["key"].as_str().unwrap();
    for key in [first, second] {
        server.get(As::Key(key), "/v1/config").await.refused(401, "unauthenticated");
    }
    server.get(As::Key(third), "/v1/config").await.expect(200);
    server.ask(As::Cookie(&admin), Method::DELETE, &path, None).await.expect(204);
    server.get(As::Key(third), "/v1/config").await.refused(401, "unauthenticated");
    server.ask(As::Cookie(&admin), Method::DELETE, &path, None).await.expect(204);
    rotate(0).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_another_clinics_is_not_there() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let now = clock::now();
    let other = tenants::of_name(&server.store, &Ids::system(), "Another", ConfigValues::default(), now)
        .await
        .unwrap();
    let new = NewKey {
        tenant: other.id,
        name: PersonText::parse("theirs").unwrap(),
        scopes: [Right::StaffManage, Right::KeysManage].into(),
        expires_at: None,
        created_by: None,
    };
    let (text, kept) = keys::fresh(new, &Ids::system(), now);
    server.store.create_api_key(&kept, Beside::default()).await.unwrap();
    let theirs = text.reveal();
    let me = server.get(As::Cookie(&admin), "/v1/auth/me").await.expect(200);
    let account = format!("/v1/staff/{}", me["account"]["id"].as_str().unwrap());
    let unknown = "/v1/staff/01981234-5678-7abc-8def-0123456789ab".to_owned();
    let mut answers = Vec::new();
    for path in [account, unknown] {
        let answer =
            server.ask(As::Key(&theirs), Method::PATCH, &path, Some(json!({ "disabled": true }))).await;
        let mut body = answer.body.clone();
        answer.refused(404, "not_found");
        body["requestId"] = Value::Null;
        answers.push(body);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(server.get(As::Key(&theirs), "/v1/staff").await.expect(200)["items"], json!([]));
    let key = format!("/v1/api-keys/{}", kept.id);
    server.ask(As::Cookie(&admin), Method::DELETE, &key, None).await.refused(404, "not_found");
    server.get(As::Key(&theirs), "/v1/api-keys").await.expect(200);
}

#[tokio::test]
async fn a_request_that_comes_twice_makes_one_key() {
    let server = Server::start().await;
    let admin = server.settle("admin", Role::Admin).await;
    let made = server.key(&admin, &["keys:manage", "config:read"]).await;
    let key = made["key"].as_str().unwrap();
    let body = json!({ "name": "once", "scopes": ["config:read"] });
    let request = || {
        axum::http::Request::post("/v1/api-keys")
            .header("authorization", format!("Bearer {key}"))
            .header("idempotency-key", "the-same")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap()
    };
    let (first, second) =
        (server.send(request()).await.expect(201), server.send(request()).await.expect(201));
    assert_eq!(first, second);
    assert_eq!(
        server.get(As::Key(key), "/v1/api-keys").await.expect(200)["items"].as_array().unwrap().len(),
        2
    );
}

#[tokio::test]
async fn the_audit_says_who_did_what_and_no_name() {
    let server = Server::start().await;
    let admin = server.settle("zebulon", Role::Admin).await;
    server.sign_in("zebulon", "wrong").await.refused(401, "sign_in_failed");
    server.key(&admin, &["config:read"]).await;
    let asked = Asked { now: clock::now(), request: None };
    let account =
        server.store.account_by_login(&LoginName::parse("zebulon").unwrap()).await.unwrap().unwrap();
    NewLink::make(&server.store, &account, Actor::System, &asked).await.unwrap();
    let all = Page { after: None, limit: 100 };
    let lines = server.store.audit(server.clinic.id, &AuditFilter::default(), all).await.unwrap();
    let who = format!("user:{}", account.id);
    let by = |action: &str| {
        let line =
            lines.iter().find(|line| line.action == action).unwrap_or_else(|| panic!("{action}: {lines:?}"));
        (line.subject.clone(), format!("{:?}", line.actor), line.request.is_some())
    };
    assert_eq!(by("staff.sign_in_failed"), (account.id.to_string(), "System".to_owned(), true));
    for action in ["staff.password_set", "api_key.created"] {
        let (_, actor, request) = by(action);
        assert!(actor.contains(&who) && request, "{action}: {actor}");
    }
    assert_eq!(by("staff.link_made"), (account.id.to_string(), "System".to_owned(), false));
    assert!(!format!("{lines:?}").to_lowercase().contains("zebulon"));
}
