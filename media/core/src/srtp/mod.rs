//! SRTP and SRTCP (RFC 3711, RFC 7714): packets in place, keys from DTLS (RFC 5764), a bounded state per
//! SSRC.
//!
//! It knows packets as bytes, an SSRC and a sequence number; nothing of who sends them or what they carry. A
//! packet that does not authenticate changes no state here: no rollover counter, no replay window, no table
//! entry.
//!
//! AES-GCM and AES-CM are both written on `aws-lc-rs` directly. `rtc-srtp` is what they are tested against;
//! its `Context` allocates for every packet, creates state for SSRCs that never authenticated, cannot be told
//! a rollover counter, and takes SRTCP with the E bit clear without looking at its tag.

mod cm;
mod gcm;
mod kdf;
mod replay;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::bounds::SSRCS_PER_PEER_MAX;
use crate::rtp::RtpHeader;
use cm::{CmOpener, CmSealer};
use gcm::{GcmOpener, GcmSealer};
use kdf::SessionKeys;
use replay::StreamTable;

/// Bytes of the longest master key of any profile.
const KEY_BYTES_MAX: usize = 32;
/// Bytes of the longest master salt of any profile.
const SALT_BYTES_MAX: usize = 14;
/// Bytes of an RTP header without CSRCs and extensions (RFC 3550 section 5.1).
const RTP_HEADER_BYTES_MIN: usize = 12;
/// Bytes of an RTCP packet that SRTCP leaves in the clear: header and sender SSRC (RFC 3711 section 3.4).
const RTCP_CLEAR_BYTES: usize = 8;
/// Bytes of the word holding the E bit and the SRTCP index.
const RTCP_INDEX_BYTES: usize = 4;
/// The E bit: this SRTCP packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;
/// RTP packet indices are 48 bits: rollover counter and sequence number (RFC 3711 section 3.3.1).
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// A DTLS-SRTP protection profile this server speaks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764), for peers without GCM: several times the work per packet.
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// All profiles in the order this server prefers them.
    pub const PREFERENCE: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmSha1_80];

    /// The profile with this DTLS-SRTP number (RFC 5764 section 4.1.2, RFC 7714 section 14.2), if it is one
    /// of ours.
    #[must_use]
    pub fn from_dtls_id(id: u16) -> Option<Self> {
        Self::PREFERENCE.into_iter().find(|profile| profile.dtls_id() == id)
    }

    /// The number of this profile in the `use_srtp` extension.
    #[must_use]
    pub const fn dtls_id(self) -> u16 {
        match self {
            Self::Aes128CmSha1_80 => 0x0001,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Bytes of a master key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Bytes to take from the DTLS exporter: two keys and two salts (RFC 5764 section 4.2).
    #[must_use]
    pub const fn exporter_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes by which SRTP makes an RTP packet longer.
    #[must_use]
    pub const fn rtp_overhead(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => gcm::TAG_BYTES,
            Self::Aes128CmSha1_80 => cm::TAG_BYTES,
        }
    }

    /// Bytes by which SRTCP makes an RTCP packet longer.
    #[must_use]
    pub const fn rtcp_overhead(self) -> usize {
        self.rtp_overhead() + RTCP_INDEX_BYTES
    }
}

/// Which side of the DTLS association one is: it decides whose key is whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpRole {
    /// The DTLS client; a browser, or a test standing in for one.
    Client,
    /// The DTLS server: this server, always.
    Server,
}

/// The master keys and salts of both directions. Not shown by `Debug`, overwritten when dropped.
#[derive(Clone)]
pub struct KeyingMaterial {
    profile: SrtpProfile,
    client: MasterKey,
    server: MasterKey,
}

#[derive(Clone, Default)]
struct MasterKey {
    key: [u8; KEY_BYTES_MAX],
    salt: [u8; SALT_BYTES_MAX],
}

