//! Any text as an offer: an error that can be told, or an offer that can be answered line by line.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::sdp::{
    AnswerContext, AnswerMedia, Candidate, CodecName, Fingerprint, IceParameters, Offer, SendStream,
    write_answer,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Offer::parse(text) {
        Err(error) => assert!(error.to_string().len() < 200),
        Ok(offer) => {
            assert_eq!(offer.extends(&offer.terms()), Ok(()));
            check_answer(&offer);
        }
    }
});

fn check_answer(offer: &Offer) {
    let ice = IceParameters::new("srvr", "serverserverserverserver").expect("ICE credentials");
    let stream = SendStream {
        ssrc: 1,
        rtx: Some(2),
        stream_id: "stream".to_owned(),
        track_id: "track".to_owned(),
        cname: "cname".to_owned(),
    };
    let preferred = Some(CodecName::Vp9);
    let media = vec![AnswerMedia { send: Some(stream), receive: true, preferred }; offer.media.len()];
    let answer = write_answer(
        offer,
        &AnswerContext {
            session_id: 1,
            version: 1,
            ice: &ice,
            fingerprint: &Fingerprint::from_sha256([7; 32]),
            candidates: &[Candidate { address: SocketAddr::from(([192, 0, 2, 1], 7_000)).into() }],
            media: &media,
        },
    );
    // Nothing mirrored from the offer may begin a line of its own or hide in one.
    assert!(answer.ends_with("\r\n"));
    let mut m_lines = 0;
    for line in answer.split_terminator("\r\n") {
        assert!(!line.contains(|character: char| character.is_control()));
        assert!(matches!(line.as_bytes(), [b'v' | b'o' | b's' | b't' | b'a' | b'm' | b'c', b'=', ..]));
        m_lines += usize::from(line.starts_with("m="));
    }
    assert_eq!(m_lines, offer.media.len());
    assert_eq!(answer.matches("\r\na=mid:").count(), offer.media.len());
    assert_eq!(answer.matches("\r\na=candidate:").count(), 1);
}
