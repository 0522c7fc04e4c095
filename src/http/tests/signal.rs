//! Sockets and the sessions behind them, over real connections: getting in, coming back, and what is not taken.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use vestibule_domain::{Actor, Command, ParticipantId, SessionId};
use vestibule_signaling::Entry;
use vestibule_signaling::wire::Frame;

use super::{As, Server};
use crate::consents;
use crate::live::{Call, Closing, Seated};
use crate::rights::{Right, Role};

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";
/// Longer than anything here takes: what does not come fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session, and who is invited to it.
pub(super) struct Invited {
    pub(super) session: SessionId,
    pub(super) provider: ParticipantId,
    pub(super) patient: ParticipantId,
}

/// A socket, as a client has one.
struct Client(WebSocketStream<TcpStream>);

impl Server {
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = self.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        address
    }

    /// A session of `desk` that is open, and in which the patient has agreed to what they must.
    pub(super) async fn invited(&self, desk: &str, patient: &str) -> Invited {
        let key = self.scoped_key(&self.clinic, &[Right::SessionsRead, Right::SessionsWrite]).await;
        let body = json!({
            "patientId": "mrn-1",
            "providerRef": desk,
            "participants": [
                {"role": "provider", "displayName": "Dr. Ada"},
                {"role": "patient", "displayName": patient},
            ],
        });
        let made = self.post(As::Key(&key), "/v1/sessions", body).await.expect(201);
        let id = |value: &Value| value.as_str().unwrap().to_owned();
        let invited = Invited {
            session: id(&made["id"]).parse().unwrap(),
            provider: id(&made["participants"][0]["id"]).parse().unwrap(),
            patient: id(&made["participants"][1]["id"]).parse().unwrap(),
        };
        let consent = json!({"type": "telehealth", "version": consents::VERSION, "granted": true});
        let body = json!({"token": self.token(&invited, invited.patient).await, "consents": [consent]});
        self.post(As::Nobody, "/v1/join/consents", body).await.expect(200);
        invited
    }

    pub(super) async fn token(&self, invited: &Invited, who: ParticipantId) -> String {
        let key = self.scoped_key(&self.clinic, &[Right::SessionsWrite]).await;
        let path = format!("/v1/sessions/{}/participants/{who}/tokens", invited.session);
        let token = self.post(As::Key(&key), &path, json!({})).await.expect(201);
        token["token"].as_str().unwrap().to_owned()
    }

    async fn ticket(&self, asks: As<'_>, invited: &Invited, who: ParticipantId) -> String {
        let body = json!({"token": self.token(invited, who).await});
        let given = self.post(asks, "/v1/join/ticket", body).await.expect(201);
        given["ticket"].as_str().unwrap().to_owned()
    }

    /// A seat in a session without a socket, by a ticket.
    pub(super) async fn seat(&self, invited: &Invited, who: ParticipantId) -> Seated {
        let entry = Entry::Ticket { epoch: 0, vouched: false };
        self.app.registry.hello(invited.session, who, entry, None).await.unwrap()
    }

    pub(super) async fn command(&self, invited: &Invited, command: Command, actor: ParticipantId) {
        let call = Call::plain(command, Actor::Participant(actor));
        self.app.registry.command(invited.session, call).await.unwrap().unwrap();
    }

    pub(super) async fn execute(&self, statement: &'static str) {
        let path = self.folder.path().join("vestibule.db");
        let mut beside = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut beside).await.unwrap();
    }
}

impl Client {
    async fn connect(server: SocketAddr, from: &str, origin: Option<&str>) -> Result<Self, StatusCode> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(server).await.unwrap();
        let mut request = format!("ws://{server}/v1/signal").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "vestibule.v1".parse().unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A client that has said `hello`, and what came first.
    async fn hello(server: SocketAddr, from: &str, hello: Value) -> (Self, Value) {
        let mut client = Self::connect(server, from, None).await.unwrap();
        client.say(hello).await;
        let first = client.hear().await;
        (client, first)
    }

