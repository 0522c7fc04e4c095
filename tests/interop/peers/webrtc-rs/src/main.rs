//! A peer made of the `webrtc` crate: commands as lines of JSON on standard input, answers on standard output
//! (`peers/program.mjs`). The crate carries packets and has no codecs; `peers/codec.py` encodes and decodes for it.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use rtc::interceptor::Registry;
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::configuration::{RTCConfigurationBuilder, RTCIceTransportPolicy};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceServer;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::Depacketizer as _;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, stdin};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCPeerConnectionState,
};
use webrtc::rtp_transceiver::RtpSender;

const OPUS: u8 = 111;
const VP8: u8 = 96;
const CODEC_RECORDS_MAX: usize = 256;

#[derive(Deserialize)]
struct Request {
    id: u64,
    method: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    ice_servers: Vec<IceServer>,
    relay_only: bool,
}

#[derive(Deserialize)]
struct IceServer {
    urls: Vec<String>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    credential: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    let mut peer = None;
    while let Some(line) = lines.next_line().await? {
        let Request { id, method, params } = serde_json::from_str(&line)?;
        let result = match (&*method, &peer) {
            ("offer", None) => match Peer::start(serde_json::from_value(params)?).await {
                Ok((started, sdp)) => {
                    peer = Some(started);
                    Ok(json!({ "sdp": sdp }))
                }
                Err(error) => Err(error),
            },
            ("answer", Some(peer)) => {
                peer.answer(params["sdp"].as_str().unwrap_or_default()).await.map(|()| json!({}))
            }
            ("received", Some(peer)) => Ok(peer.received()),
            _ => Err(anyhow!("not now")),
        };
        println!("{}", match result {
            Ok(result) => json!({ "id": id, "result": result }),
            Err(error) => json!({ "id": id, "error": format!("{error:#}") }),
        });
    }
    Ok(())
}

struct Peer {
    connection: Arc<dyn PeerConnection>,
    camera: Sending,
    microphone: Sending,
    events: Arc<Events>,
    decoded: Arc<Mutex<Value>>,
}

struct Sending {
    track: Arc<TrackLocalStaticSample>,
    sender: Arc<dyn RtpSender>,
}

struct Events {
    gathered: Notify,
    connected: Notify,
    state: Mutex<String>,
    /// To the decoder.
    records: mpsc::Sender<(u8, Bytes)>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.notify_one();
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        *self.state.lock().unwrap() = state.to_string();
        if state == RTCPeerConnectionState::Connected {
            self.connected.notify_one();
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        tokio::spawn(receive(track, self.records.clone()));
    }
}

impl Peer {
    async fn start(wish: Wish) -> Result<(Self, String)> {
        let (records, for_decoder) = mpsc::channel(CODEC_RECORDS_MAX);
        let decoded = Arc::new(Mutex::new(json!({ "frames": 0, "size": null, "energy": 0.0 })));
        decode(for_decoder, Arc::clone(&decoded))?;
        let events = Arc::new(Events {
            gathered: Notify::new(),
            connected: Notify::new(),
            state: Mutex::default(),
            records,
        });
        let mut engine = MediaEngine::default();
        engine.register_codec(parameters(opus(), OPUS), RtpCodecKind::Audio)?;
        engine.register_codec(parameters(vp8(), VP8), RtpCodecKind::Video)?;
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        let policy = if wish.relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
        let servers = wish.ice_servers.into_iter().map(|IceServer { urls, username, credential }| {
            RTCIceServer { urls, username, credential, ..RTCIceServer::default() }
        });
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(servers.collect())
            .with_ice_transport_policy(policy)
            .build();
        let local = local_ip()?;
        let connection = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::clone(&events) as Arc<dyn PeerConnectionEventHandler>)
            .with_udp_addrs(vec![format!("{local}:0")])
            .with_tcp_addrs(vec![format!("{local}:0")])
            .build()
            .await?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        let microphone = Sending::add(&connection, opus(), RtpCodecKind::Audio, 1_001).await?;
        let camera = Sending::add(&connection, vp8(), RtpCodecKind::Video, 2_002).await?;
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: Vec::new(),
                send_encodings: Vec::new(),
            };
            connection.add_transceiver_from_kind(kind, Some(init)).await?;
        }
        let offer = connection.create_offer(None).await?;
        connection.set_local_description(offer).await?;
        tokio::time::timeout(Duration::from_secs(10), events.gathered.notified())
            .await
            .context("candidates are not gathered")?;
        let sdp = connection.local_description().await.context("no description")?.sdp;
        Ok((Self { connection, camera, microphone, events, decoded }, sdp))
    }

    async fn answer(&self, sdp: &str) -> Result<()> {
        let answer = RTCSessionDescription::answer(sdp.to_owned())?;
        self.connection.set_remote_description(answer).await?;
        let mut encoder = codec("encode")?;
        let mut encoded = encoder.stdout.take().context("no pipe")?;
        let (camera, microphone) = (self.camera.payload_type().await?, self.microphone.payload_type().await?);
        let tracks = [(Arc::clone(&self.camera.track), camera), (Arc::clone(&self.microphone.track), microphone)];
        let events = Arc::clone(&self.events);
        tokio::spawn(async move {
            events.connected.notified().await;
            // It ends with the pipe.
            let _encoder = encoder;
            while let Ok(kind) = encoded.read_u8().await {
                let Ok(length) = encoded.read_u32().await else { return };
                let mut data = vec![0; length as usize];
                if encoded.read_exact(&mut data).await.is_err() {
                    return;
                }
                let [camera, microphone] = &tracks;
                let ((track, payload_type), millis) =
                    if kind == b'v' { (camera, 40) } else { (microphone, 20) };
                let Some(ssrc) = webrtc::media_stream::Track::ssrcs(&**track).await.first().copied() else { return };
                let sample = Sample {
                    data: data.into(),
                    duration: Duration::from_millis(millis),
                    ..Sample::new(Instant::now())
                };
                if let Err(error) = track.sample_writer(ssrc, *payload_type).write_sample(&sample).await {
                    eprintln!("not sent: {error}");
                }
            }
        });
        Ok(())
    }

    fn received(&self) -> Value {
        let mut received = self.decoded.lock().unwrap().clone();
        received["state"] = json!(*self.events.state.lock().unwrap());
        received
    }
}

