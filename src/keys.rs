//! API keys: how a clinic's own systems say who they are. `vst_`, 32 hexadecimal digits of which key, `_`, and 43
//! characters of a secret, of which only a hash is kept.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{StaffId, TenantId};

use crate::accounts::{ApiKeyId, Secret, SecretHash};
use crate::ids::Ids;
use crate::rights::Right;
use crate::store::{ApiKey, PersonText, Rotation, Store, StoreError};

const PREFIX: &str = "vst_";
/// How exactly the use of a key is noted.
const USED_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How long the secret before a rotation may stay good.
pub(crate) const GRACE_MINUTES_MAX: u16 = 1_440;

/// A key as its owner has it.
#[derive(Clone, Debug)]
pub(crate) struct KeyText {
    id: ApiKeyId,
    secret: Secret,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) tenant: TenantId,
    pub(crate) name: PersonText,
    pub(crate) scopes: BTreeSet<Right>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) created_by: Option<StaffId>,
}

impl KeyText {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self { id: ApiKeyId::from_hex(id)?, secret: Secret::parse(secret)? })
    }

    /// To be shown once, to who asked for it.
    pub(crate) fn reveal(&self) -> String {
        format!("{}_{}", prefix(self.id), self.secret.reveal())
    }
}

/// What a key begins with, which is no secret.
pub(crate) fn prefix(id: ApiKeyId) -> String {
    format!("{PREFIX}{}", id.hex())
}

/// A key that nobody had before, and what is kept of it.
pub(crate) fn fresh(new: NewKey, ids: &Ids, now: Timestamp) -> (KeyText, ApiKey) {
    let text = KeyText { id: ids.api_key(now), secret: Secret::fresh() };
    let kept = ApiKey {
        id: text.id,
        tenant: new.tenant,
        name: new.name,
        scopes: new.scopes.iter().map(|right| right.as_str().to_owned()).collect(),
        secret: text.secret.hash(),
        former: None,
        created_by: new.created_by.map_or_else(|| "system".to_owned(), |id| id.as_str().to_owned()),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    (text, kept)
}

/// Another secret for a key, and for how long the one of now stays good.
pub(crate) fn rotation(id: ApiKeyId, grace_minutes: u16, now: Timestamp) -> (KeyText, Rotation) {
    let text = KeyText { id, secret: Secret::fresh() };
    let grace = SignedDuration::from_mins(grace_minutes.min(GRACE_MINUTES_MAX).into());
    let former_until = now.checked_add(grace).unwrap_or(Timestamp::MAX);
    let rotation = Rotation { secret: text.secret.hash(), former_until };
    (text, rotation)
}

/// The rights of a key: what is not known here is none. By the secret from before a rotation no key or account is made or
/// changed: it may have been rotated because somebody else has it.
pub(crate) fn rights(key: &ApiKey, by_former: bool) -> BTreeSet<Right> {
    let managing = [Right::KeysManage, Right::StaffManage];
    let rights = key.scopes.iter().filter_map(|word| word.parse().ok());
    rights.filter(|right| !by_former || !managing.contains(right)).collect()
}

/// The key of that text, if it is good now, and whether by the secret from before a rotation; notes that it is used.
pub(crate) async fn identify(
    store: &Store,
    text: &str,
    now: Timestamp,
) -> Result<Option<(ApiKey, bool)>, StoreError> {
    let Some(text) = KeyText::parse(text) else { return Ok(None) };
    let Some(key) = store.api_key(text.id).await? else { return Ok(None) };
    if !is_good(&key, &text.secret, now) {
        return Ok(None);
    }
    let noted = key.last_used_at.is_some_and(|at| now.duration_since(at) < USED_EVERY);
    if !noted {
        store.touch_api_key(key.id, now).await?;
    }
    let by_former = !key.secret.is_of(&text.secret);
    Ok(Some((key, by_former)))
}

fn is_good(key: &ApiKey, secret: &Secret, now: Timestamp) -> bool {
    let former = key.former.filter(|(_, until)| now < *until).map(|(hash, _)| hash);
    let hashes: [Option<SecretHash>; 2] = [Some(key.secret), former];
    // Both are compared, whatever the first says.
    let known = hashes.into_iter().flatten().fold(false, |known, hash| hash.is_of(secret) | known);
    known && key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_780_300_800 + seconds).unwrap()
    }

    fn made() -> (KeyText, ApiKey) {
        let new = NewKey {
            tenant: Ids::system().tenant(at(0)),
            name: PersonText::parse("EHR").unwrap(),
            scopes: [Right::SessionsRead, Right::SessionsWrite].into(),
            expires_at: Some(at(3_600)),
            created_by: None,
        };
        fresh(new, &Ids::system(), at(0))
    }

    #[test]
    fn a_key_is_read_back_from_its_text_alone() {
        let (text, kept) = made();
        let shown = text.reveal();
        assert_eq!(shown.len(), 4 + 32 + 1 + 43);
        assert!(shown.starts_with(&format!("{}_", prefix(kept.id))));
        let read = KeyText::parse(&shown).unwrap();
        assert_eq!((read.id, read.secret), (kept.id, text.secret.clone()));
        for wrong in
            ["", "vst_", &shown[1..], &shown.replace("vst_", "VST_"), &shown.to_uppercase(), &shown[..79]]
        {
            assert!(KeyText::parse(wrong).is_none(), "{wrong}");
        }
        assert!(!format!("{text:?} {kept:?}").contains(&text.secret.reveal()[..6]));
        assert_eq!(rights(&kept, false), [Right::SessionsRead, Right::SessionsWrite].into());
    }

    #[test]
    fn a_key_is_good_until_it_expires_or_is_revoked() {
        let (text, kept) = made();
        assert!(is_good(&kept, &text.secret, at(3_599)));
        assert!(!is_good(&kept, &text.secret, at(3_600)));
        assert!(!is_good(&kept, &Secret::fresh(), at(0)));
        let revoked = ApiKey { revoked_at: Some(at(5)), ..kept };
        assert!(!is_good(&revoked, &text.secret, at(5)));
    }

    #[test]
    fn the_secret_from_before_a_rotation_manages_nothing() {
        let (_, kept) = made();
        let managing = ApiKey { scopes: vec!["keys:manage".into(), "sessions:read".into()], ..kept };
        assert_eq!(rights(&managing, false), [Right::KeysManage, Right::SessionsRead].into());
        assert_eq!(rights(&managing, true), [Right::SessionsRead].into());
    }

    #[test]
    fn after_a_rotation_the_old_secret_is_good_for_its_grace() {
        let (old, kept) = made();
        let (new, rotation) = rotation(kept.id, 10, at(100));
        let rotated =
            ApiKey { former: Some((kept.secret, rotation.former_until)), secret: rotation.secret, ..kept };
        assert!(is_good(&rotated, &new.secret, at(100)));
        assert!(is_good(&rotated, &old.secret, at(699)));
        assert!(!is_good(&rotated, &old.secret, at(700)));
    }
}
