use vestibule_media_core::sdp;

use super::*;
use crate::client::fresh_ice;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn ice() -> IceParameters {
    fresh_ice(&mut StdRng::seed_from_u64(1))
}

fn fingerprint() -> Fingerprint {
    Fingerprint::from_sha256([0xab; 32])
}

fn camera_and_seats(seats: usize) -> Offer {
    let mut lines = vec![
        OfferLine::Send { kind: Kind::Audio, ssrc: 1_001, rtx: None },
        OfferLine::Simulcast { rids: ["q", "h", "f"].map(str::to_owned).to_vec() },
        OfferLine::Idle { kind: Kind::Video },
    ];
    for _ in 0..seats {
        lines.extend([OfferLine::Receive { kind: Kind::Audio }, OfferLine::Receive { kind: Kind::Video }]);
    }
    Offer {
        ice: ice(),
        fingerprint: fingerprint(),
        candidate: Some(SocketAddr::from(([127, 0, 0, 1], 4_000))),
        setup: Setup::ActPass,
        version: 2,
        lines,
    }
}

#[test]
fn the_server_reads_our_offer() {
    let read = sdp::Offer::parse(&camera_and_seats(2).to_sdp()).unwrap();
    assert_eq!((read.ice, read.fingerprint), (ice(), fingerprint()));
    assert_eq!(read.extensions, EXTENSION_IDS);
    let rids: Vec<&str> = read.media[1].rids.iter().map(sdp::Rid::as_str).collect();
    assert_eq!(rids, ["q", "h", "f"], "lowest first");
    let codec = read.media[1].codec(sdp::CodecName::Vp8).unwrap();
    assert_eq!((codec.payload_type, codec.rtx), (VIDEO_PAYLOAD_TYPE, Some(VIDEO_RTX_PAYLOAD_TYPE)));
    assert!(codec.nack && codec.pli && codec.fir && codec.transport_cc);
    let directions: Vec<sdp::Direction> = read.media.iter().map(|media| media.direction).collect();
    assert_eq!(directions[..3], [sdp::Direction::SendOnly; 3]);
    assert_eq!(directions[3..], [sdp::Direction::RecvOnly; 4]);
    assert_eq!(read.media[0].ssrcs[0].ssrc, 1_001);
}

#[test]
fn a_later_offer_extends_an_earlier_one() {
    let first = sdp::Offer::parse(&camera_and_seats(1).to_sdp()).unwrap();
    let mut later = camera_and_seats(3);
    later.version = 3;
    let later = sdp::Offer::parse(&later.to_sdp()).unwrap();
    assert_eq!(later.extends(&first.terms()), Ok(()));
}

#[test]
fn the_answer_of_the_server_is_read() {
    let offer = sdp::Offer::parse(&camera_and_seats(1).to_sdp()).unwrap();
    let stream = |ssrc, rtx| sdp::SendStream {
        ssrc,
        rtx,
        stream_id: "seat".to_owned(),
        track_id: "track".to_owned(),
        cname: "vestibule".to_owned(),
    };
    let receive = sdp::AnswerMedia { send: None, receive: true, preferred: None };
    let send =
        |ssrc, rtx| sdp::AnswerMedia { send: Some(stream(ssrc, rtx)), receive: false, preferred: None };
    let media = [receive.clone(), receive.clone(), receive, send(501, None), send(502, Some(503))];
    let address = SocketAddr::from(([127, 0, 0, 1], 5_000));
    let text = sdp::write_answer(
        &offer,
        &sdp::AnswerContext {
            session_id: 1,
            version: 1,
            ice: &ice(),
            fingerprint: &fingerprint(),
            candidates: &[sdp::Candidate { address: address.into() }],
            media: &media,
        },
    );
    let read = Description::parse(&text).unwrap();
    assert!(read.ice_lite);
    assert_eq!((&read.ice, read.fingerprint, read.setup), (&ice(), fingerprint(), Setup::Passive));
    assert_eq!(read.candidates, [address]);
    let camera = read.line("1").unwrap().negotiated(Kind::Video).unwrap();
    assert_eq!((camera.payload_type, camera.rtx_payload_type), (96, Some(97)));
    assert_eq!(camera.extensions.rid, EXTENSION_IDS.rid);
    assert_eq!(read.line("1").unwrap().receives_rids, ["q", "h", "f"]);
    let receives = read.receives();
    assert_eq!(receives.pairs, [(502, 503)]);
    assert_eq!(receives.extensions.transport_cc, EXTENSION_IDS.transport_cc);
    let video = receives.codecs.iter().find(|codec| codec.kind == Kind::Video).unwrap();
    assert_eq!(*video, ReceivedCodec { kind: Kind::Video, payload_type: 96, rtx: Some(97), nack: true });
}

