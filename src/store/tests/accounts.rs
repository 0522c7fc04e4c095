//! Staff and keys.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{Actor, ProviderRef};

use super::place::Place;
use super::{NAME, at, ids, insert, open, tenant};
use crate::accounts::{ApiKeyId, Attempts, LoginName, PasswordHash, Secret, SecretHash, StaffAccountId};
use crate::rights::Role;
use crate::store::accounts::{API_KEYS_MAX, STAFF_SESSIONS_MAX};
use crate::store::{
    AccountChange, ApiKey, AuditEntry, AuditFilter, Beside, OneTimeLink, Outcome, Page, PasswordChange,
    PersonText, Rotation, SignIn, StaffAccount, StaffSession, Store, StoreError, Tenant,
};

stories! {
    an_account_is_given_back_as_it_was_kept,
    a_login_name_is_taken_once_on_the_server,
    a_link_sets_a_password_once_and_ends_what_was_there,
    wrong_passwords_lock_and_a_right_one_begins_anew,
    who_was_locked_disabled_or_overtaken_is_not_signed_in,
    sessions_end_with_the_role_and_with_the_account,
    a_session_too_many_ends_the_oldest,
    the_last_administrator_stays,
    of_two_administrators_who_demote_each_other_at_once_one_stays,
    a_key_is_rotated_with_a_grace_and_revoked_for_good,
    there_are_at_most_a_hundred_keys,
    who_did_what_with_accounts_and_keys_is_in_the_audit_without_names,
}

fn account(number: u8, role: Role) -> StaffAccount {
    StaffAccount {
        id: StaffAccountId::new(at(number.into()), [number; 10]),
        tenant: tenant().id,
        login: LoginName::parse(&format!("quixworthy-{number}")).unwrap(),
        display_name: PersonText::parse(NAME).unwrap(),
        role,
        provider_ref: (role == Role::Provider).then(|| ProviderRef::parse("Practitioner/12").unwrap()),
        disabled: false,
        password: None,
        attempts: Attempts::default(),
        created_at: at(number.into()),
    }
}

fn hash(number: u8) -> SecretHash {
    SecretHash::from_bytes([number; 32])
}

fn link(number: u8, now: Timestamp) -> OneTimeLink {
    OneTimeLink { hash: hash(number), created_at: now, expires_at: now + SignedDuration::from_hours(24) }
}

fn session(number: u8, now: Timestamp) -> StaffSession {
    StaffSession { hash: hash(number), created_at: now, seen_at: now }
}

fn password(text: &str) -> PasswordHash {
    PasswordHash::from_stored(text.to_owned())
}

fn entry(action: &'static str, now: Timestamp) -> Beside {
    let entry = AuditEntry {
        tenant: tenant().id,
        at: now,
        actor: Actor::System,
        action: action.into(),
        subject_kind: "staff",
        subject: "one of them".to_owned(),
        session: None,
    };
    Beside { audit: vec![entry], ..Beside::default() }
}

async fn clinic(place: &Place) -> Store {
    let store = open(place).await;
    insert(&store, &tenant()).await.unwrap();
    store
}

async fn make(store: &Store, account: &StaffAccount) {
    let number = account.id.to_string().as_bytes()[35];
    let made =
        store.create_account(account, link(number, at(0)), entry("staff.created", at(0))).await.unwrap();
    assert_eq!(made, Outcome::Done(()));
}

/// Makes an account whose password is set, with a session of that number.
async fn settle(store: &Store, account: &StaffAccount, number: u8) {
    let link = link(number, at(0));
    store.create_account(account, link, entry("staff.created", at(0))).await.unwrap();
    let change = PasswordChange {
        account: account.id,
        password: password("first"),
        session: session(number, at(0)),
        sessions_since: at(-1000),
    };
    assert!(store.use_link(link.hash, change, entry("staff.password_set", at(0))).await.unwrap());
}

