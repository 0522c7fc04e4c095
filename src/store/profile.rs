//! What people are called. The only place for it: no event, no log line and no token says a name.

use std::fmt;

use vestibule_domain::ParticipantId;

/// What a participant is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) participant: ParticipantId,
    pub(crate) display_name: PersonText,
    /// What an observer is to the patient, in their own words.
    pub(crate) relationship: Option<PersonText>,
}

/// A short text about a person. `Debug` does not show it, so that no log line does by accident.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PersonText(String);

/// Why a text is none for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PersonTextError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {} characters", PersonText::CHARACTERS_MAX)]
    TooLong,
    #[error("must not have control characters")]
    Control,
}

impl PersonText {
    /// The longest allowed.
    pub(crate) const CHARACTERS_MAX: usize = 100;

    /// Takes a text of 1 to 100 characters in one line; blanks around it go.
    pub(crate) fn parse(text: &str) -> Result<Self, PersonTextError> {
        let text = text.trim();
        if text.is_empty() {
            Err(PersonTextError::Empty)
        } else if text.chars().count() > Self::CHARACTERS_MAX {
            Err(PersonTextError::TooLong)
        } else if text.chars().any(char::is_control) {
            Err(PersonTextError::Control)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PersonText(…)")
    }
}
