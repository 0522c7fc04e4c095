//! Writes the answer, line by line: `rtc-sdp` knows attributes only as text, so a tree of it would say nothing more.
//!
//! What is mirrored was checked when the offer was read: no text of the offer can end a line here.

use std::fmt;

use super::{AnswerContext, AnswerMedia, Candidate, Codec, Direction, Offer, OfferedMedia, SendStream};

/// The answer to `offer` (RFC 8829 section 5.3): ICE-lite, one BUNDLE of all m-lines that are not rejected, DTLS passive,
/// for each m-line the codecs both know, each with its RTX. Lines end in CRLF.
///
/// # Panics
///
/// If `context.media` has not one entry for each m-line of the offer, which would be a bug of the caller.
#[must_use]
pub fn write_answer(offer: &Offer, context: &AnswerContext<'_>) -> String {
    assert_eq!(offer.media.len(), context.media.len(), "one answer for each m-line");
    let mut lines = Lines(String::with_capacity(512 + 768 * offer.media.len()));
    write_session(&mut lines, offer, context);
    let tag = offer.bundle.first();
    for (index, (media, answer)) in offer.media.iter().zip(context.media).enumerate() {
        if media.is_rejected() {
            write_rejected(&mut lines, media);
            continue;
        }
        let mut codecs: Vec<&Codec> = media.codecs.iter().collect();
        codecs.sort_by_key(|codec| answer.preferred != Some(codec.name));
        write_transport(&mut lines, offer, media, &codecs, context, tag == Some(&index));
        write_media(&mut lines, media, &codecs, answer);
    }
    lines.0
}

/// Text that grows by whole lines.
struct Lines(String);

impl Lines {
    fn line(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.0, text);
        self.0.push_str("\r\n");
    }
}

macro_rules! line {
    ($lines:expr, $($text:tt)+) => { $lines.line(format_args!($($text)+)) };
}

fn write_session(lines: &mut Lines, offer: &Offer, context: &AnswerContext<'_>) {
    line!(lines, "v=0");
    // RFC 8829 section 5.2.1: an address that means nothing.
    line!(lines, "o=- {} {} IN IP4 0.0.0.0", context.session_id, context.version);
    line!(lines, "s=-");
    line!(lines, "t=0 0");
    line!(lines, "a=ice-lite");
    let members = offer.bundle.iter().map(|&index| offer.media[index].mid.as_str());
    line!(lines, "a=group:BUNDLE {}", members.collect::<Vec<_>>().join(" "));
    if offer.allow_mixed_at_session {
        line!(lines, "a=extmap-allow-mixed");
    }
}

/// RFC 3264 section 6: port 0, and of the formats, which mean nothing then, the first.
fn write_rejected(lines: &mut Lines, media: &OfferedMedia) {
    let line = &media.line;
    line!(lines, "m={} 0 {} {}", line.media, line.protocol, line.first_format);
    line!(lines, "c=IN IP4 0.0.0.0");
    line!(lines, "a=mid:{}", media.mid);
    line!(lines, "a=inactive");
}

/// The `m=` line and what belongs to the transport. Port 9 and no address are what RFC 8840 has for one whose
/// candidates tell where it is.
fn write_transport(
    lines: &mut Lines,
    offer: &Offer,
    media: &OfferedMedia,
    codecs: &[&Codec],
    context: &AnswerContext<'_>,
    is_tag: bool,
) {
    let formats = codecs.iter().flat_map(|codec| [Some(codec.payload_type), codec.red, codec.rtx]).flatten();
    let formats: Vec<String> = formats.map(|format| format.to_string()).collect();
    line!(lines, "m={} 9 {} {}", media.line.media, media.line.protocol, formats.join(" "));
    line!(lines, "c=IN IP4 0.0.0.0");
    if is_tag {
        for (index, candidate) in context.candidates.iter().enumerate() {
            write_candidate(lines, context.candidates, index, candidate);
        }
        line!(lines, "a=end-of-candidates");
    }
    line!(lines, "a=ice-ufrag:{}", context.ice.ufrag);
    line!(lines, "a=ice-pwd:{}", context.ice.pwd);
    line!(lines, "a=fingerprint:sha-256 {}", context.fingerprint);
    line!(lines, "a=setup:passive");
    line!(lines, "a=mid:{}", media.mid);
    if media.allow_mixed && !offer.allow_mixed_at_session {
        line!(lines, "a=extmap-allow-mixed");
    }
}

