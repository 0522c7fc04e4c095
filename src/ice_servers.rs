//! The STUN and TURN servers browsers are told of, and what opens a TURN server to them: a name that is good for a while and
//! its HMAC under a secret the TURN server knows, too (draft-uberti-behave-turn-rest-00, coturn's `use-auth-secret`).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use axum::http::uri::Authority;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::{SignedDuration, Timestamp};
use vestibule_domain::ParticipantId;
use vestibule_signaling::wire::IceServer;

/// How long credentials are good: longer than any visit, and a page that comes back to one uses those it has.
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// An address of a STUN or TURN server, as browsers take it (RFC 7064, RFC 7065).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IceUrl {
    text: String,
    is_turn: bool,
}

impl IceUrl {
    /// Whether it relays, which takes credentials.
    pub(crate) const fn is_turn(&self) -> bool {
        self.is_turn
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for IceUrl {
    type Err = IceUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or(IceUrlError)?;
        let is_turn = match scheme {
            // Browsers know no `stuns:` server, and refuse a whole list for it.
            "stun" => false,
            "turn" | "turns" => true,
            _ => return Err(IceUrlError),
        };
        let (address, query) = match rest.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (rest, None),
        };
        let authority: Authority = address.parse().map_err(|_| IceUrlError)?;
        let is_host_alone = authority.host() == address;
        let good_port = is_host_alone || authority.port_u16().is_some_and(|port| port != 0);
        let good_query =
            query.is_none_or(|query| is_turn && matches!(query, "transport=udp" | "transport=tcp"));
        if authority.host().is_empty() || address.contains('@') || !good_port || !good_query {
            return Err(IceUrlError);
        }
        Ok(Self { text: text.to_owned(), is_turn })
    }
}

/// Why `--ice-server` was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected stun:HOST, turn:HOST or turns:HOST, with :PORT if it is not the usual one, and for turn ?transport=udp or tcp"
)]
pub(crate) struct IceUrlError;

/// What every page is told of.
#[derive(Debug, Default)]
pub(crate) struct IceServers {
    stun: Vec<String>,
    turn: Vec<String>,
    key: Option<hmac::Key>,
}

impl IceServers {
    pub(crate) fn new(urls: &[IceUrl], secret: Option<&str>) -> Self {
        let of = |turn: bool| urls.iter().filter(move |url| url.is_turn == turn).map(ToString::to_string);
        // The convention is older than doubts about SHA-1, and an HMAC does not rest on what is doubted of it.
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        Self { stun: of(false).collect(), turn: of(true).collect(), key: secret.map(key) }
    }

    /// What one participant's page is told.
    pub(crate) fn of(&self, participant: ParticipantId, now: Timestamp) -> Vec<IceServer> {
        let stun = (!self.stun.is_empty()).then(|| IceServer {
            urls: self.stun.clone(),
            username: None,
            credential: None,
        });
        let turn = self.key.as_ref().filter(|_| !self.turn.is_empty()).map(|key| {
            let good_until = now.saturating_add(LIFETIME).unwrap_or(Timestamp::MAX).as_second();
            let username = format!("{good_until}:{participant}");
            let credential = BASE64_STANDARD.encode(hmac::sign(key, username.as_bytes()));
            IceServer { urls: self.turn.clone(), username: Some(username), credential: Some(credential) }
        });
        stun.into_iter().chain(turn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<IceUrl> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn told(urls: &[IceUrl], secret: Option<&str>) -> serde_json::Value {
        let participant = "01932b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b".parse().unwrap();
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        serde_json::to_value(IceServers::new(urls, secret).of(participant, now)).unwrap()
    }

    #[test]
    fn a_relay_is_told_with_a_name_that_ends_and_its_hmac() {
        let all = urls(&[
            "stun:stun.example.org",
            "turn:turn.example.org:3478?transport=udp",
            "turns:turn.example.org",
        ]);
        // The credential: `printf %s "$username" | openssl dgst -sha1 -hmac north -binary | base64`.
        let expected = serde_json::json!([
            { "urls": ["stun:stun.example.org"] },
            {
                "urls": ["turn:turn.example.org:3478?transport=udp", "turns:turn.example.org"],
                "username": "1795043200:01932b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
                "credential": "/z7aY/YRcamku7ScNrxpKful0SE=",
            },
        ]);
        assert_eq!(told(&all, Some("north")), expected);
    }

    #[test]
    fn nothing_is_told_where_there_is_nothing() {
        assert_eq!(told(&[], None), serde_json::json!([]));
        assert_eq!(told(&[], Some("north")), serde_json::json!([]));
        assert_eq!(told(&urls(&["stun:a"]), Some("north")), serde_json::json!([{ "urls": ["stun:a"] }]));
    }

    #[test]
    fn addresses_are_those_that_browsers_take() {
        urls(&["stun:a", "stun:192.0.2.1:3478", "turn:[2001:db8::1]:3478?transport=tcp", "turns:a.b:443"]);
        for wrong in [
            "a",
            "stun:",
            "stuns:a",
            "http:a",
            "turn://a",
            "turn:a:0",
            "turn:a:",
            "turn:a:99999",
            "turn:u@a",
            "stun:a?transport=udp",
            "turn:a?transport=sctp",
            "turn:a?x",
            "turn:a b",
        ] {
            assert_eq!(wrong.parse::<IceUrl>(), Err(IceUrlError), "{wrong}");
        }
    }
}
