//! What is received of somebody: packets become frames, and frames are decoded.

use std::sync::Arc;
use std::time::Instant;

use rtc::media::io::sample_builder::SampleBuilder;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::Result;
use crate::codec::{Codecs, Decoded};
use crate::depacketizer::AnyDepacketizer;
use crate::replay::ReplayWindow;

/// How many packets may be between one that is missing and the latest until it is given up.
const PACKETS_LATE_MAX: u16 = 200;

pub(crate) async fn receive(track: Arc<dyn TrackRemote>, codecs: Codecs, decoded: Decoded) -> Result<()> {
    let ssrc = *track.ssrcs().await.first().ok_or("a track without SSRC")?;
    let codec = track.codec(ssrc).await.ok_or("a track without codec")?;
    let name = codec.mime_type.split('/').next_back().unwrap_or_default().to_uppercase();
    let mut decoder = codecs.decoder(&name, decoded)?;
    let mut builder = SampleBuilder::new(PACKETS_LATE_MAX, AnyDepacketizer::of(&name)?, codec.clock_rate);
    let is_video = codec.mime_type.starts_with("video/");
    if is_video {
        request_key_frame(&*track, ssrc).await?;
    }
    let mut window = ReplayWindow::default();
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        if !window.is_new(packet.header.sequence_number) {
            continue;
        }
        builder.push(Instant::now(), packet);
        while let Some(frame) = builder.pop(Instant::now()) {
            if is_video && frame.prev_dropped_packets > frame.prev_padding_packets {
                request_key_frame(&*track, ssrc).await?;
            }
            decoder.decode(&frame.data).await?;
        }
    }
    Ok(())
}

async fn request_key_frame(track: &dyn TrackRemote, media_ssrc: u32) -> Result<()> {
    Ok(track.write_rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc })]).await?)
}
