//! Who may what: the rights, which are the scopes of API keys too, and what each role of the staff has of them.

use std::fmt;
use std::str::FromStr;

/// One thing somebody may do. Its word is the scope of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Right {
    SessionsRead,
    /// Schedule, reschedule, cancel, invite, remove, issue links.
    SessionsWrite,
    /// Admit, deny, send back, end.
    SessionsControl,
    ConsentsRead,
    /// Attest, withdraw.
    ConsentsWrite,
    VisitsRead,
    /// Draft, submit, amend.
    VisitsWrite,
    /// Review, respond, close.
    VisitsRespond,
    EventsRead,
    ConfigRead,
    ConfigWrite,
    AuditRead,
    KeysManage,
    StaffManage,
}

/// What somebody is among the staff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Runs the server for the clinic. Reads nothing clinical.
    Admin,
    /// Sees patients.
    Provider,
    /// Makes appointments.
    FrontDesk,
}

/// A word that is none of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub(crate) struct UnknownWord;

impl Right {
    pub(crate) const ALL: [Self; 14] = [
        Self::SessionsRead,
        Self::SessionsWrite,
        Self::SessionsControl,
        Self::ConsentsRead,
        Self::ConsentsWrite,
        Self::VisitsRead,
        Self::VisitsWrite,
        Self::VisitsRespond,
        Self::EventsRead,
        Self::ConfigRead,
        Self::ConfigWrite,
        Self::AuditRead,
        Self::KeysManage,
        Self::StaffManage,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SessionsRead => "sessions:read",
            Self::SessionsWrite => "sessions:write",
            Self::SessionsControl => "sessions:control",
            Self::ConsentsRead => "consents:read",
            Self::ConsentsWrite => "consents:write",
            Self::VisitsRead => "visits:read",
            Self::VisitsWrite => "visits:write",
            Self::VisitsRespond => "visits:respond",
            Self::EventsRead => "events:read",
            Self::ConfigRead => "config:read",
            Self::ConfigWrite => "config:write",
            Self::AuditRead => "audit:read",
            Self::KeysManage => "keys:manage",
            Self::StaffManage => "staff:manage",
        }
    }
}

/// A word that is none of a right, and all that are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope; there are: {}", Right::ALL.map(Right::as_str).join(", "))]
pub(crate) struct UnknownRight;

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        Self::ALL.into_iter().find(|right| right.as_str() == text).ok_or(UnknownRight)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Admin, Self::Provider, Self::FrontDesk];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Provider => "provider",
            Self::FrontDesk => "front_desk",
        }
    }

    /// What they may.
    pub(crate) const fn rights(self) -> &'static [Right] {
        match self {
            Self::Admin => &[
                Right::SessionsRead,
                Right::SessionsWrite,
                Right::SessionsControl,
                Right::ConsentsRead,
                Right::ConsentsWrite,
                Right::EventsRead,
                Right::ConfigRead,
                Right::ConfigWrite,
                Right::AuditRead,
                Right::KeysManage,
                Right::StaffManage,
            ],
            Self::Provider => &[
                Right::SessionsRead,
                Right::SessionsWrite,
                Right::SessionsControl,
                Right::ConsentsRead,
                Right::ConsentsWrite,
                Right::VisitsRead,
                Right::VisitsWrite,
                Right::VisitsRespond,
                Right::ConfigRead,
            ],
            Self::FrontDesk => &[
                Right::SessionsRead,
                Right::SessionsWrite,
                Right::ConsentsRead,
                Right::ConsentsWrite,
                Right::ConfigRead,
            ],
        }
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownWord)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back() {
        assert!(Right::ALL.iter().all(|right| right.as_str().parse() == Ok(*right)));
        assert!(Role::ALL.iter().all(|role| role.as_str().parse() == Ok(*role)));
        assert_eq!("sessions:delete".parse::<Right>(), Err(UnknownRight));
        assert!(UnknownRight.to_string().ends_with("staff:manage"));
    }

    #[test]
    fn who_runs_the_server_reads_nothing_clinical() {
        let clinical = [Right::VisitsRead, Right::VisitsWrite, Right::VisitsRespond];
        assert!(!Role::Admin.rights().iter().any(|right| clinical.contains(right)));
        let alone = [Right::KeysManage, Right::StaffManage, Right::ConfigWrite, Right::AuditRead];
        for role in [Role::Provider, Role::FrontDesk] {
            assert!(!role.rights().iter().any(|right| alone.contains(right)), "{role:?}");
        }
    }
}
