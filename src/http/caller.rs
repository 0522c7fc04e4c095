//! Who asks: a clinic's own system by an API key, or one of its staff by the cookie of a session; and whether they may.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::Deref;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use jiff::Timestamp;
use vestibule_domain::{Actor, StaffId, TenantId};

use super::problem::ApiError;
use super::{cookie, origin};
use crate::accounts::{self, StaffAccountId};
use crate::app::App;
use crate::rights::Right;
use crate::store::{AuditEntry, StaffAccount, StaffSession};
use crate::{clock, keys};

/// Somebody who is who they say.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    /// `key:<uuid>` or `user:<uuid>`: in events, in the audit, and whose idempotency keys and rates are counted.
    pub(crate) id: StaffId,
    pub(crate) rights: BTreeSet<Right>,
    /// When their credentials end, if that is fixed: a key they make ends then at the latest.
    pub(crate) until: Option<Timestamp>,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor {
        Actor::Staff(self.id.clone())
    }

    /// Their account, if they are one of the staff.
    pub(crate) fn account(&self) -> Option<StaffAccountId> {
        self.id.as_str().strip_prefix("user:")?.parse().ok()
    }

    pub(crate) fn may(&self, right: Right) -> Result<(), ApiError> {
        if self.rights.contains(&right) { Ok(()) } else { Err(ApiError::RightMissing(right)) }
    }

    /// A line for the audit, of what they did just now.
    pub(crate) fn did(
        &self,
        action: &'static str,
        (subject_kind, subject): (&'static str, String),
        session: Option<String>,
    ) -> AuditEntry {
        AuditEntry {
            tenant: self.tenant,
            at: clock::now(),
            actor: self.actor(),
            action: action.into(),
            subject_kind,
            subject,
            session,
        }
    }
}

/// A caller who has a right: an endpoint that takes one cannot forget to ask.
#[derive(Clone, Debug)]
pub(crate) struct May<R>(Caller, PhantomData<R>);

/// A right as a type.
pub(crate) trait Needs {
    const RIGHT: Right;
}

impl<R> Deref for May<R> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<R: Needs> FromRequestParts<App> for May<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        caller.may(R::RIGHT)?;
        Ok(Self(caller, PhantomData))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = match parts.headers.get(AUTHORIZATION) {
            Some(value) => {
                // The scheme is written in any case (RFC 9110, section 11.1).
                let (scheme, token) =
                    value.to_str().ok().and_then(|value| value.split_once(' ')).unwrap_or_default();
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(ApiError::Unauthenticated);
                }
                by_key(app, token).await?
            }
            None => by_cookie(app, parts).await?.caller,
        };
        app.rates.check(caller.id.as_str())?;
        Ok(caller)
    }
}

/// One of the staff who has signed in, with the session: keys have neither.
#[derive(Clone, Debug)]
pub(crate) struct Staff {
    pub(crate) caller: Caller,
    pub(crate) account: StaffAccount,
    pub(crate) session: StaffSession,
}

impl FromRequestParts<App> for Staff {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let staff = by_cookie(app, parts).await?;
        app.rates.check(staff.caller.id.as_str())?;
        Ok(staff)
    }
}

/// Whether the cookie of a request, which need not have one, is that of somebody of the staff of `tenant` who may let people
/// in there.
pub(crate) async fn vouches(app: &App, parts: &Parts, tenant: TenantId) -> Result<bool, ApiError> {
    match by_cookie(app, parts).await {
        Ok(Staff { caller, .. }) => {
            Ok(caller.tenant == tenant && caller.rights.contains(&Right::SessionsControl))
        }
        Err(ApiError::Unauthenticated | ApiError::OtherOrigin) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn by_key(app: &App, token: &str) -> Result<Caller, ApiError> {
    let found = keys::identify(&app.store, token, clock::now()).await?;
    let (key, by_former) = found.ok_or(ApiError::Unauthenticated)?;
    Ok(Caller {
        tenant: key.tenant,
        id: key.id.staff_id(),
        rights: keys::rights(&key, by_former),
        until: key.expires_at,
    })
}

async fn by_cookie(app: &App, parts: &Parts) -> Result<Staff, ApiError> {
    let secret = cookie::read(&parts.headers).ok_or(ApiError::Unauthenticated)?;
    if !origin::is_ours(&parts.method, &parts.headers, &app.origin) {
        return Err(ApiError::OtherOrigin);
    }
    let found = accounts::whose(&app.store, &secret, clock::now()).await?;
    let (session, account) = found.ok_or(ApiError::Unauthenticated)?;
    let caller = Caller {
        tenant: account.tenant,
        id: account.id.staff_id(),
        rights: account.role.rights().iter().copied().collect(),
        until: None,
    };
    Ok(Staff { caller, account, session })
}

macro_rules! needs {
    ($($right:ident),* $(,)?) => {
        /// The rights as types.
        pub(crate) mod need {
            $(
                #[derive(Clone, Copy, Debug)]
                pub(crate) enum $right {}
                impl super::Needs for $right {
                    const RIGHT: crate::rights::Right = crate::rights::Right::$right;
                }
            )*
        }
    };
}

needs!(
    SessionsRead,
    SessionsWrite,
    SessionsControl,
    ConsentsRead,
    ConsentsWrite,
    VisitsRead,
    VisitsWrite,
    VisitsRespond,
    EventsRead,
    ConfigRead,
    ConfigWrite,
    AuditRead,
    KeysManage,
    StaffManage,
);
