//! Images of visits and of threads on the local disk, sealed: `<data>/blobs/<tenant>/<visit>/<sha256>`, and
//! `<data>/blobs/<tenant>/session-<session>/<sha256>`.
//!
//! [`BlobStore`] has the shape of an object store (put, get, delete, list), so that one elsewhere can take its place. Not
//! the crate `object_store`: its files get whatever mode the umask leaves them, and its writes are not on the disk when it
//! answers; what lies here is about somebody's health.
//!
//! A blob is written before the row that names it and goes after it, so a crash between the two leaves a blob without a
//! row, never a row without its blob. [`Blobs::sweep`] takes those away.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{RwLock, RwLockReadGuard};
use vestibule_domain::{AsyncVisitId, ContentDigest, SessionId, TenantId};
use zeroize::Zeroizing;

use crate::data_dir::{DataDir, fill_random};
use crate::seal::{Seal, SealError};

/// How long a blob may be there before its row is.
const ORPHAN_AGE: SignedDuration = SignedDuration::from_hours(1);
/// Blobs looked at in one go of a sweep.
const SWEEP_BATCH: usize = 100;
/// Times a blob is put anew because its folder went meanwhile.
const FOLDER_ATTEMPTS_MAX: u32 = 3;

/// Where a blob is. Sorts as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlobPath {
    pub(crate) tenant: TenantId,
    pub(crate) holder: Holder,
    pub(crate) digest: ContentDigest,
}

/// What an image belongs to. As text the name of its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Holder {
    Visit(AsyncVisitId),
    /// The thread of a live session.
    Session(SessionId),
}

/// What the folder of a session begins with.
const SESSION_FOLDER: &str = "session-";

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Visit(visit) => write!(formatter, "{visit}"),
            Self::Session(session) => write!(formatter, "{SESSION_FOLDER}{session}"),
        }
    }
}

/// A text that names no folder of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no holder of images")]
pub(crate) struct NoHolder;

impl std::str::FromStr for Holder {
    type Err = NoHolder;

    fn from_str(text: &str) -> std::result::Result<Self, NoHolder> {
        match text.strip_prefix(SESSION_FOLDER) {
            Some(session) => session.parse().map(Self::Session).map_err(|_| NoHolder),
            None => text.parse().map(Self::Visit).map_err(|_| NoHolder),
        }
    }
}

impl BlobPath {
    /// What its bytes are sealed for: in another's place they do not open.
    fn purpose(&self) -> String {
        match self.holder {
            Holder::Visit(visit) => format!("visit/{visit}/image/{}", self.digest),
            Holder::Session(session) => format!("session/{session}/image/{}", self.digest),
        }
    }
}

/// A blob in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobEntry {
    pub(crate) path: BlobPath,
    /// When it was written last.
    pub(crate) written_at: Timestamp,
}

/// Why a blob cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlobError {
    #[error("a blob cannot be read or written: {0}")]
    Disk(#[from] io::Error),
    #[error("a blob cannot be opened: {0}")]
    Seal(#[from] SealError),
    #[error("the server stops")]
    Stopping,
}

type Result<T> = std::result::Result<T, BlobError>;

/// Bytes by their path.
#[async_trait]
pub(crate) trait BlobStore: fmt::Debug + Send + Sync {
    /// Keeps bytes, in place of those that may be there: whole or not at all, and on the disk when it answers.
    async fn put(&self, path: BlobPath, bytes: Vec<u8>) -> Result<()>;

    /// The bytes, if there are some.
    async fn get(&self, path: BlobPath) -> Result<Option<Vec<u8>>>;

    /// Takes bytes away; none is fine.
    async fn delete(&self, path: BlobPath) -> Result<()>;

    /// Up to `limit` blobs after `after`, in order.
    async fn list(&self, after: Option<BlobPath>, limit: usize) -> Result<Vec<BlobEntry>>;
}

/// The images of visits and threads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn BlobStore>,
    seal: Seal,
    /// Held to read by those who are about to name a blob in a row, to write by who takes away what no row names: of an
    /// image that is sent again just then the blob must not go.
    naming: Arc<RwLock<()>>,
}

/// Held from the blob to the row.
pub(crate) struct Naming<'a>(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

/// Which blobs are named by a row.
#[async_trait]
pub(crate) trait Named: Send + Sync {
    /// Those of `paths` that a row names; none if that cannot be said.
    async fn named(&self, paths: &[BlobPath]) -> Option<Vec<BlobPath>>;
}

impl Blobs {
    /// On the local disk, for the one server that uses the folder.
    pub(crate) fn local(data: &DataDir, seal: Seal) -> Self {
        let local = LocalBlobs { root: data.blobs() };
        // What a server that was cut off had half written. In vain is fine: it is in nobody's way.
        let _ = fs::remove_dir_all(local.partial());
        Self::new(Arc::new(local), seal)
    }

