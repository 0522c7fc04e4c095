//! What the engine needs of a DTLS library: datagrams and time in; datagrams, keys and a certificate out.

use std::time::Instant;

use vestibule_media_core::sdp::Fingerprint;
use vestibule_media_core::srtp::KeyingMaterial;

use super::DtlsError;

/// The server's side of one DTLS association. It opens no socket and reads no clock.
pub trait DtlsAssociation: Send {
    /// Takes a datagram of the peer.
    fn handle_datagram(&mut self, datagram: &[u8], now: Instant);

    /// Does what is due at `now`.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`Self::handle_timeout`] is to be called; `None` if nothing is due ever.
    fn deadline(&self) -> Option<Instant>;

    /// What has come of the inputs; to be called until `None` after each of them.
    fn poll(&mut self) -> Option<AssociationOutput>;
}

/// What comes out of an association.
#[derive(Debug)]
pub enum AssociationOutput {
    /// A datagram for the peer.
    Transmit(Vec<u8>),
    /// The handshake is complete. This comes once.
    Established {
        /// What SRTP is keyed with.
        keys: KeyingMaterial,
        /// The SHA-256 of the certificate whose key the peer has proved to hold.
        fingerprint: Fingerprint,
    },
    /// The handshake will not complete. Nothing comes after it.
    Failed(DtlsError),
    /// The peer has closed the association. Nothing comes after it.
    Closed,
}
