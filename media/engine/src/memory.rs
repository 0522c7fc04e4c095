//! What the allocator is told, so that memory of those who have left is the system's again.

/// From this size on a block is a mapping of its own: packet rings are, and the tables of what is in them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const OWN_MAPPING_BYTES: libc::c_int = 32 * 1024;

/// Lets large blocks, which packet rings are, be mappings of their own for good.
///
/// The GNU allocator raises that bound as soon as a large block is freed, and keeps what is freed below it: after a morning of
/// visits the process would stay as large as at its busiest.
pub(crate) fn give_back_what_is_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only sets a number of the allocator, under its own lock. Refused, all stays as it was.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING_BYTES) };
}
