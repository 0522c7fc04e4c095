//! The audit: who did what to which session when. As pages of JSON, or whole for export.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use vestibule_domain::{Actor, EventId, SessionId, StaffId, TenantId};

use crate::app::App;
use crate::http::body::Params;
use crate::http::caller::{May, need};
use crate::http::page::{Listed, listed, page};
use crate::http::problem::ApiError;
use crate::http::request;
use crate::store::{AuditFilter, AuditRow, Beside, Page, Store};

/// Lines read at a time for an export.
const EXPORT_BATCH: u32 = 1_000;

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListAudit {
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[param(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
    /// About this session.
    #[param(value_type = Option<String>, format = Uuid)]
    session_id: Option<SessionId>,
    /// Of this actor: a participant's id, `user:…` or `key:…`.
    actor: Option<String>,
    /// The `next` of the page before; not for an export.
    cursor: Option<String>,
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Who did what to what, when. Identifiers and codes only.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditLine)]
pub(crate) struct Line {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `participant`, `staff`, `system` or `timer`.
    actor_kind: &'static str,
    actor_id: Option<String>,
    /// As in `session.admitted` or `token.issued`.
    action: String,
    subject_kind: String,
    subject_id: String,
    session_id: Option<String>,
    /// The request it came by.
    request_id: Option<String>,
}

impl From<AuditRow> for Line {
    fn from(row: AuditRow) -> Self {
        let (actor_kind, actor_id) = match row.actor {
            Actor::Participant(id) => ("participant", Some(id.to_string())),
            Actor::Staff(id) => ("staff", Some(id.as_str().to_owned())),
            Actor::System => ("system", None),
            Actor::Timer => ("timer", None),
        };
        Self {
            id: row.id,
            at: row.at,
            actor_kind,
            actor_id,
            action: row.action,
            subject_kind: row.subject_kind,
            subject_id: row.subject,
            session_id: row.session,
            request_id: row.request,
        }
    }
}

/// Read the audit, oldest first.
///
/// With `Accept: application/x-ndjson` or `text/csv` all lines that fit come in one answer, for export.
#[utoipa::path(
    get, path = "/audit", operation_id = "listAudit", tag = "Audit",
    params(ListAudit),
    responses((status = 200, description = "A page of lines, or all for export.", content(
        (Listed<Line> = "application/json"), (String = "application/x-ndjson"), (String = "text/csv")))),
    security(("apiKey" = ["audit:read"]), ("staffSession" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: May<need::AuditRead>,
    headers: HeaderMap,
    Params(asked): Params<ListAudit>,
) -> Result<Response, ApiError> {
    if asked.actor.as_deref().is_some_and(|actor| !is_actor(actor)) {
        let problem = "must be 1 to 128 visible ASCII characters".into();
        return Err(ApiError::Invalid { field: "actor", problem });
    }
    let filter =
        AuditFilter { from: asked.from, before: asked.before, session: asked.session_id, actor: asked.actor };
    let Some(form) = Form::asked_for(&headers) else {
        let Page { after, limit } = page::<EventId>(asked.cursor.as_deref(), asked.limit)?;
        let page = Page { after: after.map(|id| id.to_string()), limit };
        let found = app.store.audit(caller.tenant, &filter, page).await?;
        return Ok(Json(listed(found, limit, |row| row.id.clone(), Line::from)).into_response());
    };
    let exported = caller.did("audit.exported", ("tenant", caller.tenant.to_string()), None);
    app.store.note(Beside { audit: vec![exported], ..request::stamped() }).await?;
    let export =
        Export { store: app.store.clone(), tenant: caller.tenant, filter, form, after: None, over: false };
    let body = Body::from_stream(stream::unfold(export, Export::next));
    let named = HeaderValue::from_static(form.disposition());
    let content_type = HeaderValue::from_static(form.content_type());
    Ok(([(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, named)], body).into_response())
}

fn is_actor(text: &str) -> bool {
    (1..=StaffId::BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ndjson,
    Csv,
}

impl Form {
    fn asked_for(headers: &HeaderMap) -> Option<Self> {
        let accepted = headers.get(header::ACCEPT)?.to_str().ok()?;
        let first = accepted.split(',').next()?.split(';').next()?.trim();
        match first {
            "application/x-ndjson" => Some(Self::Ndjson),
            "text/csv" => Some(Self::Csv),
            _ => None,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    const fn disposition(self) -> &'static str {
        match self {
            Self::Ndjson => "attachment; filename=\"audit.ndjson\"",
            Self::Csv => "attachment; filename=\"audit.csv\"",
        }
    }

    /// What stands before the first line.
    const fn head(self) -> &'static str {
        match self {
            Self::Ndjson => "",
            Self::Csv => "id,at,actorKind,actorId,action,subjectKind,subjectId,sessionId,requestId\r\n",
        }
    }

    fn line(self, line: &Line) -> String {
        match self {
            Self::Ndjson => {
                let mut text = serde_json::to_string(line).expect("a line is a struct of strings");
                text.push('\n');
                text
            }
            Self::Csv => {
                let at = line.at.to_string();
                let cells = [
                    Some(&*line.id),
                    Some(&*at),
                    Some(line.actor_kind),
                    line.actor_id.as_deref(),
                    Some(&*line.action),
                    Some(&*line.subject_kind),
                    Some(&*line.subject_id),
                    line.session_id.as_deref(),
                    line.request_id.as_deref(),
                ];
                cells.map(|cell| csv(cell.unwrap_or(""))).join(",") + "\r\n"
            }
        }
    }
}

/// A cell (RFC 4180). What a spreadsheet would take for a formula is marked as text: a request's id is a stranger's word.
fn csv(cell: &str) -> String {
    let text = if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// An export under way.
struct Export {
    store: Store,
    tenant: TenantId,
    filter: AuditFilter,
    form: Form,
    after: Option<String>,
    over: bool,
}

impl Export {
    async fn next(mut self) -> Option<(Result<Bytes, crate::store::StoreError>, Self)> {
        if self.over {
            return None;
        }
        let page = Page { after: self.after.clone(), limit: EXPORT_BATCH };
        let rows = match self.store.audit(self.tenant, &self.filter, page).await {
            Ok(rows) => rows,
            Err(error) => {
                // The answer breaks off, so nobody takes it for whole.
                self.over = true;
                return Some((Err(error), self));
            }
        };
        self.over = rows.len() < EXPORT_BATCH as usize;
        let mut text = if self.after.is_none() { self.form.head().to_owned() } else { String::new() };
        self.after = rows.last().map(|row| row.id.clone());
        for row in rows {
            text += &self.form.line(&row.into());
        }
        Some((Ok(text.into()), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_whatever_is_in_it() {
        assert_eq!(csv("plain"), "plain");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv("=1+1"), "'=1+1");
    }
}
