//! STUN as ICE needs it (RFC 8489, RFC 8445): binding requests, their answers, and nothing else.
//!
//! Messages are read in place and written into the caller's buffer. It knows no address table and no ICE state.

mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

use crate::bytes::{u16_at, u32_at};

pub use write::{
    MESSAGE_BYTES_MAX, write_binding_error, write_binding_request, write_binding_success,
    write_unknown_attributes,
};

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;
/// RFC 8489 section 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Message types (RFC 8489 section 5): method Binding in four classes.
mod message_type {
    pub(super) const REQUEST: u16 = 0x0001;
    pub(super) const INDICATION: u16 = 0x0011;
    pub(super) const SUCCESS: u16 = 0x0101;
    pub(super) const ERROR: u16 = 0x0111;
}

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802a;
}

/// Why a datagram is not a STUN message this server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// The datagram is shorter or longer than its header says, or an attribute reaches over the end.
    #[error("STUN message length does not fit the datagram")]
    Length,
    /// No STUN header: the first two bits are set or the magic cookie is missing.
    #[error("not a STUN message")]
    NotStun,
    /// FINGERPRINT is wrong, or something follows it.
    #[error("STUN fingerprint does not match")]
    Fingerprint,
    /// A binding request without USERNAME, or one that is not `local:remote`.
    #[error("STUN binding request has no usable USERNAME")]
    Username,
    /// An attribute has a length its type does not allow.
    #[error("STUN attribute 0x{attribute:04x} is malformed")]
    Attribute {
        /// Its type.
        attribute: u16,
    },
    /// MESSAGE-INTEGRITY is missing.
    #[error("STUN message has no MESSAGE-INTEGRITY")]
    IntegrityMissing,
    /// MESSAGE-INTEGRITY does not match the key.
    #[error("STUN message integrity does not match")]
    Integrity,
}

/// The key of one ICE password (RFC 8489 section 9.1.1: short-term credentials, HMAC-SHA1).
#[derive(Clone)]
pub struct IntegrityKey(Box<hmac::Key>);

impl IntegrityKey {
    /// The key of `password`, which is `ice-pwd` as it stands in the SDP: ASCII, so that OpaqueString changes nothing.
    #[must_use]
    pub fn new(password: &str) -> Self {
        Self(Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())))
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IntegrityKey(..)")
    }
}

/// A parsed message. Nothing in it is to be trusted before `verify`.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// A connectivity or consent check.
    BindingRequest(BindingRequest<'a>),
    /// A keepalive (RFC 8445 section 11); nothing to do.
    BindingIndication,
    /// The answer to a binding request.
    Response(Response<'a>),
    /// A well-formed message of a method this server does not speak.
    Other,
}

/// A binding request.
#[derive(Clone, Copy, Debug)]
pub struct BindingRequest<'a> {
    /// Chosen by the sender; the answer repeats it.
    pub transaction_id: [u8; 12],
    /// The receiver's username fragment: the first half of USERNAME.
    pub local_ufrag: &'a [u8],
    /// The sender's username fragment: the second half of USERNAME.
    pub remote_ufrag: &'a [u8],
    /// The sender nominates this pair.
    pub use_candidate: bool,
    /// It carries ICE-CONTROLLED: a role conflict for an ICE-lite server (487).
    pub controlled: bool,
    /// PRIORITY, of the candidate the sender would learn from this check.
    pub priority: Option<u32>,
    /// It carries a comprehension-required attribute this server does not know (420).
    pub unknown_required: bool,
    raw: Raw<'a>,
}

impl<'a> BindingRequest<'a> {
    /// Checks MESSAGE-INTEGRITY, in constant time.
    ///
    /// # Errors
    /// When it is missing or does not match `key`.
    pub fn verify(&self, key: &IntegrityKey) -> Result<(), StunError> {
        self.raw.verify(key)
    }

    /// The comprehension-required attributes this server does not know, for [`write_unknown_attributes`].
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> + use<'a> {
        attributes(self.raw.covered)
            .map_while(Result::ok)
            .map(|found| found.kind)
            .filter(|kind| is_unknown_required(*kind))
    }
}

/// The answer to a binding request.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The request's.
    pub transaction_id: [u8; 12],
    /// Success class, as against error class.
    pub success: bool,
    /// XOR-MAPPED-ADDRESS: where the request came from.
    pub mapped_address: Option<SocketAddr>,
    /// ERROR-CODE, 300..=699.
    pub error_code: Option<u16>,
    raw: Raw<'a>,
}

