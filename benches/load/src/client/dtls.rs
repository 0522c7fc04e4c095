//! The client's side of DTLS, on `rtc-dtls`.
//!
//! As a client the library has the flaw it has as a server: any handshake record disarms its timer. So its flights are
//! repeated from here, and it is shown no datagram of a flight it has answered.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_dtls::config::{ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use vestibule_media_core::sdp::Fingerprint;
use vestibule_media_core::srtp::{KeyingMaterial, SrtpProfile};

use super::{PlaneError, TransportError};

/// What the endpoint takes for both addresses; the real ones are ICE's business.
const DUMMY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
/// The label of RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// After how long a browser repeats a flight; it doubles with each repeat.
const FIRST_REPEAT_MICROS: u64 = 50_000;
/// How often the library repeats a flight before it gives up.
const LIBRARY_REPEATS_MAX: u32 = 7;
const REPEAT_MICROS_MAX: u64 = 3_000_000;
const HANDSHAKE_MICROS_MAX: u64 = 30_000_000;
/// DTLS record types (RFC 5246 section 6.2.1) and the handshake message that begins it all.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// What all transports of a plane show and want. Made once, for it takes longer than a handshake.
pub(super) struct DtlsConfig {
    config: Arc<HandshakeConfig>,
    profile: SrtpProfile,
    pub(super) fingerprint: Fingerprint,
}

impl DtlsConfig {
    pub(super) fn new(profile: SrtpProfile) -> Result<Self, PlaneError> {
        let failed = |error: rtc_shared::error::Error| PlaneError::Certificate(error.to_string());
        let provider = AwsLcRsProvider::new();
        let certificate =
            Certificate::generate_self_signed(vec!["load".to_owned()], provider.crypto()).map_err(failed)?;
        let der = certificate.certificate.first().map_or(&[][..], |der| der.as_ref());
        let fingerprint = Fingerprint::of_certificate(der);
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::new(provider))
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![library_profile(profile)])
            // Certificates are self-signed; what counts is the fingerprint, compared below (RFC 8122).
            .with_insecure_skip_verify(true)
            .with_flight_interval(Duration::from_micros(FIRST_REPEAT_MICROS))
            .build(true, Some(DUMMY))
            .map_err(failed)?;
        Ok(Self { config: Arc::new(config), profile, fingerprint })
    }
}

const fn library_profile(profile: SrtpProfile) -> SrtpProtectionProfile {
    match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProfile::Aes128CmSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}

/// Whether a datagram is an alert. Once SRTP flows nothing but the end is said by one.
pub(super) fn is_alert(datagram: &[u8]) -> bool {
    datagram.first() == Some(&ALERT)
}

/// Which of our flights is waiting for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Hello,
    HelloWithCookie,
    Last,
}

/// A handshake under way.
pub(super) struct Handshake {
    endpoint: Endpoint,
    profile: SrtpProfile,
    expected: Fingerprint,
    flight: Flight,
    /// The datagrams of that flight.
    unanswered: Vec<Vec<u8>>,
    /// Number of the next clear record, so that no repeat is taken for a replay.
    next_record: u64,
    repeat_at: u64,
    repeats: u32,
    expires_at: u64,
    pub(super) outbox: Vec<Vec<u8>>,
}

impl Handshake {
    /// Begins one with a remote of this fingerprint; the first datagram is in `outbox`.
    pub(super) fn begin(
        config: &DtlsConfig,
        expected: Fingerprint,
        now: u64,
        instant: Instant,
    ) -> Result<Self, TransportError> {
        let mut handshake = Self {
            endpoint: Endpoint::new(DUMMY, TransportProtocol::UDP, None),
            profile: config.profile,
            expected,
            flight: Flight::Hello,
            unanswered: Vec::new(),
            next_record: 0,
            repeat_at: u64::MAX,
            repeats: 0,
            expires_at: now + HANDSHAKE_MICROS_MAX,
            outbox: Vec::new(),
        };
        handshake
            .endpoint
            .connect(instant, DUMMY, Arc::clone(&config.config), None)
            .map_err(|_| TransportError::Dtls)?;
        handshake.drain(now);
        Ok(handshake)
    }

    /// Takes a datagram; the keys once it is done.
    pub(super) fn receive(
        &mut self,
        datagram: &[u8],
        now: u64,
        instant: Instant,
    ) -> Result<Option<KeyingMaterial>, TransportError> {
        if self.has_read(datagram) {
            return Ok(None);
        }
        let events = self.endpoint.read(instant, DUMMY, None, datagram.into());
        self.drain(now);
        let mut complete = false;
        for event in events.map_err(|_| TransportError::Dtls)? {
            match event {
                EndpointEvent::HandshakeComplete => complete = true,
                EndpointEvent::PeerClosed => return Err(TransportError::Closed),
                _ => {}
            }
        }
        if complete { self.keys().map(Some) } else { Ok(None) }
    }

