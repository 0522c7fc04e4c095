//! Offers of real browsers and of hostile ones, and the answers to them.

use std::io::Cursor;

use proptest::prelude::*;
use rtc_sdp::SessionDescription;
use vestibule_media_core::TransportAddress;
use vestibule_media_core::bounds::{
    MEDIA_LINES_MAX, OFFER_BYTES_MAX, OFFER_LINE_BYTES_MAX, OFFER_LINES_MAX, SSRCS_PER_PEER_MAX,
};
use vestibule_media_core::sdp::{
    AnswerContext, AnswerMedia, Candidate, CodecName, Direction, Fingerprint, IceParameters, MediaKind, Mid,
    Offer, OfferedSsrc, Place, Rid, SdpError, SendStream, Setup, write_answer,
};
use vestibule_sim::offer::{
    self, AUDIO_LEVEL_ID, ClientAnswer, ClientLine, ClientOffer, MID_ID, REPAIRED_RID_ID, RID_ID,
    TEST_FINGERPRINT, TRANSPORT_CC_ID, test_offer,
};

const CHROMIUM: &str = include_str!("data/chromium-offer.sdp");
const CHROMIUM_ALL_EXTENSIONS: &str = include_str!("data/chromium-offer-allext.sdp");
const FIREFOX: &str = include_str!("data/firefox-offer.sdp");
/// The page's own layout: microphone, camera, screen and three seats, and a data channel.
const FIREFOX_PAGE: &str = include_str!("data/firefox-page-offer.sdp");
const REAL: [&str; 4] = [CHROMIUM, CHROMIUM_ALL_EXTENSIONS, FIREFOX, FIREFOX_PAGE];

const UFRAG: &str = "clnt";
const PWD: &str = "clientclientclientclient";

/// What the page offers, in one codec of each kind.
fn publisher() -> ClientOffer {
    ClientOffer { codecs: vec![CodecName::Vp8], ..ClientOffer::publisher(UFRAG, PWD, TEST_FINGERPRINT) }
}

/// The answer of a server that takes everything and sends on every m-line the client receives on.
fn answer(offer: &Offer) -> String {
    let ice = server_ice();
    let candidates = ["192.0.2.1:7000", "[2001:db8::1]:7000"]
        .map(|address| Candidate { address: TransportAddress::Udp(address.parse().expect("address")) });
    let media: Vec<AnswerMedia> = (0..offer.media.len())
        .map(|index| AnswerMedia {
            send: offer.media[index].direction.receives().then(|| stream(index)),
            receive: true,
            preferred: None,
        })
        .collect();
    let fingerprint = Fingerprint::from_sha256([0xAB; 32]);
    write_answer(
        offer,
        &AnswerContext {
            session_id: 77,
            version: 1,
            ice: &ice,
            fingerprint: &fingerprint,
            candidates: &candidates,
            media: &media,
        },
    )
}

fn server_ice() -> IceParameters {
    IceParameters::new("srvr", "serverserverserverserver").expect("ICE credentials")
}

fn stream(index: usize) -> SendStream {
    let ssrc = 9_000 + 2 * u32::try_from(index).expect("few m-lines");
    SendStream {
        ssrc,
        rtx: Some(ssrc + 1),
        stream_id: format!("seat-{}", index / 2),
        track_id: format!("track-{index}"),
        cname: "vestibule".to_owned(),
    }
}

/// The lines of `answer`, those of `ignored` prefixes left out.
fn lines_without<'a>(answer: &'a str, ignored: &[&str]) -> Vec<&'a str> {
    answer
        .split_terminator("\r\n")
        .filter(|line| !ignored.iter().any(|prefix| line.starts_with(prefix)))
        .collect()
}

mod real_browsers {
    use super::*;

    #[test]
    fn chromium_is_read() {
        let offer = Offer::parse(CHROMIUM).unwrap();
        assert_eq!(offer.ice, IceParameters::new("71Db", "hB8rwSTx2Vjs/bq4yDr6EuxQ").unwrap());
        assert_eq!(offer.fingerprint.to_string(), TEST_FINGERPRINT);
        assert_eq!(offer.setup, Setup::ActPass);
        assert!(offer.extmap_allow_mixed);
        let ids = offer.extensions;
        assert_eq!((ids.audio_level, ids.transport_cc, ids.mid), (Some(1), Some(3), Some(4)));
        assert_eq!((ids.rid, ids.repaired_rid), (Some(10), Some(11)));
        assert_eq!((ids.video_orientation, ids.playout_delay), (Some(13), Some(5)));

        let [audio, video, data] = &offer.media[..] else { panic!("three m-lines") };
        assert_eq!(
            (audio.mid.as_str(), audio.kind, audio.direction),
            ("0", Some(MediaKind::Audio), Direction::SendRecv)
        );
        let opus = audio.codec(CodecName::Opus).unwrap();
        assert_eq!(
            (opus.name, opus.payload_type, opus.rtx, opus.clock_rate),
            (CodecName::Opus, 111, None, 48_000)
        );
        assert_eq!((opus.nack, opus.pli, opus.fir, opus.transport_cc), (false, false, false, true));
        assert_eq!(opus.fmtp, "minptime=10;useinbandfec=1");
        assert_eq!(audio.ssrcs, [OfferedSsrc { ssrc: 22_761_320, rtx: None }]);
        assert_eq!((audio.extensions.rid, audio.extensions.audio_level), (None, Some(1)));
        assert!(audio.rtcp_rsize && audio.rids.is_empty());

        assert_eq!((video.mid.as_str(), video.kind), ("1", Some(MediaKind::Video)));
        let vp8 = video.codec(CodecName::Vp8).unwrap();
        assert_eq!(
            (vp8.name, vp8.payload_type, vp8.rtx, vp8.clock_rate),
            (CodecName::Vp8, 96, Some(97), 90_000)
        );
        assert_eq!((vp8.nack, vp8.pli, vp8.fir, vp8.transport_cc), (true, true, true, true));
        assert_eq!(video.rids, ["q", "h", "f"].map(|rid| Rid::new(rid).unwrap()));
        assert_eq!(video.ssrcs, []);

        assert_eq!((data.mid.as_str(), data.kind, data.is_rejected()), ("2", None, true));
    }

    #[test]
    fn chromium_with_two_byte_extension_ids_is_read() {
        let offer = Offer::parse(CHROMIUM_ALL_EXTENSIONS).unwrap();
        assert_eq!(offer.extensions, Offer::parse(CHROMIUM).unwrap().extensions);
    }

