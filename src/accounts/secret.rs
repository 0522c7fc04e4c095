//! What lets somebody in by being known: the cookie of a session, the token of a link, the secret of a key. Only its hash
//! is kept, and what nobody can guess needs no slow one.

use std::fmt;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::data_dir::fill_random;

const BYTES: usize = 32;

/// 32 random bytes; as text 43 characters of base64url. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret([u8; BYTES]);

/// SHA-256 of a [`Secret`]'s bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SecretHash([u8; BYTES]);

impl Secret {
    /// One that nobody had before.
    pub(crate) fn fresh() -> Self {
        let mut bytes = [0; BYTES];
        fill_random(&mut bytes);
        Self(bytes)
    }

    /// Takes its text, and no other form of it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// To be told to whom it belongs, and to nobody else.
    pub(crate) fn reveal(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.0).into())
    }
}

impl SecretHash {
    pub(crate) const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Whether it is the hash of `secret`; takes as long for any answer.
    pub(crate) fn is_of(&self, secret: &Secret) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &secret.hash().0).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_and_shown_nowhere() {
        let secret = Secret::fresh();
        let text = secret.reveal();
        assert_eq!(text.len(), 43);
        assert_eq!(Secret::parse(&text), Some(secret.clone()));
        assert!(secret.hash().is_of(&secret));
        assert!(!secret.hash().is_of(&Secret::fresh()));
        assert!(!format!("{secret:?} {:?}", secret.hash()).contains(&text[..8]));
    }

    #[test]
    fn anything_else_is_no_secret() {
        let text = Secret::fresh().reveal();
        for wrong in
            [String::new(), text[1..].to_owned(), format!("{text}="), format!("{text}A"), " ".repeat(43)]
        {
            assert_eq!(Secret::parse(&wrong), None, "{wrong}");
        }
    }
}