    async fn say(&mut self, mut message: Value) {
        if message.get("ticket").is_some() || message.get("resume").is_some() {
            message["type"] = json!("hello");
        }
        self.say_raw(message.to_string()).await;
    }

    async fn say_raw(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// All that comes until one of that type, with it.
    async fn until(&mut self, message_type: &str) -> Vec<Value> {
        let mut heard = vec![self.hear().await];
        while heard.last().unwrap()["type"] != message_type {
            heard.push(self.hear().await);
        }
        heard
    }

    /// Code and reason of the close, and what was said before it.
    async fn end(mut self) -> (Vec<Value>, u16, String) {
        let mut heard = Vec::new();
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a close") {
                Some(Ok(Message::Text(text))) => heard.push(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(Some(close)))) => {
                    return (heard, close.code.into(), close.reason.to_string());
                }
                other => panic!("no close but {other:?}"),
            }
        }
    }
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_socket_that_is_lost_goes_on_where_it_stopped() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.provider).await;
    let (mut provider, welcome) = Client::hello(address, HERE, json!({"ticket": ticket, "id": 1})).await;
    assert_eq!((&welcome["type"], &welcome["seq"]), (&json!("welcome"), &json!(0)), "{welcome}");
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let (mut patient, _) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    let heard = provider.until("knock").await;
    let last_seq = numbers(&heard).last().copied().unwrap();
    assert_eq!(numbers(&heard), (1..=last_seq).collect::<Vec<_>>());

    drop(provider);
    patient.say(json!({"type": "leave"})).await;
    patient.until("done").await;
    let resume = json!({
        "resume": welcome["resume"], "incarnation": welcome["incarnation"], "lastSeq": last_seq, "id": 2,
    });
    let (mut provider, resumed) = Client::hello(address, HERE, resume).await;
    assert_eq!(
        (&resumed["type"], &resumed["seq"], &resumed["replyTo"]),
        (&json!("resumed"), &json!(last_seq), &json!(2)),
        "{resumed}"
    );
    assert_ne!(resumed["resume"], welcome["resume"], "the next time with another");
    let missed = provider.until("knockOver").await;
    let expected: Vec<u64> = (last_seq + 1..).take(missed.len()).collect();
    assert_eq!(numbers(&missed), expected, "nothing is lost and nothing comes twice");

    // The answer was lost on the way: the secret from before is good still. Once the new one was used, it is not.
    let again = |secret: &Value| json!({"resume": secret, "incarnation": welcome["incarnation"], "lastSeq": last_seq});
    let (_, lost) = Client::hello(address, HERE, again(&welcome["resume"])).await;
    assert_eq!(lost["type"], "resumed", "{lost}");
    let (_, used) = Client::hello(address, HERE, again(&lost["resume"])).await;
    assert_eq!(used["type"], "resumed", "{used}");
    let (_, void) = Client::hello(address, HERE, again(&welcome["resume"])).await;
    assert_eq!((&void["type"], &void["code"]), (&json!("error"), &json!("resume_invalid")));
}

#[tokio::test]
async fn after_a_restart_a_secret_gives_a_snapshot_of_another_incarnation() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let (patient, welcome) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    let server = server.restart().await;
    let address = server.listen().await;
    let resume = json!({"resume": welcome["resume"], "incarnation": welcome["incarnation"], "lastSeq": 1});
    let (_, anew) = Client::hello(address, HERE, resume).await;
    assert_eq!((&anew["type"], &anew["seq"]), (&json!("welcome"), &json!(0)), "{anew}");
    assert_ne!(anew["incarnation"], welcome["incarnation"]);
    assert_eq!(anew["you"]["id"], welcome["you"]["id"]);
    assert_eq!(anew["newDevice"], false, "it is the same device");
    assert!(anew["resume"].is_string() && anew["resume"] != welcome["resume"]);
    drop(patient);
}

