//! DTLS-SRTP (RFC 5764): one association per peer, on threads of their own, so that no handshake delays a
//! packet.
//!
//! It knows associations by a key its caller chose, and datagrams the gate of the core has let through; no
//! address, no room, no SDP. Whether a certificate is the right one is for the core to say: here its
//! fingerprint is only reported.

mod acceptor;
mod association;
mod certificate;
mod worker;

#[cfg(test)]
mod tests;

pub use acceptor::{DtlsAcceptor, RtcDtlsAcceptor};
pub use association::{AssociationOutput, DtlsAssociation};
pub use certificate::ServerCertificate;
pub use worker::{
    AssociationKey, DtlsBusy, DtlsReply, DtlsReplySink, DtlsRequest, DtlsWorkerCounters, DtlsWorkers,
};

use thiserror::Error;

/// Why there is no association, or none any more.
#[derive(Debug, Error)]
pub enum DtlsError {
    /// No certificate could be made.
    #[error("the certificate could not be made")]
    Certificate(#[source] rtc_shared::error::Error),
    /// The DTLS library took the configuration badly.
    #[error("the DTLS configuration was refused")]
    Configuration(#[source] rtc_shared::error::Error),
    /// The handshake broke a rule, or the peer ended it.
    #[error("the handshake failed")]
    Handshake(#[source] rtc_shared::error::Error),
    /// The peer negotiated no SRTP, or another profile than it was given.
    #[error("the handshake settled on another SRTP profile")]
    WrongSrtpProfile,
    /// The peer proved no certificate.
    #[error("the peer sent no certificate")]
    NoPeerCertificate,
    /// The DTLS exporter gave no usable keys.
    #[error("the SRTP keys could not be exported")]
    KeyExport,
    /// The handshake took longer than its bound.
    #[error("the handshake took too long")]
    Timeout,
    /// All places of the worker are taken by handshakes under way.
    #[error("too many handshakes at a time")]
    TooManyAssociations,
}
