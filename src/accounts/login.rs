//! The name somebody signs in with.

use std::fmt;
use std::str::FromStr;

/// 3 to 100 visible characters, like an e-mail address or plain; the case of its letters does not count, and it is kept
/// in lower case. One on the server. `Debug` does not show it: it is often a person's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LoginName(String);

/// Why a text is no login name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoginNameError {
    #[error("must have 3 to 100 characters")]
    Length,
    #[error("must have visible characters only, and no blanks")]
    NotVisible,
}

impl LoginName {
    const CHARACTERS_MIN: usize = 3;
    const CHARACTERS_MAX: usize = 100;

    /// Takes a login name; blanks around it go.
    pub(crate) fn parse(text: &str) -> Result<Self, LoginNameError> {
        let lower = text.trim().to_lowercase();
        if !(Self::CHARACTERS_MIN..=Self::CHARACTERS_MAX).contains(&lower.chars().count()) {
            return Err(LoginNameError::Length);
        }
        // Format characters look like nothing: two names could look alike.
        let hidden = |character: char| {
            character.is_whitespace()
                || character.is_control()
                || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        if lower.chars().any(hidden) {
            return Err(LoginNameError::NotVisible);
        }
        Ok(Self(lower))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`, or all of it.
    pub(crate) fn local_part(&self) -> &str {
        match self.0.split_once('@') {
            Some((local, _)) if local.chars().count() >= Self::CHARACTERS_MIN => local,
            _ => &self.0,
        }
    }
}

impl FromStr for LoginName {
    type Err = LoginNameError;

    fn from_str(text: &str) -> Result<Self, LoginNameError> {
        Self::parse(text)
    }
}

impl fmt::Debug for LoginName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LoginName(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_letters_does_not_count() {
        let name = LoginName::parse(" D.Quixworthy@Clinic.example ").unwrap();
        assert_eq!(name.as_str(), "d.quixworthy@clinic.example");
        assert_eq!(name.local_part(), "d.quixworthy");
        assert_eq!(LoginName::parse("ab@clinic.example").unwrap().local_part(), "ab@clinic.example");
        assert!(!format!("{name:?}").contains("quix"));
    }

    #[test]
    fn what_cannot_be_read_out_is_no_login_name() {
        for text in ["", "ab", &"x".repeat(101)] {
            assert_eq!(LoginName::parse(text).unwrap_err(), LoginNameError::Length, "{text}");
        }
        for text in ["front desk", "a\u{200b}bc", "a\u{7}bc"] {
            assert_eq!(LoginName::parse(text).unwrap_err(), LoginNameError::NotVisible, "{text}");
        }
        LoginName::parse("émile").unwrap();
    }
}
