//! The API for a clinic's own systems, and its description (OpenAPI 3.1).
//!
//! A group of endpoints a file, with what they take and give; the description is made from the same lines.

mod audit;
mod auth;
mod config;
mod consents;
mod desk;
mod events;
mod keys;
mod participants;
mod quality;
mod sessions;
mod staff;
mod streams;
mod visits;
mod words;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{KnownFormat, Object, Schema, SchemaFormat, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
pub(crate) use streams::Streams;
pub(super) use visits::TEXT_BODY_BYTES_MAX as BODY_BYTES_MAX;

/// An `ETag` of ours, or any.
const IF_MATCH_PATTERN: &str = r#"^("[0-9]{1,18}"|\*)$"#;
const IDEMPOTENCY_KEY_PATTERN: &str = "^[!-~]{1,128}$";
const POSITION_PATTERN: &str = "^[0-9]{1,18}$";
/// Of version 7 (RFC 9562).
const UUID_PATTERN: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";

/// What all of it says of itself.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vestibule",
        description = "Virtual visits of a clinic: schedule them, invite people, hand out links, let people in, and hear \
            what happens.\n\nBodies are JSON in camelCase; unknown fields are refused. Times are RFC 3339 in UTC. What has a \
            version says so in `ETag`; give it back in `If-Match` to change only what you saw. Requests that make something \
            take an `Idempotency-Key`. Errors are problem details (RFC 9457), whose `type` and `code` are stable. \
            Every answer names its request in `X-Request-Id`.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    tags(
        (name = "Sessions", description = "Virtual visits, from their scheduling to their end."),
        (name = "Participants", description = "Who is invited, links to get in, and who is in."),
        (name = "Consents", description = "What the patient agreed to; immutable, a withdrawal is a record of its own."),
        (name = "Asynchronous visits", description = "Text and images written offline, submitted when connected, answered later."),
        (name = "Configuration", description = "The rules and the looks of a clinic."),
        (name = "Events", description = "What happened, as CloudEvents 1.0, in an order without gaps."),
        (name = "API keys", description = "How the clinic's own systems say who they are."),
        (name = "Sign-in", description = "Staff sign in with a cookie; by a one-time link they set their password. What \
            changes something is taken from this server's own pages only."),
        (name = "Staff", description = "The clinic's own staff: who they are and what they are there for."),
        (name = "Audit", description = "Who did what to which session when."),
    ),
    components(schemas(Problem, desk::Queue<'_>))
)]
struct Described;

/// An error (RFC 9457), as `application/problem+json`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what problem.rs writes")]
struct Problem {
    /// `urn:vestibule:problem:` and the code.
    #[schema(rename = "type")]
    problem_type: String,
    /// The kind of error, in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// For programs; stable.
    code: String,
    /// This error, in words.
    detail: String,
    /// With `invalid`: the field that cannot be so.
    field: Option<String>,
    /// With `version_mismatch`: what there is by now.
    current_version: Option<u64>,
    /// Names the request in the server's log.
    request_id: Option<String>,
}

/// The endpoints, and their description.
pub(super) fn routes() -> (Router<App>, Document) {
    let (router, mut document) = OpenApiRouter::with_openapi(Described::openapi())
        .merge(sessions::plans())
        .routes(routes!(sessions::get, sessions::reschedule))
        .routes(routes!(sessions::cancel))
        .routes(routes!(sessions::end))
        .routes(routes!(quality::list))
        .routes(routes!(participants::invite))
        .routes(routes!(participants::issue_token))
        .routes(routes!(participants::admit))
        .routes(routes!(participants::deny))
        .routes(routes!(participants::send_back))
        .routes(routes!(participants::remove))
        .routes(routes!(desk::watch))
        .routes(routes!(consents::list, consents::attest))
        .merge(visits::router())
        .routes(routes!(config::get, config::change))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .routes(routes!(audit::list))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(auth::sign_in))
        .routes(routes!(auth::sign_out))
        .routes(routes!(auth::sign_out_everywhere))
        .routes(routes!(auth::me))
        .routes(routes!(auth::change_password))
        .routes(routes!(auth::look_at_link))
        .routes(routes!(auth::set_up))
        .routes(routes!(staff::list, staff::add))
        .routes(routes!(staff::change))
        .routes(routes!(staff::make_link))
        .split_for_parts();
    complete(&mut document);
    (router, document)
}

/// `GET /openapi.json`.
pub(super) fn description(document: &Document) -> Router<App> {
    let text = document.to_json().expect("the description is made of strings and numbers");
    let json = (axum::http::header::CONTENT_TYPE, "application/json");
    Router::new().route("/openapi.json", get(move || async move { ([json], text.clone()).into_response() }))
}

/// What is so of every operation, said once: where it is, who may, and how it fails.
fn complete(document: &mut Document) {
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths = paths.into_iter().map(|(path, item)| (format!("/v1{path}"), item)).collect();
    let components = document.components.get_or_insert_default();
    let key =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API key, `vst_…`.")).build();
    components.security_schemes.insert("apiKey".into(), SecurityScheme::Http(key).into());
    let cookie =
        ApiKey::Cookie(ApiKeyValue::with_description("__Host-vestibule", "A signed-in member of staff."));
    components.security_schemes.insert("staffSession".into(), SecurityScheme::ApiKey(cookie).into());
    let problem = Content::builder().schema(Some(RefOr::Ref(Ref::from_schema_name("Problem")))).build();
    let problem = ResponseBuilder::new()
        .description("An error; `code` says which.")
        .content("application/problem+json", problem)
        .build();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(schema)) = schema else { continue };
        for property in schema.properties.values_mut() {
            if let RefOr::T(Schema::Object(property)) = property
                && is_uuid(property)
            {
                property.pattern = Some(UUID_PATTERN.into());
            }
        }
    }
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".into(), RefOr::T(problem.clone()));
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    narrow(parameter);
                }
            }
        }
    }
}

/// Says of a parameter what its type does not: which texts it takes. None is ever null.
fn narrow(parameter: &mut Parameter) {
    let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema else { return };
    if let SchemaType::Array(types) = &schema.schema_type
        && let Some(of) = types.iter().find(|of| **of != Type::Null)
    {
        schema.schema_type = SchemaType::Type(of.clone());
    }
    schema.pattern = match &*parameter.name {
        "If-Match" => Some(IF_MATCH_PATTERN.into()),
        "Idempotency-Key" => Some(IDEMPOTENCY_KEY_PATTERN.into()),
        "Last-Event-ID" => Some(POSITION_PATTERN.into()),
        "sha256" => Some(words::DIGEST_PATTERN.into()),
        _ if is_uuid(schema) => Some(UUID_PATTERN.into()),
        _ => return,
    };
}

fn is_uuid(schema: &Object) -> bool {
    schema.format == Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))
}

#[cfg(test)]
mod tests {
    /// The description is checked in: what integrators build on does not change unseen.
    #[test]
    fn the_description_is_the_one_that_is_checked_in() {
        let (_, document) = super::routes();
        let mut text = document.to_pretty_json().unwrap();
        text.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == text,
            "docs/openapi.json is another: UPDATE_OPENAPI=1 writes it anew, then read the change"
        );
    }
}