async fn sign_in(store: &Store, account: &StaffAccount, number: u8, now: Timestamp) -> bool {
    let sign_in = SignIn {
        account: account.id,
        password: password("first"),
        session: session(number, now),
        sessions_since: now - SignedDuration::from_hours(12),
    };
    store.sign_in(sign_in, entry("staff.signed_in", now)).await.unwrap()
}

async fn is_signed_in(store: &Store, number: u8) -> bool {
    store.staff_session(hash(number)).await.unwrap().is_some()
}

async fn change(store: &Store, account: &StaffAccount, change: AccountChange) -> Outcome<StaffAccount> {
    store.change_account(tenant().id, account.id, change, entry("staff.changed", at(9))).await.unwrap()
}

fn all<Key>() -> Page<Key> {
    Page { after: None, limit: 200 }
}

async fn an_account_is_given_back_as_it_was_kept(place: Place) {
    let store = clinic(&place).await;
    let accounts = [account(1, Role::Admin), account(2, Role::Provider), account(3, Role::FrontDesk)];
    for account in &accounts {
        make(&store, account).await;
        assert_eq!(store.account(tenant().id, account.id).await.unwrap().as_ref(), Some(account));
        assert_eq!(store.account_by_login(&account.login).await.unwrap().as_ref(), Some(account));
    }
    let other = Tenant { id: ids().tenant(at(1)), name: "Another".to_owned(), created_at: at(1) };
    insert(&store, &other).await.unwrap();
    assert_eq!(store.account(other.id, accounts[0].id).await.unwrap(), None, "of another clinic");
    assert_eq!(store.accounts(tenant().id, all()).await.unwrap(), accounts);
    let second = Page { after: Some(accounts[0].id), limit: 1 };
    assert_eq!(store.accounts(tenant().id, second).await.unwrap(), accounts[1..2]);
    assert!(!store.has_admin(tenant().id).await.unwrap(), "nobody has a password yet");

    let different = AccountChange {
        display_name: Some(PersonText::parse("Z. Q.").unwrap()),
        provider_ref: Some(None),
        ..AccountChange::default()
    };
    let after = different.clone().applied_to(&accounts[1]);
    assert_eq!(change(&store, &accounts[1], different).await, Outcome::Done(after.clone()));
    assert_eq!(store.account(tenant().id, after.id).await.unwrap(), Some(after));
}

async fn a_login_name_is_taken_once_on_the_server(place: Place) {
    let store = clinic(&place).await;
    make(&store, &account(1, Role::Admin)).await;
    let same = StaffAccount { login: account(1, Role::Admin).login, ..account(2, Role::Admin) };
    let refused =
        store.create_account(&same, link(9, at(0)), entry("staff.created", at(0))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }), "{refused:?}");
    assert_eq!(place.count("audit").await, 1, "of what was not done nothing is said");
}

async fn a_link_sets_a_password_once_and_ends_what_was_there(place: Place) {
    let store = clinic(&place).await;
    let admin = account(1, Role::Admin);
    settle(&store, &admin, 1).await;
    assert!(store.has_admin(tenant().id).await.unwrap());
    assert!(is_signed_in(&store, 1).await);
    let use_link = async |number, now, secret| {
        let change = PasswordChange {
            account: admin.id,
            password: password(secret),
            session: session(number, now),
            sessions_since: at(-1000),
        };
        store.use_link(hash(number), change, entry("staff.password_set", now)).await.unwrap()
    };
    assert!(!use_link(1, at(1), "again").await, "a link is good once");

    store.replace_link(admin.id, link(2, at(10)), entry("staff.link_made", at(10))).await.unwrap();
    store.replace_link(admin.id, link(3, at(20)), entry("staff.link_made", at(20))).await.unwrap();
    assert_eq!(store.link(hash(2), at(21)).await.unwrap(), None, "a new link takes the place of the last");
    let (found, whose) = store.link(hash(3), at(21)).await.unwrap().unwrap();
    assert_eq!((found, whose.id), (link(3, at(20)), admin.id));
    assert_eq!(store.link(hash(3), found.expires_at).await.unwrap(), None, "too late");
    assert!(!use_link(3, found.expires_at, "late").await);
    for _ in 0..5 {
        store.sign_in_failed(admin.id, at(30), entry("staff.sign_in_failed", at(30))).await.unwrap();
    }
    assert!(use_link(3, at(31), "second").await);
    let after = store.account(tenant().id, admin.id).await.unwrap().unwrap();
    assert_eq!((after.password, after.attempts), (Some(password("second")), Attempts::default()));
    assert!(is_signed_in(&store, 3).await && !is_signed_in(&store, 1).await);
}