#[tokio::test]
async fn while_the_store_fails_the_secret_from_before_stays_good() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let (_patient, welcome) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    let resume = json!({"resume": welcome["resume"], "incarnation": welcome["incarnation"], "lastSeq": 0});
    server.execute("ALTER TABLE resume_key RENAME TO gone").await;
    for _ in 0..2 {
        let (_, resumed) = Client::hello(address, HERE, resume.clone()).await;
        assert_eq!((&resumed["type"], &resumed["resume"]), (&json!("resumed"), &Value::Null), "{resumed}");
    }
    server.execute("ALTER TABLE gone RENAME TO resume_key").await;
    let (_, resumed) = Client::hello(address, HERE, resume).await;
    assert!(resumed["type"] == "resumed" && resumed["resume"].is_string(), "{resumed}");
}

#[tokio::test]
async fn a_ticket_used_a_hundred_times_at_once_lets_one_in() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let hellos = (0..100).map(|_| tokio::spawn(Client::hello(address, HERE, json!({"ticket": ticket}))));
    let hellos: Vec<_> = hellos.collect();
    let mut firsts = Vec::new();
    let mut clients = Vec::new();
    for hello in hellos {
        let (client, first) = hello.await.unwrap();
        firsts.push((first["type"].clone(), first["code"].clone()));
        clients.push(client);
    }
    let let_in = firsts.iter().filter(|(message_type, _)| message_type == "welcome").count();
    let refused = firsts.iter().filter(|(_, code)| code == "ticket_invalid").count();
    assert_eq!((let_in, refused), (1, 99));
}

#[tokio::test]
async fn a_secret_that_is_wrong_is_refused_and_wakes_no_session() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let guessed = crate::resume::fresh(visit.session, visit.patient).secret;
    let elsewhere = crate::resume::fresh(SessionId::new(crate::clock::now(), [7; 10]), visit.patient).secret;
    for secret in [guessed, elsewhere, "nonsense".to_owned()] {
        let (client, first) = Client::hello(address, HERE, json!({"resume": secret, "id": 4})).await;
        assert_eq!(
            (&first["code"], &first["replyTo"], &first["seq"]),
            (&json!("resume_invalid"), &json!(4), &json!(0)),
            "{first}"
        );
        assert_eq!(client.end().await, (Vec::new(), 1008, "not let in".to_owned()));
    }
    for hello in [json!({"ticket": "a", "resume": "b"}), json!({"ticket": "a", "lastSeq": 1})] {
        let (client, first) = Client::hello(address, HERE, hello).await;
        assert_eq!(first["code"], "malformed", "{first}");
        assert_eq!(client.end().await.1, 1008);
    }
}

#[tokio::test]
async fn who_guesses_is_soon_told_nothing_and_who_is_right_comes_in_all_the_same() {
    let server = Server::with_rate(10).await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let secret = crate::resume::fresh(visit.session, visit.patient).secret;
    let mut codes = Vec::new();
    for attempt in 0..50 {
        let hello =
            if attempt % 2 == 0 { json!({"ticket": "guessed"}) } else { json!({"resume": secret.clone()}) };
        let (_, first) = Client::hello(address, HERE, hello).await;
        codes.push(first["code"].clone());
    }
    assert!(["ticket_invalid", "busy"].iter().all(|code| codes.contains(&json!(code))), "{codes:?}");
    let (_, first) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    assert_eq!(first["type"], "welcome", "{first}");
}

#[tokio::test]
async fn wrong_links_count_harder_than_good_ones() {
    let server = Server::with_rate(100).await;
    let visit = server.invited("desk", "Pat").await;
    let token = server.token(&visit, visit.patient).await;
    let ask = async |token: &str, from: &str| {
        let from: SocketAddr = format!("{from}:1").parse().unwrap();
        let mut request = Request::post("/v1/join")
            .header(header::CONTENT_TYPE, "application/json")
            .body(json!({"token": token}).to_string().into())
            .unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(from));
        server.send(request).await
    };
    for _ in 0..100 {
        ask(&token, HERE).await.expect(200);
    }
    let mut wrong = 0;
    while ask("guessed", HERE).await.status == StatusCode::UNAUTHORIZED {
        wrong += 1;
        assert!(wrong < 100, "it goes on and on");
    }
    ask("guessed", HERE).await.refused(429, "too_many_requests");
    ask(&token, HERE).await.expect(200);
    ask("guessed", ELSEWHERE).await.refused(401, "join_token_invalid");
}

