//! The connection: one offer, one answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::ice::network_type::NetworkType;
use rtc::interceptor::Slot;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCBundlePolicy,
    RTCConfiguration, RTCConfigurationBuilder, RTCIceCandidateInit, RTCIceGatheringState, RTCIceServer,
    RTCIceTransportPolicy, RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder,
    register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

use crate::Result;
use crate::codec::{Codecs, Decoded};
use crate::formats;
use crate::key_frames::{self, KeyFrameRequests};
use crate::receive::receive;
use crate::send::Source;

const PICTURE_DURATION: Duration = Duration::from_millis(40);
const VOICE_DURATION: Duration = Duration::from_millis(20);
/// Each interface has an address of its own for it.
const ANY_ADDRESS: [&str; 2] = ["0.0.0.0:0", "[::]:0"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wish {
    ice_servers: Vec<IceServer>,
    relay_only: bool,
    tcp_only: bool,
    codec: String,
}

#[derive(Deserialize)]
struct IceServer {
    urls: Vec<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    credential: String,
}

pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    sources: Vec<Source>,
    state: watch::Receiver<RTCPeerConnectionState>,
    gathering: watch::Receiver<RTCIceGatheringState>,
    decoded: Decoded,
}

impl Peer {
    pub(crate) async fn new(codecs: &Codecs, wish: Wish) -> Result<Self> {
        let (pictures, voice) = tokio::try_join!(codecs.encode(&wish.codec), codecs.encode("OPUS"))?;
        let (audio, video) = (formats::opus(), formats::video(&wish.codec)?);
        let mut engine = MediaEngine::default();
        engine.register_codec(audio.clone(), RtpCodecKind::Audio)?;
        engine.register_codec(video.clone(), RtpCodecKind::Video)?;
        engine.register_codec(formats::rtx_of(&video), RtpCodecKind::Video)?;
        let registry = register_default_interceptors(Registry::new(), &mut engine)?
            .with(Slot::from(key_frames::POSITION), KeyFrameRequests::default());

        // The socket for it is of IPv4, and not every network has that.
        let mut settings = SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled);
        if wish.tcp_only {
            // A candidate of UDP would hide one of TCP with the same address and port: of these alone it knows them.
            settings = settings.with_network_types(vec![NetworkType::Tcp4, NetworkType::Tcp6]);
        }

        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let (gathering_tx, gathering) = watch::channel(RTCIceGatheringState::New);
        let decoded = Decoded::default();
        let events = Events { state_tx, gathering_tx, codecs: codecs.clone(), decoded: decoded.clone() };
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_configuration(configuration(wish.ice_servers, wish.relay_only))
                .with_media_engine(engine)
                .with_setting_engine(settings.build())
                .with_interceptor_registry(registry)
                .with_handler(Arc::new(events))
                .with_udp_addrs(ANY_ADDRESS.to_vec())
                .with_tcp_addrs(ANY_ADDRESS.to_vec())
                .build()
                .await?,
        );
        let sources = vec![
            Source::add(&*connection, RtpCodecKind::Audio, audio.rtp_codec, voice, VOICE_DURATION).await?,
            Source::add(&*connection, RtpCodecKind::Video, video.rtp_codec, pictures, PICTURE_DURATION)
                .await?,
        ];
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            let direction = RTCRtpTransceiverDirection::Recvonly;
            let init = RTCRtpTransceiverInit { direction, ..Default::default() };
            connection.add_transceiver_from_kind(kind, Some(init)).await?;
        }
        Ok(Self { connection, sources, state, gathering, decoded })
    }

    pub(crate) async fn offer(&mut self) -> Result<Value> {
        let offer = self.connection.create_offer(None).await?;
        self.connection.set_local_description(offer).await?;
        self.gathering.wait_for(|state| *state == RTCIceGatheringState::Complete).await?;
        let description = self.connection.local_description().await.ok_or("no local description")?;
        Ok(json!({ "sdp": description.sdp }))
    }

    pub(crate) async fn answer(&mut self, sdp: String) -> Result<Value> {
        let candidates: Vec<String> = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a="))
            .filter(|attribute| attribute.starts_with("candidate:"))
            .map(String::from)
            .collect();
        self.connection.set_remote_description(RTCSessionDescription::answer(sdp)?).await?;
        // It makes no TCP connection for a candidate of a description.
        for candidate in candidates {
            self.connection
                .add_ice_candidate(RTCIceCandidateInit { candidate, ..Default::default() })
                .await?;
        }
        for source in self.sources.drain(..) {
            let mut state = self.state.clone();
            tokio::spawn(async move {
                state.wait_for(|state| *state == RTCPeerConnectionState::Connected).await?;
                source.play().await.inspect_err(|error| eprintln!("not sent: {error}"))
            });
        }
        Ok(json!({}))
    }

    pub(crate) fn received(&self) -> Result<Value> {
        let mut received =
            json!({ "state": self.state.borrow().to_string(), "frames": 0, "size": null, "energy": 0 });
        let decoded = self.decoded.lock().expect("no holder panics");
        received.as_object_mut().expect("made one").extend(decoded.clone());
        Ok(received)
    }
}

struct Events {
    state_tx: watch::Sender<RTCPeerConnectionState>,
    gathering_tx: watch::Sender<RTCIceGatheringState>,
    codecs: Codecs,
    decoded: Decoded,
}

#[async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state_tx.send_replace(state);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathering_tx.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let received = receive(track, self.codecs.clone(), self.decoded.clone());
        tokio::spawn(async move { received.await.inspect_err(|error| eprintln!("not received: {error}")) });
    }
}

fn configuration(servers: Vec<IceServer>, relay_only: bool) -> RTCConfiguration {
    let servers = servers
        .into_iter()
        .map(|IceServer { urls, username, credential }| RTCIceServer { urls, username, credential })
        .collect();
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers)
        .with_ice_transport_policy(if relay_only {
            RTCIceTransportPolicy::Relay
        } else {
            RTCIceTransportPolicy::All
        })
        .with_bundle_policy(RTCBundlePolicy::MaxBundle)
        .build()
}
