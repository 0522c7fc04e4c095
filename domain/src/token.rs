//! Join tokens: what lets one participant through the door of one session.
//!
//! A token says who and which epoch, since when, and until when at the very most; when the door is open is computed from
//! the session at each use. It says nothing of a person.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::id::{ParticipantId, SessionId, TenantId};
use crate::rejection::Rejection;
use crate::session::{Standing, VirtualSession};
use crate::time::{after, minutes};

/// The layout below. Another layout gets another number.
const FORMAT_VERSION: u8 = 1;
/// What the MAC covers before the token itself, so that no other use of a key could ever make a token.
const PURPOSE: &[u8] = b"vestibule join token\0";
/// Format version, key id, tenant, session, participant, epoch, issue time, hard cap.
const BODY_BYTES: usize = 1 + 1 + 16 + 16 + 16 + 4 + 8 + 8;
const MAC_BYTES: usize = 32;
/// How far the clocks of two servers, or of one before and after a correction, may be apart.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// The longest a token lives after the door opened, however long the visit is scheduled for.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A key that signs join tokens. Wiped from memory when dropped.
#[derive(Clone)]
pub struct TokenKey {
    id: u8,
    secret: Zeroizing<[u8; 32]>,
}

impl TokenKey {
    /// A key of 32 random bytes. The identifier goes into each token, to tell which key signed it.
    #[must_use]
    pub fn new(id: u8, secret: [u8; 32]) -> Self {
        Self { id, secret: Zeroizing::new(secret) }
    }

    /// Its identifier.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    fn mac(&self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.as_slice()).expect("HMAC takes a key of any length");
        mac.update(PURPOSE);
        mac.update(body);
        mac
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The key that signs, and the one before it, whose tokens stay good until they expire.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    current: TokenKey,
    previous: Option<TokenKey>,
}

/// Keys that cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the previous token key has the identifier of the current one")]
pub struct TokenKeysError;

/// A join token, for a link. Not to be logged: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The credential: base64url, fewer than 160 characters.
    pub token: String,
    /// From when it opens nothing any more, as the session stands now.
    pub expires_at: Timestamp,
    /// Whom it lets in.
    pub participant: ParticipantId,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JoinToken")
            .field("expires_at", &self.expires_at)
            .field("participant", &self.participant)
            .finish_non_exhaustive()
    }
}

/// What a token says whose signature is right. That it opens the door is for [`admit_token`] to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// Whose session.
    pub tenant: TenantId,
    /// Which one. Not needed to name a participant, but to find them: the row of a session is found by its identifier,
    /// and a participant nowhere but in it.
    pub session: SessionId,
    /// Whom it lets in.
    pub participant: ParticipantId,
    /// The participant's epoch when it was issued.
    pub epoch: u32,
    /// When it was issued, to the millisecond.
    pub issued_at: Timestamp,
    /// When it ends at the latest, wherever the session is moved.
    pub hard_cap: Timestamp,
}

/// Why a token does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// None of ours, for nobody there, or damaged.
    #[error("the join token is invalid")]
    Invalid,
    /// Its time is over.
    #[error("the join token has expired")]
    Expired,
    /// Its participant was removed since.
    #[error("the join token was revoked")]
    Revoked,
    /// Too early.
    #[error("the session may be entered from {opens_at}")]
    NotOpen {
        /// From when.
        opens_at: Timestamp,
    },
    /// Too late: the session is final.
    #[error("the session is over")]
    SessionOver,
}

impl TokenError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid => "join_token_invalid",
            Self::Expired => "join_token_expired",
            Self::Revoked => "join_token_revoked",
            Self::NotOpen { .. } => "join_window_not_open",
            Self::SessionOver => "session_over",
        }
    }
}

impl TokenKeys {
    /// `current` signs; both verify.
    ///
    /// # Errors
    /// Both have one identifier.
    pub fn new(current: TokenKey, previous: Option<TokenKey>) -> Result<Self, TokenKeysError> {
        if previous.as_ref().is_some_and(|previous| previous.id == current.id) {
            return Err(TokenKeysError);
        }
        Ok(Self { current, previous })
    }

    /// A token for `participant`, as of now.
    ///
    /// # Errors
    /// The session is final or closed for good, or the participant is unknown or removed.
    pub fn issue(
        &self,
        session: &VirtualSession,
        participant: ParticipantId,
        now: Timestamp,
    ) -> Result<JoinToken, Rejection> {
        if session.status().is_final() {
            return Err(Rejection::SessionOver);
        }
        let record = session.participant(participant).ok_or(Rejection::NoSuchParticipant(participant))?;
        if record.standing == Standing::Removed {
            return Err(Rejection::Removed);
        }
        let issued_at = crate::time::whole_millisecond(now);
        let hard_cap = hard_cap(session, issued_at);
        if hard_cap <= now {
            return Err(Rejection::JoinWindowClosed);
        }
        let claims = TokenClaims {
            tenant: session.tenant(),
            session: session.id(),
            participant,
            epoch: record.epoch,
            issued_at,
            hard_cap,
        };
        Ok(JoinToken { token: self.sign(&claims), expires_at: claims.expires_at(session), participant })
    }

