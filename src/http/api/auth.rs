//! Signing in and out; one's own password; one-time links.
//!
//! The answers to a wrong password and to a name that nobody has are the same, and take as long.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vestibule_domain::TenantId;
use zeroize::Zeroizing;

use super::staff::Account;
use crate::accounts::{Asked, SignedIn};
use crate::app::App;
use crate::clock;
use crate::http::body::Body;
use crate::http::caller::{Caller, Staff};
use crate::http::cookie;
use crate::http::origin::Origin;
use crate::http::problem::ApiError;
use crate::http::request;
use crate::rights::Right;
use crate::store::StaffAccount;

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    clinic: Clinic,
    /// The account, of a member of staff; nothing for an API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    /// What they may do: words as in the scopes of keys.
    #[schema(value_type = Vec<String>)]
    rights: Vec<&'static str>,
}

/// The clinic somebody belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ClinicOfCaller)]
pub(crate) struct Clinic {
    /// A UUID of version 7.
    #[schema(value_type = String, format = Uuid)]
    id: TenantId,
    name: String,
}

/// What somebody signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignIn {
    login: String,
    #[schema(format = Password)]
    password: String,
}

/// Sign in.
///
/// The answer sets the cookie. Five wrong passwords in a row lock a name for a minute, each further one for twice as long,
/// an hour at most; names without an account are treated the same.
#[utoipa::path(
    post, path = "/auth/sign-in", operation_id = "signIn", tag = "Sign-in",
    request_body = SignIn,
    responses((status = 200, description = "Who signed in.", body = Me, headers(("Set-Cookie" = String, description = "The session.")))),
    security(())
)]
pub(crate) async fn sign_in(
    State(app): State<App>,
    headers: HeaderMap,
    Body { value, .. }: Body<SignIn>,
) -> Result<Response, ApiError> {
    not_for_others(&app, &headers)?;
    let SignIn { login, password } = value;
    let signed_in = app.accounts.sign_in(&app.store, &login, Zeroizing::new(password), &asked()).await?;
    welcome(&app, signed_in).await
}

/// Sign out.
#[utoipa::path(
    post, path = "/auth/sign-out", operation_id = "signOut", tag = "Sign-in",
    responses((status = 204, description = "The session is over.")),
    security(("staffSession" = []))
)]
pub(crate) async fn sign_out(State(app): State<App>, staff: Staff) -> Result<Response, ApiError> {
    let beside = asked().beside(staff.caller.actor(), "staff.signed_out", &staff.account);
    app.store.sign_out(staff.session.hash, beside).await?;
    Ok((StatusCode::NO_CONTENT, [cookie::clear()]).into_response())
}

/// Sign out everywhere: all one's sessions, this one among them.
#[utoipa::path(
    post, path = "/auth/sign-out-everywhere", operation_id = "signOutEverywhere", tag = "Sign-in",
    responses((status = 204, description = "All sessions are over.")),
    security(("staffSession" = []))
)]
pub(crate) async fn sign_out_everywhere(State(app): State<App>, staff: Staff) -> Result<Response, ApiError> {
    let beside = asked().beside(staff.caller.actor(), "staff.signed_out_everywhere", &staff.account);
    app.store.sign_out_everywhere(staff.account.id, beside).await?;
    Ok((StatusCode::NO_CONTENT, [cookie::clear()]).into_response())
}

