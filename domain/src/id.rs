//! Identifiers. Ours are UUIDv7; those of other systems are short visible ASCII and mean nothing to us.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid, Variant};

/// Why a text or a UUID is none of our identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a UUID in its text form.
    #[error("not a UUID")]
    NotUuid,
    /// A UUID, but not of version 7 (RFC 9562).
    #[error("not a UUID of version 7")]
    NotVersion7,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A UUIDv7 (RFC 9562), as text hyphenated and in lower case; sorts by the millisecond of its making.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "Uuid", into = "Uuid")]
        pub struct $name(Uuid);

        impl $name {
            /// An identifier made at `at`. Ten random bytes are asked for because this crate has no randomness; six
            /// of their bits give way to the version and the variant.
            #[must_use]
            pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
                // Before 1970 there is nothing to sort: such a clock is wrong, its identifiers are still unique.
                let unix_milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(unix_milliseconds, &random).into_uuid())
            }

            /// The identifier a UUID is.
            ///
            /// # Errors
            /// A UUID of another version than 7.
            pub fn from_uuid(uuid: Uuid) -> Result<Self, IdError> {
                if uuid.get_version_num() == 7 && uuid.get_variant() == Variant::RFC4122 {
                    Ok(Self(uuid))
                } else {
                    Err(IdError::NotVersion7)
                }
            }

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), formatter)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // Hyphenated only: one identifier has one text, or a comparison of texts somewhere would be wrong.
                if text.len() != 36 {
                    return Err(IdError::NotUuid);
                }
                Self::from_uuid(Uuid::try_parse(text).map_err(|_| IdError::NotUuid)?)
            }
        }

        impl TryFrom<Uuid> for $name {
            type Error = IdError;

            fn try_from(uuid: Uuid) -> Result<Self, IdError> {
                Self::from_uuid(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

uuid_id! {
    /// One virtual session.
    SessionId
}
uuid_id! {
    /// One participant of one session.
    ParticipantId
}
uuid_id! {
    /// One tenant: a clinic.
    TenantId
}
uuid_id! {
    /// One asynchronous visit. Made on the patient's device, so that submitting twice is one visit.
    AsyncVisitId
}
uuid_id! {
    /// One webhook endpoint of a tenant.
    WebhookId
}
uuid_id! {
    /// One event, in the audit trail or on its way to a subscriber.
    EventId
}

/// Why a text is not what it was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing is there.
    #[error("must not be empty")]
    Empty,
    /// Longer than allowed.
    #[error("must have at most {bytes_max} bytes")]
    TooLong {
        /// The longest allowed.
        bytes_max: usize,
    },
    /// A blank, a control character, or beyond ASCII.
    #[error("must have visible ASCII characters only")]
    NotVisibleAscii,
}

fn check_visible_ascii(text: &str, bytes_max: usize) -> Result<(), TextError> {
    if text.is_empty() {
        Err(TextError::Empty)
    } else if text.len() > bytes_max {
        Err(TextError::TooLong { bytes_max })
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(TextError::NotVisibleAscii)
    } else {
        Ok(())
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $bytes_max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The longest allowed, in bytes.
            pub const BYTES_MAX: usize = $bytes_max;

            /// Takes 1 to [`Self::BYTES_MAX`] visible ASCII characters.
            ///
            /// # Errors
            /// What else it is.
            pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                check_visible_ascii(&text, Self::BYTES_MAX)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

macro_rules! shown {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({:?})", stringify!($name), self.0)
            }
        })*
    };
}

text_id! {
    /// The EHR's identifier of the patient. Not shown by `Debug`: with the EHR at hand it is the person.
    PatientId, 128
}
text_id! {
    /// Whose desk a session waits on, in the EHR's words.
    ProviderRef, 128
}
text_id! {
    /// A member of the clinic's staff, as the login names them.
    StaffId, 128
}
text_id! {
    /// Which text of a consent was agreed to.
    ConsentVersion, 64
}
text_id! {
    /// The room on the video backend that was provisioned for a session.
    BackendRoom, 128
}
text_id! {
    /// The FHIR server's identifier of an Encounter.
    EncounterId, 128
}
text_id! {
    /// Where a recording was stored, in the words of whatever stored it.
    RecordingRef, 256
}
shown!(ProviderRef, StaffId, ConsentVersion, BackendRoom, EncounterId, RecordingRef);

impl fmt::Debug for PatientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PatientId(…)")
    }
}