async fn wrong_passwords_lock_and_a_right_one_begins_anew(place: Place) {
    let store = clinic(&place).await;
    let admin = account(1, Role::Admin);
    settle(&store, &admin, 1).await;
    let fail =
        async |now| store.sign_in_failed(admin.id, now, entry("staff.sign_in_failed", now)).await.unwrap();
    for failures in 1..5 {
        assert_eq!(fail(at(1)).await, Attempts { failures, locked_until: None });
    }
    assert!(sign_in(&store, &admin, 2, at(2)).await, "four are allowed");
    for _ in 0..5 {
        fail(at(3)).await;
    }
    let lines = place.count("audit").await;
    assert_eq!(fail(at(62)).await, Attempts { failures: 5, locked_until: Some(at(63)) }, "not looked at");
    assert_eq!(place.count("audit").await, lines);
    assert!(!sign_in(&store, &admin, 3, at(62)).await, "not with the right one either");
    assert!(sign_in(&store, &admin, 3, at(63)).await);
    let account = store.account(tenant().id, admin.id).await.unwrap().unwrap();
    assert_eq!(account.attempts, Attempts::default());

    // Of many at once each counts.
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (store, id) = (store.clone(), admin.id);
        tasks.push(tokio::spawn(async move {
            store.sign_in_failed(id, at(99), entry("staff.sign_in_failed", at(99))).await
        }));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(store.account(tenant().id, admin.id).await.unwrap().unwrap().attempts.failures, 4);
}

async fn who_was_locked_disabled_or_overtaken_is_not_signed_in(place: Place) {
    let store = clinic(&place).await;
    let (admin, provider) = (account(1, Role::Admin), account(2, Role::Provider));
    settle(&store, &admin, 1).await;
    settle(&store, &provider, 2).await;
    let next = PasswordChange {
        account: provider.id,
        password: password("second"),
        session: session(3, at(5)),
        sessions_since: at(-1000),
    };
    let set = async |compared_with| {
        store
            .change_password(password(compared_with), next.clone(), entry("staff.password_set", at(5)))
            .await
            .unwrap()
    };
    assert!(!set("another").await);
    assert!(set("first").await);
    assert!(is_signed_in(&store, 3).await && !is_signed_in(&store, 2).await);
    assert!(!sign_in(&store, &provider, 4, at(6)).await, "the password was changed meanwhile");
    let disabled = AccountChange { disabled: Some(true), ..AccountChange::default() };
    change(&store, &provider, disabled).await;
    let sign_in = SignIn {
        account: provider.id,
        password: password("second"),
        session: session(5, at(7)),
        sessions_since: at(-1000),
    };
    assert!(!store.sign_in(sign_in, entry("staff.signed_in", at(7))).await.unwrap());
    assert!(!is_signed_in(&store, 3).await && is_signed_in(&store, 1).await);
}

