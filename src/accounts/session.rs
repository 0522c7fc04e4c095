//! What somebody is signed in with: a cookie that says a secret, and how long it is good.

use jiff::{SignedDuration, Timestamp};

use super::{Secret, SecretHash};
use crate::store::{StaffAccount, StaffSession, Store, StoreError};

/// A session is over then, however busy.
pub(crate) const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(12);
/// And when it was not used for so long.
pub(super) const IDLE_LIFE: SignedDuration = SignedDuration::from_mins(60);
/// How exactly its use is noted.
const SEEN_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// A session that begins now, and what its cookie says.
pub(super) fn begin(now: Timestamp) -> (Secret, StaffSession) {
    let secret = Secret::fresh();
    let session = StaffSession { hash: secret.hash(), created_at: now, seen_at: now };
    (secret, session)
}

/// Sessions that began before this are over.
pub(super) fn begun_since(now: Timestamp) -> Timestamp {
    now.checked_sub(SESSION_LIFE).unwrap_or(Timestamp::MIN)
}

/// Who is signed in with this secret now; notes that the session is used.
pub(crate) async fn whose(
    store: &Store,
    secret: &Secret,
    now: Timestamp,
) -> Result<Option<(StaffSession, StaffAccount)>, StoreError> {
    let hash: SecretHash = secret.hash();
    let Some((session, account)) = store.staff_session(hash).await? else { return Ok(None) };
    let since_begin = now.duration_since(session.created_at);
    let unused = now.duration_since(session.seen_at);
    if account.disabled || since_begin >= SESSION_LIFE || unused >= IDLE_LIFE {
        return Ok(None);
    }
    if unused >= SEEN_EVERY {
        store.touch_staff_session(hash, now).await?;
    }
    Ok(Some((session, account)))
}
