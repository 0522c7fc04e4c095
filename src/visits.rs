//! Asynchronous visits as they are asked for: texts and images in the clear on this side, digests and sealed bytes on the
//! other. What may be done is the domain's to say; how it is kept, the store's.
//!
//! The domain compares contents by their digests, and digests are in events, which are not sealed. So the digest of a
//! text is taken with a salt of its visit, which is sealed like a text and goes with the texts: without it nobody can try
//! out what was written. Images are called by the plain digest of their bytes; nobody tries out a photograph.
//!
//! Each of these may be asked twice and is done once, so none needs an Idempotency-Key: a device that was offline sends
//! all of it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use vestibule_domain::{
    Actor, AsyncVisit, AsyncVisitId, ContentDigest, ContentFault, NewVisit, PatientId, ProviderRef,
    SessionId, StaffId, TenantId, VISIT_IMAGES_MAX, VisitCommand, VisitContent, VisitContext, VisitEvent,
    VisitRejection, VisitStatus,
};
use zeroize::Zeroizing;

use crate::blobs::{BlobError, BlobPath, Blobs, Holder, Named};
use crate::data_dir::fill_random;
use crate::feed::Feed;
use crate::images::{Image, ImageError};
use crate::seal::{Seal, SealError, Sealed};
use crate::store::{
    AddedImage, AuditEntry, Beside, LoadedVisit, Part, Store, StoreError, VisitCommit, VisitImage,
};

mod uploads;

use uploads::Uploads;
pub(crate) use uploads::{NoPlace, Place};

/// Characters of one text.
pub(crate) const TEXT_CHARACTERS_MAX: usize = 20_000;
/// Times a change is decided anew because somebody else changed the visit meanwhile.
const CONFLICTS_MAX: u32 = 3;
const SALT_BYTES: usize = 32;

/// The visits of all tenants. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Visits {
    store: Store,
    blobs: Blobs,
    seal: Seal,
    feed: Feed,
    uploads: Arc<Uploads>,
}

/// Who asks, and when.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// A visit of another is not there.
    pub(crate) tenant: TenantId,
    pub(crate) actor: Actor,
    pub(crate) now: Timestamp,
    /// The version they saw; at another one nothing is done.
    pub(crate) expected: Option<u64>,
    /// What is written with the change, and not without it.
    pub(crate) beside: Beside,
}

/// Whose a visit is: said when it is made, and the same ever after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) patient: PatientId,
    pub(crate) provider: ProviderRef,
    pub(crate) session: Option<SessionId>,
}

/// A content in the clear.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) images: Vec<ContentDigest>,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) visit: AsyncVisit,
    /// It was not there before.
    pub(crate) is_new: bool,
}

