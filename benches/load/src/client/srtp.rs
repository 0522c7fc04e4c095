//! One transport's SRTP: one sealer, and as many openers as it receives streams for.

use vestibule_media_core::rtp::RtpHeader;
use vestibule_media_core::srtp::{
    KeyingMaterial, Opened, SrtpError, SrtpOpener, SrtpRole, SrtpSealer, session,
};

/// Streams of one opener. The core's openers remember twice as many SSRCs and then begin to forget; who sits in a room of
/// twenty gets more.
const STREAMS_PER_OPENER: usize = 16;

/// Both directions of one transport.
#[derive(Debug)]
pub(super) struct Srtp {
    pub(super) sealer: SrtpSealer,
    openers: Vec<SrtpOpener>,
    keys: KeyingMaterial,
    role: SrtpRole,
}

impl Srtp {
    pub(super) fn new(keys: KeyingMaterial, role: SrtpRole) -> Result<Self, SrtpError> {
        let (sealer, opener) = session(&keys, role)?;
        Ok(Self { sealer, openers: vec![opener], keys, role })
    }

    /// Opens a packet of the receiver's stream `slot`.
    #[inline]
    pub(super) fn open_rtp(
        &mut self,
        slot: usize,
        packet: &mut [u8],
        header: &RtpHeader,
    ) -> Result<Opened, SrtpError> {
        let at = slot / STREAMS_PER_OPENER;
        while self.openers.len() <= at {
            self.openers.push(session(&self.keys, self.role)?.1);
        }
        self.openers[at].open_rtp(packet, header)
    }

    pub(super) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.openers[0].open_rtcp(packet)
    }
}
