//! RTP headers: what is read stays inside the packet, and what is written again reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::rtp::{HeaderWriter, RtpHeader};

fuzz_target!(|packet: &[u8]| {
    let Ok(header) = RtpHeader::parse(packet) else { return };
    assert!(header.header_len <= packet.len());
    if let Ok(payload) = header.payload(packet) {
        assert!(payload.start == header.header_len && payload.end <= packet.len());
    }
    let two_byte = header.extension.is_some_and(|block| block.profile & 0xfff0 == 0x1000);
    let mut out = vec![0; packet.len() + 16];
    let mut writer = HeaderWriter::new(
        &mut out,
        header.payload_type,
        header.marker,
        header.sequence,
        header.timestamp,
        header.ssrc,
        two_byte,
    );
    for (id, value) in header.extensions(packet) {
        let at = writer.extension(id, value).expect("what was read can be written");
        assert!(at <= packet.len());
    }
    let len = writer.finish();
    let again = RtpHeader::parse(&out[..len]).expect("what was written can be read");
    assert_eq!(again.header_len, len);
    assert_eq!(
        (again.payload_type, again.marker, again.sequence, again.timestamp, again.ssrc),
        (header.payload_type, header.marker, header.sequence, header.timestamp, header.ssrc)
    );
    assert!(again.extensions(&out).eq(header.extensions(packet)));
});
