//! Accounts of staff, what they are signed in with, and API keys: what is kept of them, and what can be done to it.

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{ProviderRef, TenantId};

use super::{Beside, Page, PersonText, Result};
use crate::accounts::{ApiKeyId, Attempts, LoginName, PasswordHash, SecretHash, StaffAccountId};
use crate::rights::Role;

/// Accounts of one tenant, disabled ones among them.
pub(crate) const ACCOUNTS_MAX: u32 = 1_000;
/// Sessions of one account; the oldest ends for the next.
pub(crate) const STAFF_SESSIONS_MAX: u32 = 20;
/// Keys of one tenant that are not revoked.
pub(crate) const API_KEYS_MAX: u32 = 100;

/// Somebody of the staff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaffAccount {
    pub(crate) id: StaffAccountId,
    pub(crate) tenant: TenantId,
    pub(crate) login: LoginName,
    pub(crate) display_name: PersonText,
    pub(crate) role: Role,
    /// Whose desk a provider sits at.
    pub(crate) provider_ref: Option<ProviderRef>,
    pub(crate) disabled: bool,
    /// None until one was set.
    pub(crate) password: Option<PasswordHash>,
    pub(crate) attempts: Attempts,
    pub(crate) created_at: Timestamp,
}

/// What is to be different about an account; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub(crate) display_name: Option<PersonText>,
    pub(crate) role: Option<Role>,
    pub(crate) provider_ref: Option<Option<ProviderRef>>,
    pub(crate) disabled: Option<bool>,
}

/// A session of somebody who has signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StaffSession {
    pub(crate) hash: SecretHash,
    pub(crate) created_at: Timestamp,
    /// When it was used, to within a minute.
    pub(crate) seen_at: Timestamp,
}

/// A link that a password is set by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OneTimeLink {
    pub(crate) hash: SecretHash,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// A new password for an account, and the session of whoever set it.
#[derive(Clone, Debug)]
pub(crate) struct PasswordChange {
    pub(crate) account: StaffAccountId,
    pub(crate) password: PasswordHash,
    /// The one session that is left.
    pub(crate) session: StaffSession,
    /// Sessions that began before this are over anyway, everybody's.
    pub(crate) sessions_since: Timestamp,
}

/// A sign-in whose password was right.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    pub(crate) account: StaffAccountId,
    /// What it was compared with. Another one in the store, and it was not right after all.
    pub(crate) password: PasswordHash,
    pub(crate) session: StaffSession,
    /// Sessions that began before this are over anyway, everybody's.
    pub(crate) sessions_since: Timestamp,
}

/// A key of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiKey {
    pub(crate) id: ApiKeyId,
    pub(crate) tenant: TenantId,
    pub(crate) name: PersonText,
    /// Words of rights; what one does not know here it may not do.
    pub(crate) scopes: Vec<String>,
    pub(crate) secret: SecretHash,
    /// The secret before the last rotation, and until when it is good.
    pub(crate) former: Option<(SecretHash, Timestamp)>,
    /// Who made it, in the words of the audit.
    pub(crate) created_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// To within a minute.
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

/// A new secret for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) secret: SecretHash,
    /// Until when the one of now stays good.
    pub(crate) former_until: Timestamp,
}

/// What became of something that the rules may refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    Done(T),
    /// The tenant would be left without an administrator who can sign in.
    LastAdmin,
    /// There are as many as there may be.
    TooMany,
}

/// Staff and keys. What goes beside a change is written with it, and only if it was one.
#[async_trait]
pub(crate) trait AccountStore {
    /// Keeps a new account, with a link to set its password by.
    async fn create_account(
        &self,
        account: &StaffAccount,
        link: OneTimeLink,
        beside: Beside,
    ) -> Result<Outcome<()>>;

    /// The account of that identifier, in that tenant.
    async fn account(&self, tenant: TenantId, id: StaffAccountId) -> Result<Option<StaffAccount>>;

    /// The account of that name, in whatever tenant.
    async fn account_by_login(&self, login: &LoginName) -> Result<Option<StaffAccount>>;

