//! AES-GCM for SRTP and SRTCP (RFC 7714), in place. `seal_rtp` is what every forwarded packet costs: no
//! allocation, no table, one bounds check.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::kdf::{SessionKey, SessionKeys};
use super::{
    RTCP_CLEAR_BYTES, RTCP_ENCRYPTED, RTCP_INDEX_BYTES, RTP_HEADER_BYTES_MIN, RTP_INDEX_MAX, SrtpError,
    read_u32,
};

/// Bytes of a GCM tag (RFC 7714 section 13.1).
pub(super) const TAG_BYTES: usize = 16;
/// Bytes of a GCM nonce.
const NONCE_BYTES: usize = 12;

/// Seals RTP and RTCP of one direction.
#[derive(Debug)]
pub(super) struct GcmSealer {
    rtp: GcmKey,
    rtcp: GcmKey,
}

/// Opens RTP and RTCP of one direction.
#[derive(Debug)]
pub(super) struct GcmOpener {
    rtp: GcmKey,
    rtcp: GcmKey,
}

/// A GCM key with the salt its nonces are made from.
pub(super) struct GcmKey {
    key: LessSafeKey,
    /// The 96-bit salt in the upper bytes.
    salt: u128,
}

impl GcmKey {
    pub(super) fn new(session: &SessionKey) -> Result<Self, SrtpError> {
        let algorithm = match session.key().len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(SrtpError::Key),
        };
        let key = UnboundKey::new(algorithm, session.key()).map_err(|_| SrtpError::Key)?;
        let mut salt = [0; 16];
        salt[..NONCE_BYTES].copy_from_slice(&session.salt[..NONCE_BYTES]);
        Ok(Self { key: LessSafeKey::new(key), salt: u128::from_be_bytes(salt) })
    }

    /// RFC 7714 section 8.1: zeros (16 bits), SSRC (32), rollover counter (32), sequence number (16), XOR the
    /// salt. Section 9.1 with the 31-bit SRTCP index in place of the last two comes to the same.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let bytes = (self.salt ^ (u128::from(ssrc) << 80) ^ (u128::from(index) << 32)).to_be_bytes();
        let [nonce @ .., _, _, _, _] = bytes;
        Nonce::assume_unique_for_key(nonce)
    }
}

impl std::fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GcmKey").finish_non_exhaustive()
    }
}

impl GcmSealer {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(Self { rtp: GcmKey::new(&keys.rtp)?, rtcp: GcmKey::new(&keys.rtcp)? })
    }

    #[inline]
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        seal_rtp(&self.rtp, buffer, header_len, len, index)
    }

    pub(super) fn seal_rtcp(&self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
        seal_rtcp(&self.rtcp, buffer, len, index)
    }
}

#[inline]
pub(super) fn seal_rtp(
    key: &GcmKey,
    buffer: &mut [u8],
    header_len: usize,
    len: usize,
    index: u64,
) -> Result<usize, SrtpError> {
    if index > RTP_INDEX_MAX {
        return Err(SrtpError::KeyExhausted);
    }
    if header_len < RTP_HEADER_BYTES_MIN || len < header_len {
        return Err(SrtpError::TooShort);
    }
    let packet = buffer.get_mut(..len + TAG_BYTES).ok_or(SrtpError::NoRoom)?;
    let (header, rest) = packet.split_at_mut(header_len);
    let (payload, tag) = rest.split_at_mut(len - header_len);
    let sequence = u16::from_be_bytes([header[2], header[3]]);
    let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    debug_assert_eq!(sequence, index as u16, "the index is that of another packet");
    let nonce = key.nonce(ssrc, (index & !0xffff) | u64::from(sequence));
    key.key
        .seal_in_place_scatter(nonce, Aad::from(&*header), payload, &[], tag)
        .map_err(|_| SrtpError::Key)?;
    Ok(len + TAG_BYTES)
}

/// RFC 7714 section 9: header and sender SSRC in the clear, then ciphertext, tag, and the word with E bit and
/// index. The clear part and that word are the associated data.
pub(super) fn seal_rtcp(key: &GcmKey, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
    if len < RTCP_CLEAR_BYTES {
        return Err(SrtpError::TooShort);
    }
    let sealed = len + TAG_BYTES + RTCP_INDEX_BYTES;
    let packet = buffer.get_mut(..sealed).ok_or(SrtpError::NoRoom)?;
    let ssrc = read_u32(packet, 4).ok_or(SrtpError::TooShort)?;
    let word = (index | RTCP_ENCRYPTED).to_be_bytes();
    let aad = rtcp_associated_data(packet, word);
    let (body, trailer) = packet[RTCP_CLEAR_BYTES..].split_at_mut(len - RTCP_CLEAR_BYTES);
    let (tag, index_word) = trailer.split_at_mut(TAG_BYTES);
    key.key
        .seal_in_place_scatter(key.nonce(ssrc, u64::from(index)), Aad::from(aad), body, &[], tag)
        .map_err(|_| SrtpError::Key)?;
    index_word.copy_from_slice(&word);
    Ok(sealed)
}

impl GcmOpener {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(Self { rtp: GcmKey::new(&keys.rtp)?, rtcp: GcmKey::new(&keys.rtcp)? })
    }

    #[inline]
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        open_rtp(&self.rtp, packet, header_len, ssrc, index)
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        open_rtcp(&self.rtcp, packet, ssrc, index)
    }
}

#[inline]
pub(super) fn open_rtp(
    key: &GcmKey,
    packet: &mut [u8],
    header_len: usize,
    ssrc: u32,
    index: u64,
) -> Result<usize, SrtpError> {
    let len = packet
        .len()
        .checked_sub(TAG_BYTES)
        .filter(|&len| header_len >= RTP_HEADER_BYTES_MIN && len >= header_len)
        .ok_or(SrtpError::TooShort)?;
    let (plain, tag) = packet.split_at_mut(len);
    let (header, payload) = plain.split_at_mut(header_len);
    key.key
        .open_in_place_separate_tag(key.nonce(ssrc, index), Aad::from(&*header), tag, payload)
        .map_err(|_| SrtpError::Authentication)?;
    Ok(len)
}

/// The caller has read `ssrc` and `index` from the packet, and found the E bit set.
pub(super) fn open_rtcp(key: &GcmKey, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
    let len = packet
        .len()
        .checked_sub(TAG_BYTES + RTCP_INDEX_BYTES)
        .filter(|&len| len >= RTCP_CLEAR_BYTES)
        .ok_or(SrtpError::TooShort)?;
    let aad = rtcp_associated_data(packet, (index | RTCP_ENCRYPTED).to_be_bytes());
    let (plain, trailer) = packet.split_at_mut(len);
    key.key
        .open_in_place_separate_tag(
            key.nonce(ssrc, u64::from(index)),
            Aad::from(aad),
            &trailer[..TAG_BYTES],
            &mut plain[RTCP_CLEAR_BYTES..],
        )
        .map_err(|_| SrtpError::Authentication)?;
    Ok(len)
}

/// The caller has checked that the packet holds its clear part.
fn rtcp_associated_data(
    packet: &[u8],
    word: [u8; RTCP_INDEX_BYTES],
) -> [u8; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES] {
    let mut aad = [0; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES];
    aad[..RTCP_CLEAR_BYTES].copy_from_slice(&packet[..RTCP_CLEAR_BYTES]);
    aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
    aad
}
