//! Signing in as people do, against a store in a file. Time is virtual, but for the slow hash.

use jiff::{SignedDuration, Timestamp};
use vestibule_domain::{Actor, ConfigValues};
use zeroize::Zeroizing;

use super::session::IDLE_LIFE;
use super::*;
use crate::ids::Ids;
use crate::rights::Role;
use crate::store::{Beside, Location, Outcome, PersonText, Store, Tenant};
use crate::tenants;
use crate::testing::TempDir;

const PASSWORD: &str = "a plain long sentence";

fn at(seconds: i64) -> Asked {
    Asked { now: Timestamp::from_second(1_780_300_800 + seconds).unwrap(), request: None }
}

struct Clinic {
    _folder: TempDir,
    store: Store,
    tenant: Tenant,
    accounts: Accounts,
}

impl Clinic {
    async fn new() -> Self {
        let folder = TempDir::new();
        let store =
            Store::open(&Location::File(folder.path().join("vestibule.db")), Ids::system()).await.unwrap();
        let tenant = tenants::of_name(&store, &Ids::system(), "Clinic", ConfigValues::default(), at(0).now)
            .await
            .unwrap();
        Self { _folder: folder, store, tenant, accounts: Accounts::default() }
    }

    /// An account whose owner has a link.
    async fn invite(&self, login: &str, role: Role) -> (StaffAccount, String) {
        let account = StaffAccount {
            id: Ids::system().staff_account(at(0).now),
            tenant: self.tenant.id,
            login: LoginName::parse(login).unwrap(),
            display_name: PersonText::parse("Zebulon").unwrap(),
            role,
            provider_ref: None,
            disabled: false,
            password: None,
            attempts: Attempts::default(),
            created_at: at(0).now,
        };
        let (link, kept) = NewLink::fresh(at(0).now);
        let made = self.store.create_account(&account, kept, Beside::default()).await.unwrap();
        assert_eq!(made, Outcome::Done(()));
        let url = link.url(&"https://visit.example.org".parse().unwrap());
        let token = url.strip_prefix("https://visit.example.org/setup#").unwrap().to_owned();
        (account, token)
    }

    async fn settle(&self, login: &str) -> SignedIn {
        let (_, token) = self.invite(login, Role::Admin).await;
        self.accounts.use_link(&self.store, &token, PASSWORD.to_owned(), &at(0)).await.unwrap()
    }

    async fn sign_in(&self, login: &str, password: &str, asked: &Asked) -> Result<SignedIn, SignInError> {
        self.accounts.sign_in(&self.store, login, Zeroizing::new(password.to_owned()), asked).await
    }

    async fn is_in(&self, who: &SignedIn, asked: &Asked) -> bool {
        whose(&self.store, &who.secret, asked.now).await.unwrap().is_some()
    }
}

