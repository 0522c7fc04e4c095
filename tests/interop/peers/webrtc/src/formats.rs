//! What an offer says of codecs.

use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9,
};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters};

use crate::Result;

pub(crate) fn opus() -> RTCRtpCodecParameters {
    codec(MIME_TYPE_OPUS, 111, 48_000, "minptime=10;useinbandfec=1")
}

pub(crate) fn video(name: &str) -> Result<RTCRtpCodecParameters> {
    let (mime_type, format) = match name {
        "VP8" => (MIME_TYPE_VP8, ""),
        "VP9" => (MIME_TYPE_VP9, "profile-id=0"),
        "H264" => (MIME_TYPE_H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        "AV1" => (MIME_TYPE_AV1, ""),
        _ => return Err(format!("no codec {name}").into()),
    };
    Ok(codec(mime_type, 96, 90_000, format))
}

pub(crate) fn rtx_of(repaired: &RTCRtpCodecParameters) -> RTCRtpCodecParameters {
    codec(MIME_TYPE_RTX, 97, 90_000, &format!("apt={}", repaired.payload_type))
}

fn codec(mime_type: &str, payload_type: u8, clock_rate: u32, format: &str) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.into(),
            clock_rate,
            channels: if clock_rate == 48_000 { 2 } else { 0 },
            sdp_fmtp_line: format.into(),
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}
