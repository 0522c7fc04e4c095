//! Identifiers of accounts and of keys: UUIDv7 (RFC 9562), as the domain's are.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::{Builder, Uuid, Variant};
use vestibule_domain::{Actor, StaffId};

/// Not a UUID of version 7 in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of version 7")]
pub(crate) struct NotAnId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $actor:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(Uuid);

        impl $name {
            /// One made at `at`, of ten random bytes.
            pub(crate) fn new(at: Timestamp, random: [u8; 10]) -> Self {
                let unix_milliseconds = u64::try_from(at.as_millisecond()).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(unix_milliseconds, &random).into_uuid())
            }

            /// As it stands in events and in the audit.
            pub(crate) fn staff_id(self) -> StaffId {
                StaffId::parse(format!(concat!($actor, ":{}"), self)).expect("a UUID is short visible ASCII")
            }

            const fn of(uuid: Uuid) -> Result<Self, NotAnId> {
                if uuid.get_version_num() == 7 && matches!(uuid.get_variant(), Variant::RFC4122) {
                    Ok(Self(uuid))
                } else {
                    Err(NotAnId)
                }
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                // One identifier has one text.
                if text.len() != 36 {
                    return Err(NotAnId);
                }
                Self::of(Uuid::try_parse(text).map_err(|_| NotAnId)?)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id! {
    /// One account of somebody of the staff.
    StaffAccountId, "user"
}
id! {
    /// One API key.
    ApiKeyId, "key"
}

impl StaffAccountId {
    /// Who did something, if it was they.
    pub(crate) fn actor(self) -> Actor {
        Actor::Staff(self.staff_id())
    }
}

impl ApiKeyId {
    /// 32 hexadecimal digits, as it stands in the key itself.
    pub(crate) fn hex(self) -> String {
        self.0.as_simple().to_string()
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        Self::of(Uuid::try_parse(text).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_text_and_names_its_actor() {
        let id = StaffAccountId::new(Timestamp::UNIX_EPOCH, [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().replace('-', "").parse::<StaffAccountId>(), Err(NotAnId));
        assert_eq!("00000000-0000-4000-8000-000000000000".parse::<StaffAccountId>(), Err(NotAnId));
        assert_eq!(id.staff_id().as_str(), format!("user:{id}"));
        let key = ApiKeyId::new(Timestamp::UNIX_EPOCH, [7; 10]);
        assert_eq!(ApiKeyId::from_hex(&key.hex()), Some(key));
        assert_eq!(ApiKeyId::from_hex(&key.to_string()), None);
        assert_eq!(key.staff_id().as_str(), format!("key:{key}"));
    }
}
