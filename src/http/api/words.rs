//! The words of the domain as the API describes them: each an enumeration of strings.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use vestibule_domain::{
    Communication, ConsentType, DenyReason, EndReason, ParticipantRole, PublishedType, SessionStatus,
    Standing, VISIT_IMAGES_MAX, VideoBackend, VisitStatus,
};
use vestibule_signaling::wire::{QualityCode, QualityLevel};

use crate::rights::{Right, Role};

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Schema {
    let values: Vec<_> = all.iter().map(|value| word(*value)).collect();
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).enum_values(Some(values)).build().into()
}

/// A SHA-256 as images are called by it.
pub(super) const DIGEST_PATTERN: &str = "^[0-9a-f]{64}$";

/// The digests of a content's images.
pub(super) fn digests() -> Schema {
    let digest =
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).pattern(Some(DIGEST_PATTERN));
    ArrayBuilder::new()
        .items(RefOr::T(digest.build().into()))
        .max_items(Some(VISIT_IMAGES_MAX))
        .build()
        .into()
}

/// Words of rights, in a list.
pub(super) fn scopes() -> Schema {
    ArrayBuilder::new().items(RefOr::T(words(&Right::ALL, Right::as_str))).build().into()
}

pub(super) fn quality_level() -> Schema {
    words(&QualityLevel::ALL, QualityLevel::as_str)
}

pub(super) fn quality_code() -> Schema {
    words(&QualityCode::ALL, QualityCode::as_str)
}

pub(super) fn role() -> Schema {
    words(&Role::ALL, Role::as_str)
}

/// A role, or null.
pub(super) fn role_or_null() -> Schema {
    or_null(role())
}

/// A video backend, or null.
pub(super) fn video_backend_or_null() -> Schema {
    or_null(video_backend())
}

fn or_null(words: Schema) -> Schema {
    let Schema::Object(mut words) = words else { return words };
    words.schema_type = SchemaType::Array(vec![Type::String, Type::Null]);
    if let Some(values) = &mut words.enum_values {
        values.push(serde_json::Value::Null);
    }
    Schema::Object(words)
}

macro_rules! described {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(pub(super) fn $name() -> Schema {
            words($kind::ALL, $kind::as_str)
        })*
    };
}

described!(
    session_status => SessionStatus,
    end_reason => EndReason,
    communication => Communication,
    video_backend => VideoBackend,
    participant_role => ParticipantRole,
    standing => Standing,
    deny_reason => DenyReason,
    consent_type => ConsentType,
    event_type => PublishedType,
    visit_status => VisitStatus,
);