    #[test]
    fn firefox_lists_ssrcs_beside_rids_and_its_fingerprint_for_the_session() {
        let offer = Offer::parse(FIREFOX).unwrap();
        assert_eq!(offer.ice, IceParameters::new("55ce867b", "961af358725d27fc1f582f95fe5ec2b1").unwrap());
        assert!(offer.fingerprint.to_string().starts_with("76:53:85:2A"));
        assert!(offer.extmap_allow_mixed);
        let [audio, video, data] = &offer.media[..] else { panic!("three m-lines") };
        assert_eq!(
            audio.codec(CodecName::Opus).unwrap().fmtp,
            "maxplaybackrate=48000;stereo=1;useinbandfec=1"
        );
        assert!(!audio.rtcp_rsize && video.rtcp_rsize);
        assert_eq!(video.codec(CodecName::Vp8).unwrap().payload_type, 120);
        assert_eq!(video.codec(CodecName::Vp8).unwrap().rtx, Some(124));
        assert_eq!(video.rids, ["q", "h", "f"].map(|rid| Rid::new(rid).unwrap()));
        let pairs =
            [(4_260_738_623, 1_301_803_413), (2_717_054_471, 3_768_303_803), (1_737_944_840, 3_914_717_151)];
        assert_eq!(video.ssrcs, pairs.map(|(ssrc, rtx)| OfferedSsrc { ssrc, rtx: Some(rtx) }));
        assert_eq!((offer.extensions.transport_cc, offer.extensions.playout_delay), (Some(7), Some(6)));
        assert!(data.is_rejected());
    }

