//! `web-client/sdk/src/wire.ts` is what these types say. `UPDATE_WIRE=1 cargo test -p vestibule-signaling` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use ts_rs::{Config, TS};
use vestibule_domain::{
    BandwidthProfile, Communication, ConsentType, EndReason, ParticipantRole, ParticipantState,
    SessionStatus, TierReason,
};

use super::*;

const HEADER: &str = "\
/**
 * What goes over the wire (docs/protocol.md). Made from the server's own types by a test of the signaling crate; do not
 * edit: UPDATE_WIRE=1 cargo test -p vestibule-signaling
 */

export const SUBPROTOCOL = 'vestibule.v1';
";

/// What each message carries beside its own fields.
const FOOTER: &str = "\
/** A frame of the client: a message, and the number its reply names. */
export type ClientFrame = ClientMessage & { id?: number };

/** A frame of the server: a message, and its number in this incarnation, from 1. */
export type ServerFrame = ServerMessage & { seq: number };
";

fn typescript() -> String {
    let config = Config::default().with_large_int("number");
    let mut text = HEADER.to_owned();
    let mut unions = |name: &str, variants: Vec<String>| {
        let _ = writeln!(text, "\nexport type {name} = {};", variants.join(" | "));
    };
    unions("ParticipantRole", words(ParticipantRole::ALL));
    unions("ParticipantState", words(ParticipantState::ALL));
    unions("SessionStatus", words(SessionStatus::ALL));
    unions("EndReason", words(EndReason::ALL));
    unions("DenyReason", words(DenyReason::ALL));
    unions("ConsentType", words(ConsentType::ALL));
    unions("Communication", words(Communication::ALL));
    unions("BandwidthProfile", words(BandwidthProfile::ALL));
    unions("TierReason", words(TierReason::ALL));
    macro_rules! declare {
        ($($name:ty),+ $(,)?) => {
            $(let _ = writeln!(text, "\nexport {}", tidy(&<$name as TS>::decl(&config)));)+
        };
    }
    declare!(
        RequestId,
        ClientMessage,
        SlotWish,
        PublishKind,
        ServerMessage,
        Participant,
        ParticipantMedia,
        MediaState,
        TierChange,
        VideoKind,
        VideoCodec,
        QualityLevel,
        QualityReason,
        QualityCode,
        Stretch,
        Policy,
        SessionState,
        SeatCounts,
        SeatMids,
        SeatTaken,
        ChatLine,
        Attachment,
        ThreadPage,
        VisitState,
        ThreadRequest,
        LineWords,
        ThreadReply,
        LineOutcome,
        LineState,
        JoinRequest,
        JoinReply,
        Who,
        Clinic,
        SessionSummary,
        ConsentForm,
        ConsentsRequest,
        ConsentAnswer,
        ConsentsReply,
        Ticket,
        IceServer,
        Problem,
    );
    let _ = write!(text, "\n{FOOTER}");
    text
}

/// The values of an enum as string literals.
fn words<T: Serialize>(values: &[T]) -> Vec<String> {
    let word = |value| serde_json::to_value(value).unwrap().as_str().map(|word| format!("'{word}'")).unwrap();
    values.iter().map(word).collect()
}

/// One variant a line, and TypeScript's quotes.
fn tidy(declaration: &str) -> String {
    declaration.replace(" } | { ", " }\n  | { ").replace('"', "'")
}

#[test]
fn the_web_clients_types_are_the_servers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web-client/sdk/src/wire.ts");
    let expected = typescript();
    if std::env::var_os("UPDATE_WIRE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "web-client/sdk/src/wire.ts is not what the types say; UPDATE_WIRE=1 writes it anew"
    );
}

/// Every message and every code of the protocol's page is one of ours, and the other way round.
#[test]
fn the_protocols_page_names_every_message_and_every_code() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")).unwrap();
    let (_, socket) = page.split_once("## 3. The socket").unwrap();
    let (socket, _) = socket.split_once("## 4. Media").unwrap();
    let (client, server) = socket.split_once("### From the server").unwrap();
    let rows = |text: &str| -> Vec<String> {
        let first_word = |line: &str| {
            let cell = line.strip_prefix("| `")?;
            Some(cell.split([' ', '`']).next()?.to_owned())
        };
        let mut names: Vec<String> = text.lines().filter_map(first_word).collect();
        names.sort();
        names
    };
    let config = Config::default();
    let tags = |declaration: String| -> Vec<String> {
        let mut tags: Vec<String> = declaration
            .split("\"type\": \"")
            .skip(1)
            .filter_map(|rest| Some(rest.split('"').next()?.to_owned()))
            .collect();
        tags.sort();
        tags
    };
    assert_eq!(rows(client), tags(ClientMessage::decl(&config)));
    assert_eq!(rows(server), tags(ServerMessage::decl(&config)));
    for code in ErrorCode::OWN {
        let code: &'static str = code.into();
        assert!(page.contains(&format!("`{code}`")), "{code} is not in docs/protocol.md");
    }
}