/// What somebody hears who is not let in.
fn said(result: &Result<SignedIn, SignInError>) -> String {
    match result {
        Ok(_) => "in".to_owned(),
        Err(SignInError::Locked { until }) => format!("locked {}", until.duration_since(at(0).now).as_secs()),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_link_sets_a_password_that_signs_in() {
    let clinic = Clinic::new().await;
    let (account, token) = clinic.invite("admin", Role::Admin).await;
    let (_, whose) = clinic.accounts.look_at_link(&clinic.store, &token, at(1).now).await.unwrap();
    assert_eq!(whose.id, account.id);
    let weak =
        clinic.accounts.use_link(&clinic.store, &token, "admin is not enough".to_owned(), &at(1)).await;
    assert!(matches!(weak, Err(LinkError::Weak(WeakPassword::HasLogin))), "{weak:?}");
    let by_link = clinic.accounts.use_link(&clinic.store, &token, PASSWORD.to_owned(), &at(1)).await.unwrap();
    assert!(clinic.is_in(&by_link, &at(2)).await);
    let again = clinic.accounts.use_link(&clinic.store, &token, PASSWORD.to_owned(), &at(1)).await;
    assert!(matches!(again, Err(LinkError::NotGood)), "{again:?}");
    let by_password = clinic.sign_in("ADMIN", PASSWORD, &at(3)).await.unwrap();
    assert!(clinic.is_in(&by_password, &at(3)).await && clinic.is_in(&by_link, &at(3)).await);
}

#[tokio::test]
async fn a_name_with_an_account_and_one_without_hear_the_same() {
    let clinic = Clinic::new().await;
    clinic.settle("admin").await;
    let (known, unknown) =
        (clinic.sign_in("admin", "x", &at(1)).await, clinic.sign_in("nobody", "x", &at(1)).await);
    assert_eq!(said(&known), said(&unknown));
    for _ in 0..4 {
        let (known, unknown) =
            (clinic.sign_in("admin", "x", &at(2)).await, clinic.sign_in("nobody", "x", &at(2)).await);
        assert_eq!(said(&known), said(&unknown));
    }
    for (name, password) in [("admin", PASSWORD), ("admin", "x"), ("nobody", "x")] {
        assert_eq!(said(&clinic.sign_in(name, password, &at(61)).await), "locked 62", "{name}");
    }
    assert_eq!(said(&clinic.sign_in("admin", PASSWORD, &at(62)).await), "in");
}

#[tokio::test]
async fn a_session_ends_by_disuse_and_after_half_a_day() {
    let clinic = Clinic::new().await;
    let who = clinic.settle("admin").await;
    let idle = IDLE_LIFE.as_secs();
    assert!(clinic.is_in(&who, &at(idle - 1)).await);
    assert!(clinic.is_in(&who, &at(2 * idle - 2)).await, "used meanwhile");
    assert!(!clinic.is_in(&who, &at(3 * idle - 2)).await, "not used for an hour");
    let who = clinic.sign_in("admin", PASSWORD, &at(0)).await.unwrap();
    let life = SESSION_LIFE.as_secs();
    for half_hour in 1..24 {
        assert!(clinic.is_in(&who, &at(half_hour * life / 24)).await, "{half_hour}");
    }
    assert!(!clinic.is_in(&who, &at(life)).await);
}

#[tokio::test]
async fn another_password_ends_the_other_sessions_and_takes_the_one_of_now() {
    let clinic = Clinic::new().await;
    let other = clinic.settle("admin").await;
    let who = clinic.sign_in("admin", PASSWORD, &at(1)).await.unwrap();
    let change = async |current: &str, new: &str| {
        let account = clinic.store.account(clinic.tenant.id, who.account.id).await.unwrap().unwrap();
        let passwords = (Zeroizing::new(current.to_owned()), new.to_owned());
        clinic.accounts.change_password(&clinic.store, account, passwords, &at(2)).await
    };
    let wrong = change("not this one", "another long sentence").await;
    assert!(matches!(wrong, Err(ChangeError::Refused(SignInError::Wrong))), "{wrong:?}");
    let weak = change(PASSWORD, "short").await;
    assert!(matches!(weak, Err(ChangeError::Weak(WeakPassword::TooShort))), "{weak:?}");
    let now = change(PASSWORD, "another long sentence").await.unwrap();
    assert!(clinic.is_in(&now, &at(3)).await);
    assert!(!clinic.is_in(&other, &at(3)).await && !clinic.is_in(&who, &at(3)).await);
    assert_eq!(said(&clinic.sign_in("admin", PASSWORD, &at(3)).await), SignInError::Wrong.to_string());
    clinic.sign_in("admin", "another long sentence", &at(3)).await.unwrap();
}

#[tokio::test]
async fn guesses_at_the_password_of_somebody_signed_in_lock_it_too() {
    let clinic = Clinic::new().await;
    let who = clinic.settle("admin").await;
    for _ in 0..5 {
        let account = clinic.store.account(clinic.tenant.id, who.account.id).await.unwrap().unwrap();
        let passwords = (Zeroizing::new("a guess".to_owned()), "another long sentence".to_owned());
        clinic.accounts.change_password(&clinic.store, account, passwords, &at(1)).await.unwrap_err();
    }
    assert_eq!(said(&clinic.sign_in("admin", PASSWORD, &at(2)).await), "locked 61");
}

#[tokio::test]
async fn a_colleague_who_has_no_password_yet_cannot_be_guessed_into() {
    let clinic = Clinic::new().await;
    clinic.invite("new-one", Role::Provider).await;
    assert_eq!(said(&clinic.sign_in("new-one", "", &at(1)).await), SignInError::Wrong.to_string());
}

#[tokio::test]
async fn the_first_start_makes_the_administrator_and_the_next_a_fresh_link() {
    let folder = TempDir::new();
    let place = Location::File(folder.path().join("vestibule.db"));
    let store = Store::open(&place, Ids::system()).await.unwrap();
    let origin = "https://visit.example.org".parse().unwrap();
    let invite =
        async |seconds| invite_first_admins(&store, &Ids::system(), &origin, at(seconds).now).await.unwrap();
    invite(0).await;
    invite(1).await;
    let tenants = store.tenants().await.unwrap();
    assert_eq!(tenants.len(), 1);
    let all = crate::store::Page { after: None, limit: 10 };
    let accounts = store.accounts(tenants[0].id, all.clone()).await.unwrap();
    assert_eq!(accounts.iter().map(|account| account.login.as_str()).collect::<Vec<_>>(), ["admin"]);

    let other = tenants::of_name(&store, &Ids::system(), "Another", ConfigValues::default(), at(2).now)
        .await
        .unwrap();
    invite(3).await;
    let theirs = store.accounts(other.id, all).await.unwrap();
    assert_eq!(theirs.iter().map(|account| account.login.as_str()).collect::<Vec<_>>(), ["admin-2"]);

    let accounts = Accounts::default();
    let link = NewLink::make(&store, &theirs[0], Actor::System, &at(4)).await.unwrap();
    let url = link.url(&origin);
    let late = Asked { now: at(4).now + super::link::LINK_LIFE, request: None };
    let token = url.split_once('#').unwrap().1;
    assert!(accounts.use_link(&store, token, PASSWORD.to_owned(), &late).await.is_err(), "a day is over");
    let soon = Asked { now: late.now - SignedDuration::from_secs(1), request: None };
    accounts.use_link(&store, token, PASSWORD.to_owned(), &soon).await.unwrap();
    assert!(store.has_admin(other.id).await.unwrap());
}
