//! Signing in, and changing one's own password: the two places where a password is looked at.
//!
//! Nobody learns from an answer, or from how long it takes, whether a name has an account: the same work is done for one
//! that has none, it is locked like one that has, and a refusal takes a fixed time.

use tokio::time::{Duration, Instant, sleep_until};
use zeroize::Zeroizing;

use super::password::Turn;
use super::session::{begin, begun_since};
use super::{Accounts, Asked, Attempts, Crowded, LoginName, NewPassword, PasswordHash, Secret, WeakPassword};
use crate::store::{PasswordChange, SignIn, StaffAccount, Store, StoreError};
use jiff::Timestamp;
use vestibule_domain::Actor;

/// From its turn on a refusal takes this long: longer than the hash and a write to the disk.
const REFUSAL: Duration = Duration::from_millis(300);

/// Somebody who just signed in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    pub(crate) account: StaffAccount,
    /// For the cookie.
    pub(crate) secret: Secret,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    #[error("the login name or the password is wrong")]
    Wrong,
    /// Whatever the password.
    #[error("there were too many wrong passwords for this name")]
    Locked { until: Timestamp },
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a password stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// The password of now was not the one given.
    #[error(transparent)]
    Refused(#[from] SignInError),
}

impl Accounts {
    /// Signs somebody in.
    pub(crate) async fn sign_in(
        &self,
        store: &Store,
        login: &str,
        password: Zeroizing<String>,
        asked: &Asked,
    ) -> Result<SignedIn, SignInError> {
        let turn = self.hasher.turn().await?;
        let begun = Instant::now();
        let result = self.try_sign_in(store, login, password, asked, &turn).await;
        // Others need not wait for the rest.
        drop(turn);
        if result.is_err() {
            sleep_until(begun + REFUSAL).await;
        }
        result
    }

    async fn try_sign_in(
        &self,
        store: &Store,
        login: &str,
        password: Zeroizing<String>,
        asked: &Asked,
        turn: &Turn,
    ) -> Result<SignedIn, SignInError> {
        let Ok(login) = LoginName::parse(login) else {
            turn.verify(password, None).await;
            return Err(SignInError::Wrong);
        };
        let account = store.account_by_login(&login).await?;
        let locked = match &account {
            Some(account) => account.attempts.locked(asked.now),
            None => self.unknown.locked(&login, asked.now),
        };
        let hash =
            account.as_ref().filter(|account| !account.disabled).and_then(|account| account.password.clone());
        let right = turn.verify(password, hash.clone()).await;
        match (locked, account, hash) {
            (Some(until), ..) => Err(SignInError::Locked { until }),
            (None, Some(account), Some(hash)) if right => begin_session(store, account, hash, asked).await,
            (None, Some(account), _) => Err(failed(store, &account, asked).await?),
            (None, None, _) => Err(refusal(self.unknown.failed(&login, asked.now))),
        }
    }

    /// Sets another password for somebody who is signed in; their other sessions end, and this one is another.
    pub(crate) async fn change_password(
        &self,
        store: &Store,
        account: StaffAccount,
        (current, new): (Zeroizing<String>, String),
        asked: &Asked,
    ) -> Result<SignedIn, ChangeError> {
        let new = NewPassword::parse(new, &account.login)?;
        let turn = self.hasher.turn().await.map_err(SignInError::from)?;
        if let Some(until) = account.attempts.locked(asked.now) {
            return Err(SignInError::Locked { until }.into());
        }
        let compared_with = account.password.clone();
        let right = turn.verify(current, compared_with.clone()).await;
        let Some(compared_with) = compared_with.filter(|_| right) else {
            return Err(failed(store, &account, asked).await.map_err(SignInError::from)?.into());
        };
        let password = turn.hash(new).await;
        let (secret, session) = begin(asked.now);
        let change =
            PasswordChange { account: account.id, password, session, sessions_since: begun_since(asked.now) };
        let beside = asked.beside(account.id.actor(), "staff.password_changed", &account);
        let set = store.change_password(compared_with, change, beside).await.map_err(SignInError::from)?;
        if set { Ok(SignedIn { account, secret }) } else { Err(SignInError::Wrong.into()) }
    }

    /// Sets a password by a link that was found good, and signs its owner in.
    pub(super) async fn hash(&self, password: NewPassword) -> Result<PasswordHash, Crowded> {
        Ok(self.hasher.turn().await?.hash(password).await)
    }
}

async fn begin_session(
    store: &Store,
    account: StaffAccount,
    password: PasswordHash,
    asked: &Asked,
) -> Result<SignedIn, SignInError> {
    let (secret, session) = begin(asked.now);
    let sign_in = SignIn { account: account.id, password, session, sessions_since: begun_since(asked.now) };
    let beside = asked.beside(account.id.actor(), "staff.signed_in", &account);
    if store.sign_in(sign_in, beside).await? {
        return Ok(SignedIn { account, secret });
    }
    // Locked, disabled or given another password a moment ago.
    Err(SignInError::Wrong)
}

/// Counts a wrong password; what to say of it.
async fn failed(store: &Store, account: &StaffAccount, asked: &Asked) -> Result<SignInError, StoreError> {
    // Whoever it was, they are not known.
    let beside = asked.beside(Actor::System, "staff.sign_in_failed", account);
    let attempts: Attempts = store.sign_in_failed(account.id, asked.now, beside).await?;
    Ok(refusal(attempts.locked(asked.now)))
}

const fn refusal(locked_until: Option<Timestamp>) -> SignInError {
    match locked_until {
        Some(until) => SignInError::Locked { until },
        None => SignInError::Wrong,
    }
}
