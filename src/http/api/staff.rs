//! The staff of a clinic: who they are, what they are there for, and links to get in.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use vestibule_domain::ProviderRef;

use super::auth::asked;
use super::sessions::parsed;
use super::words;
use crate::accounts::{Asked, Attempts, LoginName, NewLink, StaffAccountId};
use crate::app::App;
use crate::clock;
use crate::http::body::{Body, Of, Params};
use crate::http::caller::{Caller, May, need};
use crate::http::once::{Answer, once};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::rights::Role;
use crate::store::{AccountChange, AuditEntry, Outcome, PersonText, StaffAccount};

/// A member of staff.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StaffAccount)]
pub(crate) struct Account {
    /// A UUID of version 7.
    #[schema(format = Uuid)]
    id: String,
    /// What they sign in with, in lower case.
    login: String,
    display_name: String,
    #[schema(schema_with = words::role)]
    role: &'static str,
    /// Whose desk a provider sits at: the `providerRef` of sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_ref: Option<String>,
    disabled: bool,
    /// Whether they have set a password; until then a one-time link is out.
    has_password: bool,
    /// Until when no password is looked at, after too many wrong ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    locked_until: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl Account {
    pub(super) fn of(account: &StaffAccount) -> Self {
        Self {
            id: account.id.to_string(),
            login: account.login.as_str().to_owned(),
            display_name: account.display_name.as_str().to_owned(),
            role: account.role.as_str(),
            provider_ref: account.provider_ref.as_ref().map(|desk| desk.as_str().to_owned()),
            disabled: account.disabled,
            has_password: account.password.is_some(),
            locked_until: account.attempts.locked(clock::now()),
            created_at: account.created_at,
        }
    }
}

/// A one-time link, shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetUpLink {
    /// For its owner alone: whoever opens it sets the password.
    url: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A new colleague, and the link to give them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewAccount {
    #[serde(flatten)]
    account: Account,
    link: SetUpLink,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPage {
    /// The `next` of the page before.
    pub(super) cursor: Option<String>,
    /// Entries of a page; 50 unless given.
    #[param(minimum = 1, maximum = 100)]
    pub(super) limit: Option<u32>,
}

/// List the staff, by age of their accounts.
#[utoipa::path(
    get, path = "/staff", operation_id = "listStaff", tag = "Staff",
    params(ListPage),
    responses((status = 200, description = "A page of them.", body = Listed<Account>)),
    security(("apiKey" = ["staff:manage"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::StaffManage>,
    Params(ListPage { cursor, limit }): Params<ListPage>,
) -> Result<Json<Listed<Account>>, ApiError> {
    let page = page::<StaffAccountId>(cursor.as_deref(), limit)?;
    let limit = page.limit;
    let found = app.store.accounts(caller.tenant, page).await?;
    Ok(Json(listed(found, limit, |account| account.id.to_string(), |account| Account::of(&account))))
}

/// A colleague to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AddAccount {
    /// What they sign in with: 3 to 100 visible characters, as in an e-mail address. No two on a server have the same.
    #[schema(min_length = 3, max_length = 100)]
    login: String,
    #[schema(min_length = 1, max_length = 100)]
    display_name: String,
    #[schema(value_type = String, schema_with = words::role)]
    role: String,
    /// Whose desk a provider sits at: 1 to 128 visible ASCII characters.
    #[schema(min_length = 1, max_length = 128)]
    provider_ref: Option<String>,
}

/// Add a colleague. The answer has the one-time link to give them: they set their password by it.
#[utoipa::path(
    post, path = "/staff", operation_id = "addStaff", tag = "Staff",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters; kept for a day.")),
    request_body = AddAccount,
    responses((status = 201, description = "The account, and the link.", body = NewAccount)),
    security(("apiKey" = ["staff:manage"]), ("staffSession" = []))
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: May<need::StaffManage>,
    headers: HeaderMap,
    Body { value, hash }: Body<AddAccount>,
) -> Result<Response, ApiError> {
    let account = planned(&app, &caller, value)?;
    may_manage(&caller, account.role)?;
    let (app, caller) = (&app, &caller);
    once(app, caller, &headers, hash, |recorder| async move {
        let asked = asked();
        let (link, kept) = NewLink::fresh(asked.now);
        let answer = NewAccount { account: Account::of(&account), link: link_of(app, &link) };
        let answer = Answer::created(None, None, &answer);
        let audit = asked.line(caller.actor(), "staff.created", &account);
        match app.store.create_account(&account, kept, recorder.beside(vec![audit], &answer)).await? {
            Outcome::Done(()) => Ok(answer),
            Outcome::TooMany => Err(ApiError::LimitReached { what: "accounts" }),
            Outcome::LastAdmin => Err(ApiError::LastAdmin),
        }
    })
    .await
}

fn planned(app: &App, caller: &Caller, asked: AddAccount) -> Result<StaffAccount, ApiError> {
    let now = clock::now();
    Ok(StaffAccount {
        id: app.ids.staff_account(now),
        tenant: caller.tenant,
        login: parsed::<LoginName>("login", &asked.login)?,
        display_name: name(&asked.display_name)?,
        role: role(&asked.role)?,
        provider_ref: asked.provider_ref.map(|desk| parsed("providerRef", &desk)).transpose()?,
        disabled: false,
        password: None,
        attempts: Attempts::default(),
        created_at: now,
    })
}

/// What is to be different. What is left out, or null where nothing else is said of it, stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeAccount {
    #[schema(min_length = 1, max_length = 100)]
    display_name: Option<String>,
    #[schema(value_type = Option<String>, schema_with = words::role_or_null)]
    role: Option<String>,
    /// Null for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    provider_ref: Option<Option<String>>,
    /// Whoever is disabled cannot sign in, and is signed out.
    disabled: Option<bool>,
}