    /// What `text` says, if a key of ours signed it. Takes the same time wherever a wrong signature differs.
    ///
    /// # Errors
    /// [`TokenError::Invalid`], and no other.
    pub fn verify(&self, text: &str) -> Result<TokenClaims, TokenError> {
        let mut bytes = [0; BODY_BYTES + MAC_BYTES];
        // The length comes out before anything is decoded: who sends more than a token gets no work done for it.
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| TokenError::Invalid)?;
        if decoded != bytes.len() || bytes[0] != FORMAT_VERSION {
            return Err(TokenError::Invalid);
        }
        let (body, mac) = bytes.split_at(BODY_BYTES);
        let key = self.key(body[1]).ok_or(TokenError::Invalid)?;
        key.mac(body).verify_slice(mac).map_err(|_| TokenError::Invalid)?;
        read_body(body).ok_or(TokenError::Invalid)
    }

    fn sign(&self, claims: &TokenClaims) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
        bytes.extend([FORMAT_VERSION, self.current.id]);
        bytes.extend(claims.tenant.as_uuid().as_bytes());
        bytes.extend(claims.session.as_uuid().as_bytes());
        bytes.extend(claims.participant.as_uuid().as_bytes());
        bytes.extend(claims.epoch.to_be_bytes());
        bytes.extend(claims.issued_at.as_millisecond().to_be_bytes());
        bytes.extend(claims.hard_cap.as_millisecond().to_be_bytes());
        let mac = self.current.mac(&bytes).finalize().into_bytes();
        bytes.extend(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn key(&self, id: u8) -> Option<&TokenKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.id == id)
    }
}

impl TokenClaims {
    /// From when the token opens nothing any more, as `session` stands.
    #[must_use]
    pub fn expires_at(&self, session: &VirtualSession) -> Timestamp {
        session.join_window().closes_at.map_or(self.hard_cap, |closes_at| closes_at.min(self.hard_cap))
    }
}

/// Whether `claims` open the door of `session` now.
///
/// Says nothing of those inside: expiry never cuts a running call.
///
/// # Errors
/// Why not; who was removed hears that before anything of the session.
pub fn admit_token(claims: &TokenClaims, session: &VirtualSession, now: Timestamp) -> Result<(), TokenError> {
    if claims.session != session.id() || claims.tenant != session.tenant() {
        return Err(TokenError::Invalid);
    }
    let record = session.participant(claims.participant).ok_or(TokenError::Invalid)?;
    if record.standing == Standing::Removed || record.epoch != claims.epoch {
        return Err(TokenError::Revoked);
    }
    if session.status().is_final() {
        return Err(TokenError::SessionOver);
    }
    if now >= after(claims.expires_at(session), SKEW) {
        return Err(TokenError::Expired);
    }
    let opens_at = session.join_window().opens_at;
    if after(now, SKEW) < opens_at {
        return Err(TokenError::NotOpen { opens_at });
    }
    Ok(())
}

/// The latest end of a token issued now: the door's closing as it is planned now, and never more than a day after its
/// opening. A token for an unscheduled session is short-lived instead.
fn hard_cap(session: &VirtualSession, issued_at: Timestamp) -> Timestamp {
    let window = session.join_window();
    match window.closes_at {
        Some(closes_at) => closes_at.min(after(window.opens_at, LIFE_MAX)),
        None => after(issued_at, minutes(session.policy().session_grace_minutes_before)),
    }
}

fn read_body(body: &[u8]) -> Option<TokenClaims> {
    let (_, rest) = body.split_first_chunk::<2>()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (session, rest) = rest.split_first_chunk::<16>()?;
    let (participant, rest) = rest.split_first_chunk::<16>()?;
    let (epoch, rest) = rest.split_first_chunk::<4>()?;
    let (issued_at, hard_cap) = rest.split_first_chunk::<8>()?;
    let hard_cap: &[u8; 8] = hard_cap.try_into().ok()?;
    Some(TokenClaims {
        tenant: TenantId::from_uuid(Uuid::from_bytes(*tenant)).ok()?,
        session: SessionId::from_uuid(Uuid::from_bytes(*session)).ok()?,
        participant: ParticipantId::from_uuid(Uuid::from_bytes(*participant)).ok()?,
        epoch: u32::from_be_bytes(*epoch),
        issued_at: Timestamp::from_millisecond(i64::from_be_bytes(*issued_at)).ok()?,
        hard_cap: Timestamp::from_millisecond(i64::from_be_bytes(*hard_cap)).ok()?,
    })
}