    /// The accounts of a tenant, by age.
    async fn accounts(&self, tenant: TenantId, page: Page<StaffAccountId>) -> Result<Vec<StaffAccount>>;

    /// Whether an administrator of the tenant can sign in.
    async fn has_admin(&self, tenant: TenantId) -> Result<bool>;

    /// Changes an account; one that is disabled or has another role by that loses its sessions. Nothing is written
    /// where nothing changes.
    async fn change_account(
        &self,
        tenant: TenantId,
        id: StaffAccountId,
        change: AccountChange,
        beside: Beside,
    ) -> Result<Outcome<StaffAccount>>;

    /// Counts a wrong password; how it stands then.
    async fn sign_in_failed(&self, id: StaffAccountId, now: Timestamp, beside: Beside) -> Result<Attempts>;

    /// Begins a session, unless the account was locked, disabled, or had its password changed meanwhile: false then.
    async fn sign_in(&self, sign_in: SignIn, beside: Beside) -> Result<bool>;

    /// The session of that cookie and whose it is, however old.
    async fn staff_session(&self, hash: SecretHash) -> Result<Option<(StaffSession, StaffAccount)>>;

    /// Notes that a session was used.
    async fn touch_staff_session(&self, hash: SecretHash, now: Timestamp) -> Result<()>;

    /// Ends a session.
    async fn sign_out(&self, hash: SecretHash, beside: Beside) -> Result<()>;

    /// Ends all sessions of an account.
    async fn sign_out_everywhere(&self, id: StaffAccountId, beside: Beside) -> Result<()>;

    /// Puts a link in the place of the one an account has.
    async fn replace_link(&self, id: StaffAccountId, link: OneTimeLink, beside: Beside) -> Result<()>;

    /// The link of that token and whose it is, if it is good.
    async fn link(&self, hash: SecretHash, now: Timestamp) -> Result<Option<(OneTimeLink, StaffAccount)>>;

    /// Sets a password by a link, which is used up; all sessions end and a lock is off. False if the link is not good.
    async fn use_link(&self, link: SecretHash, change: PasswordChange, beside: Beside) -> Result<bool>;

    /// Sets a password in place of the one it was compared with; false if that is not there any more.
    async fn change_password(
        &self,
        compared_with: PasswordHash,
        change: PasswordChange,
        beside: Beside,
    ) -> Result<bool>;

    /// Keeps a new key.
    async fn create_api_key(&self, key: &ApiKey, beside: Beside) -> Result<Outcome<()>>;

    /// The key of that identifier, revoked or not.
    async fn api_key(&self, id: ApiKeyId) -> Result<Option<ApiKey>>;

    /// The keys of a tenant that are not revoked, by age.
    async fn api_keys(&self, tenant: TenantId, page: Page<ApiKeyId>) -> Result<Vec<ApiKey>>;

    /// Gives a key another secret; none if there is no such key, or it is revoked.
    async fn rotate_api_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        rotation: Rotation,
        beside: Beside,
    ) -> Result<Option<ApiKey>>;

    /// Revokes a key; false if there is none. A second time is as good as once, and not in the audit.
    async fn revoke_api_key(
        &self,
        tenant: TenantId,
        id: ApiKeyId,
        now: Timestamp,
        beside: Beside,
    ) -> Result<bool>;

    /// Notes that a key was used.
    async fn touch_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<()>;
}

impl StaffAccount {
    /// Whether they can sign in and see to the others.
    pub(crate) fn is_admin(&self) -> bool {
        self.role == Role::Admin && !self.disabled
    }
}

impl AccountChange {
    /// `account` with the change made.
    pub(crate) fn applied_to(self, account: &StaffAccount) -> StaffAccount {
        let mut after = account.clone();
        let Self { display_name, role, provider_ref, disabled } = self;
        after.display_name = display_name.unwrap_or(after.display_name);
        after.role = role.unwrap_or(after.role);
        after.provider_ref = provider_ref.unwrap_or(after.provider_ref);
        after.disabled = disabled.unwrap_or(after.disabled);
        after
    }
}
