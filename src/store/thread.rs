//! What was said in writing in live sessions, sealed.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use vestibule_domain::{AsyncVisitId, ContentDigest, ParticipantId, SessionId, TenantId};

use super::Result;
use crate::blobs::Holder;
use crate::images::{MediaType, Size};
use crate::seal::Sealed;

/// Lines kept of one session; no more are taken.
pub(crate) const KEPT_LINES_MAX: u64 = 10_000;

/// The threads of live sessions.
#[async_trait]
pub(crate) trait ThreadStore {
    /// Keeps a line of a session, in the place it is sealed for.
    async fn keep_line(&self, session: SessionId, line: &SealedLine) -> Result<Keeping>;

    /// The last lines of a session, in order, `limit` at most.
    async fn last_lines(&self, session: SessionId, limit: u32) -> Result<Vec<SealedLine>>;

    /// The lines of a session after a position, in order, `limit` at most.
    async fn lines_after(&self, session: SessionId, after: u64, limit: u32) -> Result<Vec<SealedLine>>;

    /// Up to `limit` lines that are sealed under another key than `current`, to be sealed anew.
    async fn lines_not_under(&self, current: u32, limit: u32) -> Result<Vec<(SessionId, SealedLine)>>;

    /// Puts `with` in the place of what is sealed in a line, if that is still what is kept.
    async fn reseal_line(&self, session: SessionId, line: &SealedLine, with: &Sealed) -> Result<()>;

    /// Keeps what an image is, unless its owner has `images_max` others; false then.
    async fn add_thread_image(
        &self,
        session: SessionId,
        image: &ThreadImage,
        images_max: usize,
    ) -> Result<bool>;

    /// What is known of the images of that digest in a session, one of each who sent it.
    async fn thread_images(&self, session: SessionId, digest: ContentDigest) -> Result<Vec<ThreadImage>>;

    /// For whom the lines of a session are that show an image.
    async fn audience_of_image(
        &self,
        session: SessionId,
        digest: ContentDigest,
    ) -> Result<BTreeSet<ParticipantId>>;

    /// Up to `limit` images that are sealed under another key than `current`, with the tenants they belong to.
    async fn thread_images_not_under(
        &self,
        current: u32,
        limit: u32,
    ) -> Result<Vec<(TenantId, SessionId, ContentDigest)>>;

    /// Notes the key an image is sealed under by now.
    async fn thread_image_is_under(
        &self,
        session: SessionId,
        image: ContentDigest,
        key_id: u32,
    ) -> Result<()>;

    /// Those of `images` that a row names, of visits or threads.
    async fn images_named(&self, images: &[(Holder, ContentDigest)]) -> Result<Vec<(Holder, ContentDigest)>>;

    /// The sessions whose threads are to be handed on by now, `limit` at most.
    async fn handovers_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Handover>>;

    /// Notes that lines were handed on to a visit.
    async fn lines_handed_on(&self, session: SessionId, positions: &[u64], visit: AsyncVisitId)
    -> Result<()>;

    /// The lines of a session that were handed on, with the visits they are in.
    async fn lines_of_visits(&self, session: SessionId) -> Result<Vec<(u64, AsyncVisitId)>>;

    /// A thread is handed on: it is not due any more, unless it was asked for again meanwhile.
    async fn handover_done(&self, handover: &Handover) -> Result<()>;

    /// A thread could not be handed on: it is due again then.
    async fn handover_failed(&self, handover: &Handover, due_at: Timestamp) -> Result<()>;
}

/// A line as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedLine {
    /// Its place in the thread of its session, from 1.
    pub(crate) position: u64,
    pub(crate) at: Timestamp,
    pub(crate) author: ParticipantId,
    /// Of the writer's own id of it: by it no line is kept twice.
    pub(crate) client_hash: Option<Vec<u8>>,
    /// The image it shows.
    pub(crate) image: Option<ContentDigest>,
    /// Who was in when it was said.
    pub(crate) audience: BTreeSet<ParticipantId>,
    /// It came after the session was over.
    pub(crate) late: bool,
    /// What was said, and the writer's own id of it.
    pub(crate) sealed: Sealed,
}

impl SealedLine {
    /// What the line of that place is sealed for: in another's place it does not open.
    pub(crate) fn purpose(session: SessionId, position: u64) -> String {
        format!("session/{session}/thread/{position}")
    }

    /// The hash of a writer's own id of a line.
    pub(crate) fn client_hash(client_id: &str) -> Vec<u8> {
        Sha256::digest(client_id.as_bytes()).to_vec()
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is kept.
    Kept,
    /// It was kept before.
    Before,
    /// Its place is taken: the thread goes to this position by now.
    Behind { last: u64 },
    /// The thread has as many as it may.
    Full,
}

/// What is known of an image beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadImage {
    pub(crate) digest: ContentDigest,
    /// Who sent it.
    pub(crate) owner: ParticipantId,
    pub(crate) media_type: MediaType,
    pub(crate) bytes: u64,
    pub(crate) size: Size,
    /// The key its bytes are sealed under.
    pub(crate) key_id: u32,
    pub(crate) uploaded_at: Timestamp,
}

/// A thread that is to be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handover {
    pub(crate) session: SessionId,
    /// How often it was asked for.
    pub(crate) asked: u64,
    /// How often it was tried in vain.
    pub(crate) attempts: u32,
}

impl Handover {
    /// When it is tried again that failed now: later each time, within ten minutes.
    pub(crate) fn again_at(&self, now: Timestamp) -> Timestamp {
        let wait = SignedDuration::from_secs(1 << self.attempts.min(9)).min(SignedDuration::from_mins(10));
        now.checked_add(wait).unwrap_or(Timestamp::MAX)
    }
}