/// Who am I?
#[utoipa::path(
    get, path = "/auth/me", operation_id = "whoAmI", tag = "Sign-in",
    responses((status = 200, description = "Who asks.", body = Me)),
    security(("apiKey" = []), ("staffSession" = []))
)]
pub(crate) async fn me(State(app): State<App>, caller: Caller) -> Result<Json<Me>, ApiError> {
    let account = match caller.account() {
        Some(id) => app.store.account(caller.tenant, id).await?,
        None => None,
    };
    describe(&app, caller.tenant, account.as_ref(), caller.rights.iter().copied()).await.map(Json)
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangePassword {
    #[schema(format = Password)]
    current_password: String,
    /// 12 to 200 characters, not the login name, and not among the first guesses.
    #[schema(format = Password, min_length = 12, max_length = 200)]
    new_password: String,
}

/// Change one's own password. All other sessions end; this one goes on under another cookie.
#[utoipa::path(
    post, path = "/auth/password", operation_id = "changePassword", tag = "Sign-in",
    request_body = ChangePassword,
    responses((status = 200, description = "It is changed.", body = Me, headers(("Set-Cookie" = String, description = "The session.")))),
    security(("staffSession" = []))
)]
pub(crate) async fn change_password(
    State(app): State<App>,
    staff: Staff,
    Body { value, .. }: Body<ChangePassword>,
) -> Result<Response, ApiError> {
    let passwords = (Zeroizing::new(value.current_password), value.new_password);
    let signed_in = app.accounts.change_password(&app.store, staff.account, passwords, &asked()).await?;
    welcome(&app, signed_in).await
}

/// A one-time link.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LinkToken {
    /// What stands behind the `#` of the link.
    token: String,
}

/// Whose link it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkOwner {
    login: String,
    display_name: String,
    clinic: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Whose one-time link is this? Changes nothing.
#[utoipa::path(
    post, path = "/auth/link", operation_id = "lookAtLink", tag = "Sign-in",
    request_body = LinkToken,
    responses((status = 200, description = "Whose it is.", body = LinkOwner)),
    security(())
)]
pub(crate) async fn look_at_link(
    State(app): State<App>,
    Body { value, .. }: Body<LinkToken>,
) -> Result<Json<LinkOwner>, ApiError> {
    let (link, account) = app.accounts.look_at_link(&app.store, &value.token, clock::now()).await?;
    let clinic = app.store.tenant(account.tenant).await?.ok_or(ApiError::NotFound)?.name;
    Ok(Json(LinkOwner {
        login: account.login.as_str().to_owned(),
        display_name: account.display_name.as_str().to_owned(),
        clinic,
        expires_at: link.expires_at,
    }))
}

/// A password by a one-time link.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SetUp {
    /// What stands behind the `#` of the link.
    token: String,
    /// 12 to 200 characters, not the login name, and not among the first guesses.
    #[schema(format = Password, min_length = 12, max_length = 200)]
    password: String,
}

/// Set a password by a one-time link, which is used up, and sign in. All sessions of before end.
#[utoipa::path(
    post, path = "/auth/setup", operation_id = "setUp", tag = "Sign-in",
    request_body = SetUp,
    responses((status = 200, description = "Who signed in.", body = Me, headers(("Set-Cookie" = String, description = "The session.")))),
    security(())
)]
pub(crate) async fn set_up(
    State(app): State<App>,
    headers: HeaderMap,
    Body { value, .. }: Body<SetUp>,
) -> Result<Response, ApiError> {
    not_for_others(&app, &headers)?;
    let SetUp { token, password } = value;
    let signed_in = app.accounts.use_link(&app.store, &token, password, &asked()).await?;
    welcome(&app, signed_in).await
}

/// What is asked for now, by this request.
pub(super) fn asked() -> Asked {
    Asked { now: clock::now(), request: request::current() }
}

/// Nobody is signed in by another site's page, be it into its owner's account.
fn not_for_others(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    match Origin::of(headers, &app.origin) {
        Origin::Others => Err(ApiError::OtherOrigin),
        Origin::Ours | Origin::Unsaid => Ok(()),
    }
}

async fn welcome(app: &App, SignedIn { account, secret }: SignedIn) -> Result<Response, ApiError> {
    let rights = account.role.rights().iter().copied();
    let me = describe(app, account.tenant, Some(&account), rights).await?;
    Ok(([cookie::set(&secret)], Json(me)).into_response())
}

async fn describe(
    app: &App,
    tenant: TenantId,
    account: Option<&StaffAccount>,
    rights: impl Iterator<Item = Right>,
) -> Result<Me, ApiError> {
    let name = app.store.tenant(tenant).await?.ok_or(ApiError::NotFound)?.name;
    Ok(Me {
        clinic: Clinic { id: tenant, name },
        account: account.map(Account::of),
        rights: rights.map(Right::as_str).collect(),
    })
}