async fn sessions_end_with_the_role_and_with_the_account(place: Place) {
    let store = clinic(&place).await;
    let (admin, desk) = (account(1, Role::Admin), account(2, Role::FrontDesk));
    settle(&store, &admin, 1).await;
    settle(&store, &desk, 2).await;
    let called =
        AccountChange { display_name: Some(PersonText::parse("Z").unwrap()), ..AccountChange::default() };
    change(&store, &desk, called).await;
    assert!(is_signed_in(&store, 2).await, "a name is no reason");
    change(&store, &desk, AccountChange { role: Some(Role::Provider), ..AccountChange::default() }).await;
    assert!(!is_signed_in(&store, 2).await);

    assert!(sign_in(&store, &desk, 3, at(10)).await && sign_in(&store, &desk, 4, at(10)).await);
    let (began, whose) = store.staff_session(hash(3)).await.unwrap().unwrap();
    assert_eq!((began, whose.id), (session(3, at(10)), desk.id));
    store.touch_staff_session(hash(3), at(80)).await.unwrap();
    assert_eq!(store.staff_session(hash(3)).await.unwrap().unwrap().0.seen_at, at(80));
    store.sign_out(hash(3), entry("staff.signed_out", at(90))).await.unwrap();
    assert!(!is_signed_in(&store, 3).await && is_signed_in(&store, 4).await);
    store.sign_out_everywhere(desk.id, entry("staff.signed_out_everywhere", at(91))).await.unwrap();
    assert!(!is_signed_in(&store, 4).await && is_signed_in(&store, 1).await, "and nobody else's");
}

async fn a_session_too_many_ends_the_oldest(place: Place) {
    let store = clinic(&place).await;
    let admin = account(1, Role::Admin);
    settle(&store, &admin, 100).await;
    let most = u8::try_from(STAFF_SESSIONS_MAX).unwrap();
    for number in 0..most {
        assert!(sign_in(&store, &admin, number, at(i64::from(number) + 1)).await);
    }
    assert!(!is_signed_in(&store, 100).await && is_signed_in(&store, 0).await);
    assert_eq!(place.count("staff_session").await, usize::from(most));
    let tomorrow = at(86_400);
    assert!(sign_in(&store, &admin, 101, tomorrow).await);
    assert_eq!(place.count("staff_session").await, 1, "what is over goes");
}

async fn the_last_administrator_stays(place: Place) {
    let store = clinic(&place).await;
    let (first, second) = (account(1, Role::Admin), account(2, Role::Admin));
    settle(&store, &first, 1).await;
    let disabled = AccountChange { disabled: Some(true), ..AccountChange::default() };
    let demoted = AccountChange { role: Some(Role::FrontDesk), ..AccountChange::default() };
    make(&store, &second).await;
    for change_of in [&disabled, &demoted] {
        assert_eq!(
            change(&store, &first, change_of.clone()).await,
            Outcome::LastAdmin,
            "the other cannot sign in yet"
        );
    }
    let link = link(7, at(1));
    store.replace_link(second.id, link, entry("staff.link_made", at(1))).await.unwrap();
    let set = PasswordChange {
        account: second.id,
        password: password("first"),
        session: session(7, at(1)),
        sessions_since: at(-1000),
    };
    assert!(store.use_link(link.hash, set, entry("staff.password_set", at(1))).await.unwrap());
    assert!(matches!(change(&store, &first, disabled.clone()).await, Outcome::Done(_)));
    assert_eq!(change(&store, &second, disabled).await, Outcome::LastAdmin);
    let missing = account(3, Role::Admin);
    let refused =
        store.change_account(tenant().id, missing.id, demoted, Beside::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Missing { .. }), "{refused:?}");
}

async fn of_two_administrators_who_demote_each_other_at_once_one_stays(place: Place) {
    let store = clinic(&place).await;
    for number in [1, 2] {
        settle(&store, &account(number, Role::Admin), number).await;
    }
    let mut tasks = Vec::new();
    for number in [1, 2] {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let demoted = AccountChange { role: Some(Role::Provider), ..AccountChange::default() };
            change(&store, &account(number, Role::Admin), demoted).await
        }));
    }
    let mut refused = 0;
    for task in tasks {
        refused += usize::from(task.await.unwrap() == Outcome::LastAdmin);
    }
    assert_eq!(refused, 1);
}

fn key(number: u8) -> ApiKey {
    ApiKey {
        id: ApiKeyId::new(at(number.into()), [number; 10]),
        tenant: tenant().id,
        name: PersonText::parse("EHR").unwrap(),
        scopes: vec!["sessions:read".to_owned(), "sessions:write".to_owned()],
        secret: hash(number),
        former: None,
        created_by: "user:somebody".to_owned(),
        created_at: at(number.into()),
        expires_at: Some(at(1_000)),
        last_used_at: None,
        revoked_at: None,
    }
}