    /// Repeats the flight that is due.
    pub(super) fn tick(&mut self, now: u64, instant: Instant) -> Result<(), TransportError> {
        if now >= self.expires_at {
            return Err(TransportError::Dtls);
        }
        if now < self.repeat_at {
            return Ok(());
        }
        self.repeats += 1;
        let wait = FIRST_REPEAT_MICROS << self.repeats.min(10);
        self.repeat_at = now + wait.min(REPEAT_MICROS_MAX);
        let before = std::mem::take(&mut self.unanswered);
        if self.flight == Flight::Last && self.repeats <= LIBRARY_REPEATS_MAX {
            // Only the library can seal its Finished under a new number, and a server that has it drops the old one.
            self.endpoint.handle_timeout(DUMMY, instant).map_err(|_| TransportError::Dtls)?;
            self.drain(now);
        }
        if self.unanswered.is_empty() {
            for datagram in &before {
                self.send(datagram);
            }
            self.unanswered = before;
        }
        Ok(())
    }

    fn keys(&self) -> Result<KeyingMaterial, TransportError> {
        let state = self.endpoint.get_connection_state(DUMMY).ok_or(TransportError::Dtls)?;
        let certificate = state.peer_certificates.first().ok_or(TransportError::Fingerprint)?;
        if Fingerprint::of_certificate(certificate) != self.expected {
            return Err(TransportError::Fingerprint);
        }
        if state.srtp_protection_profile() != library_profile(self.profile) {
            return Err(TransportError::SrtpProfile);
        }
        let exported = state
            .export_keying_material(EXPORTER_LABEL, &[], self.profile.exporter_len())
            .map_err(|_| TransportError::Dtls)?;
        KeyingMaterial::from_exporter(self.profile, exported.as_ref()).map_err(|_| TransportError::Dtls)
    }

    /// Whether a datagram holds only clear messages of a flight we have answered.
    fn has_read(&self, datagram: &[u8]) -> bool {
        let answered = match self.flight {
            Flight::Hello => return false,
            // HelloVerifyRequest; with the last flight also ServerHello to ServerHelloDone.
            Flight::HelloWithCookie => 0,
            Flight::Last => 5,
        };
        let mut any = false;
        let all = records(datagram).all(|record| {
            any = true;
            record.first() == Some(&HANDSHAKE)
                && epoch(record) == 0
                && message_sequence(record).is_some_and(|sequence| sequence <= answered)
        });
        any && all
    }

    fn drain(&mut self, now: u64) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let datagram = transmit.message.to_vec();
            let hello = datagram.first() == Some(&HANDSHAKE)
                && epoch(&datagram) == 0
                && datagram.get(13) == Some(&CLIENT_HELLO);
            let flight = match (hello, message_sequence(&datagram)) {
                (true, Some(0)) => Flight::Hello,
                (true, _) => Flight::HelloWithCookie,
                (false, _) => Flight::Last,
            };
            if self.flight != flight || self.repeat_at == u64::MAX {
                self.flight = flight;
                self.unanswered.clear();
                self.repeats = 0;
                self.repeat_at = now + FIRST_REPEAT_MICROS;
            }
            self.send(&datagram);
            self.unanswered.push(datagram);
        }
    }

    /// Sends a datagram, its clear records under numbers not used yet. What is encrypted is authenticated with its
    /// number, and goes as it is.
    fn send(&mut self, datagram: &[u8]) {
        let mut out = Vec::with_capacity(datagram.len());
        for record in records(datagram) {
            let start = out.len();
            out.extend_from_slice(record);
            if epoch(record) == 0 {
                let number = self.next_record.to_be_bytes();
                out[start + 5..start + 11].copy_from_slice(&number[2..]);
                self.next_record += 1;
            }
        }
        self.outbox.push(out);
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("flight", &self.flight).finish_non_exhaustive()
    }
}

fn epoch(record: &[u8]) -> u16 {
    match record {
        [_, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

fn message_sequence(record: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*record.get(17)?, *record.get(18)?]))
}

/// The records of a datagram; ends where one is cut off.
fn records(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = 13 + usize::from(u16::from_be_bytes([*rest.get(11)?, *rest.get(12)?]));
        let (record, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(record)
    })
}
