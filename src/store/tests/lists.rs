//! Lists of sessions, rooms, and configurations with their secrets.

use std::collections::BTreeMap;

use vestibule_domain::{
    BackendRoom, ConfigCommand, ConfigContext, ConfigValues, PARTICIPANTS_USUAL, PatientId, ProviderRef,
    SecretChange, SecretChanges, SessionId, SessionStatus, TenantConfig, VideoBackend,
};

use super::{Place, Visit, at, open, staff, tenant};
use crate::store::{Beside, ConfigCommit, Page, SealedSecret, SecretWrite, SessionFilter, Store, StoreError};

async fn list(store: &Store, filter: &SessionFilter, after: Option<SessionId>, limit: u32) -> Vec<SessionId> {
    let found = store.list_sessions(tenant().id, filter, Page { after, limit }).await.unwrap();
    found.iter().map(|loaded| loaded.session.id()).collect()
}

pub(super) async fn lists_are_filtered_and_read_page_by_page(place: Place) {
    let first = Visit::new(&place).await;
    let store = first.store.clone();
    let mut ids = vec![first.session.id()];
    for number in 8..12 {
        ids.push(Visit::made(store.clone(), number).await.session.id());
    }
    ids.reverse();
    let all = SessionFilter::default();
    assert_eq!(list(&store, &all, None, 10).await, ids, "newest first");
    assert_eq!(list(&store, &all, None, 2).await, ids[..2]);
    assert_eq!(list(&store, &all, Some(ids[1]), 2).await, ids[2..4]);
    assert_eq!(list(&store, &all, Some(ids[4]), 2).await, []);

    let whole = store.list_sessions(tenant().id, &all, Page { after: None, limit: 10 }).await.unwrap();
    for loaded in &whole {
        let alone = store.load_session(loaded.session.id()).await.unwrap().unwrap();
        assert_eq!(*loaded, alone, "with participants, consents and names");
    }

    let mut cancelled = first;
    cancelled.does(&staff(), vestibule_domain::Command::Cancel).await;
    let of = |status| SessionFilter { status: Some(status), ..SessionFilter::default() };
    assert_eq!(list(&store, &of(SessionStatus::Cancelled), None, 10).await, [cancelled.session.id()]);
    assert_eq!(list(&store, &of(SessionStatus::Scheduled), None, 10).await, ids[..4]);

    let patient =
        SessionFilter { patient: Some(PatientId::parse("mrn-2").unwrap()), ..SessionFilter::default() };
    assert_eq!(list(&store, &patient, None, 10).await, []);
    let provider = SessionFilter {
        provider: Some(ProviderRef::parse("Practitioner/12").unwrap()),
        ..SessionFilter::default()
    };
    assert_eq!(list(&store, &provider, None, 10).await, ids);
    let starts = |from, before| SessionFilter {
        starts_from: Some(at(from)),
        starts_before: Some(at(before)),
        ..SessionFilter::default()
    };
    assert_eq!(list(&store, &starts(3600, 3601), None, 10).await, ids);
    assert_eq!(list(&store, &starts(3601, 9000), None, 10).await, []);
    assert_eq!(list(&store, &starts(0, 3600), None, 10).await, []);
}

pub(super) async fn a_room_is_somebodys_until_their_session_is_over(place: Place) {
    let mut visit = Visit::new(&place).await;
    let store = visit.store.clone();
    let room = visit.session.room().clone();
    let orphan = BackendRoom::parse("orphan").unwrap();
    let asked = [room.clone(), orphan.clone()];
    let without = store.rooms_without_session(VideoBackend::Embedded, &asked).await.unwrap();
    assert_eq!(without, std::slice::from_ref(&orphan));
    assert_eq!(store.rooms_without_session(VideoBackend::Jitsi, &asked).await.unwrap(), asked);
    visit.does(&staff(), vestibule_domain::Command::Cancel).await;
    assert_eq!(store.rooms_without_session(VideoBackend::Embedded, &asked).await.unwrap(), asked);
    assert_eq!(store.rooms_without_session(VideoBackend::Embedded, &[]).await.unwrap(), []);
}

