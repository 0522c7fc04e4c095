//! Associations on `rtc-dtls`: DTLS 1.2, server role, client certificate required, one SRTP profile each.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;
use vestibule_media_core::bounds::CONNECT_TIMEOUT;
use vestibule_media_core::dtls_gate::{is_server_hello, repeats_only_hellos};
use vestibule_media_core::sdp::Fingerprint;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpProfile};

use super::{AssociationOutput, DtlsAssociation, DtlsError, ServerCertificate};

/// The label of RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// How long the first flight is waited for; each wait is longer than the one before by as much again.
/// `rtc-dtls` sends a flight eight times, so it gives up after nine seconds instead of the two that equal
/// waits would make.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes of one datagram of a handshake: safe on every path that WebRTC works over (RFC 8831 section 5).
const MTU_BYTES: usize = 1_150;
/// What the endpoint takes for both addresses. The real ones may change within a handshake, and are not its
/// business.
const DUMMY_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// What browsers offer and is not CBC, for an ECDSA certificate. The client's order decides.
const CIPHER_SUITES: [CipherSuiteId; 2] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
];

/// Starts associations.
pub trait DtlsAcceptor: Send + Sync {
    /// The server's side of an association whose peer offers `profile`; its ClientHello is still to be given
    /// to it.
    ///
    /// # Errors
    /// See [`DtlsError`].
    fn accept(&self, profile: SrtpProfile, now: Instant) -> Result<Box<dyn DtlsAssociation>, DtlsError>;
}

/// Starts associations of `rtc-dtls`, all with one certificate.
pub struct RtcDtlsAcceptor {
    /// One for each of [`SrtpProfile::PREFERENCE`].
    configs: [(SrtpProfile, Arc<HandshakeConfig>); 3],
}

impl RtcDtlsAcceptor {
    /// An acceptor that shows `certificate`.
    ///
    /// # Errors
    /// [`DtlsError::Configuration`] if the library refuses it.
    pub fn new(certificate: &ServerCertificate) -> Result<Self, DtlsError> {
        let [first, second, third] = SrtpProfile::PREFERENCE;
        let config =
            |profile| -> Result<_, DtlsError> { Ok((profile, handshake_config(certificate, profile)?)) };
        Ok(Self { configs: [config(first)?, config(second)?, config(third)?] })
    }

    pub(super) fn associate(
        &self,
        profile: SrtpProfile,
        now: Instant,
    ) -> Result<RtcDtlsAssociation, DtlsError> {
        let config = self.configs.iter().find(|(configured, _)| *configured == profile);
        let (_, config) = config.ok_or(DtlsError::WrongSrtpProfile)?;
        Ok(RtcDtlsAssociation {
            endpoint: Endpoint::new(DUMMY_ADDRESS, TransportProtocol::UDP, Some(Arc::clone(config))),
            profile,
            stage: Stage::Handshake,
            expires: now + CONNECT_TIMEOUT,
            tries: 0,
            server_hello_sent: false,
            holds_repeated_hellos: true,
            outputs: VecDeque::new(),
        })
    }
}

impl DtlsAcceptor for RtcDtlsAcceptor {
    fn accept(&self, profile: SrtpProfile, now: Instant) -> Result<Box<dyn DtlsAssociation>, DtlsError> {
        Ok(Box::new(self.associate(profile, now)?))
    }
}

impl std::fmt::Debug for RtcDtlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcDtlsAcceptor").finish_non_exhaustive()
    }
}

fn handshake_config(
    certificate: &ServerCertificate,
    profile: SrtpProfile,
) -> Result<Arc<HandshakeConfig>, DtlsError> {
    let config = ConfigBuilder::default()
        .with_crypto_provider(Arc::new(AwsLcRsProvider::new()))
        .with_certificates(vec![certificate.certificate()])
        .with_cipher_suites(CIPHER_SUITES.to_vec())
        .with_srtp_protection_profiles(vec![library_profile(profile)])
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // The library does not compare the client's Finished with the transcript, so the transcript has to be
        // in the keys (RFC 7627): else somebody in between could have changed what was offered.
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        // A server verifies no server; without it the library makes a root certificate nobody asks for.
        .with_insecure_skip_verify(true)
        .with_flight_interval(FLIGHT_INTERVAL)
        .with_mtu(MTU_BYTES)
        .build(false, None)
        .map_err(DtlsError::Configuration)?;
    Ok(Arc::new(config))
}

pub(super) const fn library_profile(profile: SrtpProfile) -> SrtpProtectionProfile {
    match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}