impl KeyingMaterial {
    /// Splits what the DTLS exporter gave for `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2): client key,
    /// server key, client salt, server salt.
    ///
    /// # Errors
    /// [`SrtpError::KeyingMaterialLength`] unless there are exactly [`SrtpProfile::exporter_len`] bytes.
    pub fn from_exporter(profile: SrtpProfile, exported: &[u8]) -> Result<Self, SrtpError> {
        if exported.len() != profile.exporter_len() {
            return Err(SrtpError::KeyingMaterialLength {
                expected: profile.exporter_len(),
                got: exported.len(),
            });
        }
        let (keys, salts) = exported.split_at(2 * profile.key_len());
        let (client_key, server_key) = keys.split_at(profile.key_len());
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        Ok(Self {
            profile,
            client: MasterKey::new(client_key, client_salt),
            server: MasterKey::new(server_key, server_salt),
        })
    }

    /// The profile these keys are for.
    #[must_use]
    pub const fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// The key the DTLS client protects its packets with.
    #[must_use]
    pub fn client_key(&self) -> &[u8] {
        &self.client.key[..self.profile.key_len()]
    }

    /// The salt that goes with [`Self::client_key`].
    #[must_use]
    pub fn client_salt(&self) -> &[u8] {
        &self.client.salt[..self.profile.salt_len()]
    }

    /// The key the DTLS server protects its packets with.
    #[must_use]
    pub fn server_key(&self) -> &[u8] {
        &self.server.key[..self.profile.key_len()]
    }

    /// The salt that goes with [`Self::server_key`].
    #[must_use]
    pub fn server_salt(&self) -> &[u8] {
        &self.server.salt[..self.profile.salt_len()]
    }
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl MasterKey {
    /// The caller has checked the lengths against the profile.
    fn new(key: &[u8], salt: &[u8]) -> Self {
        let mut master = Self::default();
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        master
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.fill(0);
        self.salt.fill(0);
        // Keeps the stores from being removed as dead; the best there is without unsafe code.
        std::hint::black_box((&self.key, &self.salt));
    }
}

/// Why a packet was not protected or not accepted.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SrtpError {
    /// The DTLS exporter gave the wrong number of bytes.
    #[error("keying material of {got} bytes where the profile needs {expected}")]
    KeyingMaterialLength {
        /// Bytes the profile needs.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// The crypto library refused a key.
    #[error("the crypto library refused a key")]
    Key,
    /// The packet cannot hold its header and what SRTP adds.
    #[error("packet too short")]
    TooShort,
    /// The caller's buffer has no room for the tag.
    #[error("no room for the authentication tag")]
    NoRoom,
    /// This index was seen before, or is older than the replay window (RFC 3711 section 3.3.2).
    #[error("replayed, or older than the replay window")]
    Replayed,
    /// The packet is not what a holder of the key sent.
    #[error("authentication failed")]
    Authentication,
    /// SRTCP that is not encrypted; WebRTC always encrypts it (RFC 8827 section 6.5).
    #[error("SRTCP without encryption")]
    NotEncrypted,
    /// The indices of this key are used up (RFC 3711 section 9.2).
    #[error("the key has protected all the packets it may")]
    KeyExhausted,
}

/// What [`SrtpOpener::open_rtp`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the plaintext packet, header included, at the start of the buffer.
    pub len: usize,
    /// The 48-bit packet index: rollover counter << 16 | sequence number.
    pub index: u64,
}

/// The two halves of one transport's protection, keyed for `role`.
///
/// # Errors
/// [`SrtpError::Key`] if the crypto library refuses a key.
pub fn session(material: &KeyingMaterial, role: SrtpRole) -> Result<(SrtpSealer, SrtpOpener), SrtpError> {
    let profile = material.profile;
    let client = SessionKeys::derive(profile, material.client_key(), material.client_salt())?;
    let server = SessionKeys::derive(profile, material.server_key(), material.server_salt())?;
    let (ours, theirs) = match role {
        SrtpRole::Client => (client, server),
        SrtpRole::Server => (server, client),
    };
    Ok((SrtpSealer::new(profile, &ours)?, SrtpOpener::new(profile, &theirs)?))
}

