//! Passwords: which are taken, and their slow hash (Argon2id, RFC 9106).
//!
//! Whoever asks waits for one of a few turns: each hash takes 19 MiB and some ten milliseconds of a processor, and a
//! hundred at once would take them from the calls.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::LoginName;
use crate::data_dir::fill_random;

/// OWASP's cheat sheet on storing passwords: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Hashes that are computed at once.
const AT_ONCE_MAX: usize = 2;
/// Requests that wait for their turn; more are refused.
const WAITING_MAX: usize = 64;
/// What is compared with where there is no password: the same work, and nobody's password comes to zeros.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Of twelve characters or more, what is tried first. Compared without case, blanks and punctuation.
const COMMON: [&str; 24] = [
    "123456789012",
    "1234567890123",
    "12345678901234",
    "123456789123",
    "1q2w3e4r5t6y",
    "1qaz2wsx3edc",
    "abcdefghijkl",
    "administrator",
    "changemeplease",
    "correcthorsebatterystaple",
    "iloveyouiloveyou",
    "letmeinletmein",
    "lorem1psumdolor",
    "passwordpassword",
    "password1234",
    "password12345",
    "password123456",
    "passw0rd1234",
    "qwertyqwerty",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdfgh",
    "vestibule123",
    "welcome12345",
];

/// A new password that is good enough. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct NewPassword(Zeroizing<String>);

/// Why a password is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WeakPassword {
    #[error("a password has at least {} characters", NewPassword::CHARACTERS_MIN)]
    TooShort,
    #[error("a password has at most {} characters", NewPassword::CHARACTERS_MAX)]
    TooLong,
    #[error("the login name must not be part of the password")]
    HasLogin,
    #[error("this password repeats a few characters; use more that differ")]
    Repeats,
    #[error("this password is among the first that are guessed")]
    Common,
}

impl WeakPassword {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "password_too_short",
            Self::TooLong => "password_too_long",
            Self::HasLogin => "password_has_login",
            Self::Repeats => "password_repeats",
            Self::Common => "password_common",
        }
    }
}

impl NewPassword {
    pub(crate) const CHARACTERS_MIN: usize = 12;
    pub(crate) const CHARACTERS_MAX: usize = 200;
    /// Fewer that differ are a pattern.
    const DIFFERENT_MIN: usize = 5;

    /// Takes what is not among the first guesses. Long beats strange: there is no rule on kinds of characters.
    pub(crate) fn parse(text: String, login: &LoginName) -> Result<Self, WeakPassword> {
        let text = Zeroizing::new(text);
        let length = text.chars().count();
        if length < Self::CHARACTERS_MIN {
            return Err(WeakPassword::TooShort);
        }
        if length > Self::CHARACTERS_MAX {
            return Err(WeakPassword::TooLong);
        }
        let lower = Zeroizing::new(text.to_lowercase());
        if lower.chars().collect::<std::collections::BTreeSet<_>>().len() < Self::DIFFERENT_MIN {
            return Err(WeakPassword::Repeats);
        }
        if lower.contains(login.as_str()) || lower.contains(login.local_part()) {
            return Err(WeakPassword::HasLogin);
        }
        let bare =
            Zeroizing::new(lower.chars().filter(|character| character.is_alphanumeric()).collect::<String>());
        if COMMON.contains(&bare.as_str()) || is_run(&bare) {
            return Err(WeakPassword::Common);
        }
        Ok(Self(text))
    }
}

/// Whether each character follows the one before, up or down, as in `abcdefghijklm` or `987654321098`.
fn is_run(text: &str) -> bool {
    let steps = |step: i64| {
        let codes = text.chars().map(|character| i64::from(u32::from(character)));
        codes.clone().zip(codes.skip(1)).all(|(one, next)| next - one == step || (one - next).abs() == 9)
    };
    steps(1) || steps(-1)
}

/// A password as it is kept, in the PHC form.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(String);

