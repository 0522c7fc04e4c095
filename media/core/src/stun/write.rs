//! Writes binding requests and their answers, each with MESSAGE-INTEGRITY and FINGERPRINT.

use std::net::{IpAddr, SocketAddr};

use super::{
    ATTRIBUTE_HEADER_LEN, FINGERPRINT_LEN, HEADER_LEN, INTEGRITY_LEN, IntegrityKey, MAGIC_COOKIE,
    address_mask, attribute, fingerprint, integrity_tag, message_type,
};

/// No message written here is longer, in bytes, as long as the two username fragments together have no more than 128.
pub const MESSAGE_BYTES_MAX: usize = 256;
/// Attributes told in one 420; more say nothing more.
const UNKNOWN_ATTRIBUTES_MAX: usize = 16;

/// Writes the success answer to `transaction_id`, whose request came from `mapped`, and returns its length in bytes.
///
/// Zero if `out` is too short; [`MESSAGE_BYTES_MAX`] always suffices. An IPv4-mapped IPv6 address is told as IPv4.
#[must_use]
pub fn write_binding_success(
    out: &mut [u8],
    transaction_id: &[u8; 12],
    mapped: SocketAddr,
    key: &IntegrityKey,
) -> usize {
    let mut message = MessageWriter::new(out, message_type::SUCCESS, transaction_id);
    message.xor_mapped_address(mapped, transaction_id);
    message.finish(key)
}

/// Writes an error answer with `code`, 300..=699, and returns its length in bytes; zero if `out` is too short.
///
/// For 420 use [`write_unknown_attributes`].
#[must_use]
pub fn write_binding_error(
    out: &mut [u8],
    transaction_id: &[u8; 12],
    code: u16,
    key: &IntegrityKey,
) -> usize {
    let mut message = MessageWriter::new(out, message_type::ERROR, transaction_id);
    message.error_code(code);
    message.finish(key)
}

/// Writes error 420 with the attributes that were not understood (RFC 8489 section 6.3.1); up to sixteen are told.
///
/// Returns its length in bytes; zero if `out` is too short.
#[must_use]
pub fn write_unknown_attributes(
    out: &mut [u8],
    transaction_id: &[u8; 12],
    unknown: impl Iterator<Item = u16>,
    key: &IntegrityKey,
) -> usize {
    let mut list = [0; UNKNOWN_ATTRIBUTES_MAX * 2];
    let mut len = 0;
    for (entry, kind) in list.chunks_exact_mut(2).zip(unknown) {
        entry.copy_from_slice(&kind.to_be_bytes());
        len += 2;
    }
    let mut message = MessageWriter::new(out, message_type::ERROR, transaction_id);
    message.error_code(420);
    message.attribute(attribute::UNKNOWN_ATTRIBUTES, &[&list[..len]]);
    message.finish(key)
}

/// Writes a check as a controlling agent sends it, and returns its length in bytes; zero if `out` is too short.
///
/// For test clients: the tie-breaker is taken from the transaction id. `local_ufrag` is the sender's own.
#[must_use]
pub fn write_binding_request(
    out: &mut [u8],
    transaction_id: &[u8; 12],
    local_ufrag: &str,
    remote_ufrag: &str,
    use_candidate: bool,
    priority: u32,
    key: &IntegrityKey,
) -> usize {
    let mut message = MessageWriter::new(out, message_type::REQUEST, transaction_id);
    message.attribute(attribute::USERNAME, &[remote_ufrag.as_bytes(), b":", local_ufrag.as_bytes()]);
    message.attribute(attribute::PRIORITY, &[&priority.to_be_bytes()]);
    message.attribute(attribute::ICE_CONTROLLING, &[&transaction_id[..8]]);
    if use_candidate {
        message.attribute(attribute::USE_CANDIDATE, &[]);
    }
    message.finish(key)
}

struct MessageWriter<'a> {
    out: &'a mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'a> MessageWriter<'a> {
    fn new(out: &'a mut [u8], kind: u16, transaction_id: &[u8; 12]) -> Self {
        let mut writer = Self { out, len: 0, overflowed: false };
        writer.append(&kind.to_be_bytes());
        writer.append(&[0; 2]);
        writer.append(&MAGIC_COOKIE.to_be_bytes());
        writer.append(transaction_id);
        writer
    }

    fn attribute(&mut self, kind: u16, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Ok(told_len) = u16::try_from(len) else {
            self.overflowed = true;
            return;
        };
        self.append(&kind.to_be_bytes());
        self.append(&told_len.to_be_bytes());
        for part in parts {
            self.append(part);
        }
        self.append(&[0; 3][..len.next_multiple_of(4) - len]);
    }

    fn xor_mapped_address(&mut self, address: SocketAddr, transaction_id: &[u8; 12]) {
        let port = (address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes();
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let ip = (u32::from(ip) ^ MAGIC_COOKIE).to_be_bytes();
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 1], &port, &ip]);
            }
            IpAddr::V6(ip) => {
                let ip = (u128::from(ip) ^ address_mask(transaction_id)).to_be_bytes();
                self.attribute(attribute::XOR_MAPPED_ADDRESS, &[&[0, 2], &port, &ip]);
            }
        }
    }

    fn error_code(&mut self, code: u16) {
        // RFC 8489 section 14.8, RFC 8445 section 7.3.1.1.
        let reason: &[u8] = match code {
            400 => b"Bad Request",
            401 => b"Unauthenticated",
            420 => b"Unknown Attribute",
            487 => b"Role Conflict",
            _ => b"",
        };
        let code = [0, 0, (code / 100) as u8 & 0x07, (code % 100) as u8];
        self.attribute(attribute::ERROR_CODE, &[&code, reason]);
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT, each over a length field that counts it in.
    fn finish(mut self, key: &IntegrityKey) -> usize {
        let with_fingerprint = self.len + 2 * ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN + FINGERPRINT_LEN;
        let body_len = u16::try_from(with_fingerprint.saturating_sub(HEADER_LEN)).unwrap_or_default();
        if self.overflowed || body_len == 0 || with_fingerprint > self.out.len() {
            return 0;
        }
        let tag = integrity_tag(&self.out[..self.len], key);
        self.attribute(attribute::MESSAGE_INTEGRITY, &[tag.as_ref()]);
        self.out[2..4].copy_from_slice(&body_len.to_be_bytes());
        let crc = fingerprint(&self.out[..self.len]);
        self.attribute(attribute::FINGERPRINT, &[&crc.to_be_bytes()]);
        self.len
    }

    fn append(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(target) => {
                target.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.overflowed = true,
        }
    }
}
