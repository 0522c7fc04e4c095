//! Against a mock of LiveKit's signaling, made here from the published protocol: it shows that we say what the protocol
//! asks for, not that a real server takes it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Parser as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::*;
use crate::cli::Cli;
use crate::client::{MediaPlane, PlaneOptions};
use crate::scenario::{Presence, Role};
use crate::sdp::{Description, Setup};

const TRANSPORT: &str = "a=ice-ufrag:mock\r\na=ice-pwd:mockmockmockmockmockmock\r\na=fingerprint:sha-256 \
    00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n";

fn description(setup: &str, lines: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=setup:{setup}\r\n{TRANSPORT}{lines}")
}

/// The server's end of one participant's socket.
struct MockLiveKit {
    socket: WebSocketStream<TcpStream>,
    uri: String,
}

impl MockLiveKit {
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut uri = String::new();
        let note = |request: &Request, response: Response| {
            uri = request.uri().to_string();
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, note).await.unwrap();
        Self { socket, uri }
    }

    async fn say(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message but for pings.
    async fn hear(&mut self) -> Value {
        loop {
            let Some(Ok(Message::Text(text))) = self.socket.next().await else { panic!("the client went") };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message.get("pingReq").is_none() {
                return message;
            }
        }
    }
}

fn person() -> Person {
    Person {
        number: 7,
        room: 3,
        role: Role::Provider,
        audio: true,
        video: true,
        hears: 1,
        sees: 1,
        presence: Presence::Stays,
    }
}

#[tokio::test]
async fn a_participant_announces_offers_and_answers() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let cli = Cli::parse_from(["vestibule-load", "visits", "1", "--layers", "1"]);
    let cast = Cast::new(&cli.options).unwrap();
    let (plane, events) = MediaPlane::start(PlaneOptions {
        pin: None,
        bind: [127, 0, 0, 1].into(),
        announce: [127, 0, 0, 1].into(),
        profile: cli.options.profile.srtp(),
        receive_buffer_bytes: 1 << 16,
        media: Arc::clone(&cast.library),
        transport_feedback: true,
    })
    .unwrap();
    let net = Net::new(&format!("ws://{}", listener.local_addr().unwrap()), None).unwrap();
    let key = ApiKey { name: "mockkey".to_owned(), secret: "mocksecret".to_owned() };
    let server = LiveKit::new(net, key, Transports::new(plane, events), cast);
    let joining = tokio::spawn(async move { server.join(&person(), Admission::AtOnce).await.map(|_| ()) });

    let mut mock = MockLiveKit::accept(&listener).await;
    let token = mock.uri.split_once("access_token=").unwrap().1.split('&').next().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("mockkey"), &json!("person-7")));
    assert_eq!(claims["video"]["room"], "load-3");

    for (cid, kind, source) in [("track-0", "AUDIO", "MICROPHONE"), ("track-1", "VIDEO", "CAMERA")] {
        let expected = json!({ "addTrack": { "cid": cid, "name": cid, "type": kind, "source": source } });
        assert_eq!(mock.hear().await, expected);
        mock.say(json!({ "trackPublished": { "cid": cid, "track": {} } })).await;
    }
    let offer = mock.hear().await;
    let offer = Description::parse(offer["offer"]["sdp"].as_str().unwrap()).unwrap();
    assert_eq!((offer.setup, offer.lines.len(), offer.candidates.len()), (Setup::Active, 2, 1));

    let lines = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=recvonly\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n";
    mock.say(json!({ "answer": { "type": "answer", "sdp": description("passive", lines) } })).await;
    let candidate = json!({ "candidate": "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host" }).to_string();
    mock.say(json!({ "trickle": { "candidateInit": candidate } })).await;
    let lines = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=sctp-port:5000\r\n";
    mock.say(json!({ "offer": { "type": "offer", "sdp": description("actpass", lines) } })).await;
    let answer = mock.hear().await;
    assert_eq!(answer["answer"]["type"], "answer");
    let answer = Description::parse(answer["answer"]["sdp"].as_str().unwrap()).unwrap();
    assert_eq!((answer.setup, answer.candidates.len()), (Setup::Active, 1));

    mock.say(json!({ "leave": { "reason": "SERVER_SHUTDOWN" } })).await;
    let error = joining.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("SERVER_SHUTDOWN"), "{error}");
}

#[test]
fn a_token_is_signed() {
    let key = ApiKey { name: "key".to_owned(), secret: "secret".to_owned() };
    let grant = Grant { room: "r", identity: "i", publishes: false, expires_at: 4_102_444_800 };
    let token = token::access_token(&key, grant);
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["video"]["canPublish"], false);
    assert_eq!(claims["exp"], 4_102_444_800_u64);
    assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 32);
}
