//! Session keys from master keys: the AES-CM pseudo-random function of RFC 3711 section 4.3.3, as RFC 7714
//! section 11 uses it for GCM too. The key derivation rate is always zero (RFC 5764 section 4.1.2).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::{KEY_BYTES_MAX, SALT_BYTES_MAX, SrtpError, SrtpProfile};

/// Bytes of an HMAC-SHA1 key (RFC 3711 section 8.2).
const AUTH_KEY_BYTES: usize = 20;

// Labels of RFC 3711 section 4.3.1.
const RTP_ENCRYPTION: u8 = 0x00;
const RTP_AUTHENTICATION: u8 = 0x01;
const RTP_SALT: u8 = 0x02;
const RTCP_ENCRYPTION: u8 = 0x03;
const RTCP_AUTHENTICATION: u8 = 0x04;
const RTCP_SALT: u8 = 0x05;

/// The session keys of one direction.
pub(super) struct SessionKeys {
    pub(super) rtp: SessionKey,
    pub(super) rtcp: SessionKey,
}

/// What protects RTP, or RTCP, of one direction.
#[derive(Clone)]
pub(super) struct SessionKey {
    key: [u8; KEY_BYTES_MAX],
    key_len: usize,
    /// The salt at the start, zeros after it.
    pub(super) salt: [u8; SALT_BYTES_MAX],
    /// Used by AES-CM only.
    pub(super) auth: [u8; AUTH_KEY_BYTES],
}

impl SessionKeys {
    pub(super) fn derive(
        profile: SrtpProfile,
        master_key: &[u8],
        master_salt: &[u8],
    ) -> Result<Self, SrtpError> {
        let prf = Prf::new(master_key, master_salt)?;
        let session = |encryption, authentication, salt| -> Result<SessionKey, SrtpError> {
            let mut session = SessionKey::zero(profile.key_len());
            prf.fill(encryption, &mut session.key[..profile.key_len()])?;
            prf.fill(salt, &mut session.salt[..profile.salt_len()])?;
            if profile == SrtpProfile::Aes128CmSha1_80 {
                prf.fill(authentication, &mut session.auth)?;
            }
            Ok(session)
        };
        Ok(Self {
            rtp: session(RTP_ENCRYPTION, RTP_AUTHENTICATION, RTP_SALT)?,
            rtcp: session(RTCP_ENCRYPTION, RTCP_AUTHENTICATION, RTCP_SALT)?,
        })
    }
}

impl SessionKey {
    fn zero(key_len: usize) -> Self {
        Self { key: [0; KEY_BYTES_MAX], key_len, salt: [0; SALT_BYTES_MAX], auth: [0; AUTH_KEY_BYTES] }
    }

    /// A session key as the test vectors give it.
    #[cfg(test)]
    pub(super) fn from_parts(key: &[u8], salt: &[u8]) -> Self {
        let mut session = Self::zero(key.len());
        session.key[..key.len()].copy_from_slice(key);
        session.salt[..salt.len()].copy_from_slice(salt);
        session
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.key_len]
    }
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.key.fill(0);
        self.salt.fill(0);
        self.auth.fill(0);
        std::hint::black_box((&self.key, &self.salt, &self.auth));
    }
}

/// AES in counter mode, keyed with the master key (RFC 3711 section 4.3.3; AES-256 by RFC 6188 section 3).
struct Prf {
    cipher: EncryptingKey,
    /// The 112-bit master salt; the 96 bits of GCM are its upper ones (RFC 7714 section 11).
    salt: [u8; SALT_BYTES_MAX],
}

impl Prf {
    fn new(master_key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        let mut salt = [0; SALT_BYTES_MAX];
        salt.get_mut(..master_salt.len()).ok_or(SrtpError::Key)?.copy_from_slice(master_salt);
        Ok(Self { cipher: ctr(master_key)?, salt })
    }

    /// Fills `out` with the keystream for `label` at index 0.
    fn fill(&self, label: u8, out: &mut [u8]) -> Result<(), SrtpError> {
        let mut counter = [0; 16];
        counter[..SALT_BYTES_MAX].copy_from_slice(&self.salt);
        // The label stands above the 48-bit index, which is all zero at key derivation rate 0.
        counter[7] ^= label;
        out.fill(0);
        apply_keystream(&self.cipher, counter, out).map_err(|_| SrtpError::Key)
    }
}

/// AES in counter mode with a key of 16 or 32 bytes.
pub(super) fn ctr(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(SrtpError::Key),
    };
    UnboundCipherKey::new(algorithm, key).and_then(EncryptingKey::ctr).map_err(|_| SrtpError::Key)
}

/// XORs the keystream that starts at `counter` into `in_out`.
pub(super) fn apply_keystream(
    cipher: &EncryptingKey,
    counter: [u8; 16],
    in_out: &mut [u8],
) -> Result<(), SrtpError> {
    cipher
        .less_safe_encrypt(in_out, EncryptionContext::Iv128(FixedLength::from(counter)))
        .map(|_| ())
        .map_err(|_| SrtpError::Authentication)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn rfc_3711_b_3_key_derivation() {
        let prf =
            Prf::new(&hex("E1F97A0D3E018BE0D64FA32C06DE4139"), &hex("0EC675AD498AFEEBB6960B3AABE6")).unwrap();
        let mut key = [0; 16];
        prf.fill(RTP_ENCRYPTION, &mut key).unwrap();
        assert_eq!(key[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let mut salt = [0; 14];
        prf.fill(RTP_SALT, &mut salt).unwrap();
        assert_eq!(salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut auth = [0; 94];
        prf.fill(RTP_AUTHENTICATION, &mut auth).unwrap();
        assert_eq!(
            auth[..],
            hex(concat!(
                "CEBE321F6FF7716B6FD4AB49AF256A15",
                "6D38BAA48F0A0ACF3C34E2359E6CDBCE",
                "E049646C43D9327AD175578EF7227098",
                "6371C10C9A369AC2F94A8C5FBCDDDC25",
                "6D6E919A48B610EF17C2041E47403576",
                "6B68642C59BBFC2F34DB60DBDFB2"
            ))
        );
    }

    /// RFC 6188 section 7.2.
    #[test]
    fn rfc_6188_aes_256_key_derivation() {
        let prf = Prf::new(
            &hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6"),
            &hex("3b04803de51ee7c96423ab5b78d2"),
        )
        .unwrap();
        let mut key = [0; 32];
        prf.fill(RTP_ENCRYPTION, &mut key).unwrap();
        assert_eq!(key[..], hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"));
        let mut salt = [0; 14];
        prf.fill(RTP_SALT, &mut salt).unwrap();
        assert_eq!(salt[..], hex("fa31791685ca444a9e07c6c64e93"));
        let mut auth = [0; 20];
        prf.fill(RTP_AUTHENTICATION, &mut auth).unwrap();
        assert_eq!(auth[..], hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"));
    }

    #[test]
    fn wrong_key_lengths_are_errors() {
        assert!(Prf::new(&[0; 15], &[0; 14]).is_err());
        assert!(Prf::new(&[0; 16], &[0; 15]).is_err());
    }
}