/// Protects the packets of one direction.
///
/// It remembers no RTP stream: the caller owns the numbering, so it gives the index. Never seal two different
/// packets with one SSRC and index; with GCM that gives the authentication key away (RFC 7714 section 8.1).
#[derive(Debug)]
pub struct SrtpSealer {
    cipher: SealCipher,
    rtcp_index: u32,
}

#[derive(Debug)]
enum SealCipher {
    Gcm(GcmSealer),
    Cm(Box<CmSealer>),
}

impl SrtpSealer {
    fn new(profile: SrtpProfile, keys: &SessionKeys) -> Result<Self, SrtpError> {
        let cipher = match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => SealCipher::Gcm(GcmSealer::new(keys)?),
            SrtpProfile::Aes128CmSha1_80 => SealCipher::Cm(Box::new(CmSealer::new(keys)?)),
        };
        Ok(Self { cipher, rtcp_index: 0 })
    }

    /// Protects the RTP packet in `buffer[..len]`, whose header is `buffer[..header_len]`, and returns the
    /// new length.
    ///
    /// The rollover counter is `index >> 16`; SSRC and sequence number are read from the header. `buffer`
    /// must have [`Self::rtp_overhead`] bytes of room after `len`.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`], [`SrtpError::NoRoom`] or [`SrtpError::KeyExhausted`]; the buffer is then as
    /// it was.
    #[inline]
    pub fn seal_rtp(
        &mut self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        match &self.cipher {
            SealCipher::Gcm(gcm) => gcm.seal_rtp(buffer, header_len, len, index),
            SealCipher::Cm(cm) => cm.seal_rtp(buffer, header_len, len, index),
        }
    }

    /// Protects the compound RTCP packet in `buffer[..len]` and returns the new length.
    ///
    /// One index counts for all sender SSRCs: with each of them it still only grows, which is what RFC 3711
    /// section 3.2.1 is after, and no table is needed.
    ///
    /// # Errors
    /// [`SrtpError::TooShort`], [`SrtpError::NoRoom`] or [`SrtpError::KeyExhausted`]; the buffer is then as
    /// it was.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let index = self.rtcp_index + 1;
        if index >= RTCP_ENCRYPTED {
            return Err(SrtpError::KeyExhausted);
        }
        let sealed = match &self.cipher {
            SealCipher::Gcm(gcm) => gcm.seal_rtcp(buffer, len, index),
            SealCipher::Cm(cm) => cm.seal_rtcp(buffer, len, index),
        }?;
        self.rtcp_index = index;
        Ok(sealed)
    }

    /// Bytes by which [`Self::seal_rtp`] makes a packet longer.
    #[must_use]
    pub fn rtp_overhead(&self) -> usize {
        match &self.cipher {
            SealCipher::Gcm(_) => gcm::TAG_BYTES,
            SealCipher::Cm(_) => cm::TAG_BYTES,
        }
    }

    /// Bytes by which [`Self::seal_rtcp`] makes a packet longer.
    #[must_use]
    pub fn rtcp_overhead(&self) -> usize {
        self.rtp_overhead() + RTCP_INDEX_BYTES
    }
}

/// Authenticates and decrypts the packets of one direction, and remembers per SSRC where its numbering is.
///
/// At most [`SSRCS_PER_PEER_MAX`] SSRCs are remembered, each for RTP and for RTCP; see [`Self::open_rtp`].
#[derive(Debug)]
pub struct SrtpOpener {
    cipher: OpenCipher,
    rtp: StreamTable,
    rtcp: StreamTable,
}

#[derive(Debug)]
enum OpenCipher {
    Gcm(GcmOpener),
    Cm(Box<CmOpener>),
}

