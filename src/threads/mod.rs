//! What belongs to the threads of live sessions beside their lines: images, and the handing on to an asynchronous visit
//! of what nobody answered.
//!
//! An image is sent before the line that shows it, by who writes the line; who may read the line may read the image.

mod handover;

use jiff::Timestamp;
use vestibule_domain::{ContentDigest, ParticipantId, SessionId, TenantId};
use vestibule_signaling::wire::Attachment;
use zeroize::Zeroizing;

pub(crate) use handover::{hands_on, run};

use crate::blobs::{BlobError, BlobPath, Blobs, Holder};
use crate::images::{Image, ImageError, MediaType};
use crate::live::described;
use crate::seal::{Seal, SealError};
use crate::store::{Store, StoreError, ThreadImage};
use crate::visits::{NoPlace, Place, VisitError, Visits};

/// Images of one participant in one session.
pub(crate) const IMAGES_MAX: usize = 50;

/// The threads of all sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Threads {
    store: Store,
    blobs: Blobs,
    seal: Seal,
    visits: Visits,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadError {
    /// Or it is for others, which is the same.
    #[error("there is no such image")]
    NotFound,
    #[error("there are {IMAGES_MAX} images, and no more fit")]
    Full,
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Busy(#[from] NoPlace),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Visit(#[from] VisitError),
}

type Result<T> = std::result::Result<T, ThreadError>;

/// An image as it is read.
pub(crate) struct Shown {
    pub(crate) media_type: MediaType,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

impl Threads {
    pub(crate) fn new(store: Store, blobs: Blobs, seal: Seal, visits: Visits) -> Self {
        Self { store, blobs, seal, visits }
    }

    /// Room for one more image in memory: of all that are sent, to visits and threads.
    pub(crate) async fn room_for_upload(&self, owner: ParticipantId) -> Result<Place> {
        Ok(self.visits.place(&owner.to_string()).await?)
    }

    /// Takes an image for a line to come. The same one twice is one.
    pub(crate) async fn add_image(
        &self,
        session: SessionId,
        owner: ParticipantId,
        file: Vec<u8>,
        now: Timestamp,
    ) -> Result<Attachment> {
        let tenant = self.tenant(session).await?;
        let image = tokio::task::spawn_blocking(move || Image::take(&file))
            .await
            .map_err(|_| BlobError::Stopping)??;
        let path = BlobPath { tenant, holder: Holder::Session(session), digest: image.digest };
        let mut row = ThreadImage {
            digest: image.digest,
            owner,
            media_type: image.media_type,
            bytes: image.bytes.len() as u64,
            size: image.size,
            key_id: 0,
            uploaded_at: now,
        };
        let naming = self.blobs.naming().await;
        row.key_id = self.blobs.put(path, image.bytes, &naming).await?;
        let added = self.store.add_thread_image(session, &row, IMAGES_MAX).await?;
        drop(naming);
        if added { Ok(described(&row)) } else { Err(ThreadError::Full) }
    }

    /// An image, for who may read a line that shows it, or sent it.
    pub(crate) async fn image(
        &self,
        session: SessionId,
        reader: ParticipantId,
        digest: ContentDigest,
    ) -> Result<Shown> {
        let images = self.store.thread_images(session, digest).await?;
        let image = images.first().ok_or(ThreadError::NotFound)?;
        let is_theirs = images.iter().any(|image| image.owner == reader);
        if !is_theirs && !self.store.audience_of_image(session, digest).await?.contains(&reader) {
            return Err(ThreadError::NotFound);
        }
        let tenant = self.tenant(session).await?;
        let path = BlobPath { tenant, holder: Holder::Session(session), digest };
        let bytes = self.blobs.get(path).await?.ok_or(ThreadError::NotFound)?;
        Ok(Shown { media_type: image.media_type, bytes })
    }

    async fn tenant(&self, session: SessionId) -> Result<TenantId> {
        let loaded = self.store.load_session(session).await?.ok_or(ThreadError::NotFound)?;
        Ok(loaded.session.tenant())
    }
}
