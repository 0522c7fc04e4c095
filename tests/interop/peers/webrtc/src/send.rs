//! A microphone and a camera: encoded media, sent again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::time::{MissedTickBehavior, interval};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::peer_connection::PeerConnection;
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit, RtpSender};

use crate::Result;

pub(crate) struct Source {
    track: Arc<TrackLocalStaticSample>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
    frames: Vec<Bytes>,
    frame_duration: Duration,
}

impl Source {
    pub(crate) async fn add(
        connection: &dyn PeerConnection,
        kind: RtpCodecKind,
        codec: RTCRtpCodec,
        frames: Vec<Bytes>,
        frame_duration: Duration,
    ) -> Result<Self> {
        let ssrc = if kind == RtpCodecKind::Audio { 1_001 } else { 1_002 };
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec,
            ..Default::default()
        };
        let track =
            MediaStreamTrack::new("own".into(), kind.to_string(), kind.to_string(), kind, vec![coding]);
        let track = Arc::new(TrackLocalStaticSample::new(Instant::now(), track)?);
        let init =
            RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
        let transceiver = connection.add_transceiver_from_track(track.clone(), Some(init)).await?;
        let sender = transceiver.sender().await?.ok_or("a transceiver without its sender")?;
        Ok(Self { track, sender, ssrc, frames, frame_duration })
    }

    /// Once it is connected. Who asks for a key frame is sent the first.
    pub(crate) async fn play(self) -> Result<()> {
        let parameters = self.sender.get_parameters().await?;
        let payload_type =
            parameters.rtp_parameters.codecs.first().ok_or("no codec was answered")?.payload_type;
        let mut ticks = interval(self.frame_duration);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let frame = Sample {
                        data: self.frames[next].clone(),
                        duration: self.frame_duration,
                        ..Sample::new(Instant::now())
                    };
                    self.track.sample_writer(self.ssrc, payload_type).write_sample(&frame).await?;
                    next = (next + 1) % self.frames.len();
                }
                request = self.track.poll() => match request {
                    Some(_) => next = 0,
                    None => return Ok(()),
                }
            }
        }
    }
}