    #[test]
    fn firefox_offers_all_but_the_first_of_a_kind_with_port_0_for_the_bundle_only() {
        assert_eq!(FIREFOX_PAGE.matches("a=bundle-only").count(), 7);
        let offer = Offer::parse(FIREFOX_PAGE).unwrap();
        let accepted: Vec<bool> = offer.media.iter().map(|media| !media.is_rejected()).collect();
        assert_eq!(accepted, [true, true, true, true, true, true, true, true, true, false]);

        let answer = ClientAnswer::parse(&answer(&offer));
        assert_eq!(answer.bundle, ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(answer.media("1").rids, ["q", "h", "f"]);
        let directions: Vec<_> = answer.media.iter().map(|media| media.direction.as_str()).collect();
        assert_eq!(directions[..3], ["recvonly"; 3]);
        assert_eq!(
            directions[3..],
            ["sendonly", "sendonly", "sendonly", "sendonly", "sendonly", "sendonly", "inactive"]
        );
    }

    #[test]
    fn chromium_is_answered_line_by_line() {
        let expected = "\
v=0
o=- 77 1 IN IP4 0.0.0.0
s=-
t=0 0
a=ice-lite
a=group:BUNDLE 0 1
a=extmap-allow-mixed
m=audio 9 UDP/TLS/RTP/SAVPF 111 63
c=IN IP4 0.0.0.0
a=candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host
a=candidate:2 1 udp 2130706175 2001:db8::1 7000 typ host
a=end-of-candidates
a=ice-ufrag:srvr
a=ice-pwd:serverserverserverserver
a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB
a=setup:passive
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:seat-0 track-0
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=ssrc:9000 cname:vestibule
m=video 9 UDP/TLS/RTP/SAVPF 96 97 108 109 45 46 98 99
c=IN IP4 0.0.0.0
a=ice-ufrag:srvr
a=ice-pwd:serverserverserverserver
a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB
a=setup:passive
a=mid:1
a=extmap:13 urn:3gpp:video-orientation
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension
a=sendrecv
a=msid:seat-0 track-1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 ccm fir
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:108 H264/90000
a=rtcp-fb:108 transport-cc
a=rtcp-fb:108 ccm fir
a=rtcp-fb:108 nack
a=rtcp-fb:108 nack pli
a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:109 rtx/90000
a=fmtp:109 apt=108
a=rtpmap:45 AV1/90000
a=rtcp-fb:45 transport-cc
a=rtcp-fb:45 ccm fir
a=rtcp-fb:45 nack
a=rtcp-fb:45 nack pli
a=fmtp:45 level-idx=5;profile=0;tier=0
a=rtpmap:46 rtx/90000
a=fmtp:46 apt=45
a=rtpmap:98 VP9/90000
a=rtcp-fb:98 transport-cc
a=rtcp-fb:98 ccm fir
a=rtcp-fb:98 nack
a=rtcp-fb:98 nack pli
a=fmtp:98 profile-id=0
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rid:q recv
a=rid:h recv
a=rid:f recv
a=simulcast:recv q;h;f
a=ssrc-group:FID 9002 9003
a=ssrc:9002 cname:vestibule
a=ssrc:9003 cname:vestibule
m=application 0 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=inactive";
        let answer = answer(&Offer::parse(CHROMIUM).unwrap());
        assert_eq!(lines_without(&answer, &[]), expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn firefox_is_answered_with_reversed_extension_directions_and_mirrored_fec_only() {
        let answer = answer(&Offer::parse(FIREFOX).unwrap());
        let common = ["v=", "o=", "s=", "t=", "c=", "a=candidate", "a=ice-", "a=fingerprint", "a=setup"];
        let expected = "\
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 109
a=end-of-candidates
a=mid:0
a=extmap-allow-mixed
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=msid:seat-0 track-0
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtcp-fb:109 transport-cc
a=fmtp:109 useinbandfec=1
a=ssrc:9000 cname:vestibule
m=video 9 UDP/TLS/RTP/SAVPF 120 124 121 125 99 100
a=mid:1
a=extmap-allow-mixed
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay
a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:8/recvonly https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension
a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id
a=extmap:10/recvonly urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id
a=sendrecv
a=msid:seat-0 track-1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:120 VP8/90000
a=rtcp-fb:120 transport-cc
a=rtcp-fb:120 ccm fir
a=rtcp-fb:120 nack
a=rtcp-fb:120 nack pli
a=rtpmap:124 rtx/90000
a=fmtp:124 apt=120
a=rtpmap:121 VP9/90000
a=rtcp-fb:121 transport-cc
a=rtcp-fb:121 ccm fir
a=rtcp-fb:121 nack
a=rtcp-fb:121 nack pli
a=fmtp:121 profile-id=0
a=rtpmap:125 rtx/90000
a=fmtp:125 apt=121
a=rtpmap:99 AV1/90000
a=rtcp-fb:99 transport-cc
a=rtcp-fb:99 ccm fir
a=rtcp-fb:99 nack
a=rtcp-fb:99 nack pli
a=rtpmap:100 rtx/90000
a=fmtp:100 apt=99
a=rid:q recv
a=rid:h recv
a=rid:f recv
a=simulcast:recv q;h;f
a=ssrc-group:FID 9002 9003
a=ssrc:9002 cname:vestibule
a=ssrc:9003 cname:vestibule
m=application 0 UDP/DTLS/SCTP webrtc-datachannel
a=mid:2
a=inactive";
        assert_eq!(lines_without(&answer, &common), expected.lines().collect::<Vec<_>>());
    }

    #[test]
    fn answers_are_read_back_by_another_parser() {
        for text in REAL {
            let offer = Offer::parse(text).unwrap();
            let answer = answer(&offer);
            let description = SessionDescription::unmarshal(&mut Cursor::new(answer.as_bytes())).unwrap();
            assert_eq!(description.marshal(), answer);
            let mids: Vec<_> = description
                .media_descriptions
                .iter()
                .map(|media| media.attribute("mid").unwrap().unwrap())
                .collect();
            assert_eq!(mids, offer.media.iter().map(|media| media.mid.as_str()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn cut_at_any_byte_an_offer_is_an_error_or_a_shorter_offer() {
        for text in REAL {
            for end in 0..text.len() {
                if let Ok(offer) = Offer::parse(&text[..end]) {
                    ClientAnswer::parse(&answer(&offer));
                }
            }
        }
    }
}

mod negotiation {
    use super::*;

    #[test]
    fn every_m_line_of_the_page_is_answered_from_the_other_side() {
        let offer = Offer::parse(&test_offer(UFRAG, PWD, TEST_FINGERPRINT, 2)).unwrap();
        let ids = offer.extensions;
        assert_eq!((ids.mid, ids.rid), (Some(MID_ID), Some(RID_ID)));
        assert_eq!((ids.transport_cc, ids.audio_level), (Some(TRANSPORT_CC_ID), Some(AUDIO_LEVEL_ID)));
        assert_eq!(ids.repaired_rid, Some(REPAIRED_RID_ID));
        assert_eq!(offer.media[2].ssrcs, [OfferedSsrc { ssrc: 3_001, rtx: Some(3_002) }]);

        let answer = ClientAnswer::parse(&answer(&offer));
        assert!(answer.is_ice_lite);
        assert_eq!((answer.ufrag.as_str(), answer.pwd.as_str()), ("srvr", "serverserverserverserver"));
        assert_eq!((answer.setup.as_str(), answer.fingerprint.len()), ("passive", 95));
        assert_eq!(
            answer.candidates,
            ["192.0.2.1:7000", "[2001:db8::1]:7000"]
                .map(|address| TransportAddress::Udp(address.parse().unwrap()))
        );
        assert_eq!(answer.bundle, ["0", "1", "2", "3", "4", "5", "6"]);
        let directions: Vec<_> = answer.media.iter().map(|media| media.direction.as_str()).collect();
        assert_eq!(
            directions,
            ["recvonly", "recvonly", "recvonly", "sendonly", "sendonly", "sendonly", "sendonly"]
        );
        assert_eq!(answer.media("1").rids, offer::RIDS);
        assert_eq!((answer.media("2").ssrc, answer.media("2").msid.clone()), (None, None));
        assert_eq!((answer.media("3").ssrc, answer.media("3").rtx_ssrc), (Some(9_006), None));
        assert_eq!((answer.media("4").ssrc, answer.media("4").rtx_ssrc), (Some(9_008), Some(9_009)));
        let formats = CodecName::ALL.into_iter().skip(1);
        let formats: Vec<u8> =
            formats.flat_map(|codec| [offer::payload_type(codec), offer::rtx_payload_type(codec)]).collect();
        assert_eq!(answer.media("4").payload_types, formats);
        assert_eq!(answer.media("4").msid, Some(("seat-2".to_owned(), "track-4".to_owned())));
    }

    #[test]
    fn the_server_neither_sends_to_who_sends_only_nor_takes_from_who_receives_only() {
        let text = publisher().with_seats(1).to_sdp();
        let parsed = Offer::parse(&text).unwrap();
        let ice = server_ice();
        let eager: Vec<AnswerMedia> = (0..parsed.media.len())
            .map(|index| AnswerMedia { send: Some(stream(index)), receive: true, preferred: None })
            .collect();
        let idle = vec![AnswerMedia::default(); parsed.media.len()];
        let context = AnswerContext {
            session_id: 1,
            version: 1,
            ice: &ice,
            fingerprint: &Fingerprint::of_certificate(b"certificate"),
            candidates: &[],
            media: &eager,
        };
        let directions = |media| {
            let answer = ClientAnswer::parse(&write_answer(&parsed, &AnswerContext { media, ..context }));
            answer.media.into_iter().map(|media| media.direction).collect::<Vec<_>>()
        };
        assert_eq!(directions(&eager), ["recvonly", "recvonly", "recvonly", "sendonly", "sendonly"]);
        assert_eq!(directions(&idle), ["inactive"; 5]);
    }

    /// RFC 7587 section 7: a sender leaves silence out where its receiver says that it may.
    #[test]
    fn who_would_leave_out_silence_may() {
        let offer = include_str!("../../../tests/fuzz/seeds/sdp/rare-forms.sdp");
        let asks = offer.replace("useinbandfec=1", "useinbandfec=1;usedtx=1");
        assert_ne!(asks, offer);
        let answered = answer(&Offer::parse(&asks).unwrap());
        assert!(answered.contains("useinbandfec=1;usedtx=1"), "{answered}");
        assert!(!answer(&Offer::parse(offer).unwrap()).contains("usedtx"));
    }

    #[test]
    fn rare_forms_are_understood() {
        let offer = Offer::parse(include_str!("../../../tests/fuzz/seeds/sdp/rare-forms.sdp")).unwrap();
        let rejected: Vec<bool> = offer.media.iter().map(|media| media.is_rejected()).collect();
        assert_eq!(rejected, [false, false, true, true, false]);
        let directions: Vec<_> = offer.media.iter().map(|media| media.direction).collect();
        let [receives, sends, none] = [Direction::RecvOnly, Direction::SendOnly, Direction::Inactive];
        assert_eq!(directions, [receives, sends, none, none, none]);
        assert_eq!(offer.media[1].rids, ["a", "d"].map(|rid| Rid::new(rid).unwrap()));
        assert_eq!(offer.media[1].ssrcs, [OfferedSsrc { ssrc: 7, rtx: Some(8) }]);
        assert_eq!((offer.extensions.mid, offer.extensions.rid), (Some(4), Some(20)));
        assert!(offer.media[1].extensions.video_orientation.is_none() && !offer.extmap_allow_mixed);

        let answer = answer(&offer);
        assert!(answer.contains("a=group:BUNDLE 0 cam 1\r\n"));
        assert!(answer.contains("a=fmtp:111 useinbandfec=1;minptime=10\r\n"));
        assert!(answer.contains("a=extmap:20/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"));
        assert_eq!(ClientAnswer::parse(&answer).media("cam").rtpmaps.len(), 2);
    }

    #[test]
    fn a_hundred_and_two_m_lines_are_one_bundle() {
        let text = ClientOffer::new(UFRAG, PWD, TEST_FINGERPRINT).with_seats(51).to_sdp();
        let offer = Offer::parse(&text).unwrap();
        let answer = ClientAnswer::parse(&answer(&offer));
        assert_eq!((offer.media.len(), answer.media.len(), answer.bundle.len()), (102, 102, 102));
        assert!(answer.media.iter().all(|media| !media.is_rejected && media.direction == "sendonly"));
        assert_eq!(answer.candidates.len(), 2);
    }

    #[test]
    fn what_cannot_be_served_is_rejected_in_its_place_and_left_out_of_the_bundle() {
        let text = publisher().with(ClientLine::DataChannel).with_seats(1).to_sdp();
        // Camera without VP8, screen given back by the client.
        let text = in_media(&text, 1, |media| media.replace("VP8/90000", "H264/90000"));
        let text = in_media(&text, 2, |media| media.replace("m=video 9 ", "m=video 0 "));
        let offer = Offer::parse(&text).unwrap();
        let rejected: Vec<bool> = offer.media.iter().map(|media| media.is_rejected()).collect();
        assert_eq!(rejected, [false, true, true, true, false, false]);

        let written = answer(&offer);
        let answer = ClientAnswer::parse(&written);
        assert_eq!(answer.bundle, ["0", "4", "5"]);
        assert_eq!(answer.media.iter().map(|media| media.is_rejected).collect::<Vec<_>>(), rejected);
        assert!(
            written.contains(
                "m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=inactive\r\nm="
            )
        );
    }

    #[test]
    fn candidates_stand_on_the_bundle_tag_even_if_it_is_not_the_first_m_line() {
        let text = publisher().with(ClientLine::DataChannel).to_sdp();
        let text = text.replace("BUNDLE 0 1 2 3", "BUNDLE 3 2 0 1");
        let written = answer(&Offer::parse(&text).unwrap());
        assert!(written.contains("a=group:BUNDLE 2 0 1\r\n"));
        let (before, after) = written.split_once("a=candidate").unwrap();
        assert_eq!(before.matches("\r\nm=").count(), 3);
        assert!(!before.contains("a=mid:2") && after.contains("a=mid:2"));
    }

    #[test]
    fn a_bundle_only_m_line_takes_its_transport_from_the_tag() {
        let text = in_media(&publisher().to_sdp(), 2, |media| {
            let kept = media.lines().filter(|line| {
                let transport = ["a=ice-", "a=fingerprint", "a=setup", "a=rtcp-mux", "a=rtcp:"];
                !transport.iter().any(|prefix| line.starts_with(prefix))
            });
            let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
            kept.replace("m=video 9 ", "m=video 0 ").replace("a=mid:2\r\n", "a=mid:2\r\na=bundle-only\r\n")
        });
        let offer = Offer::parse(&text).unwrap();
        assert!(!offer.media[2].is_rejected());
        assert_eq!(ClientAnswer::parse(&answer(&offer)).bundle, ["0", "1", "2"]);
    }

    #[test]
    fn transport_attributes_of_the_session_hold_for_every_m_line() {
        let text = publisher().to_sdp();
        let ice = format!("a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PWD}\r\n");
        let fingerprint = format!("a=fingerprint:sha-256 {TEST_FINGERPRINT}\r\n");
        let text = text.replace(&ice, "").replace(&fingerprint, "").replace("a=setup:actpass\r\n", "");
        let text = text.replace("t=0 0\r\n", &format!("t=0 0\r\n{ice}{fingerprint}a=setup:active\r\n"));
        let offer = Offer::parse(&text).unwrap();
        assert_eq!((offer.ice.ufrag.as_str(), offer.setup), (UFRAG, Setup::Active));
    }

    #[test]
    fn one_sha_256_fingerprint_among_others_is_enough() {
        let line = format!("a=fingerprint:sha-256 {TEST_FINGERPRINT}");
        let both =
            format!("a=fingerprint:sha-1 00:11\r\n{}", line.replace("sha-256", "SHA-256").to_lowercase());
        let offer = Offer::parse(&publisher().to_sdp().replace(&line, &both)).unwrap();
        assert_eq!(offer.fingerprint.to_string(), TEST_FINGERPRINT);
    }

    #[test]
    fn of_simulcast_alternatives_the_first_is_taken_paused_or_not() {
        let text = publisher().to_sdp();
        let text = text.replace("send q;h;f", "recv x send ~q,h;f");
        let text =
            text.replace("a=rid:f send\r\n", "a=rid:f send pt=97,96;max-width=1280\r\na=rid:x recv\r\n");
        let offer = Offer::parse(&text).unwrap();
        assert_eq!(offer.media[1].rids, ["q", "f"].map(|rid| Rid::new(rid).unwrap()));
        let answer = answer(&offer);
        assert!(
            answer
                .contains("a=rid:q recv\r\na=rid:f recv pt=97,96;max-width=1280\r\na=simulcast:recv q;f\r\n")
        );
    }

    #[test]
    fn the_codec_that_is_asked_for_stands_first() {
        let offer = Offer::parse(&test_offer(UFRAG, PWD, TEST_FINGERPRINT, 0)).unwrap();
        let ice = server_ice();
        let take = |preferred| AnswerMedia { receive: true, preferred, ..AnswerMedia::default() };
        let media = [None, Some(CodecName::Av1), Some(CodecName::H264)].map(take);
        let written = write_answer(
            &offer,
            &AnswerContext {
                session_id: 1,
                version: 1,
                ice: &ice,
                fingerprint: &Fingerprint::from_sha256([0xAB; 32]),
                candidates: &[],
                media: &media,
            },
        );
        let answer = ClientAnswer::parse(&written);
        assert_eq!(answer.media("1").payload_types, [45, 46, 96, 97, 98, 99, 108, 109]);
        assert_eq!(answer.media("2").payload_types, [108, 109, 96, 97, 98, 99, 45, 46]);
    }

    #[test]
    fn of_a_codec_only_the_profile_that_is_forwarded_is_taken() {
        let text = test_offer(UFRAG, PWD, TEST_FINGERPRINT, 0);
        let text = text.replace("profile-id=0", "profile-id=2").replace("idx=5;profile=0", "idx=5;profile=1");
        let text = text.replace("packetization-mode=1", "packetization-mode=0");
        let offer = Offer::parse(&text).unwrap();
        let names: Vec<CodecName> = offer.media[1].codecs.iter().map(|codec| codec.name).collect();
        assert_eq!(names, [CodecName::Vp8]);
    }

    #[test]
    fn a_later_offer_may_drop_codecs_and_add_some_but_give_none_another_payload_type() {
        let of = |codecs: &[CodecName]| ClientOffer { codecs: codecs.to_vec(), ..publisher() }.to_sdp();
        let before = Offer::parse(&of(&[CodecName::Vp8, CodecName::Vp9])).unwrap().terms();
        let extends = |text: &str| Offer::parse(text).unwrap().extends(&before);
        assert_eq!(extends(&of(&[CodecName::Vp9, CodecName::Av1])), Ok(()));
        let changed = Err(SdpError::CodecChanged { place: Place::Media(1) });
        assert_eq!(extends(&of(&[CodecName::Av1])), changed);
        let moved = of(&[CodecName::Vp8]).replace("96", "100");
        assert_eq!(extends(&moved), changed);
    }

    #[test]
    fn an_encoding_of_another_codec_is_left_out() {
        let text = publisher().to_sdp().replace("a=rid:h send", "a=rid:h send pt=98");
        let offer = Offer::parse(&text).unwrap();
        assert_eq!(offer.media[1].rids, ["q", "f"].map(|rid| Rid::new(rid).unwrap()));
        assert!(answer(&offer).contains("a=simulcast:recv q;f\r\n"));
    }

    #[test]
    fn feedback_for_all_formats_counts_and_unoffered_feedback_is_not_answered() {
        let text = publisher().to_sdp().replace("a=rtcp-fb:96 nack\r\n", "a=rtcp-fb:* nack\r\n");
        let text = text.replace("a=rtcp-fb:96 ccm fir\r\n", "");
        let written = answer(&Offer::parse(&text).unwrap());
        let answer = ClientAnswer::parse(&written);
        let names: Vec<_> = answer.media("1").feedback.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["transport-cc", "nack", "nack pli"]);
    }

    #[test]
    fn candidates_of_one_address_share_a_foundation_and_come_in_order_of_priority() {
        let offer = Offer::parse(&publisher().to_sdp()).unwrap();
        let ice = server_ice();
        let addresses = ["192.0.2.1:7000", "192.0.2.2:7000", "[::ffff:192.0.2.1]:7001"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let udp = addresses.map(TransportAddress::Udp);
        let candidates: Vec<_> =
            udp.into_iter().chain(addresses.map(TransportAddress::Tcp)).map(Candidate::from).collect();
        let media = vec![AnswerMedia::default(); 3];
        let written = write_answer(
            &offer,
            &AnswerContext {
                session_id: 1,
                version: 1,
                ice: &ice,
                fingerprint: &Fingerprint::from_sha256([0; 32]),
                candidates: &candidates,
                media: &media,
            },
        );
        let lines: Vec<_> = written.lines().filter(|line| line.starts_with("a=candidate")).collect();
        assert_eq!(
            lines,
            [
                "a=candidate:1 1 udp 2130706431 192.0.2.1 7000 typ host",
                "a=candidate:2 1 udp 2130706175 192.0.2.2 7000 typ host",
                "a=candidate:1 1 udp 2130705919 192.0.2.1 7001 typ host",
                "a=candidate:4 1 tcp 1520434431 192.0.2.1 7000 typ host tcptype passive",
                "a=candidate:5 1 tcp 1520434175 192.0.2.2 7000 typ host tcptype passive",
                "a=candidate:4 1 tcp 1520433919 192.0.2.1 7001 typ host tcptype passive",
            ]
        );
    }
}

mod renegotiation {
    use super::*;

    fn parse(text: &str) -> Offer {
        Offer::parse(text).expect("an offer")
    }

    #[test]
    fn seats_are_added_behind() {
        let before = parse(&publisher().with_seats(1).to_sdp());
        let after = parse(&publisher().with_seats(4).to_sdp());
        assert_eq!(after.extends(&before.terms()), Ok(()));
        assert_eq!(before.extends(&before.terms()), Ok(()));
        assert_eq!(before.extends(&after.terms()), Err(SdpError::MediaRemoved { before: 11, now: 5 }));
    }

    #[test]
    fn other_ice_credentials_are_a_restart() {
        let before = parse(&publisher().to_sdp());
        let after = parse(&ClientOffer::publisher("next", PWD, TEST_FINGERPRINT).to_sdp());
        assert_eq!(after.extends(&before.terms()), Ok(()));
        assert!(after.restarts_ice(&before.terms()) && !before.restarts_ice(&before.terms()));
    }

    #[test]
    fn an_m_line_may_be_given_back_but_not_replaced() {
        let text = publisher().to_sdp();
        let before = parse(&text);
        let place = Place::Media(2);
        let stopped = parse(&in_media(&text, 2, |media| media.replace("m=video 9 ", "m=video 0 ")));
        assert_eq!(stopped.extends(&before.terms()), Ok(()));
        let renamed = parse(&text.replace("BUNDLE 0 1 2", "BUNDLE 0 1 9").replace("a=mid:2", "a=mid:9"));
        let [two, nine] = ["2", "9"].map(|mid| Mid::new(mid).unwrap());
        assert_eq!(
            renamed.extends(&before.terms()),
            Err(SdpError::MidChanged { place, before: two, now: nine })
        );
        let other_kind =
            parse(&in_media(&text, 2, |_| "m=audio 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:2\r\n".to_owned()));
        assert_eq!(other_kind.extends(&before.terms()), Err(SdpError::KindChanged { place }));
    }

    #[test]
    fn payload_types_extension_ids_and_certificate_stay() {
        let text = publisher().to_sdp();
        let before = parse(&text);
        let moved =
            text.replace(":96 ", ":106 ").replace("SAVPF 96", "SAVPF 106").replace("apt=96", "apt=106");
        assert_eq!(
            parse(&moved).extends(&before.terms()),
            Err(SdpError::CodecChanged { place: Place::Media(1) })
        );
        let remapped = text.replace("a=extmap:4 ", "a=extmap:14 ");
        assert_eq!(parse(&remapped).extends(&before.terms()), Err(SdpError::ExtensionsChanged));
        let other_certificate = text.replace("1D:51:F9", "1D:51:FA");
        assert_eq!(parse(&other_certificate).extends(&before.terms()), Err(SdpError::FingerprintChanged));
    }
}

mod refused {
    use super::*;

    const SESSION: Place = Place::Session;
    const AUDIO: Place = Place::Media(0);
    const CAMERA: Place = Place::Media(1);
    const SCREEN: Place = Place::Media(2);

    /// The error for the page's offer after an edit, which has to change something.
    fn error_after(edit: impl Fn(&str) -> String) -> SdpError {
        let text = publisher().to_sdp();
        let edited = edit(&text);
        assert_ne!(edited, text, "the edit found nothing");
        let error = Offer::parse(&edited).expect_err("an offer that breaks a rule");
        let message = error.to_string();
        assert!(!message.contains(PWD) && !message.contains("127.0.0.1") && message.len() < 120, "{message}");
        error
    }

    fn without(line: &str) -> impl Fn(&str) -> String {
        move |text| text.replace(&format!("{line}\r\n"), "")
    }

    fn replaced(from: &str, to: &str) -> impl Fn(&str) -> String {
        move |text| text.replace(from, to)
    }

    fn replaced_in(index: usize, from: &str, to: &str) -> impl Fn(&str) -> String {
        move |text| in_media(text, index, |media| media.replace(from, to))
    }

    fn added_to(index: usize, line: &str) -> impl Fn(&str) -> String {
        move |text| in_media(text, index, |media| format!("{media}{line}\r\n"))
    }

    #[test]
    fn over_the_bounds() {
        assert_eq!(
            error_after(|text| format!("{text}{}", "a=x\r\n".repeat(OFFER_BYTES_MAX / 5))),
            SdpError::TooLong {
                bytes: publisher().to_sdp().len() + OFFER_BYTES_MAX / 5 * 5,
                max: OFFER_BYTES_MAX
            }
        );
        assert_eq!(
            error_after(|text| format!("{text}{}", "\n".repeat(OFFER_LINES_MAX))),
            SdpError::TooManyLines { max: OFFER_LINES_MAX }
        );
        let long = "x".repeat(OFFER_LINE_BYTES_MAX);
        assert_eq!(
            error_after(replaced("s=-", &format!("s={long}"))),
            SdpError::LineTooLong { line: 3, bytes: OFFER_LINE_BYTES_MAX + 2, max: OFFER_LINE_BYTES_MAX }
        );
        assert_eq!(
            error_after(|text| format!("{text}{}", "m=audio 0 x 0\r\n".repeat(MEDIA_LINES_MAX))),
            SdpError::TooManyMedia { max: MEDIA_LINES_MAX }
        );
    }

    #[test]
    fn not_lines_of_sdp() {
        assert_eq!(Offer::parse(""), Err(SdpError::MissingLine { kind: 'v' }));
        assert_eq!(Offer::parse("hello"), Err(SdpError::NotALine { line: 1 }));
        assert_eq!(error_after(replaced("s=-", "s=\0")), SdpError::ControlCharacter { line: 3 });
        assert_eq!(error_after(replaced("s=-", "s=\ra=x")), SdpError::ControlCharacter { line: 3 });
        assert_eq!(error_after(replaced("s=-", "s=\u{85}")), SdpError::ControlCharacter { line: 3 });
        assert_eq!(error_after(replaced("s=-", "é=-")), SdpError::NotALine { line: 3 });
        assert_eq!(error_after(replaced("s=-", " s=-")), SdpError::NotALine { line: 3 });
        for (line, kind) in [("v=0", 'v'), ("s=-", 's'), ("t=0 0", 't')] {
            assert_eq!(error_after(without(line)), SdpError::MissingLine { kind });
        }
        assert_eq!(
            Offer::parse("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"),
            Err(SdpError::MissingLine { kind: 'm' })
        );
    }

    #[test]
    fn malformed_or_misplaced_lines() {
        assert_eq!(error_after(replaced("v=0", "v=1")), SdpError::Syntax { line: 1, kind: 'v' });
        assert_eq!(
            error_after(replaced("IN IP4 127.0.0.1", "IN IP4")),
            SdpError::Syntax { line: 2, kind: 'o' }
        );
        assert_eq!(error_after(replaced("t=0 0", "t=0")), SdpError::Syntax { line: 4, kind: 't' });
        assert_eq!(error_after(replaced("t=0 0", "t=0 0\r\ns=-")), SdpError::Syntax { line: 5, kind: 's' });
        assert_eq!(error_after(replaced("t=0 0", "t=0 0\r\nx=-")), SdpError::Syntax { line: 5, kind: 'x' });
        assert_eq!(error_after(replaced("m=audio 9", "m=smell 9")), SdpError::Syntax { line: 8, kind: 'm' });
        assert_eq!(
            error_after(replaced("m=audio 9", "m=audio 99999")),
            SdpError::Syntax { line: 8, kind: 'm' }
        );
    }

    #[test]
    fn missing_attributes() {
        let missing = |place, attribute| SdpError::Missing { place, attribute };
        assert_eq!(error_after(without("a=group:BUNDLE 0 1 2")), missing(SESSION, "group:BUNDLE"));
        assert_eq!(error_after(without("a=mid:1")), missing(CAMERA, "mid"));
        assert_eq!(error_after(without("a=rtcp-mux")), missing(AUDIO, "rtcp-mux"));
        assert_eq!(error_after(replaced_in(1, "a=rtcp-mux\r\n", "")), missing(CAMERA, "rtcp-mux"));
        assert_eq!(error_after(without("a=setup:actpass")), missing(AUDIO, "setup"));
        let ufrag = format!("a=ice-ufrag:{UFRAG}");
        let pwd = format!("a=ice-pwd:{PWD}");
        assert_eq!(error_after(without(&ufrag)), missing(AUDIO, "ice-ufrag"));
        assert_eq!(error_after(without(&pwd)), missing(AUDIO, "ice-pwd"));
        assert_eq!(error_after(without(&format!("{ufrag}\r\n{pwd}"))), missing(AUDIO, "ice-ufrag"));
        assert_eq!(error_after(replaced("sha-256", "sha-1")), missing(AUDIO, "fingerprint:sha-256"));
    }

    #[test]
    fn repeated_attributes() {
        let repeated = |place, attribute| SdpError::Repeated { place, attribute };
        let group = "a=group:BUNDLE 0 1 2";
        assert_eq!(
            error_after(replaced(group, &format!("{group}\r\n{group}"))),
            repeated(SESSION, "group:BUNDLE")
        );
        let fingerprint = format!("a=fingerprint:sha-256 {TEST_FINGERPRINT}");
        for (line, attribute) in [
            ("a=mid:1", "mid"),
            ("a=ice-ufrag:abcd", "ice-ufrag"),
            ("a=ice-pwd:abcd", "ice-pwd"),
            ("a=setup:active", "setup"),
            ("a=simulcast:recv x", "simulcast"),
            ("a=rid:q send", "rid"),
            ("a=rtpmap:96 VP8/90000", "rtpmap"),
            ("a=fmtp:97 apt=96", "fmtp"),
            ("a=recvonly", "sendrecv|sendonly|recvonly|inactive"),
            (&fingerprint, "fingerprint:sha-256"),
        ] {
            assert_eq!(error_after(added_to(1, line)), repeated(CAMERA, attribute), "{line}");
        }
    }

    #[test]
    fn malformed_attributes() {
        let malformed = |attribute| SdpError::Malformed { place: CAMERA, attribute };
        for (from, to, attribute) in [
            ("a=mid:1", "a=mid:", "mid"),
            ("a=mid:1", "a=mid:1 2", "mid"),
            ("a=mid:1", "a=mid:longer-than-sixteen", "mid"),
            (UFRAG, "clt", "ice-ufrag"),
            (UFRAG, "cl-nt", "ice-ufrag"),
            (PWD, "short", "ice-pwd"),
            ("sha-256 1D:", "sha-256 D:", "fingerprint"),
            ("sha-256 1D:", "sha-256 ", "fingerprint"),
            ("sha-256 1D:", "sha-256 1D:1D:", "fingerprint"),
            ("sha-256 1D:", "sha-256 +D:", "fingerprint"),
            ("sha-256 1D:", "sha-256", "fingerprint"),
            ("a=rtpmap:96 ", "a=rtpmap:196 ", "rtpmap"),
            ("a=rtpmap:96 ", "a=rtpmap:", "rtpmap"),
            ("a=fmtp:97 ", "a=fmtp:-1 ", "fmtp"),
            ("a=rtcp-fb:96 nack", "a=rtcp-fb:x nack", "rtcp-fb"),
            ("a=extmap:4 ", "a=extmap: ", "extmap"),
            ("a=extmap:4 ", "a=extmap:0 ", "extmap"),
            ("a=extmap:4 ", "a=extmap:15 ", "extmap"),
            ("a=extmap:4 ", "a=extmap:256 ", "extmap"),
            ("a=extmap:4 ", "a=extmap:4/up ", "extmap"),
            ("a=extmap:4 ", "a=extmap:4", "extmap"),
            ("simulcast:send q;h;f", "simulcast:send", "simulcast"),
            ("simulcast:send q;h;f", "simulcast:q;h;f", "simulcast"),
            ("simulcast:send q;h;f", "simulcast:send q;;f", "simulcast"),
            ("simulcast:send q;h;f", "simulcast:send q;q", "simulcast"),
            ("simulcast:send q;h;f", "simulcast:send q;h recv x send f", "simulcast"),
            ("a=rid:q send", "a=rid:q", "rid"),
            ("a=rid:q send", "a=rid:q sent", "rid"),
            ("a=rid:q send", "a=rid:q.0 send", "rid"),
            ("a=rid:q send", "a=ssrc:x cname:y", "ssrc"),
            ("a=rid:q send", "a=rid:q send\r\na=ssrc:0 cname:y", "ssrc"),
            ("a=rid:q send", "a=rid:q send\r\na=ssrc-group:FID 1", "ssrc-group"),
            ("a=rid:q send", "a=rid:q send\r\na=ssrc-group:FID 1 2 3", "ssrc-group"),
        ] {
            let to = if attribute == "ssrc" && to.starts_with("a=ssrc:") {
                format!("{from}\r\n{to}")
            } else {
                to.to_owned()
            };
            assert_eq!(error_after(replaced_in(1, from, &to)), malformed(attribute), "{from} -> {to}");
        }
    }

    #[test]
    fn not_one_bundled_transport() {
        let two = Mid::new("2").unwrap();
        assert_eq!(
            error_after(replaced_in(2, "a=mid:2", "a=mid:1")),
            SdpError::DuplicateMid { place: SCREEN, mid: Mid::new("1").unwrap() }
        );
        assert_eq!(
            error_after(replaced("BUNDLE 0 1 2", "BUNDLE 0 1")),
            SdpError::NotBundled { place: SCREEN, mid: two }
        );
        assert_eq!(error_after(replaced("BUNDLE 0 1 2", "BUNDLE 0 1 2 3")), SdpError::BundleMember);
        assert_eq!(error_after(replaced("BUNDLE 0 1 2", "BUNDLE 0 1 2 2")), SdpError::BundleMember);
        let differs = |attribute| SdpError::TransportMismatch { place: SCREEN, attribute };
        assert_eq!(error_after(replaced_in(2, UFRAG, "other")), differs("ice-ufrag"));
        assert_eq!(error_after(replaced_in(2, PWD, "otherotherotherotherother")), differs("ice-pwd"));
        assert_eq!(error_after(replaced_in(2, "1D:51", "1D:52")), differs("fingerprint"));
        assert_eq!(error_after(replaced_in(2, "actpass", "active")), differs("setup"));
        assert_eq!(error_after(replaced("actpass", "passive")), SdpError::Setup { place: AUDIO });
        assert_eq!(error_after(replaced("actpass", "holdconn")), SdpError::Setup { place: AUDIO });
        assert_eq!(
            error_after(replaced("t=0 0", "t=0 0\r\na=ice-lite")),
            SdpError::IceLite { place: SESSION }
        );
        assert_eq!(
            error_after(replaced("UDP/TLS/RTP/SAVPF", "RTP/AVP")),
            SdpError::Protocol { place: AUDIO }
        );
        assert_eq!(
            error_after(|text| text.replace("VP8/", "VP7/").replace("opus/", "speex/")),
            SdpError::NothingToServe
        );
    }

    #[test]
    fn one_number_with_two_meanings() {
        // The screen's VP8 where the microphone has Opus.
        let moved = |text: &str| {
            in_media(text, 2, |media| {
                media.replace("SAVPF 96", "SAVPF 111").replace(":96 ", ":111 ").replace("apt=96", "apt=111")
            })
        };
        assert_eq!(error_after(moved), SdpError::PayloadTypeConflict { place: SCREEN, payload_type: 111 });
        let into_rtcp = replaced_in(0, "111", "72");
        assert_eq!(error_after(into_rtcp), SdpError::ReservedPayloadType { place: AUDIO, payload_type: 72 });

        let conflict = |id| SdpError::ExtensionConflict { place: CAMERA, id };
        assert_eq!(error_after(replaced_in(1, "a=extmap:4 ", "a=extmap:14 ")), conflict(14));
        assert_eq!(error_after(replaced_in(1, "a=extmap:13 ", "a=extmap:1 ")), conflict(1));
        assert_eq!(error_after(replaced_in(1, "a=extmap:13 ", "a=extmap:10 ")), conflict(10));

        assert_eq!(
            error_after(replaced_in(2, "3001", "1001")),
            SdpError::DuplicateSsrc { place: SCREEN, ssrc: 1_001 }
        );
        assert_eq!(
            error_after(added_to(2, "a=ssrc-group:FID 3002 3003")),
            SdpError::DuplicateSsrc { place: SCREEN, ssrc: 3_002 }
        );
    }

    #[test]
    fn too_many_or_undeclared_streams() {
        let rid = Rid::new("f").unwrap();
        assert_eq!(error_after(without("a=rid:f send")), SdpError::UnknownRid { place: CAMERA, rid });
        assert_eq!(
            error_after(replaced("a=rid:f send", "a=rid:f recv")),
            SdpError::UnknownRid { place: CAMERA, rid }
        );
        let four = |text: &str| {
            text.replace("q;h;f", "q;h;f;g").replace("a=rid:f send", "a=rid:f send\r\na=rid:g send")
        };
        assert_eq!(error_after(four), SdpError::TooManyEncodings { place: CAMERA, max: 3 });
        let ssrcs: Vec<String> =
            (0..SSRCS_PER_PEER_MAX).map(|ssrc| format!("a=ssrc:{} cname:x", ssrc + 1)).collect();
        assert_eq!(
            error_after(added_to(1, &ssrcs.join("\r\n"))),
            SdpError::TooManySsrcs { place: CAMERA, max: SSRCS_PER_PEER_MAX }
        );
    }

    #[test]
    fn ice_credentials_and_fingerprints_alone() {
        let long = "x".repeat(257);
        for (ufrag, pwd, attribute) in [
            ("abc", PWD, "ice-ufrag"),
            (&*long, PWD, "ice-ufrag"),
            ("abcd", "short", "ice-pwd"),
            ("abcd", &*long, "ice-pwd"),
        ] {
            assert_eq!(IceParameters::new(ufrag, pwd), Err(SdpError::IceCredential { attribute }));
        }
        let ice = IceParameters::new(&long[..256], &long[..256]).unwrap();
        assert!(!format!("{:?}", IceParameters { pwd: "secret".to_owned(), ..ice }).contains("secret"));
        assert_eq!("AB".parse::<Fingerprint>(), Err(SdpError::Fingerprint));
        let fingerprint = Fingerprint::of_certificate(b"certificate");
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
}

mod junk {
    use super::*;

    /// Whatever the text: an error, or an offer that can be answered.
    fn survives(text: &str) {
        if let Ok(offer) = Offer::parse(text) {
            let answer = answer(&offer);
            ClientAnswer::parse(&answer);
            assert_eq!(answer.matches("\r\nm=").count(), offer.media.len());
        }
    }

    fn any_real() -> impl Strategy<Value = &'static str> {
        prop::sample::select(&REAL[..])
    }

    /// One line moved, doubled or dropped.
    #[derive(Clone, Debug)]
    enum Edit {
        Move(prop::sample::Index, prop::sample::Index),
        Double(prop::sample::Index),
        Drop(prop::sample::Index),
    }

    fn any_edit() -> impl Strategy<Value = Edit> {
        let index = any::<prop::sample::Index>;
        prop_oneof![
            (index(), index()).prop_map(|(from, to)| Edit::Move(from, to)),
            index().prop_map(Edit::Double),
            index().prop_map(Edit::Drop),
        ]
    }

    proptest! {
        #[test]
        fn shuffled_lines(text in any_real(), edits in prop::collection::vec(any_edit(), 1..12)) {
            let mut lines: Vec<&str> = text.lines().collect();
            for edit in edits {
                match edit {
                    Edit::Move(from, to) => {
                        let line = lines.remove(from.index(lines.len()));
                        lines.insert(to.index(lines.len()), line);
                    }
                    Edit::Double(at) => lines.push(lines[at.index(lines.len())]),
                    Edit::Drop(at) => {
                        lines.remove(at.index(lines.len()));
                    }
                }
            }
            survives(&lines.join("\r\n"));
        }

        #[test]
        fn changed_bytes(
            text in any_real(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = text.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            survives(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn changed_values(text in any_real(), at in any::<prop::sample::Index>(), value in "[ -~é]{0,40}") {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let at = at.index(lines.len());
            let kept = lines[at].find(':').unwrap_or(1) + 1;
            lines[at].truncate(kept);
            lines[at].push_str(&value);
            survives(&lines.join("\n"));
        }

        #[test]
        fn any_text(text in "([a-z]=[ -~]{0,30}\r?\n){0,40}") {
            survives(&text);
        }
    }
}

/// The offer with its m-line `index` edited.
fn in_media(text: &str, index: usize, edit: impl FnOnce(&str) -> String) -> String {
    let starts: Vec<usize> =
        text.match_indices("m=").map(|(at, _)| at).filter(|&at| text[..at].ends_with('\n')).collect();
    let start = starts[index];
    let end = starts.get(index + 1).copied().unwrap_or(text.len());
    format!("{}{}{}", &text[..start], edit(&text[start..end]), &text[end..])
}
