//! Reads descriptions line by line; what is not known is skipped.

use std::net::SocketAddr;
use std::str::FromStr;

use vestibule_media_core::sdp::{Fingerprint, IceParameters};

use super::{Codec, Description, Direction, MediaLine, SdpError, Setup};
use crate::client::Kind;

/// What may stand at session level or on the first m-line.
#[derive(Default)]
struct Transport {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<Fingerprint>,
    setup: Option<Setup>,
    ice_lite: bool,
    candidates: Vec<SocketAddr>,
}

pub(super) fn parse(sdp: &str) -> Result<Description, SdpError> {
    let mut transport = Transport::default();
    let mut lines: Vec<MediaLine> = Vec::new();
    for (at, text) in sdp.lines().enumerate() {
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        let malformed = SdpError::Malformed(at + 1);
        match text.split_once('=').ok_or_else(|| malformed.clone())? {
            ("m", value) => lines.push(media_line(value).ok_or(malformed)?),
            ("a", value) => {
                let (key, value) = value.split_once(':').unwrap_or((value, ""));
                if !transport.read(key, value)
                    && let Some(line) = lines.last_mut()
                {
                    line.read(key, value);
                }
            }
            _ => {}
        }
    }
    let (Some(ufrag), Some(pwd)) = (transport.ufrag, transport.pwd) else {
        return Err(SdpError::NoCredentials);
    };
    Ok(Description {
        // Not checked against the grammar: what a server made, it takes back.
        ice: IceParameters { ufrag, pwd },
        ice_lite: transport.ice_lite,
        fingerprint: transport.fingerprint.ok_or(SdpError::NoFingerprint)?,
        setup: transport.setup.unwrap_or(Setup::ActPass),
        candidates: transport.candidates,
        lines,
    })
}

impl Transport {
    /// Whether the attribute was one of the transport's. The first of each counts.
    fn read(&mut self, key: &str, value: &str) -> bool {
        match key {
            "ice-lite" => self.ice_lite = true,
            "ice-ufrag" => _ = self.ufrag.get_or_insert_with(|| value.to_owned()),
            "ice-pwd" => _ = self.pwd.get_or_insert_with(|| value.to_owned()),
            "fingerprint" => {
                if let Some((hash, hex)) = value.split_once(' ')
                    && hash.eq_ignore_ascii_case("sha-256")
                {
                    self.fingerprint = self.fingerprint.or_else(|| Fingerprint::from_str(hex.trim()).ok());
                }
            }
            "setup" => {
                let setup = match value {
                    "active" => Some(Setup::Active),
                    "passive" => Some(Setup::Passive),
                    "actpass" => Some(Setup::ActPass),
                    _ => None,
                };
                self.setup = self.setup.or(setup);
            }
            "candidate" => {
                let candidate = candidate(value).filter(|found| !self.candidates.contains(found));
                self.candidates.extend(candidate);
            }
            _ => return false,
        }
        true
    }
}

/// RFC 8839 section 5.1: foundation, component, transport, priority, address, port, then what kind it is.
pub(crate) fn candidate(value: &str) -> Option<SocketAddr> {
    let mut words = value.split_ascii_whitespace();
    let (_foundation, component, transport) = (words.next()?, words.next()?, words.next()?);
    let (_priority, address, port) = (words.next()?, words.next()?, words.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

fn media_line(value: &str) -> Option<MediaLine> {
    let mut words = value.splitn(4, ' ');
    let (media, port, proto, formats) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match media {
        "audio" => Some(Kind::Audio),
        "video" => Some(Kind::Video),
        _ => None,
    };
    let codecs = formats.split(' ').filter_map(|format| format.parse().ok()).map(|payload_type| Codec {
        payload_type,
        name: String::new(),
        clock_rate: 0,
        apt: None,
        nack: false,
        transport_cc: false,
    });
    Some(MediaLine {
        kind,
        rejected: port == "0",
        codecs: codecs.filter(|_| kind.is_some()).collect(),
        media: media.to_owned(),
        proto: proto.to_owned(),
        formats: formats.to_owned(),
        ..MediaLine::default()
    })
}

impl MediaLine {
    /// A value that is malformed says nothing.
    fn read(&mut self, key: &str, value: &str) {
        match key {
            "mid" => value.clone_into(&mut self.mid),
            "sendrecv" => self.direction = Direction::SendRecv,
            "sendonly" => self.direction = Direction::SendOnly,
            "recvonly" => self.direction = Direction::RecvOnly,
            "inactive" => self.direction = Direction::Inactive,
            "rtpmap" | "fmtp" | "rtcp-fb" => self.read_codec(key, value),
            "extmap" => {
                if let Some((id, rest)) = value.split_once(' ')
                    && let Ok(id) = id.split('/').next().unwrap_or(id).parse()
                {
                    let uri = rest.split(' ').next().unwrap_or(rest);
                    self.extensions.push((id, uri.to_owned()));
                }
            }
            "ssrc" => {
                let ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
                self.ssrcs.extend(ssrc.filter(|ssrc| !self.ssrcs.contains(ssrc)));
            }
            "ssrc-group" => {
                if let Some(("FID", ssrcs)) = value.split_once(' ')
                    && let Some((media, rtx)) = ssrcs.split_once(' ')
                    && let (Ok(media), Ok(rtx)) = (media.parse(), rtx.trim().parse())
                {
                    self.pairs.push((media, rtx));
                }
            }
            "msid" => {
                let (stream, track) = value.split_once(' ').unwrap_or((value, ""));
                self.msid = Some((stream.to_owned(), track.to_owned()));
            }
            "simulcast" => {
                let receives = value.split("recv ").nth(1).map(|list| list.split(' ').next().unwrap_or(list));
                if let Some(list) = receives {
                    self.receives_rids = list.split(';').map(str::to_owned).collect();
                }
            }
            _ => {}
        }
    }

    fn read_codec(&mut self, key: &str, value: &str) {
        let Some((payload_type, rest)) = value.split_once(' ') else { return };
        let all = payload_type == "*";
        let payload_type = payload_type.parse().ok();
        for codec in self.codecs.iter_mut().filter(|codec| all || Some(codec.payload_type) == payload_type) {
            match key {
                "rtpmap" => {
                    let mut parts = rest.split('/');
                    parts.next().unwrap_or_default().clone_into(&mut codec.name);
                    codec.clock_rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0);
                }
                "fmtp" => {
                    let apt = rest.split(';').find_map(|parameter| parameter.trim().strip_prefix("apt="));
                    codec.apt = codec.apt.or_else(|| apt.and_then(|apt| apt.parse().ok()));
                }
                _ => {
                    codec.nack |= rest.trim() == "nack";
                    codec.transport_cc |= rest.trim() == "transport-cc";
                }
            }
        }
    }
}