impl SrtpOpener {
    fn new(profile: SrtpProfile, keys: &SessionKeys) -> Result<Self, SrtpError> {
        let cipher = match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => OpenCipher::Gcm(GcmOpener::new(keys)?),
            SrtpProfile::Aes128CmSha1_80 => OpenCipher::Cm(Box::new(CmOpener::new(keys)?)),
        };
        Ok(Self {
            cipher,
            rtp: StreamTable::new(SSRCS_PER_PEER_MAX),
            rtcp: StreamTable::new(SSRCS_PER_PEER_MAX),
        })
    }

    /// Authenticates and decrypts an RTP packet in place. `header` is the parsed header of this very packet.
    ///
    /// The rollover counter is guessed from the highest authenticated index (RFC 3711 section 3.3.1) and,
    /// with the replay window, moves only after authentication. An SSRC not seen before starts at counter 0.
    /// When the table is full, the SSRC longest unused gives way, and first among those still at counter 0: a
    /// stream that wrapped could not be read again after it was forgotten. A forgotten SSRC also forgets
    /// which packets were replays.
    ///
    /// # Errors
    /// See [`SrtpError`]. A packet that failed may have been overwritten, and nothing else has changed.
    #[inline]
    pub fn open_rtp(&mut self, packet: &mut [u8], header: &RtpHeader) -> Result<Opened, SrtpError> {
        self.open_rtp_at(packet, header.header_len, header.ssrc, header.sequence)
    }

    #[inline]
    fn open_rtp_at(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence: u16,
    ) -> Result<Opened, SrtpError> {
        let slot = self.rtp.find(ssrc);
        let index = self.rtp.estimate(slot, sequence);
        if self.rtp.is_replay(slot, index) {
            return Err(SrtpError::Replayed);
        }
        let len = match &self.cipher {
            OpenCipher::Gcm(gcm) => gcm.open_rtp(packet, header_len, ssrc, index),
            OpenCipher::Cm(cm) => cm.open_rtp(packet, header_len, ssrc, index),
        }?;
        self.rtp.accept(slot, ssrc, index);
        Ok(Opened { len, index })
    }

    /// Authenticates and decrypts a compound RTCP packet in place and returns its plaintext length.
    ///
    /// The SSRC table is bounded as that of [`Self::open_rtp`]; a forgotten sender only loses its replay
    /// window, for SRTCP carries its index.
    ///
    /// # Errors
    /// See [`SrtpError`]. A packet that failed may have been overwritten, and nothing else has changed.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let trailer = match &self.cipher {
            OpenCipher::Gcm(_) => RTCP_INDEX_BYTES,
            OpenCipher::Cm(_) => RTCP_INDEX_BYTES + cm::TAG_BYTES,
        };
        let (ssrc, word) = rtcp_identity(packet, trailer)?;
        if word & RTCP_ENCRYPTED == 0 {
            return Err(SrtpError::NotEncrypted);
        }
        let index = word & !RTCP_ENCRYPTED;
        let slot = self.rtcp.find(ssrc);
        if self.rtcp.is_replay(slot, u64::from(index)) {
            return Err(SrtpError::Replayed);
        }
        let len = match &self.cipher {
            OpenCipher::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            OpenCipher::Cm(cm) => cm.open_rtcp(packet, ssrc, index),
        }?;
        self.rtcp.accept(slot, ssrc, u64::from(index));
        Ok(len)
    }
}

/// The sender SSRC and the word with E bit and index, which starts `trailer` bytes before the end of the
/// packet.
fn rtcp_identity(packet: &[u8], trailer: usize) -> Result<(u32, u32), SrtpError> {
    let word =
        packet.len().checked_sub(trailer).filter(|&at| at >= RTCP_CLEAR_BYTES).ok_or(SrtpError::TooShort)?;
    let ssrc = read_u32(packet, 4).ok_or(SrtpError::TooShort)?;
    Ok((ssrc, read_u32(packet, word).ok_or(SrtpError::TooShort)?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