async fn a_key_is_rotated_with_a_grace_and_revoked_for_good(place: Place) {
    let store = clinic(&place).await;
    let made = key(1);
    store.create_api_key(&made, entry("api_key.created", at(1))).await.unwrap();
    assert_eq!(store.api_key(made.id).await.unwrap().as_ref(), Some(&made));
    store.touch_api_key(made.id, at(70)).await.unwrap();
    let rotation = Rotation { secret: hash(2), former_until: at(160) };
    let rotate = async |tenant, id| {
        store.rotate_api_key(tenant, id, rotation, entry("api_key.rotated", at(100))).await.unwrap()
    };
    let rotated = rotate(tenant().id, made.id).await.unwrap();
    let expected = ApiKey {
        secret: hash(2),
        former: Some((hash(1), at(160))),
        last_used_at: Some(at(70)),
        ..made.clone()
    };
    assert_eq!(rotated, expected);
    assert_eq!(store.api_keys(tenant().id, all()).await.unwrap(), [expected]);
    assert_eq!(rotate(ids().tenant(at(0)), made.id).await, None, "of another clinic");

    let revoke = async |id, now| {
        store.revoke_api_key(tenant().id, id, now, entry("api_key.revoked", now)).await.unwrap()
    };
    assert!(revoke(made.id, at(200)).await);
    let lines = place.count("audit").await;
    assert!(revoke(made.id, at(201)).await, "once more is as good");
    assert_eq!(place.count("audit").await, lines);
    assert!(!revoke(key(9).id, at(202)).await);
    assert_eq!(rotate(tenant().id, made.id).await, None);
    assert_eq!(store.api_keys(tenant().id, all()).await.unwrap(), []);
    let kept = store.api_key(made.id).await.unwrap().unwrap();
    assert_eq!((kept.revoked_at, kept.former), (Some(at(200)), None));
}

async fn there_are_at_most_a_hundred_keys(place: Place) {
    let store = clinic(&place).await;
    let most = u8::try_from(API_KEYS_MAX).unwrap();
    for number in 0..most {
        let made = store.create_api_key(&key(number), entry("api_key.created", at(1))).await.unwrap();
        assert_eq!(made, Outcome::Done(()));
    }
    let one_more = async || store.create_api_key(&key(most), entry("api_key.created", at(1))).await.unwrap();
    assert_eq!(one_more().await, Outcome::TooMany);
    store.revoke_api_key(tenant().id, key(0).id, at(2), entry("api_key.revoked", at(2))).await.unwrap();
    assert_eq!(one_more().await, Outcome::Done(()));
}

async fn who_did_what_with_accounts_and_keys_is_in_the_audit_without_names(place: Place) {
    let store = clinic(&place).await;
    let admin = account(1, Role::Admin);
    settle(&store, &admin, 1).await;
    sign_in(&store, &admin, 2, at(2)).await;
    store.sign_in_failed(admin.id, at(3), entry("staff.sign_in_failed", at(3))).await.unwrap();
    store.create_api_key(&key(1), entry("api_key.created", at(4))).await.unwrap();
    let lines = store.audit(tenant().id, &AuditFilter::default(), all()).await.unwrap();
    let actions: Vec<_> =
        lines.iter().map(|line| &*line.action).filter(|action| !action.starts_with("config")).collect();
    let expected =
        ["staff.created", "staff.password_set", "staff.signed_in", "staff.sign_in_failed", "api_key.created"];
    // Lines of one millisecond have no order among them.
    assert_eq!(actions.len(), expected.len());
    assert!(expected.iter().all(|action| actions.contains(action)), "{actions:?}");
    assert!(!format!("{lines:?}").to_lowercase().contains("quixworthy"));
    assert!(!format!("{admin:?}").to_lowercase().contains("quixworthy"), "nor in a log line by accident");
    assert!(!format!("{:?}", Secret::fresh().hash()).contains(char::is_numeric));
}
