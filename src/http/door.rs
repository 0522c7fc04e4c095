//! `POST /v1/join` and what belongs to it (docs/protocol.md, section 2): from a link to a connection ticket.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::Timestamp;
use vestibule_domain::{
    Actor, Command, Context, Participant, Presence, TokenClaims, TokenError, VirtualSession, admit_token,
};
use vestibule_signaling::wire::{
    Clinic, ConsentAnswer, ConsentsReply, ConsentsRequest, JoinReply, JoinRequest, SessionSummary, Ticket,
    Who,
};

use super::caller::vouches;
use super::problem::ApiError;
use super::{address, request};
use crate::app::App;
use crate::live::Call;
use crate::tickets::Admission;
use crate::{clock, consents};

type Body<T> = Result<Json<T>, JsonRejection>;

/// Consents one request may carry.
const CONSENTS_MAX: usize = 8;

/// `POST /v1/join`: who am I, to what, and what is still needed. Changes nothing.
pub(crate) async fn join(
    State(app): State<App>,
    parts: Parts,
    body: Body<JoinRequest>,
) -> Result<Json<JoinReply>, ApiError> {
    let Json(JoinRequest { token }) = body?;
    let guest = Guest::identify(&app, &parts, &token, clock::now()).await?;
    let tenant = app.store.tenant(guest.session.tenant()).await?.ok_or(TokenError::Invalid)?;
    let config = app.store.config(tenant.id).await?.ok_or(TokenError::Invalid)?;
    let values = config.values();
    let session = &guest.session;
    let window = session.join_window();
    let reply = JoinReply {
        participant: Who { id: guest.claims.participant, role: guest.participant.role, name: guest.name },
        clinic: Clinic {
            name: tenant.name,
            logo_url: values.branding_logo_url.as_ref().map(ToString::to_string),
            primary_color: values.branding_primary_color.as_ref().map(ToString::to_string),
        },
        session: SessionSummary {
            id: session.id(),
            status: session.status(),
            scheduled_start: session.scheduled_start(),
            scheduled_end: session.scheduled_end(),
            opens_at: window.opens_at,
            closes_at: window.closes_at,
            communication: session.communication(),
        },
        consents: consents::forms(session, guest.claims.participant),
        ice_servers: app.ice_servers.of(guest.claims.participant, clock::now()),
    };
    Ok(Json(reply))
}

/// `POST /v1/join/consents`: what the patient says to the texts.
pub(crate) async fn consents(
    State(app): State<App>,
    parts: Parts,
    body: Body<ConsentsRequest>,
) -> Result<Json<ConsentsReply>, ApiError> {
    let Json(ConsentsRequest { token, consents: answers }) = body?;
    let guest = Guest::identify(&app, &parts, &token, clock::now()).await?;
    if !(1..=CONSENTS_MAX).contains(&answers.len()) {
        return Err(ApiError::Malformed(format!("`consents` has 1 to {CONSENTS_MAX} entries")));
    }
    // A withdrawal is never turned away, whichever text it names.
    if answers.iter().any(|answer| answer.granted && answer.version != consents::VERSION) {
        return Err(ApiError::ConsentOutdated { in_force: consents::VERSION });
    }
    let participant = guest.claims.participant;
    let actor = Actor::Participant(participant);
    let mut commands = Vec::new();
    for ConsentAnswer { consent_type, version, granted } in answers {
        let version = version.parse().map_err(|error| ApiError::Malformed(format!("{error}")))?;
        commands.push(Command::CaptureConsent { consent_type, granted, version });
    }
    // All of them or none: the first must not be on file when the second is refused.
    let mut tried = guest.session.clone();
    let context = Context { now: clock::now(), actor: &actor, presence: &Presence::new() };
    for command in &commands {
        let events = tried.decide(command, &context)?;
        tried.commit(&events);
    }
    for command in commands {
        let call = Call { beside: request::stamped(), ..Call::plain(command, actor.clone()) };
        app.registry.command(guest.session.id(), call).await??;
    }
    let session = app.store.load_session(guest.session.id()).await?.ok_or(TokenError::Invalid)?.session;
    Ok(Json(ConsentsReply { consents: crate::consents::forms(&session, participant) }))
}

/// `POST /v1/join/ticket`: the person presses *join*. If they are signed in as staff who may let people in, that vouches
/// for them.
pub(crate) async fn ticket(
    State(app): State<App>,
    parts: Parts,
    body: Body<JoinRequest>,
) -> Result<(StatusCode, Json<Ticket>), ApiError> {
    let Json(JoinRequest { token }) = body?;
    let now = clock::now();
    let guest = Guest::identify(&app, &parts, &token, now).await?;
    if consents::forms(&guest.session, guest.claims.participant).iter().any(|form| form.required) {
        return Err(ApiError::ConsentMissing);
    }
    let admission = Admission {
        session: guest.session.id(),
        participant: guest.claims.participant,
        epoch: guest.participant.epoch,
        vouched: vouches(&app, &parts, guest.session.tenant()).await?,
    };
    let (ticket, expires_at) = app.tickets.issue(now, admission)?;
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_at })))
}

/// Who stands at the door, with a link that is good now.
struct Guest {
    claims: TokenClaims,
    session: VirtualSession,
    participant: Participant,
    name: String,
}

impl Guest {
    async fn identify(app: &App, parts: &Parts, token: &str, now: Timestamp) -> Result<Self, ApiError> {
        let claims = match (app.keys.verify(token), address::of(&parts.extensions)) {
            (Err(error), Some(from)) => {
                app.rates.wrong(from)?;
                return Err(error.into());
            }
            (verified, _) => verified?,
        };
        let stored = app.store.load_session(claims.session).await?.ok_or(TokenError::Invalid)?;
        let session = stored.session;
        match admit_token(&claims, &session, now) {
            Ok(()) => {}
            Err(TokenError::SessionOver) => return Err(ApiError::SessionOver(session.end_reason())),
            Err(error) => return Err(error.into()),
        }
        let participant = session.participant(claims.participant).ok_or(TokenError::Invalid)?.clone();
        let profile = stored.profiles.get(&claims.participant);
        let name = profile.map_or_else(String::new, |profile| profile.display_name.as_str().to_owned());
        Ok(Self { claims, session, participant, name })
    }
}
