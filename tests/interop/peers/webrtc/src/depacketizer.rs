//! The crate's depacketizers, one of which is chosen by the codec.

use bytes::Bytes;
use rtc::rtp::codec::{
    av1::Av1Depacketizer, h264::H264Packet, opus::OpusPacket, vp8::Vp8Packet, vp9::Vp9Packet,
};
use rtc::rtp::packetizer::Depacketizer;
use rtc::shared::error::Result;

pub(crate) struct AnyDepacketizer {
    inner: Box<dyn Depacketizer + Send>,
    is_vp9: bool,
}

impl AnyDepacketizer {
    pub(crate) fn of(codec: &str) -> crate::Result<Self> {
        let inner: Box<dyn Depacketizer + Send> = match codec {
            "VP8" => Box::<Vp8Packet>::default(),
            "VP9" => Box::<Vp9Packet>::default(),
            "H264" => Box::<H264Packet>::default(),
            "AV1" => Box::<Av1Depacketizer>::default(),
            "OPUS" => Box::<OpusPacket>::default(),
            _ => return Err(format!("no depacketizer for {codec}").into()),
        };
        Ok(Self { inner, is_vp9: codec == "VP9" })
    }
}

impl Depacketizer for AnyDepacketizer {
    fn depacketize(&mut self, payload: &Bytes) -> Result<Bytes> {
        if self.is_vp9 {
            // It would count the references of this packet (flexible mode) on from those of the packets before.
            self.inner = Box::<Vp9Packet>::default();
        }
        self.inner.depacketize(payload)
    }

    fn is_partition_head(&self, payload: &Bytes) -> bool {
        self.inner.is_partition_head(payload)
    }

    fn is_partition_tail(&self, marker: bool, payload: &Bytes) -> bool {
        self.inner.is_partition_tail(marker, payload)
    }
}
