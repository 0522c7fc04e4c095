//! One live session as a sans-I/O state machine: waiting room, admission, seats, chat; and its wire types.
//!
//! It opens no socket, reads no clock, knows no store and no SFU: [`Input`]s and the time go in, [`Output`]s come out
//! in order, and whoever owns the session does them. What is decided is decided by `vestibule-domain`; this crate adds
//! who is connected, and tells each of them what they may know.

#![forbid(unsafe_code)]

mod live;
mod log;
mod media;
mod member;
mod resume;
mod seating;
pub mod wire;

pub use live::{
    CallError, CallId, CloseReason, Commit, CommitError, EarlierStep, Entry, Input, KeepError, LiveSession,
    Load, Loaded, NewLine, Output, Profile, ReadId, TEXT_WAIT, THREAD_LINES_MAX, TextAsk, TextCall,
    TextError, TextReply, ThreadLine, VIOLATIONS_MAX, Waits, Words,
};
pub use log::LOG_MESSAGES_MAX;
pub use media::{
    AudioProfile, LineSeen, MediaCommand, MediaEvent, PeerId, QUIET_AFTER, Quality, QualityStep, STEP,
    SeatId, SeatInfo, SeatWish, SourceKind, kbps,
};
pub use member::ConnectionId;
pub use resume::{FreshSecret, ResumeKey, ResumeKeys};