    pub(crate) fn new(store: Arc<dyn BlobStore>, seal: Seal) -> Self {
        Self { store, seal, naming: Arc::default() }
    }

    /// Keeps what is put from being swept until a row names it.
    pub(crate) async fn naming(&self) -> Naming<'_> {
        Naming(self.naming.read().await)
    }

    /// Seals an image and keeps it. The answer is the key it is under.
    pub(crate) async fn put(&self, path: BlobPath, image: Vec<u8>, _: &Naming<'_>) -> Result<u32> {
        self.seal_and_put(path, Zeroizing::new(image)).await
    }

    /// An image, opened.
    pub(crate) async fn get(&self, path: BlobPath) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(sealed) = self.store.get(path).await? else { return Ok(None) };
        let seal = self.seal.clone();
        let opened = blocking(move || Ok(seal.open(&path.purpose(), &sealed)?)).await?;
        Ok(Some(opened))
    }

    /// Takes those of `paths` away that no row names; how many it were. One that was sent again just now stays.
    pub(crate) async fn take_away(&self, rows: &dyn Named, paths: &[BlobPath]) -> Result<u64> {
        if paths.is_empty() {
            return Ok(0);
        }
        let _nobody_names = self.naming.write().await;
        let Some(named) = rows.named(paths).await else { return Ok(0) };
        let mut taken = 0;
        for path in paths.iter().filter(|path| !named.contains(path)) {
            self.store.delete(*path).await?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Seals an image under the current key that is under an older one. The key, or none if the image is gone.
    pub(crate) async fn reseal(&self, path: BlobPath) -> Result<Option<u32>> {
        match self.get(path).await? {
            Some(image) => self.seal_and_put(path, image).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes away what no row names and is over an hour old; how many it were.
    pub(crate) async fn sweep(&self, rows: &dyn Named, now: Timestamp) -> Result<u64> {
        let (mut swept, mut after) = (0, None);
        loop {
            let entries = self.store.list(after, SWEEP_BATCH).await?;
            let Some(last) = entries.last() else { return Ok(swept) };
            after = Some(last.path);
            let old = entries.into_iter().filter(|entry| now.duration_since(entry.written_at) > ORPHAN_AGE);
            let old: Vec<BlobPath> = old.map(|entry| entry.path).collect();
            swept += self.take_away(rows, &old).await?;
        }
    }

    async fn seal_and_put(&self, path: BlobPath, image: Zeroizing<Vec<u8>>) -> Result<u32> {
        let seal = self.seal.clone();
        let sealed = blocking(move || Ok(seal.seal(&path.purpose(), &image))).await?;
        self.store.put(path, sealed.bytes).await?;
        Ok(sealed.key_id)
    }
}

/// A folder.
#[derive(Debug)]
struct LocalBlobs {
    root: PathBuf,
}

impl LocalBlobs {
    fn file(&self, path: BlobPath) -> PathBuf {
        self.root.join(path.tenant.to_string()).join(path.holder.to_string()).join(path.digest.to_string())
    }

    /// Files that are being written. No tenant is called like that.
    fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }
}

/// Writes bytes under a name of no meaning.
fn write_half(folder: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    make(folder)?;
    let mut name = [0; 8];
    fill_random(&mut name);
    let half = folder.join(format!("{:016x}", u64::from_be_bytes(name)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(half)
}

/// Gives what was written its name.
fn place(half: &Path, file: &Path) -> io::Result<()> {
    let mut attempts = 0;
    loop {
        if let Some(folder) = file.parent() {
            make(folder)?;
        }
        attempts += 1;
        match fs::rename(half, file) {
            // Who took the folder's last blob away took the folder with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < FOLDER_ATTEMPTS_MAX => {}
            placed => return placed,
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[async_trait]
impl BlobStore for LocalBlobs {
    async fn put(&self, path: BlobPath, bytes: Vec<u8>) -> Result<()> {
        let (file, partial, root) = (self.file(path), self.partial(), self.root.clone());
        blocking(move || {
            let half = write_half(&partial, &bytes)?;
            let placed = place(&half, &file);
            if placed.is_err() {
                // In vain is fine: the next start takes it away.
                let _ = fs::remove_file(&half);
            }
            placed?;
            // The name must be on the disk as well as what it names, and so must those of the folders.
            for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root)) {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        })
        .await
    }

    async fn get(&self, path: BlobPath) -> Result<Option<Vec<u8>>> {
        let file = self.file(path);
        blocking(move || match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn delete(&self, path: BlobPath) -> Result<()> {
        let file = self.file(path);
        blocking(move || {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            // The folders of visits and tenants that have nothing any more; one that has stays.
            for folder in file.ancestors().skip(1).take(2) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, after: Option<BlobPath>, limit: usize) -> Result<Vec<BlobEntry>> {
        let root = self.root.clone();
        blocking(move || {
            let mut found = Vec::new();
            for (tenant, folder) in names::<TenantId>(&root, after.map(|after| after.tenant))? {
                let after = after.filter(|after| after.tenant == tenant);
                for (holder, folder) in names::<Holder>(&folder, after.map(|after| after.holder))? {
                    let after = after.filter(|after| after.holder == holder);
                    for (digest, file) in names::<ContentDigest>(&folder, after.map(|after| after.digest))? {
                        let path = BlobPath { tenant, holder, digest };
                        if after == Some(path) {
                            continue;
                        }
                        // Gone meanwhile.
                        let Ok(written) = fs::metadata(&file).and_then(|found| found.modified()) else {
                            continue;
                        };
                        found.push(BlobEntry { path, written_at: time_of(written) });
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
            }
            Ok(found)
        })
        .await
    }
}

/// What is in a folder and named as it should be, from `from` on, in order.
fn names<T: std::str::FromStr + Ord>(folder: &Path, from: Option<T>) -> Result<Vec<(T, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| name.parse::<T>().ok());
        if let Some(name) = name.filter(|name| from.as_ref().is_none_or(|from| name >= from)) {
            found.push((name, entry.path()));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// A time no clock of ours shows counts as one that is not over.
fn time_of(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}

/// Off the one thread that serves everybody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| BlobError::Stopping)?
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;
    use crate::testing::TempDir;

    const IMAGE: &[u8] = b"the pixels of a rash";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_780_300_800 + seconds).unwrap()
    }

    fn path(tenant: u8, visit: u8, image: &[u8]) -> BlobPath {
        BlobPath {
            tenant: TenantId::new(at(0), [tenant; 10]),
            holder: Holder::Visit(AsyncVisitId::new(at(0), [visit; 10])),
            digest: ContentDigest::of(image),
        }
    }

    fn key(id: u32) -> String {
        Seal::fresh_line(id).to_string()
    }

    fn blobs(root: &Path, keys: &str) -> Blobs {
        Blobs::new(Arc::new(LocalBlobs { root: root.join("blobs") }), Seal::parse(keys).unwrap())
    }

    /// Rows that name what they are told.
    struct Rows(Option<Vec<BlobPath>>);

    #[async_trait]
    impl Named for Rows {
        async fn named(&self, paths: &[BlobPath]) -> Option<Vec<BlobPath>> {
            self.0.as_ref().map(|named| paths.iter().copied().filter(|path| named.contains(path)).collect())
        }
    }

    fn set_age(root: &Path, path: BlobPath, written_at: Timestamp) {
        let file = LocalBlobs { root: root.join("blobs") }.file(path);
        let since_1970 = Duration::from_millis(written_at.as_millisecond().try_into().unwrap());
        File::open(file).unwrap().set_modified(SystemTime::UNIX_EPOCH + since_1970).unwrap();
    }

    #[tokio::test]
    async fn an_image_lies_sealed_where_only_its_owner_may_look() {
        let temp = TempDir::new();
        let blobs = blobs(temp.path(), &key(1));
        let path = path(1, 2, IMAGE);
        assert!(blobs.get(path).await.unwrap().is_none());
        for _ in 0..2 {
            assert_eq!(blobs.put(path, IMAGE.to_vec(), &blobs.naming().await).await.unwrap(), 1);
        }
        assert_eq!(blobs.get(path).await.unwrap().unwrap().as_slice(), IMAGE);
        let file = LocalBlobs { root: temp.path().join("blobs") }.file(path);
        assert!(file.ends_with(format!("blobs/{}/{}/{}", path.tenant, path.holder, path.digest)));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        for folder in file.ancestors().skip(1).take(3) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        let raw = fs::read(&file).unwrap();
        assert!(!raw.windows(6).any(|window| IMAGE.starts_with(window)));
        for folder in [file.parent().unwrap(), &LocalBlobs { root: temp.path().join("blobs") }.partial()] {
            let count = fs::read_dir(folder).unwrap().count();
            assert!(
                count <= 1 && (count == 1) == (folder == file.parent().unwrap()),
                "nothing half-written is left"
            );
        }
    }

    #[tokio::test]
    async fn an_image_in_anothers_place_does_not_open() {
        let temp = TempDir::new();
        let blobs = blobs(temp.path(), &key(1));
        let (mine, theirs) = (path(1, 2, IMAGE), path(1, 3, IMAGE));
        let session = BlobPath { holder: Holder::Session(SessionId::new(at(0), [2; 10])), ..mine };
        assert_eq!(session.holder.to_string().parse(), Ok(session.holder));
        blobs.put(mine, IMAGE.to_vec(), &blobs.naming().await).await.unwrap();
        blobs.put(theirs, IMAGE.to_vec(), &blobs.naming().await).await.unwrap();
        let local = LocalBlobs { root: temp.path().join("blobs") };
        blobs.put(session, IMAGE.to_vec(), &blobs.naming().await).await.unwrap();
        for other in [theirs, session] {
            fs::copy(local.file(mine), local.file(other)).unwrap();
            assert!(matches!(blobs.get(other).await, Err(BlobError::Seal(SealError::Damaged))));
        }
    }

    #[tokio::test]
    async fn blobs_are_listed_in_order_by_pages_and_go_with_their_folders() {
        let temp = TempDir::new();
        let blobs = blobs(temp.path(), &key(1));
        let mut paths = Vec::new();
        for (tenant, visit, image) in [(1, 1, b"a"), (1, 1, b"b"), (1, 2, b"a"), (2, 1, b"c")] {
            paths.push(path(tenant, visit, image));
            let visit = paths[paths.len() - 1];
            let session = BlobPath { holder: Holder::Session(SessionId::new(at(0), [tenant; 10])), ..visit };
            for path in [visit, session] {
                blobs.put(path, image.to_vec(), &blobs.naming().await).await.unwrap();
            }
            paths.push(session);
        }
        paths.sort();
        paths.dedup();
        for limit in 1..=9 {
            let mut listed = Vec::new();
            loop {
                let page = blobs.store.list(listed.last().copied(), limit).await.unwrap();
                if page.is_empty() {
                    break;
                }
                assert!(page.len() <= limit);
                listed.extend(page.into_iter().map(|entry| entry.path));
            }
            assert_eq!(listed, paths);
        }
        for path in paths {
            blobs.store.delete(path).await.unwrap();
            blobs.store.delete(path).await.unwrap();
        }
        let left: Vec<_> = fs::read_dir(temp.path().join("blobs")).unwrap().collect();
        assert_eq!(left.len(), 1, "the folder for what is half written");
        assert_eq!(fs::read_dir(left[0].as_ref().unwrap().path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_no_row_names_goes_after_an_hour() {
        let temp = TempDir::new();
        let blobs = blobs(temp.path(), &key(1));
        let (named, young, orphan) = (path(1, 1, b"a"), path(1, 2, b"b"), path(1, 3, b"c"));
        for (path, written_at) in [(named, at(0)), (young, at(1_000)), (orphan, at(0))] {
            blobs.put(path, IMAGE.to_vec(), &blobs.naming().await).await.unwrap();
            set_age(temp.path(), path, written_at);
        }
        assert_eq!(
            blobs.sweep(&Rows(None), at(4_000)).await.unwrap(),
            0,
            "who cannot say takes nothing away"
        );
        assert_eq!(blobs.sweep(&Rows(Some(vec![named])), at(3_600)).await.unwrap(), 0);
        assert_eq!(blobs.sweep(&Rows(Some(vec![named])), at(4_000)).await.unwrap(), 1);
        let left = blobs.store.list(None, 10).await.unwrap();
        assert_eq!(left.iter().map(|entry| entry.path).collect::<Vec<_>>(), [named, young]);
    }

    #[tokio::test]
    async fn nothing_is_swept_between_the_blob_and_its_row() {
        let temp = TempDir::new();
        let blobs = blobs(temp.path(), &key(1));
        let path = path(1, 1, IMAGE);
        let naming = blobs.naming().await;
        blobs.put(path, IMAGE.to_vec(), &naming).await.unwrap();
        set_age(temp.path(), path, at(0));
        let rows = Rows(Some(Vec::new()));
        let sweep = blobs.sweep(&rows, at(9_999));
        tokio::pin!(sweep);
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut sweep).await.is_err(), "it waits");
        assert!(blobs.get(path).await.unwrap().is_some());
        drop(naming);
        assert_eq!(sweep.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn after_a_rotation_an_image_is_sealed_anew() {
        let temp = TempDir::new();
        let (first, second) = (key(1), key(2));
        let path = path(1, 1, IMAGE);
        let old = blobs(temp.path(), &first);
        old.put(path, IMAGE.to_vec(), &old.naming().await).await.unwrap();
        let rotated = blobs(temp.path(), &(first + &second));
        assert_eq!(rotated.reseal(path).await.unwrap(), Some(2));
        assert_eq!(blobs(temp.path(), &second).get(path).await.unwrap().unwrap().as_slice(), IMAGE);
        rotated.store.delete(path).await.unwrap();
        assert_eq!(rotated.reseal(path).await.unwrap(), None, "what is gone stays gone");
    }
}
