//! Asynchronous visits: their state, and what was written in them, sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{
    Actor, AsyncVisit, AsyncVisitId, ContentDigest, PatientId, ProviderRef, TenantId, VisitEvent, VisitStatus,
};

use super::{Beside, Page, Result};
use crate::images::{MediaType, Size};
use crate::seal::Sealed;

/// Asynchronous visits.
#[async_trait]
pub(crate) trait VisitStore {
    /// Keeps one command's change, of a visit that is new or was there.
    ///
    /// # Panics
    /// If the versions do not fit the events: such a change was not made by [`AsyncVisit::commit`].
    async fn commit_visit(&self, commit: VisitCommit<'_>) -> Result<()>;

    /// The visit of that identifier, whosever it is.
    async fn load_visit(&self, id: AsyncVisitId) -> Result<Option<LoadedVisit>>;

    /// The visits of a tenant that fit, newest first. Without what was written.
    async fn list_visits(
        &self,
        tenant: TenantId,
        filter: &VisitFilter,
        page: Page<AsyncVisitId>,
    ) -> Result<Vec<AsyncVisit>>;

    /// Keeps what an image is, unless the visit has `images_max` others, or takes none any more.
    async fn add_visit_image(
        &self,
        visit: AsyncVisitId,
        image: &VisitImage,
        images_max: usize,
        beside: &Beside,
    ) -> Result<AddedImage>;

    /// Up to `limit` texts that are sealed under another key than `current`, to be sealed anew.
    async fn visit_parts_not_under(&self, current: u32, limit: u32) -> Result<Vec<VisitPart>>;

    /// Puts `with` in the place of what is sealed in `part`, if that is still what is kept.
    async fn reseal_visit_part(&self, part: &VisitPart, with: &Sealed) -> Result<()>;

    /// Up to `limit` images that are sealed under another key than `current`, with the tenants they belong to.
    async fn visit_images_not_under(
        &self,
        current: u32,
        limit: u32,
    ) -> Result<Vec<(TenantId, AsyncVisitId, ContentDigest)>>;

    /// Notes the key an image is sealed under by now.
    async fn visit_image_is_under(
        &self,
        visit: AsyncVisitId,
        image: ContentDigest,
        key_id: u32,
    ) -> Result<()>;
}

/// A text of a visit, or the salt of the digests of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Salt,
    Draft,
    Revision(u32),
    Response,
}

impl Part {
    /// What it is sealed for: in another's place it does not open.
    pub(crate) fn purpose(self, visit: AsyncVisitId) -> String {
        format!("visit/{visit}/{self}")
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Salt => formatter.write_str("salt"),
            Self::Draft => formatter.write_str("draft"),
            Self::Revision(number) => write!(formatter, "revision/{number}"),
            Self::Response => formatter.write_str("response"),
        }
    }
}

/// A text that names no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no part of a visit")]
pub(crate) struct UnknownPart;

impl FromStr for Part {
    type Err = UnknownPart;

    fn from_str(text: &str) -> std::result::Result<Self, UnknownPart> {
        match text {
            "salt" => Ok(Self::Salt),
            "draft" => Ok(Self::Draft),
            "response" => Ok(Self::Response),
            _ => {
                let number = text.strip_prefix("revision/").ok_or(UnknownPart)?;
                number.parse().map(Self::Revision).map_err(|_| UnknownPart)
            }
        }
    }
}

/// One command's change of a visit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VisitCommit<'a> {
    /// The version it was decided on; 0 for one that is new.
    pub(crate) before_version: u64,
    /// The visit with `events` folded in.
    pub(crate) after: &'a AsyncVisit,
    /// What the command led to.
    pub(crate) events: &'a [VisitEvent],
    /// Who gave it.
    pub(crate) actor: &'a Actor,
    /// When.
    pub(crate) now: Timestamp,
    /// Texts that are new, or other ones; sealed.
    pub(crate) parts: &'a [(Part, Sealed)],
    /// Texts that go.
    pub(crate) parts_gone: &'a [Part],
    /// Images that go, with nothing that names them any more.
    pub(crate) images_gone: &'a [ContentDigest],
    /// What else goes into the transaction.
    pub(crate) beside: &'a Beside,
}

/// A visit as it was last committed, with what was written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoadedVisit {
    pub(crate) visit: AsyncVisit,
    pub(crate) parts: BTreeMap<Part, Sealed>,
    /// By age.
    pub(crate) images: Vec<VisitImage>,
    /// When parts and images went, by the tenant's retention.
    pub(crate) content_purged_at: Option<Timestamp>,
}

/// What is known of an image beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisitImage {
    pub(crate) digest: ContentDigest,
    pub(crate) media_type: MediaType,
    /// How many.
    pub(crate) bytes: u64,
    pub(crate) size: Size,
    /// The key its bytes are sealed under.
    pub(crate) key_id: u32,
    pub(crate) uploaded_at: Timestamp,
    pub(crate) uploaded_by: Actor,
}

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddedImage {
    /// The visit has it: now, or since before.
    Added,
    /// The visit has as many as it may.
    Full,
    /// The visit is answered, or gone.
    NotOpen,
}

/// A sealed text and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VisitPart {
    pub(crate) visit: AsyncVisitId,
    pub(crate) part: Part,
    pub(crate) sealed: Sealed,
}

/// Which visits. What is none is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VisitFilter {
    pub(crate) status: Option<VisitStatus>,
    pub(crate) patient: Option<PatientId>,
    pub(crate) provider: Option<ProviderRef>,
}