/// An association of `rtc-dtls`: an endpoint that has but one connection.
pub(super) struct RtcDtlsAssociation {
    endpoint: Endpoint,
    profile: SrtpProfile,
    stage: Stage,
    /// When an unfinished handshake is given up.
    expires: Instant,
    /// How often the present flight was sent again.
    tries: u32,
    server_hello_sent: bool,
    /// Off only in the test that shows what it is for.
    holds_repeated_hellos: bool,
    outputs: VecDeque<AssociationOutput>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Established,
    /// Failed or closed: nothing is taken any more.
    Over,
}

impl DtlsAssociation for RtcDtlsAssociation {
    fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        // Shown a ClientHello while it waits for the client's last flight, the library disarms its timer for
        // good. Its own timer sends the flight again that the client has missed.
        let held = self.holds_repeated_hellos && self.server_hello_sent && repeats_only_hellos(datagram);
        if self.stage == Stage::Over || held {
            return;
        }
        let events = self.endpoint.read(now, DUMMY_ADDRESS, None, datagram.into());
        self.drain();
        match (events, self.stage) {
            (Ok(events), _) => events.into_iter().for_each(|event| self.handle_event(event)),
            (Err(Error::ErrInvalidPacketLength), _) => {}
            (Err(error), Stage::Handshake) => {
                self.end(AssociationOutput::Failed(DtlsError::Handshake(error)))
            }
            // Only under the keys of the association does the library take an alert now.
            (Err(Error::ErrAlertFatalOrClose), _) => self.end(AssociationOutput::Closed),
            (Err(_), _) => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.stage != Stage::Handshake {
            return;
        }
        if now >= self.expires {
            self.end(AssociationOutput::Failed(DtlsError::Timeout));
        } else if self.retransmits_at().is_some_and(|at| now >= at) {
            let result = self.endpoint.handle_timeout(DUMMY_ADDRESS, now);
            self.tries += 1;
            self.drain();
            if let Err(error) = result {
                self.end(AssociationOutput::Failed(DtlsError::Handshake(error)));
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let retransmits_at = self.retransmits_at().unwrap_or(self.expires);
        (self.stage == Stage::Handshake).then(|| retransmits_at.min(self.expires))
    }

    fn poll(&mut self) -> Option<AssociationOutput> {
        self.outputs.pop_front()
    }
}

impl RtcDtlsAssociation {
    /// What the association does without the filter against the deadlock.
    #[cfg(test)]
    pub(super) fn without_filter(mut self) -> Self {
        self.holds_repeated_hellos = false;
        self
    }

    /// The library's timer is due after [`FLIGHT_INTERVAL`]; it is asked later, the more often it has fired.
    fn retransmits_at(&self) -> Option<Instant> {
        self.endpoint.poll_timeout(&DUMMY_ADDRESS).map(|due| due + FLIGHT_INTERVAL * self.tries)
    }

    fn handle_event(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::HandshakeComplete if self.stage == Stage::Handshake => match self.established() {
                Ok(output) => {
                    self.stage = Stage::Established;
                    self.outputs.push_back(output);
                }
                Err(error) => self.end(AssociationOutput::Failed(error)),
            },
            EndpointEvent::PeerClosed if self.stage == Stage::Handshake => {
                self.end(AssociationOutput::Failed(DtlsError::Handshake(Error::ErrAlertFatalOrClose)));
            }
            EndpointEvent::PeerClosed => self.end(AssociationOutput::Closed),
            // No data channels here; and more events may come in later versions.
            _ => {}
        }
    }

    fn established(&self) -> Result<AssociationOutput, DtlsError> {
        let state = self.endpoint.get_connection_state(DUMMY_ADDRESS).ok_or(DtlsError::KeyExport)?;
        if state.srtp_protection_profile() != library_profile(self.profile) {
            return Err(DtlsError::WrongSrtpProfile);
        }
        let certificate = state.peer_certificates.first().ok_or(DtlsError::NoPeerCertificate)?;
        let exported = state
            .export_keying_material(EXPORTER_LABEL, &[], self.profile.exporter_len())
            .map_err(|_| DtlsError::KeyExport)?;
        let keys = KeyingMaterial::from_exporter(self.profile, exported.as_ref())
            .map_err(|_| DtlsError::KeyExport)?;
        Ok(AssociationOutput::Established { keys, fingerprint: Fingerprint::of_certificate(certificate) })
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if !self.server_hello_sent && is_server_hello(&transmit.message) {
                self.server_hello_sent = true;
                self.tries = 0;
            }
            self.outputs.push_back(AssociationOutput::Transmit(transmit.message.to_vec()));
        }
    }

    fn end(&mut self, output: AssociationOutput) {
        if self.stage != Stage::Over {
            self.stage = Stage::Over;
            self.outputs.push_back(output);
        }
    }
}

impl std::fmt::Debug for RtcDtlsAssociation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcDtlsAssociation")
            .field("profile", &self.profile)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