/// The configuration with a change, and what the store says to it.
async fn change(
    store: &Store,
    before: &TenantConfig,
    edit: impl FnOnce(&mut ConfigValues),
    secret: SecretChange,
    sealed: Option<(u32, Vec<u8>)>,
) -> Result<TenantConfig, StoreError> {
    let mut values = before.values().clone();
    edit(&mut values);
    let secrets = SecretChanges { jitsi_jwt_secret: secret, webhooks: BTreeMap::new() };
    let command = ConfigCommand::Update { values: Box::new(values), secrets };
    let context = ConfigContext {
        now: at(9),
        actor: &staff(),
        participants_limit: PARTICIPANTS_USUAL,
        logo_hosts: &[],
    };
    let events = before.decide(&command, &context).unwrap();
    let mut after = before.clone();
    after.commit(&events);
    let name = "jitsi_jwt_secret".to_owned();
    let secrets = if secret == SecretChange::Keep { vec![] } else { vec![SecretWrite { name, sealed }] };
    let commit = ConfigCommit {
        before_version: before.version(),
        after: &after,
        events: &events,
        actor: &staff(),
        now: at(9),
        beside: &Beside { secrets, ..Beside::default() },
    };
    store.commit_config(commit).await.map(|()| after)
}

pub(super) async fn a_configuration_changes_with_its_secrets_or_not_at_all(place: Place) {
    let store = open(&place).await;
    let config = super::insert(&store, &tenant()).await.unwrap();
    assert_eq!(store.config(tenant().id).await.unwrap().as_ref(), Some(&config));
    let refused = super::insert(&store, &tenant()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused:?}");

    let sealed = Some((1, vec![1, 2, 3]));
    let changed =
        change(&store, &config, |values| values.retention.audit_days = 100, SecretChange::Set, sealed).await;
    let changed = changed.unwrap();
    assert_eq!(changed.version(), 2);
    assert_eq!(store.config(tenant().id).await.unwrap().as_ref(), Some(&changed));
    let secret = store.sealed_secret(tenant().id, "jitsi_jwt_secret").await.unwrap().unwrap();
    assert_eq!((secret.key_id, &*secret.sealed), (1, &[1_u8, 2, 3][..]));

    // Decided on what was: nothing of it is written, the secret neither.
    let stale = change(
        &store,
        &config,
        |values| values.retention.audit_days = 7,
        SecretChange::Set,
        Some((1, vec![9])),
    );
    let stale = stale.await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { current_version: 2 }), "{stale:?}");
    assert_eq!(store.sealed_secret(tenant().id, "jitsi_jwt_secret").await.unwrap().as_ref(), Some(&secret));

    let under_new_key = SealedSecret { key_id: 2, sealed: vec![4, 5], ..secret.clone() };
    assert_eq!(store.secrets_not_under(2, 10).await.unwrap(), std::slice::from_ref(&secret));
    store.reseal_secret(&secret, &under_new_key).await.unwrap();
    assert_eq!(store.secrets_not_under(2, 10).await.unwrap(), []);
    // Sealed anew in view of what is not kept any more: that must not bring an old secret back.
    store.reseal_secret(&secret, &SealedSecret { sealed: vec![0], ..secret.clone() }).await.unwrap();
    assert_eq!(store.sealed_secret(tenant().id, "jitsi_jwt_secret").await.unwrap(), Some(under_new_key));

    let cleared = change(&store, &changed, |_| {}, SecretChange::Clear, None).await.unwrap();
    assert_eq!(cleared.version(), 3);
    assert_eq!(store.sealed_secret(tenant().id, "jitsi_jwt_secret").await.unwrap(), None);
    assert_eq!(place.count("event WHERE aggregate = 'config'").await, 3);
    assert_eq!(place.count("outbox WHERE type = 'virtual_care.config.updated.v1'").await, 2);
}