/// An offer of a server for a subscriber, in the manner of those on pion: session-level fingerprint, a data channel
/// first, several codecs, candidates after all else, one of them over TCP and one by name.
const SERVER_OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    a=fingerprint:sha-256 ab:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\r\n\
    a=group:BUNDLE 0 1 2\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\n\
    a=ice-ufrag:Ab12\r\na=ice-pwd:0123456789012345678901\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:1\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\n\
    a=rtpmap:63 red/48000/2\r\na=sendonly\r\na=ssrc:11 cname:x\r\na=msid:PA_1 TR_1\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 125 96 97\r\na=mid:2\r\na=rtpmap:125 H264/90000\r\na=rtpmap:96 VP8/90000\r\n\
    a=rtcp-fb:* nack\r\na=rtcp-fb:96 transport-cc\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=extmap:7/sendonly urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:9 urn:unknown\r\na=sendonly\r\n\
    a=ssrc-group:FID 21 22\r\na=ssrc:21 cname:x\r\na=ssrc:21 msid:PA_1 TR_2\r\na=ssrc:22 cname:x\r\n\
    a=candidate:1 1 tcp 99 127.0.0.1 7 typ host tcptype passive\r\n\
    a=candidate:2 1 udp 98 abc.local 7 typ host\r\na=candidate:3 1 UDP 97 127.0.0.1 7881 typ host generation 0\r\n\
    a=candidate:3 2 UDP 97 127.0.0.1 7882 typ host generation 0\r\n\
    m=video 0 UDP/TLS/RTP/SAVPF 98\r\na=mid:3\r\na=rtpmap:98 VP9/90000\r\n";

#[test]
fn an_offer_of_another_server_is_read_and_answered() {
    let offer = Description::parse(SERVER_OFFER).unwrap();
    assert_eq!(offer.candidates, [SocketAddr::from(([127, 0, 0, 1], 7_881))]);
    assert_eq!((offer.setup, offer.ice_lite), (Setup::ActPass, false));
    assert_eq!(
        (offer.lines[2].ssrcs.as_slice(), offer.lines[2].pairs.as_slice()),
        (&[21, 22][..], &[(21, 22)][..])
    );
    assert_eq!(offer.lines[1].msid, Some(("PA_1".to_owned(), "TR_1".to_owned())));
    assert_eq!(offer.receives().codecs.len(), 2);
    assert_eq!(offer.receives().extensions.mid, Some(7));

    let candidate = SocketAddr::from(([127, 0, 0, 1], 4_000));
    let text = answer(&offer, &ice(), &fingerprint(), candidate);
    let ours = Description::parse(&text).unwrap();
    assert!(text.contains("a=group:BUNDLE 0 1 2\r\n"), "{text}");
    assert_eq!((ours.setup, ours.candidates.as_slice()), (Setup::Active, &[candidate][..]));
    let rejected: Vec<bool> = ours.lines.iter().map(|line| line.rejected).collect();
    assert_eq!(rejected, [false, false, false, true]);
    assert_eq!(ours.lines[1].direction, Direction::RecvOnly);
    assert_eq!(ours.lines[2].negotiated(Kind::Video).map(|found| found.payload_type), Some(96));
    assert_eq!(ours.lines[2].extensions, [(7, "urn:ietf:params:rtp-hdrext:sdes:mid".to_owned())]);
}

#[test]
fn what_is_no_description_is_refused() {
    assert_eq!(Description::parse("").unwrap_err(), SdpError::NoCredentials);
    assert_eq!(Description::parse("v=0\r\nnonsense\r\n").unwrap_err(), SdpError::Malformed(2));
    assert_eq!(Description::parse("m=audio\r\n").unwrap_err(), SdpError::Malformed(1));
    let without = SERVER_OFFER.replace("a=fingerprint:sha-256", "a=fingerprint:sha-1");
    assert_eq!(Description::parse(&without).unwrap_err(), SdpError::NoFingerprint);
}
