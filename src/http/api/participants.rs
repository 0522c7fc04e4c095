//! Participants of a session: invite, issue links, admit, deny, send back, remove.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vestibule_domain::{
    Command, Context, DenyReason, Invitation, Participant, ParticipantId, Presence, SessionId, Standing,
};

use super::sessions::{NewParticipant, Session, Who, carry_out, not_over, own};
use super::words;
use crate::app::App;
use crate::clock;
use crate::http::body::{Body, Of};
use crate::http::caller::{Caller, May, need};
use crate::http::once::{Answer, Recorder, once};
use crate::http::problem::ApiError;
use crate::http::version::IfMatch;
use crate::live::Call;
use crate::store::Loaded;

/// Times a token is issued anew because somebody else changed the session meanwhile.
const CONFLICTS_MAX: usize = 3;

/// Invite somebody.
///
/// They come in by a link of their own: issue one.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants", operation_id = "inviteParticipant", tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters; kept for a day."),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    request_body = NewParticipant,
    responses((status = 201, description = "They are invited.", body = Who)),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn invite(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    Of(session): Of<SessionId>,
    expected: IfMatch,
    headers: HeaderMap,
    Body { value, hash }: Body<NewParticipant>,
) -> Result<Response, ApiError> {
    let person = value.person()?;
    own(&app, &caller, session).await?;
    once(&app, &caller, &headers, hash, |recorder| {
        let (app, caller) = (&app, &caller);
        async move {
            let (participant, role) = (app.ids.participant(clock::now()), person.role);
            let profile = person.profile(participant);
            let record = Participant::invited(Invitation { participant, role });
            let answer = Answer::created(None, None, &Who::of(&record, profile.as_ref()));
            let call = Call {
                expected: expected.0,
                profiles: profile.into_iter().collect(),
                beside: recorder.beside(Vec::new(), &answer),
                ..Call::plain(Command::Invite { participant, role }, caller.actor())
            };
            app.registry.command(session, call).await??;
            Ok(answer)
        }
    })
    .await
}

/// How a link is to be issued.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssueToken {
    /// Whether links that were issued to them before stop working, as when one went to the wrong address. Who is in
    /// stays in.
    #[serde(default)]
    revoke_earlier: bool,
}

/// A credential that lets one participant into one session. To be given to nobody else.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = JoinToken)]
pub(crate) struct Token {
    token: String,
    /// From when it opens nothing any more, as the session is scheduled now.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = Uuid)]
    participant_id: ParticipantId,
    /// The link to give out. The token is in its fragment, which no server and no log sees.
    join_url: String,
}

/// Issue a link, or another one.
///
/// Earlier ones stay good unless they are revoked. Somebody who was removed is invited again by it.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants/{participantId}/tokens", operation_id = "issueToken",
    tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid), ("participantId" = String, Path, format = Uuid),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 visible ASCII characters; kept for a day.")),
    request_body = IssueToken,
    responses((status = 201, description = "A link.", body = Token)),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn issue_token(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    Of((session, participant)): Of<(SessionId, ParticipantId)>,
    headers: HeaderMap,
    Body { value: IssueToken { revoke_earlier }, hash }: Body<IssueToken>,
) -> Result<Response, ApiError> {
    known(&own(&app, &caller, session).await?, participant)?;
    let (app, caller) = (&app, &caller);
    once(app, caller, &headers, hash, |recorder| async move {
        for _ in 0..=CONFLICTS_MAX {
            let issued = issue(app, caller, &recorder, (session, participant), revoke_earlier).await;
            // Somebody else was faster: the token of a moment ago is for what is no more.
            if !matches!(issued, Err(ApiError::VersionMismatch { .. })) {
                return issued;
            }
        }
        Err(ApiError::Contended)
    })
    .await
}