#[tokio::test]
async fn a_reader_that_is_slow_is_closed_and_misses_nothing_when_it_comes_back() {
    const LINES: usize = 100;
    let server = Server::start().await;
    let visit = server.invited("desk", "Pat").await;
    let Seated { voice, mut outbox, closing } = server.seat(&visit, visit.provider).await;
    let welcome: Value = serde_json::from_str(&outbox.recv().await.unwrap().text).unwrap();
    // Each line is told back and answered, and none of it is read.
    for number in 0..LINES {
        let line = json!({"type": "chat", "clientId": format!("c{number}"), "text": "x", "id": number + 1});
        assert!(voice.say(Frame::parse(&line.to_string())).await);
    }
    assert_eq!(closing.await, Ok(Closing::SlowReader));
    let mut heard = Vec::new();
    while let Some(message) = outbox.recv().await {
        heard.push(serde_json::from_str::<Value>(&message.text).unwrap());
    }
    let address = server.listen().await;
    let last_seq = numbers(&heard).last().copied().unwrap();
    let resume =
        json!({"resume": welcome["resume"], "incarnation": welcome["incarnation"], "lastSeq": last_seq});
    let (mut client, resumed) = Client::hello(address, HERE, resume).await;
    assert_eq!((&resumed["type"], &resumed["seq"]), (&json!("resumed"), &json!(last_seq)), "{resumed}");
    // What was said on the dead socket was never heard, or was: it says up to where.
    let reached = resumed["heard"].as_u64().unwrap();
    client.say(json!({"type": "ping", "id": 999})).await;
    while heard.last().unwrap()["replyTo"] != 999 {
        heard.push(client.hear().await);
    }
    assert_eq!(numbers(&heard), (1..=heard.len() as u64).collect::<Vec<_>>());
    let chat: Vec<_> = heard.iter().filter(|message| message["type"] == "chat").collect();
    assert_eq!(chat.len() as u64, reached);
}

#[tokio::test]
async fn ten_violations_close_a_socket() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let (mut patient, welcome) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    for text in ["", "{", "[]", r#"{"type":"hello","ticket":"x"}"#, r#"{"type":"nothing"}"#] {
        patient.say_raw(text.to_owned()).await;
        patient.say(json!({"type": "chat", "clientId": "c", "text": "let me in"})).await;
    }
    let (heard, code, reason) = patient.end().await;
    assert_eq!((code, &*reason), (1008, "too many violations"));
    let codes: Vec<_> = heard.iter().filter_map(|message| message["code"].as_str()).collect();
    assert_eq!(codes.len(), 10);
    assert_eq!(codes.iter().filter(|code| **code == "not_admitted").count(), 5);

    let resume = json!({"resume": welcome["resume"], "incarnation": welcome["incarnation"], "lastSeq": 0});
    let (_, back) = Client::hello(address, HERE, resume).await;
    assert_eq!(back["type"], "resumed", "their place is kept: {back}");
}

#[tokio::test]
async fn who_is_removed_does_not_come_back_by_their_secret() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let ticket = server.ticket(As::Nobody, &visit, visit.patient).await;
    let (patient, welcome) = Client::hello(address, HERE, json!({"ticket": ticket})).await;
    let _provider = server.seat(&visit, visit.provider).await;
    server.command(&visit, Command::Remove { participant: visit.patient }, visit.provider).await;
    let (heard, code, _) = patient.end().await;
    assert_eq!((&heard.last().unwrap()["type"], code), (&json!("removed"), 1000));
    let resume = json!({"resume": welcome["resume"]});
    let (gone, told) = Client::hello(address, HERE, resume.clone()).await;
    assert_eq!((&told["type"], gone.end().await.1), (&json!("removed"), 1000), "{told}");
    server.token(&visit, visit.patient).await;
    let (_, void) = Client::hello(address, HERE, resume).await;
    assert_eq!(void["code"], "resume_invalid", "invited anew, they come by the new link: {void}");
}

