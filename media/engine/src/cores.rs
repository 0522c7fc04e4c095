//! Pinning a shard's thread to a core this process may use.

use std::io;

/// Pins the calling thread to the `index`-th core of those it may run on, counted round and round.
///
/// # Errors
///
/// Whatever the kernel said to `sched_getaffinity` or `sched_setaffinity`.
pub(crate) fn pin_to(index: usize) -> io::Result<()> {
    let allowed = allowed_cores()?;
    let Some(core) = allowed.get(index % allowed.len().max(1)) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut set = empty_set();
    // SAFETY: `core` was a member of a set of this size.
    unsafe { libc::CPU_SET(*core, &mut set) };
    // SAFETY: 0 is the calling thread; the set lives on this stack and its size is its own.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })
}

fn allowed_cores() -> io::Result<Vec<usize>> {
    let mut set = empty_set();
    // SAFETY: as in `pin_to`; the kernel writes at most the set's size.
    check(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    // SAFETY: the cores asked about are inside the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect())
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a `cpu_set_t` is integers only; all-zero is the empty set.
    unsafe { std::mem::zeroed() }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_every_core_it_may_use_and_past_the_last() {
        let allowed = allowed_cores().unwrap();
        for index in 0..=allowed.len() {
            let expected = allowed[index % allowed.len()];
            let pinned =
                std::thread::spawn(move || pin_to(index).and_then(|()| allowed_cores())).join().unwrap();
            assert_eq!(pinned.unwrap(), [expected]);
        }
    }
}
