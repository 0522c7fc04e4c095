//! What several tests of the binary need.

#[expect(clippy::disallowed_methods, reason = "another process is waited for, and not for ever")]
pub(crate) mod postgres;

use std::path::{Path, PathBuf};

use crate::data_dir::fill_random;

/// A folder of its own, gone at the end of the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let mut name = [0; 8];
        fill_random(&mut name);
        let path = std::env::temp_dir().join(format!("vestibule-test-{:016x}", u64::from_be_bytes(name)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Its path; somebody else takes it away.
    pub(crate) fn keep(self) -> PathBuf {
        std::mem::ManuallyDrop::new(self).0.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // In vain is fine: the folder is a temporary one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