/// A host candidate (RFC 8839 section 5.1, RFC 8445 section 5.1.2.1): the earlier, the higher its priority; addresses
/// with one IP and transport share a foundation. Over TCP it comes after all over UDP (RFC 6544 section 4.2).
fn write_candidate(lines: &mut Lines, all: &[Candidate], index: usize, candidate: &Candidate) {
    const UDP_PREFERENCE: u32 = 126;
    const TCP_PREFERENCE: u32 = 90;
    /// Of a host candidate that waits for connections, above 13 bits that put those of one kind in order.
    const PASSIVE_PREFERENCE: u32 = 4 << 13;
    const ORDER_MAX: u32 = (1 << 13) - 1;
    const COMPONENT: u32 = 1;
    let base = |candidate: &Candidate| (candidate.address.ip().to_canonical(), candidate.address.is_tcp());
    let (ip, is_tcp) = base(candidate);
    let foundation = all.iter().position(|other| base(other) == (ip, is_tcp)).unwrap_or(index) + 1;
    let index = u32::try_from(index).unwrap_or(ORDER_MAX).min(ORDER_MAX);
    let (transport, type_preference, local_preference, kind) = if is_tcp {
        ("tcp", TCP_PREFERENCE, PASSIVE_PREFERENCE + ORDER_MAX - index, " tcptype passive")
    } else {
        ("udp", UDP_PREFERENCE, u32::from(u16::MAX) - index, "")
    };
    let priority = (type_preference << 24) | (local_preference << 8) | (256 - COMPONENT);
    let port = candidate.address.socket().port();
    line!(lines, "a=candidate:{foundation} {COMPONENT} {transport} {priority} {ip} {port} typ host{kind}");
}

fn write_media(lines: &mut Lines, media: &OfferedMedia, codecs: &[&Codec], answer: &AnswerMedia) {
    for extmap in &media.extmaps {
        match extmap.direction {
            Some(direction) => line!(lines, "a=extmap:{}/{} {}", extmap.id, direction.reversed(), extmap.uri),
            None => line!(lines, "a=extmap:{} {}", extmap.id, extmap.uri),
        }
    }
    let send = answer.send.as_ref().filter(|_| media.direction.receives());
    let receives = answer.receive && media.direction.sends();
    line!(lines, "a={}", Direction::of(send.is_some(), receives));
    if let Some(stream) = send {
        line!(lines, "a=msid:{} {}", stream.stream_id, stream.track_id);
    }
    line!(lines, "a=rtcp-mux");
    if media.rtcp_rsize {
        line!(lines, "a=rtcp-rsize");
    }
    codecs.iter().for_each(|codec| write_codec(lines, codec));
    // Also where the server does not receive yet: browsers never bring back an encoding that an answer left out.
    write_simulcast(lines, media);
    if let Some(stream) = send {
        write_ssrcs(lines, codecs, stream);
    }
}

fn write_codec(lines: &mut Lines, codec: &Codec) {
    let payload_type = codec.payload_type;
    line!(lines, "a=rtpmap:{payload_type} {}", codec.name.rtpmap());
    // goog-remb is an estimate made by the receiver: only of who does not tell of each packet (transport-cc).
    let feedback = [
        (codec.transport_cc, "transport-cc"),
        (codec.remb, "goog-remb"),
        (codec.fir, "ccm fir"),
        (codec.nack, "nack"),
        (codec.pli, "nack pli"),
    ];
    for (_, name) in feedback.iter().filter(|(offered, _)| *offered) {
        line!(lines, "a=rtcp-fb:{payload_type} {name}");
    }
    if !codec.answer.is_empty() {
        line!(lines, "a=fmtp:{payload_type} {}", codec.answer);
    }
    if let Some(red) = codec.red {
        line!(lines, "a=rtpmap:{red} red/{}/2", codec.clock_rate);
        line!(lines, "a=fmtp:{red} {payload_type}/{payload_type}");
    }
    if let Some(rtx) = codec.rtx {
        line!(lines, "a=rtpmap:{rtx} rtx/{}", codec.clock_rate);
        line!(lines, "a=fmtp:{rtx} apt={payload_type}");
    }
}

/// RFC 8851 section 6 and RFC 8853 section 5.3: every encoding taken, with its restrictions, in the client's order.
fn write_simulcast(lines: &mut Lines, media: &OfferedMedia) {
    if media.rids.is_empty() {
        return;
    }
    for (rid, restrictions) in media.rids.iter().zip(&media.rid_restrictions) {
        let space = if restrictions.is_empty() { "" } else { " " };
        line!(lines, "a=rid:{rid} recv{space}{restrictions}");
    }
    let rids: Vec<&str> = media.rids.iter().map(super::Rid::as_str).collect();
    line!(lines, "a=simulcast:recv {}", rids.join(";"));
}

/// RFC 5576 section 4, RFC 4588 section 8: FID ties the retransmissions to their media.
fn write_ssrcs(lines: &mut Lines, codecs: &[&Codec], stream: &SendStream) {
    let SendStream { ssrc, cname, .. } = stream;
    let rtx = stream.rtx.filter(|_| codecs.iter().any(|codec| codec.rtx.is_some()));
    if let Some(rtx) = rtx {
        line!(lines, "a=ssrc-group:FID {ssrc} {rtx}");
    }
    line!(lines, "a=ssrc:{ssrc} cname:{cname}");
    if let Some(rtx) = rtx {
        line!(lines, "a=ssrc:{rtx} cname:{cname}");
    }
}
