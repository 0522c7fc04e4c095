//! Resume secrets: what a device comes back with after its socket, its page or the server was gone.
//!
//! The text says whose it is, so that whoever comes back finds their session without another word. What opens it is the
//! hash of the whole text, and only that is kept.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vestibule_domain::{ParticipantId, SessionId};
use vestibule_signaling::{FreshSecret, ResumeKey};

use crate::data_dir::fill_random;

const ID_BYTES: usize = 16;
const RANDOM_BYTES: usize = 32;
const BYTES: usize = 2 * ID_BYTES + RANDOM_BYTES;

/// What a secret says, whether or not it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) session: SessionId,
    pub(crate) participant: ParticipantId,
    pub(crate) key: ResumeKey,
}

/// A text that is none of a secret. It is not said what is wrong with it: nobody types one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no resume secret")]
pub(crate) struct NoSecret;

/// One that nobody had before.
pub(crate) fn fresh(session: SessionId, participant: ParticipantId) -> FreshSecret {
    let mut bytes = [0; BYTES];
    bytes[..ID_BYTES].copy_from_slice(session.as_uuid().as_bytes());
    bytes[ID_BYTES..2 * ID_BYTES].copy_from_slice(participant.as_uuid().as_bytes());
    fill_random(&mut bytes[2 * ID_BYTES..]);
    let secret = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    FreshSecret { key: key(&secret), secret }
}

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<Shown, NoSecret> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| NoSecret)?;
    let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| NoSecret)?;
    let id = |from: usize| Uuid::from_slice(&bytes[from..from + ID_BYTES]).map_err(|_| NoSecret);
    Ok(Shown {
        session: SessionId::from_uuid(id(0)?).map_err(|_| NoSecret)?,
        participant: ParticipantId::from_uuid(id(ID_BYTES)?).map_err(|_| NoSecret)?,
        key: key(text),
    })
}

fn key(text: &str) -> ResumeKey {
    ResumeKey(Sha256::digest(text.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn ids() -> (SessionId, ParticipantId) {
        (
            SessionId::new(Timestamp::UNIX_EPOCH, [1; 10]),
            ParticipantId::new(Timestamp::from_second(9).unwrap(), [2; 10]),
        )
    }

    #[test]
    fn a_secret_says_whose_it_is_and_no_two_are_the_same() {
        let (session, participant) = ids();
        let (one, other) = (fresh(session, participant), fresh(session, participant));
        assert_eq!(parse(&one.secret), Ok(Shown { session, participant, key: one.key }));
        assert_ne!(one.key, other.key);
        assert_eq!(one.secret.len(), 86);
    }

    #[test]
    fn nothing_of_it_is_shown_where_things_are_logged() {
        let (session, participant) = ids();
        let FreshSecret { secret, key } = fresh(session, participant);
        let shown = format!("{:?} {:?} {:?}", fresh(session, participant), key, parse(&secret));
        assert!(!shown.contains(&secret[44..60]) && !shown.contains(&format!("{:?}", key.0[0..4].to_vec())));
    }

    #[test]
    fn what_is_no_secret_is_refused_by_a_type() {
        let (session, participant) = ids();
        let secret = fresh(session, participant).secret;
        let other_version = |from: usize| {
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&secret).unwrap();
            bytes[from + 6] = 0x40;
            BASE64_URL_SAFE_NO_PAD.encode(bytes)
        };
        let wrong = [
            String::new(),
            " ".repeat(86),
            "A".repeat(86),
            secret[1..].to_owned(),
            format!("{secret}A"),
            format!("{secret}=="),
            secret.replace(|c: char| c.is_ascii_alphabetic(), "+"),
            "ß".repeat(43),
            "A".repeat(100_000),
            other_version(0),
            other_version(ID_BYTES),
        ];
        for text in wrong {
            assert_eq!(parse(&text), Err(NoSecret), "{} bytes", text.len());
        }
    }
}