impl Sending {
    async fn add(
        connection: &Arc<dyn PeerConnection>,
        codec: RTCRtpCodec,
        kind: RtpCodecKind,
        ssrc: u32,
    ) -> Result<Self> {
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec,
            ..Default::default()
        };
        let stream = MediaStreamTrack::new(
            format!("stream-{kind}"),
            format!("track-{kind}"),
            format!("label-{kind}"),
            kind,
            vec![encoding.clone()],
        );
        let track = Arc::new(TrackLocalStaticSample::new(Instant::now(), stream)?);
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: Vec::new(),
            send_encodings: vec![encoding],
        };
        let transceiver = connection
            .add_transceiver_from_track(Arc::clone(&track) as Arc<dyn TrackLocal>, Some(init))
            .await?;
        let sender = transceiver.sender().await?.context("no sender")?;
        Ok(Self { track, sender })
    }

    async fn payload_type(&self) -> Result<u8> {
        let parameters = self.sender.get_parameters().await?;
        Ok(parameters.rtp_parameters.codecs.first().context("no codec was agreed on")?.payload_type)
    }
}

/// Gives what a track brings to the decoder: voices packet by packet, pictures frame by frame.
async fn receive(track: Arc<dyn TrackRemote>, records: mpsc::Sender<(u8, Bytes)>) {
    let mut frame = Vec::new();
    let mut next = None;
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
        if packet.payload.is_empty() {
            continue;
        }
        if packet.header.payload_type == OPUS {
            let _ = records.try_send((b'a', packet.payload));
            continue;
        }
        let mut vp8 = Vp8Packet::default();
        let Ok(payload) = vp8.depacketize(&packet.payload) else { continue };
        let starts = vp8.s == 1 && vp8.pid == 0;
        if starts {
            frame.clear();
        }
        let follows = next == Some(packet.header.sequence_number);
        next = (starts || follows).then(|| packet.header.sequence_number.wrapping_add(1));
        if next.is_none() {
            continue;
        }
        frame.extend_from_slice(&payload);
        if packet.header.marker {
            let _ = records.try_send((b'v', Bytes::from(std::mem::take(&mut frame))));
        }
    }
}

/// Starts the decoder; what it says it had is in `decoded` from then on.
fn decode(mut records: mpsc::Receiver<(u8, Bytes)>, decoded: Arc<Mutex<Value>>) -> Result<()> {
    let mut decoder = codec("decode")?;
    let (mut to, from) = decoder.stdin.take().zip(decoder.stdout.take()).context("no pipe")?;
    tokio::spawn(async move {
        let _decoder = decoder;
        while let Some((kind, bytes)) = records.recv().await {
            let head = [&[kind][..], &(bytes.len() as u32).to_be_bytes()].concat();
            if to.write_all(&head).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(said) = serde_json::from_str(&line) {
                *decoded.lock().unwrap() = said;
            }
        }
    });
    Ok(())
}

/// The codecs beside this program; its arguments say how they are started.
fn codec(what: &str) -> Result<Child> {
    let mut arguments = std::env::args().skip(1);
    let (python, script) = arguments.next().zip(arguments.next()).context("usage: PYTHON codec.py")?;
    Ok(Command::new(python)
        .args([&script, what, "VP8"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?)
}

/// The address by which the default route goes; nothing is sent.
fn local_ip() -> Result<String> {
    for (bind, to) in [("0.0.0.0:0", "198.51.100.1:9"), ("[::]:0", "[2001:db8:1::1]:9")] {
        let socket = std::net::UdpSocket::bind(bind)?;
        if socket.connect(to).is_ok() {
            let ip = socket.local_addr()?.ip();
            return Ok(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        }
    }
    Err(anyhow!("no network"))
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: Vec::new(),
    }
}

fn vp8() -> RTCRtpCodec {
    let feedback = [("ccm", "fir"), ("nack", ""), ("nack", "pli")];
    RTCRtpCodec {
        mime_type: MIME_TYPE_VP8.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: String::new(),
        rtcp_feedback: feedback
            .map(|(typ, parameter)| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() })
            .to_vec(),
    }
}

fn parameters(rtp_codec: RTCRtpCodec, payload_type: u8) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters { rtp_codec, payload_type, ..Default::default() }
}