/// Issues a token, in one transaction with what it takes for it: inviting anew who was removed, making earlier ones void.
async fn issue(
    app: &App,
    caller: &Caller,
    recorder: &Recorder<'_>,
    (session, participant): (SessionId, ParticipantId),
    revoke_earlier: bool,
) -> Result<Answer, ApiError> {
    let loaded = own(app, caller, session).await?;
    not_over(&loaded.session)?;
    let record = known(&loaded, participant)?;
    let command = if record.standing == Standing::Removed {
        // Their earlier tokens went with the removal.
        Some(Command::Invite { participant, role: record.role })
    } else {
        revoke_earlier.then_some(Command::RevokeTokens { participant })
    };
    let (now, actor) = (clock::now(), caller.actor());
    let mut after = loaded.session.clone();
    if let Some(command) = &command {
        let presence = Presence::new();
        let events = after.decide(command, &Context { now, actor: &actor, presence: &presence })?;
        after.commit(&events);
    }
    let token = app.keys.issue(&after, participant, now)?;
    let shown = Token {
        join_url: app.origin.join_link(&token.token),
        token: token.token,
        expires_at: token.expires_at,
        participant_id: participant,
    };
    let answer = Answer::created(None, None, &shown);
    let line =
        caller.did("token.issued", ("participant", participant.to_string()), Some(session.to_string()));
    let beside = recorder.beside(vec![line], &answer);
    match command {
        None => app.store.note(beside).await?,
        Some(command) => {
            let expected = Some(loaded.session.version());
            let call = Call { expected, beside, ..Call::plain(command, actor) };
            app.registry.command(session, call).await??;
        }
    }
    Ok(answer)
}

/// Let somebody in who waits. A patient can be let in while a provider is connected.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants/{participantId}/admit", operation_id = "admitParticipant",
    tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid), ("participantId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    responses((status = 200, description = "The session as it is now.", body = Session)),
    security(("apiKey" = ["sessions:control"]), ("staffSession" = []))
)]
pub(crate) async fn admit(
    State(app): State<App>,
    caller: May<need::SessionsControl>,
    Of((session, participant)): Of<(SessionId, ParticipantId)>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, session, Command::Admit { participant }, expected).await
}

/// What somebody is told who is not let in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Deny {
    #[schema(schema_with = words::deny_reason)]
    reason: DenyReason,
}

/// Do not let somebody in who waits. They may come again.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants/{participantId}/deny", operation_id = "denyParticipant",
    tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid), ("participantId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    request_body = Deny,
    responses((status = 200, description = "The session as it is now.", body = Session)),
    security(("apiKey" = ["sessions:control"]), ("staffSession" = []))
)]
pub(crate) async fn deny(
    State(app): State<App>,
    caller: May<need::SessionsControl>,
    Of((session, participant)): Of<(SessionId, ParticipantId)>,
    expected: IfMatch,
    Body { value: Deny { reason }, .. }: Body<Deny>,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, session, Command::Deny { participant, reason }, expected).await
}

/// Send somebody who is in back to the waiting room.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants/{participantId}/send-back", operation_id = "sendParticipantBack",
    tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid), ("participantId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    responses((status = 200, description = "The session as it is now.", body = Session)),
    security(("apiKey" = ["sessions:control"]), ("staffSession" = []))
)]
pub(crate) async fn send_back(
    State(app): State<App>,
    caller: May<need::SessionsControl>,
    Of((session, participant)): Of<(SessionId, ParticipantId)>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, session, Command::SendBack { participant }, expected).await
}

/// Remove somebody: their media stops at once, and every link issued to them so far is void.
#[utoipa::path(
    post, path = "/sessions/{sessionId}/participants/{participantId}/remove", operation_id = "removeParticipant",
    tag = "Participants",
    params(("sessionId" = String, Path, format = Uuid), ("participantId" = String, Path, format = Uuid),
        ("If-Match" = Option<String>, Header, description = "The session's ETag you saw.")),
    responses((status = 200, description = "The session as it is now.", body = Session)),
    security(("apiKey" = ["sessions:write"]), ("staffSession" = []))
)]
pub(crate) async fn remove(
    State(app): State<App>,
    caller: May<need::SessionsWrite>,
    Of((session, participant)): Of<(SessionId, ParticipantId)>,
    expected: IfMatch,
) -> Result<Response, ApiError> {
    carry_out(&app, &caller, session, Command::Remove { participant }, expected).await
}

fn known(loaded: &Loaded, participant: ParticipantId) -> Result<&Participant, ApiError> {
    loaded.session.participant(participant).ok_or(ApiError::NotFound)
}
