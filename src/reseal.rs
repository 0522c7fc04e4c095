//! After a rotation of the master keys: seals anew what is under an older one, in batches, until nothing is. Then the old
//! key can be taken out of the file; before, what is under it could not be read again.

use tokio::time::{Duration, MissedTickBehavior, interval};

use crate::blobs::{BlobError, BlobPath, Blobs, Holder};
use crate::seal::{Seal, SealError};
use crate::store::{SealedLine, SealedSecret, Store, StoreError};

/// How often it is looked whether there is something.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Rows of one kind that are sealed anew before others of the server get their turn.
const BATCH: u32 = 100;
/// Images at a time: each is a file of some megabytes.
const IMAGES_BATCH: u32 = 10;

/// Why it was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("{what} cannot be opened: {error}")]
    Seal { what: &'static str, error: SealError },
}

/// Lives as long as the server. At the start and now and then: the keys are read at the start, so a rotation takes effect
/// then; what another server on the database sealed meanwhile under its older key is found later.
pub(crate) async fn run(store: Store, blobs: Blobs, seal: Seal) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match reseal_all(&store, &blobs, &seal).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(
                count,
                key = seal.current(),
                "what was under an older master key is sealed anew"
            ),
            Err(error) => {
                tracing::error!(%error, "something is still under an older master key; it is tried again");
            }
        }
    }
}

/// Until nothing is under an older key; how much it was.
pub(crate) async fn reseal_all(store: &Store, blobs: &Blobs, seal: &Seal) -> Result<u64, ResealError> {
    let mut count = 0;
    loop {
        let sealed = secrets(store, seal).await?
            + texts(store, seal).await?
            + lines(store, seal).await?
            + images(store, blobs, seal).await?;
        if sealed == 0 {
            return Ok(count);
        }
        count += sealed;
        tokio::task::yield_now().await;
    }
}

async fn secrets(store: &Store, seal: &Seal) -> Result<u64, ResealError> {
    let old = store.secrets_not_under(seal.current(), BATCH).await?;
    for secret in &old {
        let purpose = SealedSecret::purpose(secret.tenant, &secret.name);
        let plain = seal
            .open(&purpose, &secret.sealed)
            .map_err(|error| ResealError::Seal { what: "a secret", error })?;
        let sealed = seal.seal(&purpose, &plain);
        let with = SealedSecret { key_id: sealed.key_id, sealed: sealed.bytes, ..secret.clone() };
        store.reseal_secret(secret, &with).await?;
    }
    Ok(old.len() as u64)
}

async fn texts(store: &Store, seal: &Seal) -> Result<u64, ResealError> {
    let old = store.visit_parts_not_under(seal.current(), BATCH).await?;
    for part in &old {
        let purpose = part.part.purpose(part.visit);
        let plain = seal
            .open(&purpose, &part.sealed.bytes)
            .map_err(|error| ResealError::Seal { what: "a text of a visit", error })?;
        store.reseal_visit_part(part, &seal.seal(&purpose, &plain)).await?;
    }
    Ok(old.len() as u64)
}

async fn lines(store: &Store, seal: &Seal) -> Result<u64, ResealError> {
    let old = store.lines_not_under(seal.current(), BATCH).await?;
    for (session, line) in &old {
        let purpose = SealedLine::purpose(*session, line.position);
        let plain = seal
            .open(&purpose, &line.sealed.bytes)
            .map_err(|error| ResealError::Seal { what: "a line of a thread", error })?;
        store.reseal_line(*session, line, &seal.seal(&purpose, &plain)).await?;
    }
    Ok(old.len() as u64)
}

/// The file first, then the row: cut off between the two, it is done once more.
async fn images(store: &Store, blobs: &Blobs, seal: &Seal) -> Result<u64, ResealError> {
    // One that is gone was under no key; its row goes, or is damaged, but holds no old key in use.
    let under = async |path| Ok::<_, BlobError>(blobs.reseal(path).await?.unwrap_or(seal.current()));
    let of_visits = store.visit_images_not_under(seal.current(), IMAGES_BATCH).await?;
    for &(tenant, visit, digest) in &of_visits {
        let key = under(BlobPath { tenant, holder: Holder::Visit(visit), digest }).await?;
        store.visit_image_is_under(visit, digest, key).await?;
    }
    let of_threads = store.thread_images_not_under(seal.current(), IMAGES_BATCH).await?;
    for &(tenant, session, digest) in &of_threads {
        let key = under(BlobPath { tenant, holder: Holder::Session(session), digest }).await?;
        store.thread_image_is_under(session, digest, key).await?;
    }
    Ok((of_visits.len() + of_threads.len()) as u64)
}