impl Response<'_> {
    /// Checks MESSAGE-INTEGRITY, in constant time.
    ///
    /// # Errors
    /// When it is missing or does not match `key`.
    pub fn verify(&self, key: &IntegrityKey) -> Result<(), StunError> {
        self.raw.verify(key)
    }
}

/// Reads `datagram`, which must be one whole message. FINGERPRINT is checked if it is there.
///
/// # Errors
/// When the message is malformed; this needs no answer.
pub fn parse(datagram: &[u8]) -> Result<Message<'_>, StunError> {
    let header: &[u8; HEADER_LEN] = datagram.first_chunk().ok_or(StunError::Length)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if kind & 0xc000 != 0 || header[4..8] != MAGIC_COOKIE.to_be_bytes() {
        return Err(StunError::NotStun);
    }
    if len != datagram.len() - HEADER_LEN || !len.is_multiple_of(4) {
        return Err(StunError::Length);
    }
    let mut transaction_id = [0; 12];
    transaction_id.copy_from_slice(&header[8..]);
    let fields = Fields::read(datagram, &transaction_id)?;
    let raw = fields.raw;
    match kind {
        message_type::REQUEST => {
            let username = fields.username.ok_or(StunError::Username)?;
            // RFC 8445 section 7.2.2: `receiver:sender`; a username fragment holds no colon.
            let colon = username.iter().position(|byte| *byte == b':').ok_or(StunError::Username)?;
            Ok(Message::BindingRequest(BindingRequest {
                transaction_id,
                local_ufrag: &username[..colon],
                remote_ufrag: &username[colon + 1..],
                use_candidate: fields.use_candidate,
                controlled: fields.controlled,
                priority: fields.priority,
                unknown_required: fields.unknown_required,
                raw,
            }))
        }
        message_type::INDICATION => Ok(Message::BindingIndication),
        message_type::SUCCESS | message_type::ERROR => Ok(Message::Response(Response {
            transaction_id,
            success: kind == message_type::SUCCESS,
            mapped_address: fields.mapped_address,
            error_code: fields.error_code,
            raw,
        })),
        _ => Ok(Message::Other),
    }
}

/// What integrity covers, and the tag that claims to prove it.
#[derive(Clone, Copy)]
struct Raw<'a> {
    /// The message up to MESSAGE-INTEGRITY, or all of it if there is none.
    covered: &'a [u8],
    tag: Option<&'a [u8]>,
}

impl std::fmt::Debug for Raw<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Raw({} bytes)", self.covered.len())
    }
}

impl Raw<'_> {
    fn verify(&self, key: &IntegrityKey) -> Result<(), StunError> {
        let tag = self.tag.ok_or(StunError::IntegrityMissing)?;
        let expected = integrity_tag(self.covered, key);
        constant_time::verify_slices_are_equal(expected.as_ref(), tag).map_err(|_| StunError::Integrity)
    }
}

/// HMAC over the message before MESSAGE-INTEGRITY, its length field counting up to the end of that attribute (RFC 8489
/// section 14.5).
fn integrity_tag(covered: &[u8], key: &IntegrityKey) -> hmac::Tag {
    let len = (covered.len() + ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN).saturating_sub(HEADER_LEN) as u16;
    let (before, after) = (covered.get(..2).unwrap_or(&[]), covered.get(4..).unwrap_or(&[]));
    let mut context = hmac::Context::with_key(&key.0);
    context.update(before);
    context.update(&len.to_be_bytes());
    context.update(after);
    context.sign()
}

/// The attributes this server reads; of repeated ones the first counts (RFC 8489 section 14).
struct Fields<'a> {
    raw: Raw<'a>,
    username: Option<&'a [u8]>,
    mapped_address: Option<SocketAddr>,
    error_code: Option<u16>,
    priority: Option<u32>,
    use_candidate: bool,
    controlled: bool,
    unknown_required: bool,
}