#[tokio::test]
async fn pages_of_other_origins_connect_if_they_were_allowed() {
    let server = Server::start().await;
    let address = server.listen().await;
    for origin in [None, Some(super::ORIGIN), Some("https://portal.example.org")] {
        assert!(Client::connect(address, HERE, origin).await.is_ok(), "{origin:?}");
    }
    for origin in ["https://evil.example", "null", "http://portal.example.org"] {
        let refused = Client::connect(address, HERE, Some(origin)).await.err();
        assert_eq!(refused, Some(StatusCode::FORBIDDEN), "{origin}");
    }
}

#[tokio::test]
async fn staff_who_may_let_people_in_vouch_for_a_ticket_and_nobody_else_does() {
    let server = Server::start().await;
    let visit = server.invited("desk", "Pat").await;
    let (provider, admin, front_desk) = (
        server.settle("ada", Role::Provider).await,
        server.settle("root", Role::Admin).await,
        server.settle("desk", Role::FrontDesk).await,
    );
    let vouched = async |asks: As<'_>| {
        let ticket = server.ticket(asks, &visit, visit.provider).await;
        server.app.tickets.redeem(crate::clock::now(), &ticket).unwrap().vouched
    };
    assert!(vouched(As::Cookie(&provider)).await);
    assert!(vouched(As::Cookie(&admin)).await, "an administrator may control sessions");
    assert!(!vouched(As::Cookie(&front_desk)).await, "the front desk may not");
    assert!(!vouched(As::Nobody).await);
    assert!(!vouched(As::Cookie("__Host-vestibule=nonsense")).await);
    assert!(!vouched(As::CookieFrom(&provider, Some("https://evil.example"))).await);
    assert!(!vouched(As::CookieFrom(&provider, Some("https://portal.example.org"))).await);
    assert!(!vouched(As::CookieFrom(&provider, None)).await);
    server.post(As::Cookie(&provider), "/v1/auth/sign-out", json!({})).await.expect(204);
    assert!(!vouched(As::Cookie(&provider)).await, "nor who has signed out");
}

#[tokio::test]
async fn staff_of_another_clinic_vouch_for_nobody() {
    let server = Server::start().await;
    let visit = server.invited("desk", "Pat").await;
    let provider = server.settle_at_another_clinic("eve", Role::Provider).await;
    let ticket = server.ticket(As::Cookie(&provider), &visit, visit.provider).await;
    assert!(!server.app.tickets.redeem(crate::clock::now(), &ticket).unwrap().vouched);
}

#[tokio::test]
async fn another_device_of_a_provider_waits_unless_staff_vouch_for_it() {
    let server = Server::start().await;
    let (address, visit) = (server.listen().await, server.invited("desk", "Pat").await);
    let cookie = server.settle("ada", Role::Provider).await;
    let hello = async |asks: As<'_>| {
        let ticket = server.ticket(asks, &visit, visit.provider).await;
        Client::hello(address, HERE, json!({"ticket": ticket})).await
    };
    let (mut first, _) = hello(As::Nobody).await;
    first.say(json!({"type": "ping"})).await;
    first.until("done").await;
    let (mut second, welcome) = hello(As::Nobody).await;
    assert_eq!((&welcome["newDevice"], &welcome["you"]["state"]), (&json!(true), &json!("waiting")));
    let knock = first.until("knock").await.pop().unwrap();
    assert_eq!((&knock["newDevice"], &knock["participant"]["id"]), (&json!(true), &welcome["you"]["id"]));
    first.say(json!({"type": "admit", "participantId": visit.provider, "device": knock["device"]})).await;
    second.until("admitted").await;
    let (heard, code, _) = first.end().await;
    assert_eq!((&heard.last().unwrap()["type"], code), (&json!("superseded"), 4001));

    let (_third, welcome) = hello(As::Cookie(&cookie)).await;
    assert_eq!(welcome["newDevice"], false, "{welcome}");
    assert_eq!(second.end().await.1, 4001);
}
