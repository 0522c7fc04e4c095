//! Sealing at rest: what is secret or about somebody's health is in the database as ciphertext only, under a master key
//! that lies beside it in the data folder and in no backup of the database.
//!
//! AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits; under one key at most 2³² seals, which is a visit a second
//! for a century. The purpose of a seal is authenticated with it: a row cannot be put in another's place.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::data_dir::fill_random;

const KEY_BYTES: usize = 32;
/// The layout below: format, key id, nonce, ciphertext with its tag.
const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 1 + 4 + NONCE_LEN;

/// The master keys: the current one seals, all open. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seal {
    keys: std::sync::Arc<BTreeMap<u32, LessSafeKey>>,
    current: u32,
}

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The key it is under.
    pub(crate) key_id: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Why something cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error("it is sealed under master key {0}, which is not there")]
    NoKey(u32),
    #[error("it is damaged, or sealed for another purpose")]
    Damaged,
}

/// Why a file is none of master keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MasterKeysError {
    #[error("line {0} is not `id key` with a number and 64 hexadecimal digits")]
    Line(usize),
    #[error("key {0} is there twice")]
    Twice(u32),
    #[error("there is no key in it")]
    Empty,
}

impl Seal {
    /// The keys of a file: a line each, `id key`, the key in hexadecimal; the highest id is the current one.
    pub(crate) fn parse(text: &str) -> Result<Self, MasterKeysError> {
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = MasterKeysError::Line(index + 1);
            let (id, secret) = line.trim().split_once(' ').ok_or(wrong.clone())?;
            let id: u32 = id.parse().map_err(|_| wrong.clone())?;
            let secret = from_hex(secret.trim()).ok_or(wrong.clone())?;
            let key = UnboundKey::new(&AES_256_GCM, secret.as_slice()).map_err(|_| wrong)?;
            if keys.insert(id, LessSafeKey::new(key)).is_some() {
                return Err(MasterKeysError::Twice(id));
            }
        }
        let current = *keys.keys().next_back().ok_or(MasterKeysError::Empty)?;
        Ok(Self { keys: keys.into(), current })
    }

    /// A line for the file, with a key nobody can guess.
    pub(crate) fn fresh_line(id: u32) -> Zeroizing<String> {
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        fill_random(secret.as_mut_slice());
        let mut line = Zeroizing::new(format!("{id} "));
        for byte in secret.iter() {
            fmt::Write::write_fmt(&mut *line, format_args!("{byte:02x}"))
                .expect("a string takes what is written");
        }
        line.push('\n');
        line
    }

    /// The key that seals.
    pub(crate) const fn current(&self) -> u32 {
        self.current
    }

    /// Seals `plain` for `purpose`, under the current key.
    pub(crate) fn seal(&self, purpose: &str, plain: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + plain.len() + AES_256_GCM.tag_len());
        bytes.push(FORMAT);
        bytes.extend(self.current.to_be_bytes());
        bytes.extend(nonce);
        let mut body = plain.to_vec();
        self.keys[&self.current]
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(purpose), &mut body)
            .expect("AES-GCM seals whatever fits into memory");
        bytes.append(&mut body);
        Sealed { key_id: self.current, bytes }
    }

    /// What was sealed for `purpose`. Wiped from memory when dropped.
    pub(crate) fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (head, body) = sealed.split_at_checked(HEAD_BYTES).ok_or(SealError::Damaged)?;
        let (format, rest) = head.split_first().ok_or(SealError::Damaged)?;
        let (id, nonce) = rest.split_first_chunk::<4>().ok_or(SealError::Damaged)?;
        if *format != FORMAT {
            return Err(SealError::Damaged);
        }
        let id = u32::from_be_bytes(*id);
        let key = self.keys.get(&id).ok_or(SealError::NoKey(id))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut opened = Zeroizing::new(body.to_vec());
        let length =
            key.open_in_place(nonce, Aad::from(purpose), &mut opened).map_err(|_| SealError::Damaged)?.len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seal").field("current", &self.current).finish_non_exhaustive()
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(ids: &[u32]) -> Seal {
        Seal::parse(&ids.iter().map(|id| Seal::fresh_line(*id).to_string()).collect::<String>()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_alone() {
        let seal = seal(&[1]);
        let sealed = seal.seal("visit/1", b"a rash since Monday");
        assert_eq!(sealed.key_id, 1);
        assert!(!sealed.bytes.windows(4).any(|window| window == b"rash"));
        assert_eq!(seal.open("visit/1", &sealed.bytes).unwrap().as_slice(), b"a rash since Monday");
        assert_eq!(seal.open("visit/2", &sealed.bytes), Err(SealError::Damaged));
        assert_ne!(seal.seal("visit/1", b"a rash since Monday"), sealed, "never the same twice");
    }

    #[test]
    fn a_changed_or_cut_seal_does_not_open() {
        let seal = seal(&[1]);
        let sealed = seal.seal("p", b"secret").bytes;
        for index in (0..sealed.len()).filter(|index| !(1..5).contains(index)) {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(seal.open("p", &changed), Err(SealError::Damaged), "{index}");
        }
        for length in 0..sealed.len() {
            assert!(seal.open("p", &sealed[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn an_old_key_opens_and_the_newest_seals() {
        let first = Seal::fresh_line(1).to_string();
        let old = Seal::parse(&first).unwrap();
        let sealed = old.seal("p", b"secret");
        let rotated = Seal::parse(&(first + &Seal::fresh_line(2))).unwrap();
        assert_eq!(rotated.current(), 2);
        assert_eq!(rotated.open("p", &sealed.bytes).unwrap().as_slice(), b"secret");
        assert_eq!(rotated.seal("p", b"secret").key_id, 2);
        assert_eq!(seal(&[2]).open("p", &sealed.bytes), Err(SealError::NoKey(1)));
    }

    #[test]
    fn a_file_that_is_none_of_keys_is_named_by_its_line() {
        let error = |text: &str| Seal::parse(text).unwrap_err();
        assert_eq!(error(""), MasterKeysError::Empty);
        assert_eq!(error("# keys\n1 short"), MasterKeysError::Line(2));
        let line = Seal::fresh_line(1);
        assert_eq!(error(&format!("{}{}", *line, *line)), MasterKeysError::Twice(1));
    }
}