/// A visit with its texts in the clear.
pub(crate) struct Opened {
    pub(crate) loaded: LoadedVisit,
    texts: Vec<(Part, Zeroizing<Vec<u8>>)>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitError {
    /// Or it is another tenant's, which is the same.
    #[error("there is no such visit")]
    NotFound,
    #[error("the visit is at version {current} by now")]
    VersionMismatch { current: u64 },
    #[error(transparent)]
    Rejected(#[from] VisitRejection),
    #[error("a text has at most {TEXT_CHARACTERS_MAX} characters")]
    TextTooLong,
    #[error("there is neither text nor image in it")]
    Empty,
    #[error("the visit has no image {0}: send it first")]
    UnknownImage(ContentDigest),
    #[error("there is no session {0}")]
    UnknownSession(SessionId),
    #[error("the visit is for another patient or provider, or goes on from another session")]
    Other,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Busy(#[from] NoPlace),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("a text cannot be opened: {0}")]
    Seal(#[from] SealError),
}

type Result<T> = std::result::Result<T, VisitError>;

/// What a command does to a visit.
struct Change {
    commands: Vec<VisitCommand>,
    parts: Vec<(Part, Sealed)>,
}

/// A salt that is kept with what it is first used for.
type NewSalt = Option<(Part, Sealed)>;

// --- reading -----------------------------------------------------------------------------------------------------

impl Visits {
    pub(crate) fn new(store: Store, blobs: Blobs, seal: Seal, feed: Feed) -> Self {
        Self { store, blobs, seal, feed, uploads: Arc::new(Uploads::new()) }
    }

    /// Room for one more image in memory, if the visit takes one: who sends to none takes nobody's place.
    pub(crate) async fn room_for_upload(
        &self,
        tenant: TenantId,
        caller: &StaffId,
        id: AsyncVisitId,
    ) -> Result<Place> {
        self.open_for_images(tenant, id).await?;
        self.place(caller.as_str()).await.map_err(VisitError::from)
    }

    /// Room for one more image in memory, of all that are sent.
    pub(crate) async fn place(&self, caller: &str) -> std::result::Result<Place, NoPlace> {
        self.uploads.place(caller).await
    }

    /// A visit with all that was written in it. That it was read is the caller's to note.
    pub(crate) async fn read(&self, tenant: TenantId, id: AsyncVisitId) -> Result<Opened> {
        let loaded = self.loaded(tenant, id).await?;
        let texts = loaded.parts.iter().filter(|(part, _)| **part != Part::Salt);
        let texts =
            texts.map(|(part, sealed)| Ok((*part, self.seal.open(&part.purpose(id), &sealed.bytes)?)));
        let texts = texts.collect::<Result<_>>()?;
        Ok(Opened { loaded, texts })
    }

    /// An image of a visit, and its bytes.
    pub(crate) async fn image(
        &self,
        tenant: TenantId,
        id: AsyncVisitId,
        digest: ContentDigest,
    ) -> Result<(VisitImage, Zeroizing<Vec<u8>>)> {
        let loaded = self.loaded(tenant, id).await?;
        let image =
            loaded.images.into_iter().find(|image| image.digest == digest).ok_or(VisitError::NotFound)?;
        let bytes = self.blobs.get(BlobPath { tenant, holder: Holder::Visit(id), digest }).await?;
        // Taken away between the two.
        Ok((image, bytes.ok_or(VisitError::NotFound)?))
    }

    async fn open_for_images(&self, tenant: TenantId, id: AsyncVisitId) -> Result<LoadedVisit> {
        let loaded = self.loaded(tenant, id).await?;
        if loaded.visit.status().is_answered() {
            return Err(VisitRejection::AlreadyAnswered.into());
        }
        Ok(loaded)
    }

    async fn loaded(&self, tenant: TenantId, id: AsyncVisitId) -> Result<LoadedVisit> {
        let loaded = self.store.load_visit(id).await?;
        loaded.filter(|loaded| loaded.visit.tenant() == tenant).ok_or(VisitError::NotFound)
    }
}

impl Opened {
    /// A text that was written, unless it went by the tenant's retention.
    pub(crate) fn text(&self, part: Part) -> Option<&str> {
        let (_, text) = self.texts.iter().find(|(known, _)| *known == part)?;
        std::str::from_utf8(text).ok()
    }
}

// --- changing ----------------------------------------------------------------------------------------------------

impl Visits {
    /// Writes a draft; makes the visit if there is none.
    pub(crate) async fn save_draft(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        about: &About,
        written: &Written,
    ) -> Result<Changed> {
        check_text(&written.text)?;
        self.write(asked, id, about, written, false).await
    }

    /// Puts a visit on the provider's desk: as its draft says, or as is said here, which makes the visit if there is none.
    pub(crate) async fn submit(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        content: Option<(&About, &Written)>,
    ) -> Result<Changed> {
        if let Some((about, written)) = content {
            check_text(&written.text)?;
            check_something(written)?;
            return self.write(asked, id, about, written, true).await;
        }
        self.change(asked, id, |loaded| self.submission(loaded)).await
    }

    /// Submits another content in place of the last.
    pub(crate) async fn amend(&self, asked: &Asked, id: AsyncVisitId, written: &Written) -> Result<Changed> {
        check_text(&written.text)?;
        check_something(written)?;
        self.change(asked, id, |loaded| {
            let (content, salt) = self.content(loaded, written)?;
            let number = loaded.visit.current().map_or(1, |last| last.number + 1);
            let mut parts = Vec::from_iter(salt);
            parts.push(self.sealed(id, Part::Revision(number), written.text.as_bytes()));
            Ok(Change { commands: vec![VisitCommand::Amend { content }], parts })
        })
        .await
    }

    /// Somebody of the staff begins to read it.
    pub(crate) async fn start_review(&self, asked: &Asked, id: AsyncVisitId) -> Result<Changed> {
        self.change(asked, id, |_| {
            Ok(Change { commands: vec![VisitCommand::StartReview], parts: Vec::new() })
        })
        .await
    }

    /// Answers it.
    pub(crate) async fn respond(&self, asked: &Asked, id: AsyncVisitId, text: &str) -> Result<Changed> {
        check_text(text)?;
        if text.trim().is_empty() {
            return Err(VisitError::Empty);
        }
        self.change(asked, id, |loaded| {
            let (digest, salt) = self.digest(loaded, text)?;
            let mut parts = Vec::from_iter(salt);
            parts.push(self.sealed(id, Part::Response, text.as_bytes()));
            Ok(Change { commands: vec![VisitCommand::Respond { text: digest }], parts })
        })
        .await
    }

    /// Puts an answered visit away.
    pub(crate) async fn close(&self, asked: &Asked, id: AsyncVisitId) -> Result<Changed> {
        self.change(asked, id, |_| Ok(Change { commands: vec![VisitCommand::Close], parts: Vec::new() }))
            .await
    }

    /// Takes an image for a draft, or for an amendment to come.
    pub(crate) async fn add_image(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        file: Vec<u8>,
    ) -> Result<VisitImage> {
        let loaded = self.open_for_images(asked.tenant, id).await?;
        let image = tokio::task::spawn_blocking(move || Image::take(&file))
            .await
            .map_err(|_| BlobError::Stopping)??;
        if let Some(known) = loaded.images.iter().find(|known| known.digest == image.digest) {
            return Ok(known.clone());
        }
        let path = BlobPath { tenant: asked.tenant, holder: Holder::Visit(id), digest: image.digest };
        let mut row = VisitImage {
            digest: image.digest,
            media_type: image.media_type,
            bytes: image.bytes.len() as u64,
            size: image.size,
            key_id: 0,
            // As it is kept.
            uploaded_at: Timestamp::from_millisecond(asked.now.as_millisecond()).unwrap_or(asked.now),
            uploaded_by: asked.actor.clone(),
        };
        let naming = self.blobs.naming().await;
        row.key_id = self.blobs.put(path, image.bytes, &naming).await?;
        let beside = image_added(asked, &loaded.visit);
        let added = self.store.add_visit_image(id, &row, VISIT_IMAGES_MAX, &beside).await?;
        drop(naming);
        match added {
            // Of two that came at once, both hear of the one that is kept.
            AddedImage::Added => {
                let kept = self.loaded(asked.tenant, id).await?.images;
                Ok(kept.into_iter().find(|kept| kept.digest == row.digest).unwrap_or(row))
            }
            AddedImage::Full => {
                Err(VisitRejection::LimitReached { what: "images", max: VISIT_IMAGES_MAX }.into())
            }
            AddedImage::NotOpen => Err(VisitRejection::AlreadyAnswered.into()),
        }
    }

    /// A content that may make the visit.
    async fn write(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        about: &About,
        written: &Written,
        submit: bool,
    ) -> Result<Changed> {
        match self.loaded(asked.tenant, id).await {
            Err(VisitError::NotFound) if asked.expected.is_none() => {
                match self.create(asked, id, about, written, submit).await {
                    // Another request with the same was first; or it is another tenant's, and is not found again.
                    Err(VisitError::Store(StoreError::Exists { .. })) => {}
                    created => return created,
                }
            }
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        self.change(asked, id, |loaded| {
            let visit = &loaded.visit;
            let known = (visit.patient_id(), visit.provider_ref(), visit.session());
            if known != (&about.patient, &about.provider, about.session) {
                return Err(VisitError::Other);
            }
            let (content, salt) = self.content(loaded, written)?;
            let mut change =
                Change { commands: vec![VisitCommand::SaveDraft { content }], parts: Vec::from_iter(salt) };
            if submit {
                change.commands.push(VisitCommand::Submit);
                change.parts.push(self.sealed(id, Part::Revision(1), written.text.as_bytes()));
            } else {
                change.parts.push(self.sealed(id, Part::Draft, written.text.as_bytes()));
            }
            Ok(change)
        })
        .await
    }

    async fn create(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        about: &About,
        written: &Written,
        submit: bool,
    ) -> Result<Changed> {
        // A visit that is not there has no images.
        if let Some(image) = written.images.first() {
            return Err(VisitError::UnknownImage(*image));
        }
        self.check_session(asked.tenant, about).await?;
        let mut salt = Zeroizing::new([0; SALT_BYTES]);
        fill_random(salt.as_mut_slice());
        let content = VisitContent { text: salted(salt.as_slice(), &written.text), images: Vec::new() };
        let new = NewVisit {
            id,
            tenant: asked.tenant,
            patient_id: about.patient.clone(),
            provider_ref: about.provider.clone(),
            session: about.session,
            content,
        };
        let context = VisitContext { now: asked.now, actor: &asked.actor };
        let (mut visit, mut events) = AsyncVisit::create(new, &context)?;
        let text = if submit { Part::Revision(1) } else { Part::Draft };
        if submit {
            events.extend(visit.decide(&VisitCommand::Submit, &context)?);
            // One command: one version.
            visit = AsyncVisit::from_created(&events[0]).expect("the first event is the making");
            visit.commit(&events);
        }
        let parts =
            [self.sealed(id, Part::Salt, salt.as_slice()), self.sealed(id, text, written.text.as_bytes())];
        self.commit(asked, (0, &visit), &events, &parts, (&[], &[])).await?;
        Ok(Changed { visit, is_new: true })
    }

    /// The session it goes on from is there, and of the same patient.
    async fn check_session(&self, tenant: TenantId, about: &About) -> Result<()> {
        let Some(id) = about.session else { return Ok(()) };
        let found = self.store.load_session(id).await?.map(|found| found.session);
        match found.filter(|found| found.tenant() == tenant && *found.patient_id() == about.patient) {
            Some(_) => Ok(()),
            None => Err(VisitError::UnknownSession(id)),
        }
    }

    /// Decides on what is there, and writes it; once more if somebody else wrote meanwhile and nobody minds.
    async fn change(
        &self,
        asked: &Asked,
        id: AsyncVisitId,
        change: impl Fn(&LoadedVisit) -> Result<Change>,
    ) -> Result<Changed> {
        let mut conflicts = 0;
        loop {
            let loaded = self.loaded(asked.tenant, id).await?;
            let current = loaded.visit.version();
            if asked.expected.is_some_and(|expected| expected != current) {
                return Err(VisitError::VersionMismatch { current });
            }
            match self.carry_out(asked, &loaded, change(&loaded)?).await {
                Err(VisitError::Store(StoreError::Conflict { current_version })) => {
                    conflicts += 1;
                    if asked.expected.is_some() || conflicts > CONFLICTS_MAX {
                        return Err(VisitError::VersionMismatch { current: current_version });
                    }
                }
                // It went meanwhile, by its age.
                Err(VisitError::Store(StoreError::Missing { .. })) => return Err(VisitError::NotFound),
                done => return done,
            }
        }
    }

    async fn carry_out(&self, asked: &Asked, loaded: &LoadedVisit, change: Change) -> Result<Changed> {
        let context = VisitContext { now: asked.now, actor: &asked.actor };
        let before = &loaded.visit;
        let (mut tried, mut events) = (before.clone(), Vec::new());
        for command in &change.commands {
            let led_to = tried.decide(command, &context)?;
            led_to.iter().for_each(|event| tried.apply(event));
            events.extend(led_to);
        }
        if events.is_empty() {
            return Ok(Changed { visit: before.clone(), is_new: false });
        }
        let mut after = before.clone();
        after.commit(&events);
        let parts_gone: &[Part] =
            if before.draft().is_some() && after.draft().is_none() { &[Part::Draft] } else { &[] };
        let images_gone = images_gone(loaded, &after);
        self.commit(asked, (before.version(), &after), &events, &change.parts, (parts_gone, &images_gone))
            .await?;
        self.take_away(asked.tenant, before.id(), &images_gone).await;
        Ok(Changed { visit: after, is_new: false })
    }

    async fn commit(
        &self,
        asked: &Asked,
        (before_version, after): (u64, &AsyncVisit),
        events: &[VisitEvent],
        parts: &[(Part, Sealed)],
        (parts_gone, images_gone): (&[Part], &[ContentDigest]),
    ) -> Result<()> {
        let Asked { actor, now, beside, .. } = asked;
        let commit = VisitCommit {
            before_version,
            after,
            events,
            actor,
            now: *now,
            parts,
            parts_gone,
            images_gone,
            beside,
        };
        self.store.commit_visit(commit).await?;
        self.feed.tell();
        Ok(())
    }

    async fn take_away(&self, tenant: TenantId, visit: AsyncVisitId, images: &[ContentDigest]) {
        let paths: Vec<_> =
            images.iter().map(|&digest| BlobPath { tenant, holder: Holder::Visit(visit), digest }).collect();
        if let Err(error) = self.blobs.take_away(&self.store, &paths).await {
            // No row names them: the sweep finds them.
            tracing::warn!(%visit, %error, "images that are not needed any more are still there");
        }
    }

    /// The draft as it is becomes the first revision.
    fn submission(&self, loaded: &LoadedVisit) -> Result<Change> {
        let (id, mut parts) = (loaded.visit.id(), Vec::new());
        if let (Some(draft), Some(sealed)) = (loaded.visit.draft(), loaded.parts.get(&Part::Draft)) {
            let text = self.seal.open(&Part::Draft.purpose(id), &sealed.bytes)?;
            if text.trim_ascii().is_empty() && draft.images.is_empty() {
                return Err(VisitError::Empty);
            }
            parts.push(self.sealed(id, Part::Revision(1), &text));
        }
        Ok(Change { commands: vec![VisitCommand::Submit], parts })
    }

    /// A content as the domain knows it, and the salt if it is new. All of its images are there.
    fn content(&self, loaded: &LoadedVisit, written: &Written) -> Result<(VisitContent, NewSalt)> {
        let known: BTreeSet<_> = loaded.images.iter().map(|image| image.digest).collect();
        let (text, salt) = self.digest(loaded, &written.text)?;
        let content = VisitContent { text, images: written.images.clone() };
        content.check().map_err(VisitRejection::from)?;
        // What was submitted before is compared, not looked for: its images may have gone by their age.
        let said_before = loaded.visit.revisions().iter().any(|revision| revision.content == content);
        match content.images.iter().find(|image| !known.contains(image)) {
            Some(unknown) if !said_before => Err(VisitError::UnknownImage(*unknown)),
            _ => Ok((content, salt)),
        }
    }

    fn digest(&self, loaded: &LoadedVisit, text: &str) -> Result<(ContentDigest, NewSalt)> {
        let id = loaded.visit.id();
        let Some(sealed) = loaded.parts.get(&Part::Salt) else {
            // It went with the texts, by the tenant's retention: nothing is the same as what was there.
            let mut salt = Zeroizing::new([0; SALT_BYTES]);
            fill_random(salt.as_mut_slice());
            let part = self.sealed(id, Part::Salt, salt.as_slice());
            return Ok((salted(salt.as_slice(), text), Some(part)));
        };
        let salt = self.seal.open(&Part::Salt.purpose(id), &sealed.bytes)?;
        Ok((salted(&salt, text), None))
    }

    fn sealed(&self, id: AsyncVisitId, part: Part, plain: &[u8]) -> (Part, Sealed) {
        (part, self.seal.seal(&part.purpose(id), plain))
    }
}

/// No event tells of an image by itself, so the audit says whose it is.
fn image_added(asked: &Asked, visit: &AsyncVisit) -> Beside {
    let mut beside = asked.beside.clone();
    beside.audit.push(AuditEntry {
        tenant: asked.tenant,
        at: asked.now,
        actor: asked.actor.clone(),
        action: "async_visit.image_added".into(),
        subject_kind: "async_visit",
        subject: visit.id().to_string(),
        session: visit.session().map(|session| session.to_string()),
    });
    beside
}

fn salted(salt: &[u8], text: &str) -> ContentDigest {
    let bytes = Zeroizing::new([salt, text.as_bytes()].concat());
    ContentDigest::of(&bytes)
}

fn check_text(text: &str) -> Result<()> {
    if text.chars().count() > TEXT_CHARACTERS_MAX { Err(VisitError::TextTooLong) } else { Ok(()) }
}

fn check_something(written: &Written) -> Result<()> {
    if written.text.trim().is_empty() && written.images.is_empty() { Err(VisitError::Empty) } else { Ok(()) }
}

/// Images that nothing names any more: of a draft those it named before, of what is submitted all that no revision has.
/// Those that were sent for a draft and not named yet stay until it is submitted.
fn images_gone(loaded: &LoadedVisit, after: &AsyncVisit) -> Vec<ContentDigest> {
    let kept: BTreeSet<_> = match after.draft() {
        Some(draft) => draft.images.iter().collect(),
        None => after.revisions().iter().flat_map(|revision| &revision.content.images).collect(),
    };
    let candidates = loaded.images.iter().map(|image| image.digest);
    let named_before: BTreeSet<_> =
        loaded.visit.draft().into_iter().flat_map(|draft| &draft.images).collect();
    let is_draft = after.status() == VisitStatus::Draft;
    candidates.filter(|image| !kept.contains(image) && (!is_draft || named_before.contains(image))).collect()
}

#[async_trait]
impl Named for Store {
    async fn named(&self, paths: &[BlobPath]) -> Option<Vec<BlobPath>> {
        let images: Vec<_> = paths.iter().map(|path| (path.holder, path.digest)).collect();
        match self.images_named(&images).await {
            Ok(named) => Some(
                paths.iter().copied().filter(|path| named.contains(&(path.holder, path.digest))).collect(),
            ),
            Err(error) => {
                tracing::error!(%error, "it cannot be said which images are needed");
                None
            }
        }
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Written(…, {} images)", self.images.len())
    }
}

impl From<ContentFault> for VisitError {
    fn from(fault: ContentFault) -> Self {
        Self::Rejected(fault.into())
    }
}

#[cfg(test)]
mod tests;