impl PasswordHash {
    pub(crate) const fn from_stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// All turns are taken, and as many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many people are signing in at once")]
pub(crate) struct Crowded;

/// Gives the turns.
#[derive(Debug)]
pub(crate) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

/// A turn to compute hashes, one after another; over when it is dropped.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE_MAX)), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Hasher {
    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Result<Turn, Crowded> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Crowded)?;
        Arc::clone(&self.turns).acquire_owned().await.map(|_permit| Turn { _permit }).map_err(|_| Crowded)
    }
}

impl Turn {
    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: NewPassword) -> PasswordHash {
        let mut salt = [0; SALT_BYTES];
        fill_random(&mut salt);
        on_a_thread(move || {
            let hash = argon2().hash_password_with_salt(password.0.as_bytes(), &salt);
            PasswordHash(hash.expect("length of salt and password are within argon2's bounds").to_string())
        })
        .await
    }

    /// Whether `password` is the one of `hash`; without one it is not, after as long a time.
    pub(crate) async fn verify(&self, password: Zeroizing<String>, hash: Option<PasswordHash>) -> bool {
        on_a_thread(move || {
            let hash = hash.as_ref().map_or(NOBODYS, PasswordHash::as_str);
            argon2().verify_password(password.as_bytes(), hash).is_ok()
        })
        .await
    }
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // It is not cancelled, and the panic of a hash is a bug here.
    tokio::task::spawn_blocking(work).await.expect("the work does not panic")
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NewPassword(…)")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Turn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NewPassword, WeakPassword> {
        NewPassword::parse(text.to_owned(), &LoginName::parse("d.quixworthy@clinic.example").unwrap())
    }

    #[test]
    fn what_is_guessed_first_is_no_password() {
        let cases = [
            ("short-one 1", WeakPassword::TooShort),
            (&*"long enough ".repeat(17), WeakPassword::TooLong),
            ("aaaaaaaaaaaaaaaa", WeakPassword::Repeats),
            ("abcabcabcabcabc", WeakPassword::Repeats),
            ("I am D.Quixworthy!", WeakPassword::HasLogin),
            ("Password-1234", WeakPassword::Common),
            ("correct horse battery staple", WeakPassword::Common),
            ("abcdefghijklmnop", WeakPassword::Common),
            ("098765432109876", WeakPassword::Common),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for text in ["a plain long sentence", "ƿ 八 語 も 可 い ま す", &"läng ".repeat(40)] {
            parse(text).unwrap();
        }
    }

    #[test]
    fn no_password_is_shown() {
        assert!(!format!("{:?}", parse("a plain long sentence").unwrap()).contains("plain"));
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_no_two_hashes_are_alike() {
        let hasher = Hasher::default();
        let turn = hasher.turn().await.unwrap();
        let first = turn.hash(parse("a plain long sentence").unwrap()).await;
        let second = turn.hash(parse("a plain long sentence").unwrap()).await;
        assert!(first.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", first.as_str());
        assert_ne!(first, second);
        let verify = |text: &str, hash| turn.verify(Zeroizing::new(text.to_owned()), hash);
        assert!(verify("a plain long sentence", Some(first.clone())).await);
        assert!(!verify("a plain long Sentence", Some(first)).await);
        assert!(!verify("", None).await);
    }

    #[test]
    fn where_there_is_no_password_the_same_work_is_done() {
        use argon2::password_hash::phc;
        let nobodys = phc::PasswordHash::new(NOBODYS).unwrap();
        let ours = argon2().hash_password_with_salt(b"some password", &[1; SALT_BYTES]).unwrap();
        assert_eq!(nobodys.algorithm, ours.algorithm);
        assert_eq!(nobodys.version, ours.version);
        assert_eq!(nobodys.params, ours.params);
        assert_eq!(nobodys.hash.unwrap().as_bytes().len(), ours.hash.unwrap().as_bytes().len());
    }

    #[tokio::test]
    async fn a_crowd_is_turned_away() {
        let hasher = Arc::new(Hasher::default());
        let taken = [hasher.turn().await.unwrap(), hasher.turn().await.unwrap()];
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let hasher = Arc::clone(&hasher);
                tokio::spawn(async move { hasher.turn().await.is_ok() })
            })
            .collect();
        while hasher.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.turn().await.unwrap_err(), Crowded);
        drop(taken);
        for waited in waiting {
            assert!(waited.await.unwrap());
        }
    }
}