/// Tells what is null from what is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Change a colleague. Another role, or being disabled, ends their sessions. The last administrator stays one.
#[utoipa::path(
    patch, path = "/staff/{accountId}", operation_id = "changeStaff", tag = "Staff",
    params(("accountId" = String, Path, format = Uuid)),
    request_body = ChangeAccount,
    responses((status = 200, description = "As it is now.", body = Account)),
    security(("apiKey" = ["staff:manage"]), ("staffSession" = []))
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: May<need::StaffManage>,
    Of(id): Of<String>,
    Body { value, .. }: Body<ChangeAccount>,
) -> Result<Json<Account>, ApiError> {
    let before = own(&app, &caller, &id).await?;
    let provider_ref = match value.provider_ref {
        Some(Some(desk)) => Some(Some(parsed::<ProviderRef>("providerRef", &desk)?)),
        Some(None) => Some(None),
        None => None,
    };
    let change = AccountChange {
        display_name: value.display_name.as_deref().map(name).transpose()?,
        role: value.role.as_deref().map(role).transpose()?,
        provider_ref,
        disabled: value.disabled,
    };
    may_manage(&caller, before.role)?;
    may_manage(&caller, change.role.unwrap_or(before.role))?;
    let asked = asked();
    let beside = asked.beside_all(told(&asked, &caller, &before, &change));
    match app.store.change_account(caller.tenant, before.id, change, beside).await? {
        Outcome::Done(after) => Ok(Json(Account::of(&after))),
        Outcome::LastAdmin => Err(ApiError::LastAdmin),
        Outcome::TooMany => Err(ApiError::LimitReached { what: "accounts" }),
    }
}

/// What the audit says of a change.
fn told(asked: &Asked, caller: &Caller, before: &StaffAccount, change: &AccountChange) -> Vec<AuditEntry> {
    let after = change.clone().applied_to(before);
    let mut actions = Vec::new();
    if after.disabled != before.disabled {
        actions.push(if after.disabled { "staff.disabled" } else { "staff.enabled" });
    }
    if after.role != before.role {
        actions.push("staff.role_changed");
    }
    if after.display_name != before.display_name || after.provider_ref != before.provider_ref {
        actions.push("staff.changed");
    }
    actions.into_iter().map(|action| asked.line(caller.actor(), action, before)).collect()
}

/// A new one-time link for a colleague who is locked out or has no password yet. The one they have is good no more.
#[utoipa::path(
    post, path = "/staff/{accountId}/link", operation_id = "makeStaffLink", tag = "Staff",
    params(("accountId" = String, Path, format = Uuid)),
    responses((status = 201, description = "The link.", body = SetUpLink)),
    security(("apiKey" = ["staff:manage"]), ("staffSession" = []))
)]
pub(crate) async fn make_link(
    State(app): State<App>,
    caller: May<need::StaffManage>,
    Of(id): Of<String>,
) -> Result<(StatusCode, Json<SetUpLink>), ApiError> {
    let account = own(&app, &caller, &id).await?;
    may_manage(&caller, account.role)?;
    if account.disabled {
        return Err(ApiError::AccountDisabled);
    }
    let link = NewLink::make(&app.store, &account, caller.actor(), &asked()).await?;
    Ok((StatusCode::CREATED, Json(link_of(&app, &link))))
}

/// Nobody gives away by an account what they may not do themselves. Administrators alone decide who works here: they make
/// providers, too, though they read nothing clinical.
fn may_manage(caller: &Caller, role: Role) -> Result<(), ApiError> {
    let administers = Role::Admin.rights().iter().all(|right| caller.rights.contains(right));
    if administers { Ok(()) } else { role.rights().iter().try_for_each(|right| caller.may(*right)) }
}

fn link_of(app: &App, link: &NewLink) -> SetUpLink {
    SetUpLink { url: link.url(&app.origin), expires_at: link.expires_at }
}

/// The account, if it is of the caller's clinic.
async fn own(app: &App, caller: &Caller, id: &str) -> Result<StaffAccount, ApiError> {
    let id = id.parse().map_err(|_| ApiError::NotFound)?;
    app.store.account(caller.tenant, id).await?.ok_or(ApiError::NotFound)
}

fn name(text: &str) -> Result<PersonText, ApiError> {
    PersonText::parse(text)
        .map_err(|error| ApiError::Invalid { field: "displayName", problem: error.to_string() })
}

fn role(word: &str) -> Result<Role, ApiError> {
    let problem = || "must be admin, provider or front_desk".to_owned();
    word.parse().map_err(|_| ApiError::Invalid { field: "role", problem: problem() })
}
