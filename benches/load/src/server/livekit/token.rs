//! LiveKit's access token: a JWT (RFC 7519) signed with HMAC-SHA-256, which names the room and the participant.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

/// An API key of a LiveKit server, with its secret.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The key's name: the token's issuer.
    pub name: String,
    /// What it signs with.
    pub secret: String,
}

/// Who may come into which room, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant<'a> {
    pub(super) room: &'a str,
    pub(super) identity: &'a str,
    pub(super) publishes: bool,
    /// Seconds since 1970.
    pub(super) expires_at: u64,
}

/// The token of a grant.
pub(super) fn access_token(key: &ApiKey, grant: Grant<'_>) -> String {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let claims = json!({
        "iss": key.name,
        "sub": grant.identity,
        "exp": grant.expires_at,
        "video": {
            "room": grant.room,
            "roomJoin": true,
            "canPublish": grant.publishes,
            "canSubscribe": true,
        },
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.secret.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}