impl<'a> Fields<'a> {
    fn read(message: &'a [u8], transaction_id: &[u8; 12]) -> Result<Self, StunError> {
        let mut fields = Self {
            raw: Raw { covered: message, tag: None },
            username: None,
            mapped_address: None,
            error_code: None,
            priority: None,
            use_candidate: false,
            controlled: false,
            unknown_required: false,
        };
        for found in attributes(message) {
            let Attribute { kind, value, start, end } = found?;
            let malformed = StunError::Attribute { attribute: kind };
            if kind == attribute::FINGERPRINT {
                check_fingerprint(message, start, end, value)?;
                break;
            }
            if fields.raw.tag.is_some() {
                // RFC 8489 section 14.5: what follows MESSAGE-INTEGRITY is not covered, so it is not read.
                continue;
            }
            match kind {
                attribute::USERNAME => _ = fields.username.get_or_insert(value),
                attribute::MESSAGE_INTEGRITY if value.len() == INTEGRITY_LEN => {
                    fields.raw = Raw { covered: &message[..start], tag: Some(value) };
                }
                attribute::MESSAGE_INTEGRITY => return Err(malformed),
                attribute::PRIORITY if value.len() == 4 => {
                    fields.priority = fields.priority.or(u32_at(value, 0));
                }
                attribute::PRIORITY => return Err(malformed),
                attribute::USE_CANDIDATE => fields.use_candidate = true,
                attribute::ICE_CONTROLLED => fields.controlled = true,
                attribute::XOR_MAPPED_ADDRESS => {
                    let address = xor_mapped_address(value, transaction_id).ok_or(malformed)?;
                    fields.mapped_address.get_or_insert(address);
                }
                attribute::ERROR_CODE => {
                    let code = error_code(value).ok_or(malformed)?;
                    fields.error_code.get_or_insert(code);
                }
                _ => fields.unknown_required |= is_unknown_required(kind),
            }
        }
        Ok(fields)
    }
}

/// Whether an agent that does not know `kind` must refuse the message (RFC 8489 section 14: types below 0x8000).
fn is_unknown_required(kind: u16) -> bool {
    let known = matches!(
        kind,
        attribute::MAPPED_ADDRESS
            | attribute::USERNAME
            | attribute::MESSAGE_INTEGRITY
            | attribute::ERROR_CODE
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::REALM
            | attribute::NONCE
            | attribute::MESSAGE_INTEGRITY_SHA256
            | attribute::XOR_MAPPED_ADDRESS
            | attribute::PRIORITY
            | attribute::USE_CANDIDATE
    );
    kind < 0x8000 && !known
}

/// RFC 8489 section 14.7: the last attribute, over everything before it.
fn check_fingerprint(message: &[u8], start: usize, end: usize, value: &[u8]) -> Result<(), StunError> {
    let told = if value.len() == FINGERPRINT_LEN { u32_at(value, 0) } else { None };
    let is_right = end == message.len() && told == Some(fingerprint(&message[..start]));
    if is_right { Ok(()) } else { Err(StunError::Fingerprint) }
}

fn fingerprint(before: &[u8]) -> u32 {
    crc32fast::hash(before) ^ FINGERPRINT_XOR
}

/// RFC 8489 section 14.2.
fn xor_mapped_address(value: &[u8], transaction_id: &[u8; 12]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([p0, p1]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip: IpAddr = match (family, address.len()) {
        (1, 4) => Ipv4Addr::from(u32_at(address, 0)? ^ MAGIC_COOKIE).into(),
        (2, 16) => {
            Ipv6Addr::from(u128::from_be_bytes(*address.first_chunk()?) ^ address_mask(transaction_id)).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// What an IPv6 address is XORed with: the magic cookie, then the transaction id.
fn address_mask(transaction_id: &[u8; 12]) -> u128 {
    let id = transaction_id.iter().fold(0, |id, byte| (id << 8) | u128::from(*byte));
    (u128::from(MAGIC_COOKIE) << 96) | id
}

/// RFC 8489 section 14.8: hundreds digit and the rest in a byte each.
fn error_code(value: &[u8]) -> Option<u16> {
    let class = u16::from(value.get(2)? & 0x07);
    let number = u16::from(*value.get(3)?);
    ((3..=6).contains(&class) && number < 100).then_some(class * 100 + number)
}

struct Attribute<'a> {
    kind: u16,
    value: &'a [u8],
    /// Where its header starts and its padding ends, in the message.
    start: usize,
    end: usize,
}

/// The attributes of `message`, in order; ends after the first error.
fn attributes(message: &[u8]) -> impl Iterator<Item = Result<Attribute<'_>, StunError>> + use<'_> {
    let mut at = HEADER_LEN;
    std::iter::from_fn(move || {
        if at >= message.len() {
            return None;
        }
        let found = read_attribute(message, at);
        at = found.as_ref().map_or(message.len(), |found| found.end);
        Some(found.ok_or(StunError::Length))
    })
}

fn read_attribute(message: &[u8], start: usize) -> Option<Attribute<'_>> {
    let kind = u16_at(message, start)?;
    let len = usize::from(u16_at(message, start + 2)?);
    let value_start = start + ATTRIBUTE_HEADER_LEN;
    let value = message.get(value_start..value_start + len)?;
    // Values are padded to a word; the header promised a whole number of words.
    let end = value_start + len.next_multiple_of(4);
    (end <= message.len()).then_some(Attribute { kind, value, start, end })
}

#[cfg(test)]
mod tests;
