//! The certificate this server shows in DTLS: self-signed, for WebRTC compares its hash with the SDP (RFC
//! 8122).

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::crypto::Certificate;
use vestibule_media_core::sdp::Fingerprint;

use super::DtlsError;

/// An ECDSA P-256 key with its self-signed certificate. The name in it means nothing.
pub struct ServerCertificate {
    certificate: Certificate,
    fingerprint: Fingerprint,
}

impl ServerCertificate {
    /// A fresh key and certificate.
    ///
    /// # Errors
    /// [`DtlsError::Certificate`] if the crypto library gives no key.
    pub fn generate() -> Result<Self, DtlsError> {
        let provider = AwsLcRsProvider::new();
        // The default of rcgen is ECDSA P-256 with SHA-256, which every WebRTC endpoint takes (RFC 8827
        // section 6.5).
        let certificate = Certificate::generate_self_signed(vec!["vestibule".to_owned()], provider.crypto())
            .map_err(DtlsError::Certificate)?;
        let der = certificate.certificate.first().map_or(&[][..], |der| der.as_ref());
        Ok(Self { fingerprint: Fingerprint::of_certificate(der), certificate })
    }

    /// The SHA-256 of the certificate, for the SDP.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}
