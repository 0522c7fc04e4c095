//! The small words of a session: roles, backends, how people talk.

use serde::{Deserialize, Serialize};

/// What somebody is in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParticipantRole {
    /// Holds the visit: lets people in and out, ends it.
    Provider,
    /// Whom the visit is for; at most one at a time.
    Patient,
    /// Between the languages of the two, spoken or signed.
    Interpreter,
    /// Anybody else: family, a trainee.
    Observer,
}

/// The engine that carries the media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoBackend {
    /// Ours.
    #[default]
    Embedded,
    /// A Jitsi Meet server.
    Jitsi,
    /// A mediasoup server.
    Mediasoup,
    /// Zoom.
    Zoom,
    /// Webex.
    Webex,
    /// Microsoft Teams.
    Teams,
}

/// What the conversation is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Communication {
    /// Voice; a bad line may be reduced to it.
    #[default]
    Speech,
    /// Sign language: the video is the conversation, so a line is never reduced to sound alone.
    Sign,
}

/// What somebody's line carries, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BandwidthProfile {
    /// Picture and sound.
    #[default]
    Video,
    /// Sound alone.
    AudioOnly,
    /// Neither: the visit goes on in writing, and its words may come late.
    AsyncText,
}

macro_rules! as_str {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl $name {
            /// Every value there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word in the API, in events and in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::kind::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err($crate::kind::UnknownWord),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use as_str;

/// A word that is none of an enumeration's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

as_str!(ParticipantRole {
    Provider = "provider",
    Patient = "patient",
    Interpreter = "interpreter",
    Observer = "observer",
});
as_str!(VideoBackend {
    Embedded = "embedded",
    Jitsi = "jitsi",
    Mediasoup = "mediasoup",
    Zoom = "zoom",
    Webex = "webex",
    Teams = "teams",
});
as_str!(Communication { Speech = "speech", Sign = "sign" });
as_str!(BandwidthProfile { Video = "video", AudioOnly = "audio_only", AsyncText = "async_text" });
