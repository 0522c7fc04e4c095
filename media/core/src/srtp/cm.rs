//! AES counter mode with HMAC-SHA1, 80-bit tags (RFC 3711): the fallback for peers whose DTLS offers no GCM.

use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::kdf::{SessionKey, SessionKeys, apply_keystream, ctr};
use super::{
    RTCP_CLEAR_BYTES, RTCP_ENCRYPTED, RTCP_INDEX_BYTES, RTP_HEADER_BYTES_MIN, RTP_INDEX_MAX, SALT_BYTES_MAX,
    SrtpError, read_u32,
};

/// Bytes of a tag: HMAC-SHA1 cut to 80 bits, for RTP and RTCP alike (RFC 5764 section 4.1.2).
pub(super) const TAG_BYTES: usize = 10;

/// Seals RTP and RTCP of one direction.
#[derive(Debug)]
pub(super) struct CmSealer {
    rtp: CmKey,
    rtcp: CmKey,
}

/// Opens RTP and RTCP of one direction.
#[derive(Debug)]
pub(super) struct CmOpener {
    rtp: CmKey,
    rtcp: CmKey,
}

struct CmKey {
    cipher: EncryptingKey,
    auth: hmac::Key,
    /// The 112-bit salt in the upper bytes, k_s * 2^16 of RFC 3711 section 4.1.1.
    salt: u128,
}

impl CmKey {
    fn new(session: &SessionKey) -> Result<Self, SrtpError> {
        let mut salt = [0; 16];
        salt[..SALT_BYTES_MAX].copy_from_slice(&session.salt);
        Ok(Self {
            cipher: ctr(session.key())?,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &session.auth),
            salt: u128::from_be_bytes(salt),
        })
    }

    /// Encrypts or decrypts; RFC 3711 section 4.1.1.
    fn apply(&self, ssrc: u32, index: u64, in_out: &mut [u8]) -> Result<(), SrtpError> {
        let counter = self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        apply_keystream(&self.cipher, counter.to_be_bytes(), in_out)
    }

    /// The tag over `covered`, and over the rollover counter where it is RTP (RFC 3711 section 4.2).
    fn tag(&self, covered: &[u8], rollover_counter: Option<u32>) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(covered);
        if let Some(counter) = rollover_counter {
            context.update(&counter.to_be_bytes());
        }
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }

    fn verify(&self, covered: &[u8], rollover_counter: Option<u32>, tag: &[u8]) -> Result<(), SrtpError> {
        verify_slices_are_equal(&self.tag(covered, rollover_counter), tag)
            .map_err(|_| SrtpError::Authentication)
    }
}

impl std::fmt::Debug for CmKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CmKey").finish_non_exhaustive()
    }
}

impl CmSealer {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(Self { rtp: CmKey::new(&keys.rtp)?, rtcp: CmKey::new(&keys.rtcp)? })
    }

    pub(super) fn seal_rtp(
        &self,
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
        let (plain, tag) = packet.split_at_mut(len);
        let sequence = u16::from_be_bytes([plain[2], plain[3]]);
        let ssrc = read_u32(plain, 8).ok_or(SrtpError::TooShort)?;
        debug_assert_eq!(sequence, index as u16, "the index is that of another packet");
        let index = (index & !0xffff) | u64::from(sequence);
        self.rtp.apply(ssrc, index, &mut plain[header_len..])?;
        tag.copy_from_slice(&self.rtp.tag(plain, Some((index >> 16) as u32)));
        Ok(len + TAG_BYTES)
    }

    pub(super) fn seal_rtcp(&self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
        if len < RTCP_CLEAR_BYTES {
            return Err(SrtpError::TooShort);
        }
        let sealed = len + RTCP_INDEX_BYTES + TAG_BYTES;
        let packet = buffer.get_mut(..sealed).ok_or(SrtpError::NoRoom)?;
        let ssrc = read_u32(packet, 4).ok_or(SrtpError::TooShort)?;
        self.rtcp.apply(ssrc, u64::from(index), &mut packet[RTCP_CLEAR_BYTES..len])?;
        let (covered, tag) = packet.split_at_mut(len + RTCP_INDEX_BYTES);
        covered[len..].copy_from_slice(&(index | RTCP_ENCRYPTED).to_be_bytes());
        tag.copy_from_slice(&self.rtcp.tag(covered, None));
        Ok(sealed)
    }
}

impl CmOpener {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(Self { rtp: CmKey::new(&keys.rtp)?, rtcp: CmKey::new(&keys.rtcp)? })
    }

    pub(super) fn open_rtp(
        &self,
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
        self.rtp.verify(plain, Some((index >> 16) as u32), tag)?;
        self.rtp.apply(ssrc, index, &mut plain[header_len..])?;
        Ok(len)
    }

    /// The caller has read `ssrc` and `index` from the packet, and found the E bit set.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<usize, SrtpError> {
        let len = packet
            .len()
            .checked_sub(TAG_BYTES + RTCP_INDEX_BYTES)
            .filter(|&len| len >= RTCP_CLEAR_BYTES)
            .ok_or(SrtpError::TooShort)?;
        let (covered, tag) = packet.split_at_mut(len + RTCP_INDEX_BYTES);
        self.rtcp.verify(covered, None, tag)?;
        self.rtcp.apply(ssrc, u64::from(index), &mut covered[RTCP_CLEAR_BYTES..len])?;
        Ok(len)
    }
}
