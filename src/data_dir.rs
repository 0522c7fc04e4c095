//! The data folder: who may read it, and the secrets that are made at the first start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use vestibule_domain::{TokenKey, TokenKeys};
use zeroize::Zeroizing;

use crate::config::PublicUrl;
use crate::seal::{MasterKeysError, Seal};

const JOIN_KEY_BYTES: usize = 32;

/// The folder, made.
#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// Why the folder is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("--data: cannot make or use the folder {}: {error}\n  choose one this user may write to", path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error(
        "--data: another server uses {}\n  end it, or choose another folder; `vestibule session` may run beside it",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error("--data: there is no {}\n  give the folder of the server, or start that first", path.display())]
    Missing { path: PathBuf },
    #[error("cannot read or write {}: {error}\n  give this user the rights to it", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(
        "{} is no key of 32 bytes\n  put it back from a backup, or take it away: a new one is made, and links given out before stop working",
        path.display()
    )]
    Key { path: PathBuf },
    #[error("{}: {error}\n  put it back from a backup: without its keys nothing that is sealed can be read again", path.display())]
    MasterKeys { path: PathBuf, error: MasterKeysError },
}

impl DataDir {
    /// Makes the folder if it is missing; only its owner may look into it then.
    pub(crate) fn open(root: &Path) -> Result<Self, DataDirError> {
        let failed = |error| DataDirError::Folder { path: root.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        Ok(Self { root: root.to_owned() })
    }

    /// The folder if it is there; nothing is made.
    pub(crate) fn existing(root: &Path) -> Result<Self, DataDirError> {
        if root.is_dir() {
            Ok(Self { root: root.to_owned() })
        } else {
            Err(DataDirError::Missing { path: root.to_owned() })
        }
    }

    /// Takes the folder for one server: two on it would each call the other's people lost. It is free again when the
    /// answer is dropped, or the process ends however it does.
    pub(crate) fn lock(&self) -> Result<File, DataDirError> {
        let path = self.root.join("server.lock");
        let failed = |error| DataDirError::File { path: path.clone(), error };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: self.root.clone() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Notes what links begin with, for commands beside the server.
    pub(crate) fn note_origin(&self, origin: &PublicUrl) -> Result<(), DataDirError> {
        let path = self.origin_path();
        fs::write(&path, origin.to_string()).map_err(|error| DataDirError::File { path, error })
    }

    /// What the server that was started last said links begin with.
    pub(crate) fn noted_origin(&self) -> Option<PublicUrl> {
        fs::read_to_string(self.origin_path()).ok()?.parse().ok()
    }

    fn origin_path(&self) -> PathBuf {
        self.root.join("origin")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("vestibule.db")
    }

    /// The folder of sealed images.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.root.join("tls/cert.pem")
    }

    pub(crate) fn certificate_key(&self) -> PathBuf {
        self.root.join("tls/key.pem")
    }

    pub(crate) fn join_key(&self) -> PathBuf {
        self.root.join("keys/join-token.key")
    }

    /// The key that join tokens are signed with; made at the first start.
    pub(crate) fn join_keys(&self) -> Result<TokenKeys, DataDirError> {
        let path = self.join_key();
        let bytes = read_or_make(&path, || {
            let mut fresh = vec![0; JOIN_KEY_BYTES];
            fill_random(&mut fresh);
            fresh
        })?;
        let secret =
            <[u8; JOIN_KEY_BYTES]>::try_from(bytes).map_err(|_| DataDirError::Key { path: path.clone() })?;
        TokenKeys::new(TokenKey::new(1, secret), None).map_err(|_| DataDirError::Key { path })
    }

    pub(crate) fn master_keys_file(&self) -> PathBuf {
        self.root.join("keys/master.keys")
    }

    /// The keys that secrets and what is about somebody's health are sealed with; the first is made at the first start.
    pub(crate) fn master_keys(&self) -> Result<Seal, DataDirError> {
        let path = self.master_keys_file();
        let bytes = Zeroizing::new(read_or_make(&path, || Seal::fresh_line(1).as_bytes().to_vec())?);
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        Seal::parse(text).map_err(|error| DataDirError::MasterKeys { path, error })
    }

    /// Makes another master key, which is the current one from the next start on; its number.
    pub(crate) fn add_master_key(&self) -> Result<u32, DataDirError> {
        let id = self.master_keys()?.current() + 1;
        let path = self.master_keys_file();
        let known = fs::read(&path).map_err(|error| DataDirError::File { path: path.clone(), error })?;
        let mut bytes = Zeroizing::new(known);
        if !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(Seal::fresh_line(id).as_bytes());
        replace_secret(&path, &bytes)?;
        Ok(id)
    }
}

/// A secret file, made if there is none.
fn read_or_make(path: &Path, fresh: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, DataDirError> {
    let failed = |error| DataDirError::File { path: path.to_owned(), error };
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let fresh = fresh();
            match write_secret(path, &fresh) {
                Ok(()) => Ok(fresh),
                // Another process of ours was first: its key is the one.
                Err(DataDirError::File { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::read(path).map_err(failed)
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a new file that only its owner may read: whole or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let failed = |error| DataDirError::File { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let mut name = [0; 8];
    fill_random(&mut name);
    let half = path.with_extension(format!("{:016x}.tmp", u64::from_be_bytes(name)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // A hard link fails where the name is taken, which a rename does not.
        fs::hard_link(&half, path)
    })();
    let removed = fs::remove_file(&half);
    written.and(removed).map_err(failed)
}

/// Writes a file that only its owner may read, in place of one that may be there: whole or not at all.
pub(crate) fn replace_secret(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let fresh = path.with_extension("new");
    let failed = |error| DataDirError::File { path: path.to_owned(), error };
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    write_secret(&fresh, bytes)?;
    fs::rename(&fresh, path).map_err(failed)
}

/// Bytes that nobody can guess.
///
/// # Panics
///
/// If the operating system gives none: nothing may be signed then.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let temp = TempDir::new();
        let data = DataDir::open(&temp.path().join("a/b")).unwrap();
        data.join_keys().unwrap();
        let path = temp.path().join("a/b/keys/join-token.key");
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), JOIN_KEY_BYTES);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        DataDir::open(&temp.path().join("a/b")).unwrap().join_keys().unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half-written file stays");
    }

    #[test]
    fn one_server_at_a_time_uses_the_folder() {
        let temp = TempDir::new();
        let data = DataDir::open(temp.path()).unwrap();
        let first = data.lock().unwrap();
        let error = data.lock().unwrap_err().to_string();
        assert!(error.starts_with("--data: another server uses"), "{error}");
        drop(first);
        data.lock().unwrap();
    }

    #[test]
    fn what_links_begin_with_is_kept_for_commands_beside_the_server() {
        let temp = TempDir::new();
        let data = DataDir::open(temp.path()).unwrap();
        assert_eq!(data.noted_origin(), None);
        let origin: PublicUrl = "https://visit.example.org".parse().unwrap();
        data.note_origin(&origin).unwrap();
        assert_eq!(data.noted_origin(), Some(origin));
        assert!(DataDir::existing(&temp.path().join("none")).is_err());
    }

    #[test]
    fn a_new_master_key_seals_and_the_older_ones_still_open() {
        let temp = TempDir::new();
        let data = DataDir::open(temp.path()).unwrap();
        let first = data.master_keys().unwrap();
        let sealed = first.seal("p", b"secret");
        assert_eq!(data.add_master_key().unwrap(), first.current() + 1);
        let rotated = data.master_keys().unwrap();
        assert_eq!(rotated.current(), first.current() + 1);
        assert_eq!(rotated.open("p", &sealed.bytes).unwrap().as_slice(), b"secret");
        assert!(first.open("p", &rotated.seal("p", b"secret").bytes).is_err());
        let mode = fs::metadata(data.master_keys_file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_secret_that_is_there_is_never_written_over() {
        let temp = TempDir::new();
        let path = temp.path().join("key");
        write_secret(&path, b"first").unwrap();
        let error = write_secret(&path, b"second").unwrap_err();
        assert!(
            matches!(error, DataDirError::File { error, .. } if error.kind() == io::ErrorKind::AlreadyExists)
        );
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_broken_key_is_named_with_the_way_out() {
        let temp = TempDir::new();
        write_secret(&temp.path().join("keys/join-token.key"), b"short").unwrap();
        let error = DataDir::open(temp.path()).unwrap().join_keys().unwrap_err().to_string();
        assert!(error.contains("join-token.key") && error.contains("backup"), "{error}");
    }
}
