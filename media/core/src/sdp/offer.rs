//! Reads an offer: bounds first, then the grammar by `rtc-sdp`, then the rules of one bundled WebRTC transport.
//!
//! Every step is linear in the size of the offer, which the bounds limit. `rtc-sdp` checks the lines and their order; it
//! keeps attributes as plain text and says nothing about places, so that part is told here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::str::FromStr;

use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;

use super::{
    Codec, CodecIdentity, CodecName, Direction, Extmap, Fingerprint, IceParameters, MediaKind, MediaLine,
    Mid, Offer, OfferedMedia, OfferedSsrc, Place, Rid, SdpError, Setup, Terms,
};
use crate::bounds::{
    ENCODINGS_MAX, MEDIA_LINES_MAX, OFFER_BYTES_MAX, OFFER_LINE_BYTES_MAX, OFFER_LINES_MAX,
    SSRCS_PER_PEER_MAX,
};
use crate::rtp::{ExtensionIds, uri};

pub(super) fn parse(sdp: &str) -> Result<Offer, SdpError> {
    check_bounds(sdp)?;
    let description = unmarshal(sdp)?;
    let session = Section::session(&description);
    let sections: Vec<_> = description.media_descriptions.iter().enumerate().map(Section::media).collect();
    let mids = read_mids(&sections)?;
    let group = read_bundle(&session, &mids)?;

    let mut shared = Shared::default();
    let defaults = Defaults::read(&session)?;
    let mut media = Vec::with_capacity(sections.len());
    for ((section, line), &mid) in sections.iter().zip(&description.media_descriptions).zip(mids.in_order()) {
        media.push(read_media(section, line, mid, &defaults, &mut shared)?);
    }

    let bundle: Vec<usize> = group.iter().copied().filter(|&index| !media[index].is_rejected()).collect();
    check_bundled(&media, &bundle)?;
    let transport = read_transport(&session, &sections, &group, &media)?;
    Ok(Offer {
        ice: transport.ice,
        fingerprint: transport.fingerprint,
        setup: transport.setup,
        extensions: shared.extensions,
        receives_dependency: media.iter().any(receives_dependency)
            && bundle.iter().all(|&index| media[index].allow_mixed),
        extmap_allow_mixed: bundle.iter().all(|&index| media[index].allow_mixed),
        media,
        bundle,
        allow_mixed_at_session: defaults.allow_mixed,
    })
}

pub(super) fn extends(new: &Offer, previous: &Terms) -> Result<(), SdpError> {
    if new.media.len() < previous.media.len() {
        return Err(SdpError::MediaRemoved { before: previous.media.len(), now: new.media.len() });
    }
    for (index, (now, before)) in new.media.iter().zip(&previous.media).enumerate() {
        let place = Place::Media(index);
        if now.mid != before.mid {
            return Err(SdpError::MidChanged { place, before: before.mid, now: now.mid });
        }
        if now.kind != before.kind {
            return Err(SdpError::KindChanged { place });
        }
        if !now.is_rejected() && !before.codecs.is_empty() && !keeps_codecs(&now.codecs, &before.codecs) {
            return Err(SdpError::CodecChanged { place });
        }
    }
    if !keeps_ids(&new.extensions, &previous.extensions) {
        return Err(SdpError::ExtensionsChanged);
    }
    if new.fingerprint != previous.fingerprint {
        return Err(SdpError::FingerprintChanged);
    }
    Ok(())
}

/// Whether one of the codecs of `before` is there still, and none with another payload type.
fn keeps_codecs(now: &[Codec], before: &[CodecIdentity]) -> bool {
    let of_name = |codec: &Codec| before.iter().find(|(name, ..)| *name == codec.name).copied();
    let mut kept = now.iter().filter_map(|codec| Some((codec.identity(), of_name(codec)?))).peekable();
    kept.peek().is_some() && kept.all(|(now, before)| now == before)
}

/// Whether no extension of `before` has another id `now`; one that is no longer offered does not matter.
fn keeps_ids(now: &ExtensionIds, before: &ExtensionIds) -> bool {
    let pairs = [
        (now.mid, before.mid),
        (now.rid, before.rid),
        (now.repaired_rid, before.repaired_rid),
        (now.transport_cc, before.transport_cc),
        (now.abs_send_time, before.abs_send_time),
        (now.audio_level, before.audio_level),
        (now.video_orientation, before.video_orientation),
        (now.playout_delay, before.playout_delay),
        (now.dependency, before.dependency),
    ];
    pairs.iter().all(|(now, before)| now.is_none() || before.is_none() || now == before)
}

/// Size, shape and number of the lines, before anything is allocated for them (RFC 8866 section 5).
fn check_bounds(sdp: &str) -> Result<(), SdpError> {
    if sdp.len() > OFFER_BYTES_MAX {
        return Err(SdpError::TooLong { bytes: sdp.len(), max: OFFER_BYTES_MAX });
    }
    let mut media_lines = 0;
    let mut seen = [false; 26];
    for (index, text) in sdp.lines().enumerate() {
        let line = index + 1;
        if line > OFFER_LINES_MAX {
            return Err(SdpError::TooManyLines { max: OFFER_LINES_MAX });
        }
        if text.len() > OFFER_LINE_BYTES_MAX {
            return Err(SdpError::LineTooLong { line, bytes: text.len(), max: OFFER_LINE_BYTES_MAX });
        }
        if text.chars().any(char::is_control) {
            return Err(SdpError::ControlCharacter { line });
        }
        match text.as_bytes() {
            [] => {}
            [kind @ b'a'..=b'z', b'=', ..] => {
                seen[usize::from(kind - b'a')] = true;
                media_lines += usize::from(*kind == b'm');
            }
            _ => return Err(SdpError::NotALine { line }),
        }
        if media_lines > MEDIA_LINES_MAX {
            return Err(SdpError::TooManyMedia { max: MEDIA_LINES_MAX });
        }
    }
    match "vostm".chars().find(|&kind| !seen[kind as usize - 'a' as usize]) {
        Some(kind) => Err(SdpError::MissingLine { kind }),
        None => Ok(()),
    }
}

/// The grammar of the lines and their order, by `rtc-sdp`. Where it stopped reading is where the fault is.
fn unmarshal(sdp: &str) -> Result<SessionDescription, SdpError> {
    let mut reader = Cursor::new(sdp.as_bytes());
    SessionDescription::unmarshal(&mut reader).map_err(|_| {
        let read = usize::try_from(reader.position()).unwrap_or(sdp.len()).min(sdp.len());
        let before = &sdp.as_bytes()[..read.saturating_sub(1)];
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        SdpError::Syntax { line, kind: char::from(sdp.as_bytes()[start]) }
    })
}

/// The attributes of the session or of one m-line, with their place for errors.
struct Section<'a> {
    place: Place,
    attributes: &'a [Attribute],
}

impl<'a> Section<'a> {
    fn session(description: &'a SessionDescription) -> Self {
        Self { place: Place::Session, attributes: &description.attributes }
    }

    fn media((index, description): (usize, &'a MediaDescription)) -> Self {
        Self { place: Place::Media(index), attributes: &description.attributes }
    }

    fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|attribute| attribute.key == key)
    }

    /// The values of all attributes named `key`; a flag's value is empty.
    fn all(&self, key: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.attributes
            .iter()
            .filter(move |attribute| attribute.key == key)
            .map(|attribute| attribute.value.as_deref().unwrap_or_default())
    }

    /// The value of an attribute that may stand once.
    fn single(&self, attribute: &'static str) -> Result<Option<&'a str>, SdpError> {
        let mut values = self.all(attribute);
        let first = values.next();
        if values.next().is_some() {
            return Err(SdpError::Repeated { place: self.place, attribute });
        }
        Ok(first)
    }

    const fn missing(&self, attribute: &'static str) -> SdpError {
        SdpError::Missing { place: self.place, attribute }
    }

    const fn malformed(&self, attribute: &'static str) -> SdpError {
        SdpError::Malformed { place: self.place, attribute }
    }
}

/// The mids of all m-lines, by place and by name.
struct Mids {
    in_order: Vec<Mid>,
    by_name: BTreeMap<Mid, usize>,
}

impl Mids {
    fn in_order(&self) -> &[Mid] {
        &self.in_order
    }
}

fn read_mids(sections: &[Section<'_>]) -> Result<Mids, SdpError> {
    let mut mids = Mids { in_order: Vec::with_capacity(sections.len()), by_name: BTreeMap::new() };
    for (index, section) in sections.iter().enumerate() {
        let text = section.single("mid")?.ok_or(section.missing("mid"))?;
        let mid = Mid::new(text).ok_or(section.malformed("mid"))?;
        if mids.by_name.insert(mid, index).is_some() {
            return Err(SdpError::DuplicateMid { place: section.place, mid });
        }
        mids.in_order.push(mid);
    }
    Ok(mids)
}

/// The places of the m-lines in the BUNDLE group, in the group's order (RFC 8843 section 5).
fn read_bundle(session: &Section<'_>, mids: &Mids) -> Result<Vec<usize>, SdpError> {
    let mut groups = session.all("group").filter_map(|group| group.strip_prefix("BUNDLE "));
    let group = groups.next().ok_or(session.missing("group:BUNDLE"))?;
    if groups.next().is_some() {
        return Err(SdpError::Repeated { place: session.place, attribute: "group:BUNDLE" });
    }
    let mut members = BTreeSet::new();
    group
        .split_ascii_whitespace()
        .map(|text| {
            let index = Mid::new(text).and_then(|mid| mids.by_name.get(&mid).copied());
            index.filter(|&index| members.insert(index)).ok_or(SdpError::BundleMember)
        })
        .collect()
}

fn check_bundled(media: &[OfferedMedia], bundle: &[usize]) -> Result<(), SdpError> {
    let mut is_bundled = vec![false; media.len()];
    for &index in bundle {
        is_bundled[index] = true;
    }
    let alone = media.iter().zip(is_bundled).position(|(media, bundled)| !media.is_rejected() && !bundled);
    match alone {
        Some(index) => Err(SdpError::NotBundled { place: Place::Media(index), mid: media[index].mid }),
        None if bundle.is_empty() => Err(SdpError::NothingToServe),
        None => Ok(()),
    }
}

/// What all m-lines of the BUNDLE have in common.
struct Transport {
    ice: IceParameters,
    fingerprint: Fingerprint,
    setup: Setup,
}

/// What one section says of the transport. An m-line other than the BUNDLE tag may say nothing (RFC 8829 section 5.2.1).
#[derive(Clone, Default)]
struct TransportPart {
    ice: Option<IceParameters>,
    fingerprint: Option<Fingerprint>,
    setup: Option<Setup>,
    rtcp_mux: bool,
}

impl TransportPart {
    fn read(section: &Section<'_>) -> Result<Self, SdpError> {
        if section.has("ice-lite") {
            return Err(SdpError::IceLite { place: section.place });
        }
        let ice = read_ice(section)?;
        Ok(Self {
            fingerprint: read_fingerprint(section)?,
            setup: read_setup(section)?,
            rtcp_mux: section.has("rtcp-mux"),
            ice,
        })
    }

    /// This part, completed from `outer` where it is silent. What brings ICE credentials of its own has to bring its own
    /// `rtcp-mux` too.
    fn within(self, outer: &Self) -> Self {
        Self {
            rtcp_mux: self.rtcp_mux || (self.ice.is_none() && outer.rtcp_mux),
            ice: self.ice.or_else(|| outer.ice.clone()),
            fingerprint: self.fingerprint.or(outer.fingerprint),
            setup: self.setup.or(outer.setup),
        }
    }

    fn complete(self, section: &Section<'_>) -> Result<Transport, SdpError> {
        if !self.rtcp_mux {
            return Err(section.missing("rtcp-mux"));
        }
        Ok(Transport {
            ice: self.ice.ok_or(section.missing("ice-ufrag"))?,
            fingerprint: self.fingerprint.ok_or(section.missing("fingerprint:sha-256"))?,
            setup: self.setup.ok_or(section.missing("setup"))?,
        })
    }
}

fn read_transport(
    session: &Section<'_>,
    sections: &[Section<'_>],
    group: &[usize],
    media: &[OfferedMedia],
) -> Result<Transport, SdpError> {
    let session_part = TransportPart::read(session)?;
    // The group's first member carries the transport for all, even if it is one we reject.
    let tag_part = match group.first() {
        Some(&tag) => TransportPart::read(&sections[tag])?.within(&session_part),
        None => session_part,
    };
    let mut transport: Option<Transport> = None;
    for (section, _) in sections.iter().zip(media).filter(|(_, media)| !media.is_rejected()) {
        let own = TransportPart::read(section)?.within(&tag_part).complete(section)?;
        match &transport {
            None => transport = Some(own),
            Some(common) => check_same(common, &own, section.place)?,
        }
    }
    transport.ok_or(SdpError::NothingToServe)
}

fn check_same(common: &Transport, own: &Transport, place: Place) -> Result<(), SdpError> {
    let differing = [
        ("ice-ufrag", common.ice.ufrag != own.ice.ufrag),
        ("ice-pwd", common.ice.pwd != own.ice.pwd),
        ("fingerprint", common.fingerprint != own.fingerprint),
        ("setup", common.setup != own.setup),
    ];
    match differing.iter().find(|(_, differs)| *differs) {
        Some(&(attribute, _)) => Err(SdpError::TransportMismatch { place, attribute }),
        None => Ok(()),
    }
}

fn read_ice(section: &Section<'_>) -> Result<Option<IceParameters>, SdpError> {
    match (section.single("ice-ufrag")?, section.single("ice-pwd")?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(section.missing("ice-ufrag")),
        (Some(_), None) => Err(section.missing("ice-pwd")),
        (Some(ufrag), Some(pwd)) => match IceParameters::new(ufrag, pwd) {
            Err(SdpError::IceCredential { attribute }) => Err(section.malformed(attribute)),
            other => other.map(Some),
        },
    }
}

/// The SHA-256 among the fingerprints of one section; others hash the same certificate (RFC 8122 section 5).
fn read_fingerprint(section: &Section<'_>) -> Result<Option<Fingerprint>, SdpError> {
    let mut found = None;
    for value in section.all("fingerprint") {
        let (hash, octets) = value.split_once(' ').ok_or(section.malformed("fingerprint"))?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            continue;
        }
        let fingerprint =
            Fingerprint::from_str(octets.trim()).map_err(|_| section.malformed("fingerprint"))?;
        if found.replace(fingerprint).is_some() {
            return Err(SdpError::Repeated { place: section.place, attribute: "fingerprint:sha-256" });
        }
    }
    Ok(found)
}

fn read_setup(section: &Section<'_>) -> Result<Option<Setup>, SdpError> {
    match section.single("setup")? {
        None => Ok(None),
        Some("actpass") => Ok(Some(Setup::ActPass)),
        Some("active") => Ok(Some(Setup::Active)),
        Some(_) => Err(SdpError::Setup { place: section.place }),
    }
}

/// What the accepted m-lines of one BUNDLE share, gathered as they are read.
struct Shared {
    extensions: ExtensionIds,
    uri_of_id: BTreeMap<u8, String>,
    id_of_uri: BTreeMap<String, u8>,
    payload_types: [Option<PayloadUse>; 128],
    ssrcs: BTreeSet<u32>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            extensions: ExtensionIds::default(),
            uri_of_id: BTreeMap::new(),
            id_of_uri: BTreeMap::new(),
            payload_types: [None; 128],
            ssrcs: BTreeSet::new(),
        }
    }
}

/// The one meaning a payload type may have in a BUNDLE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PayloadUse {
    Media(CodecName),
    Retransmission {
        of: u8,
    },
    /// Redundant audio of this codec.
    Redundancy {
        of: u8,
    },
}

impl Shared {
    /// RFC 8843 section 9.1: one payload type, one codec configuration.
    fn claim_payload_type(
        &mut self,
        place: Place,
        payload_type: u8,
        meaning: PayloadUse,
    ) -> Result<(), SdpError> {
        // RFC 5761 section 4: with the marker bit, 64 to 95 read as RTCP packet types.
        if (64..96).contains(&payload_type) {
            return Err(SdpError::ReservedPayloadType { place, payload_type });
        }
        match self.payload_types[usize::from(payload_type)].replace(meaning) {
            Some(earlier) if earlier != meaning => Err(SdpError::PayloadTypeConflict { place, payload_type }),
            _ => Ok(()),
        }
    }

    /// All payload types of a codec.
    fn claim_codec(&mut self, place: Place, codec: &Codec) -> Result<(), SdpError> {
        let of = codec.payload_type;
        self.claim_payload_type(place, of, PayloadUse::Media(codec.name))?;
        if let Some(rtx) = codec.rtx {
            self.claim_payload_type(place, rtx, PayloadUse::Retransmission { of })?;
        }
        match codec.red {
            Some(red) => self.claim_payload_type(place, red, PayloadUse::Redundancy { of }),
            None => Ok(()),
        }
    }

    /// RFC 8859: in one BUNDLE, one extension has one id.
    fn claim_extension(&mut self, place: Place, extmap: &Extmap) -> Result<(), SdpError> {
        let conflict = SdpError::ExtensionConflict { place, id: extmap.id };
        if self.uri_of_id.get(&extmap.id).is_some_and(|uri| *uri != extmap.uri) {
            return Err(conflict);
        }
        match self.id_of_uri.get(&extmap.uri) {
            Some(&id) if id != extmap.id => return Err(conflict),
            Some(_) => {}
            None => {
                self.uri_of_id.insert(extmap.id, extmap.uri.clone());
                self.id_of_uri.insert(extmap.uri.clone(), extmap.id);
                self.extensions.set(&extmap.uri, extmap.id);
            }
        }
        Ok(())
    }

    fn claim_ssrc(&mut self, place: Place, ssrc: u32) -> Result<(), SdpError> {
        if !self.ssrcs.insert(ssrc) {
            return Err(SdpError::DuplicateSsrc { place, ssrc });
        }
        if self.ssrcs.len() > SSRCS_PER_PEER_MAX {
            return Err(SdpError::TooManySsrcs { place, max: SSRCS_PER_PEER_MAX });
        }
        Ok(())
    }
}

/// Whether the client takes the dependency descriptor on an m-line. One with a structure is longer than the one-byte form of
/// extensions allows, so that it comes only where forms may be mixed.
fn receives_dependency(media: &OfferedMedia) -> bool {
    let takes =
        |extmap: &Extmap| extmap.uri == uri::DEPENDENCY && extmap.direction.is_none_or(Direction::receives);
    media.direction.receives() && media.extmaps.iter().any(takes)
}

/// What the session says for every m-line that does not say it itself; read once, however many m-lines there are.
struct Defaults {
    direction: Option<Direction>,
    extmaps: Vec<Extmap>,
    allow_mixed: bool,
}

impl Defaults {
    fn read(session: &Section<'_>) -> Result<Self, SdpError> {
        Ok(Self {
            direction: read_direction(session)?,
            extmaps: read_extmaps(session)?,
            allow_mixed: session.has("extmap-allow-mixed"),
        })
    }
}

fn read_media(
    section: &Section<'_>,
    description: &MediaDescription,
    mid: Mid,
    defaults: &Defaults,
    shared: &mut Shared,
) -> Result<OfferedMedia, SdpError> {
    let line = read_line(description);
    let kind = match line.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    let mut media = OfferedMedia {
        mid,
        kind,
        direction: Direction::Inactive,
        codecs: Vec::new(),
        rids: Vec::new(),
        ssrcs: Vec::new(),
        extensions: ExtensionIds::default(),
        rtcp_rsize: section.has("rtcp-rsize"),
        line,
        extmaps: Vec::new(),
        rid_restrictions: Vec::new(),
        allow_mixed: defaults.allow_mixed || section.has("extmap-allow-mixed"),
    };
    // Port 0 is a rejection unless the line says that it lives in the BUNDLE only (RFC 8843 section 6).
    let offered = description.media_name.port.value != 0 || section.has("bundle-only");
    let Some(kind) = kind.filter(|_| offered) else { return Ok(media) };
    if media.line.protocol != "UDP/TLS/RTP/SAVPF" {
        return Err(SdpError::Protocol { place: section.place });
    }
    media.direction = read_direction(section)?.or(defaults.direction).unwrap_or_default();
    media.codecs = choose_codecs(section, kind, &description.media_name.formats, shared)?;
    if media.is_rejected() {
        return Ok(media);
    }

    media.extmaps = read_extmaps(section)?;
    for extmap in &defaults.extmaps {
        if media.extmaps.iter().all(|own| own.uri != extmap.uri) {
            media.extmaps.push(extmap.clone());
        }
    }
    // When a packet left is of use to who estimates the line by it, and takes four bytes of each packet.
    if !media.codecs.iter().any(|codec| codec.remb) {
        media.extmaps.retain(|extmap| extmap.uri != uri::ABS_SEND_TIME);
    }
    for extmap in &media.extmaps {
        shared.claim_extension(section.place, extmap)?;
        media.extensions.set(&extmap.uri, extmap.id);
    }
    if media.direction.sends() {
        for (rid, restrictions) in read_simulcast(section, &media.codecs)? {
            media.rids.push(rid);
            media.rid_restrictions.push(restrictions);
        }
        media.ssrcs = read_ssrcs(section, shared)?;
    }
    Ok(media)
}

fn read_line(description: &MediaDescription) -> MediaLine {
    let name = &description.media_name;
    MediaLine {
        media: name.media.clone(),
        protocol: name.protos.join("/"),
        first_format: name.formats.first().cloned().unwrap_or_default(),
    }
}

fn read_direction(section: &Section<'_>) -> Result<Option<Direction>, SdpError> {
    let mut directions =
        section.attributes.iter().filter_map(|attribute| Direction::from_token(&attribute.key));
    let first = directions.next();
    if directions.next().is_some() {
        return Err(SdpError::Repeated {
            place: section.place,
            attribute: "sendrecv|sendonly|recvonly|inactive",
        });
    }
    Ok(first)
}

/// What an m-line says about one payload type.
#[derive(Clone, Copy, Default)]
struct Payload<'a> {
    rtpmap: Option<&'a str>,
    fmtp: Option<&'a str>,
    feedback: Feedback,
}

#[derive(Clone, Copy, Default)]
struct Feedback {
    nack: bool,
    pli: bool,
    fir: bool,
    transport_cc: bool,
    remb: bool,
}

impl Feedback {
    /// RFC 4585 section 4.2, RFC 5104 section 7.1; what is not known is not answered.
    fn add(&mut self, value: &str) {
        match value {
            "nack" => self.nack = true,
            "nack pli" => self.pli = true,
            "ccm fir" => self.fir = true,
            "transport-cc" => self.transport_cc = true,
            "goog-remb" => self.remb = true,
            _ => {}
        }
    }
}

/// The codecs of the m-line that this server forwards, in its own order; of several formats of one codec the first.
fn choose_codecs(
    section: &Section<'_>,
    kind: MediaKind,
    formats: &[String],
    shared: &mut Shared,
) -> Result<Vec<Codec>, SdpError> {
    let payloads = read_payloads(section)?;
    let mapped: Vec<(u8, &str)> = formats
        .iter()
        .filter_map(|format| {
            let payload_type = read_payload_type(format)?;
            Some((payload_type, payloads[usize::from(payload_type)].rtpmap?))
        })
        .collect();
    let mut codecs: Vec<Codec> = Vec::new();
    for &(payload_type, rtpmap) in &mapped {
        let Some(name) = CodecName::from_rtpmap(kind, rtpmap) else { continue };
        let payload = &payloads[usize::from(payload_type)];
        let fmtp = payload.fmtp.unwrap_or_default();
        let Some(answer) = name.answer_to(fmtp) else { continue };
        if codecs.iter().all(|codec| codec.name != name) {
            let mut codec = Codec {
                name,
                payload_type,
                rtx: None,
                clock_rate: name.clock_rate(),
                nack: payload.feedback.nack,
                pli: payload.feedback.pli,
                fir: payload.feedback.fir,
                transport_cc: payload.feedback.transport_cc,
                // One is enough, and feedback on each packet tells more.
                remb: payload.feedback.remb && !payload.feedback.transport_cc,
                red: None,
                fmtp: fmtp.to_owned(),
                answer,
            };
            find_companions(&mut codec, &mapped, &payloads);
            shared.claim_codec(section.place, &codec)?;
            codecs.push(codec);
        }
    }
    Ok(codecs)
}

/// The formats of a codec's retransmissions and of its redundancy.
fn find_companions(codec: &mut Codec, mapped: &[(u8, &str)], payloads: &[Payload<'_>; 128]) {
    let of_name = |name: String| {
        let is_named = move |(_, rtpmap): &&(u8, &str)| rtpmap.eq_ignore_ascii_case(&name);
        mapped.iter().filter(is_named).map(|(format, _)| (*format, payloads[usize::from(*format)].fmtp))
    };
    let own = codec.payload_type;
    codec.rtx = of_name(format!("rtx/{}", codec.clock_rate))
        .find(|(_, fmtp)| associated_payload_type(*fmtp) == Some(own))
        .map(|(format, _)| format);
    if codec.name.kind() == MediaKind::Audio {
        codec.red = of_name("red/48000/2".to_owned())
            .find(|(_, fmtp)| carries_only(*fmtp, own))
            .map(|(format, _)| format);
    }
}

/// All `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of an m-line by payload type, in one pass over its attributes.
fn read_payloads<'a>(section: &Section<'a>) -> Result<[Payload<'a>; 128], SdpError> {
    let mut payloads = [Payload::default(); 128];
    for value in section.all("rtpmap") {
        let (payload_type, encoding) = split_payload(value).ok_or(section.malformed("rtpmap"))?;
        if payloads[payload_type].rtpmap.replace(encoding).is_some() {
            return Err(SdpError::Repeated { place: section.place, attribute: "rtpmap" });
        }
    }
    for value in section.all("fmtp") {
        let (payload_type, parameters) = split_payload(value).ok_or(section.malformed("fmtp"))?;
        if payloads[payload_type].fmtp.replace(parameters).is_some() {
            return Err(SdpError::Repeated { place: section.place, attribute: "fmtp" });
        }
    }
    for value in section.all("rtcp-fb") {
        if let Some(feedback) = value.strip_prefix("* ") {
            payloads.iter_mut().for_each(|payload| payload.feedback.add(feedback.trim()));
        } else {
            let (payload_type, feedback) = split_payload(value).ok_or(section.malformed("rtcp-fb"))?;
            payloads[payload_type].feedback.add(feedback);
        }
    }
    Ok(payloads)
}

/// `<payload type> <rest>`, the payload type as an index below 128.
fn split_payload(value: &str) -> Option<(usize, &str)> {
    let (payload_type, rest) = value.split_once(' ')?;
    Some((usize::from(read_payload_type(payload_type)?), rest.trim()))
}

fn read_payload_type(text: &str) -> Option<u8> {
    read_number(text).filter(|payload_type| *payload_type < 128)
}

/// Decimal digits and nothing else; `parse` alone would also take a sign.
fn read_number<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// `apt` of a retransmission format (RFC 4588 section 8.1).
fn associated_payload_type(fmtp: Option<&str>) -> Option<u8> {
    let parameters = fmtp?.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    parameters.into_iter().find(|(name, _)| *name == "apt").and_then(|(_, value)| read_payload_type(value))
}

/// Whether all blocks of redundant audio are of this payload type: `111/111` (RFC 2198 section 5).
fn carries_only(fmtp: Option<&str>, payload_type: u8) -> bool {
    fmtp.is_some_and(|fmtp| {
        fmtp.split('/').all(|block| read_payload_type(block.trim()) == Some(payload_type))
    })
}

/// The known extensions of a section, each once (RFC 8285 section 5).
fn read_extmaps(section: &Section<'_>) -> Result<Vec<Extmap>, SdpError> {
    let mut extmaps: Vec<Extmap> = Vec::new();
    for value in section.all("extmap") {
        let malformed = || section.malformed("extmap");
        let mut words = value.split_ascii_whitespace();
        let (mapping, uri) = words.next().zip(words.next()).ok_or_else(malformed)?;
        let (id, direction) = match mapping.split_once('/') {
            Some((id, direction)) => (id, Some(Direction::from_token(direction).ok_or_else(malformed)?)),
            None => (mapping, None),
        };
        let id: u16 = read_number(id).ok_or_else(malformed)?;
        let id = match id {
            // An offer may list more than fit by such ids; none of them can be used before it has a real one.
            4096..=4351 => continue,
            1..=14 | 16..=255 => id as u8,
            _ => return Err(malformed()),
        };
        if direction == Some(Direction::Inactive) || !ExtensionIds::default().set(uri, id) {
            continue;
        }
        if extmaps.iter().any(|other| other.id == id || other.uri == uri) {
            return Err(SdpError::ExtensionConflict { place: section.place, id });
        }
        extmaps.push(Extmap { id, direction, uri: uri.to_owned() });
    }
    Ok(extmaps)
}

/// The encodings of `a=simulcast:send` (RFC 8853 section 5.1) with what restricts each (RFC 8851 section 4). Of
/// alternatives the first is taken; one that may use none of the chosen payload types is left out.
fn read_simulcast(section: &Section<'_>, codecs: &[Codec]) -> Result<Vec<(Rid, String)>, SdpError> {
    let Some(value) = section.single("simulcast")? else { return Ok(Vec::new()) };
    let Some(streams) = sent_streams(value).ok_or(section.malformed("simulcast"))? else {
        return Ok(Vec::new());
    };
    let declared = read_rids(section)?;

    let mut named = BTreeSet::new();
    let mut encodings = Vec::new();
    for stream in streams.split(';') {
        let first = stream.split(',').next().unwrap_or_default();
        let rid = Rid::new(first.strip_prefix('~').unwrap_or(first)).ok_or(section.malformed("simulcast"))?;
        if !named.insert(rid) {
            return Err(section.malformed("simulcast"));
        }
        let restrictions = declared.get(&rid).ok_or(SdpError::UnknownRid { place: section.place, rid })?;
        if named.len() > ENCODINGS_MAX {
            return Err(SdpError::TooManyEncodings { place: section.place, max: ENCODINGS_MAX });
        }
        if codecs.iter().any(|codec| allows_payload_type(restrictions, codec.payload_type)) {
            encodings.push((rid, (*restrictions).to_owned()));
        }
    }
    Ok(encodings)
}

/// The list behind `send` of one or two `<direction> <list>` pairs; the outer `None` is a malformed value.
fn sent_streams(value: &str) -> Option<Option<&str>> {
    let words: Vec<&str> = value.split_ascii_whitespace().take(5).collect();
    match words[..] {
        ["send", streams] | ["send", streams, "recv", _] | ["recv", _, "send", streams] => {
            Some(Some(streams))
        }
        ["recv", _] => Some(None),
        _ => None,
    }
}

/// The restrictions of every `a=rid:<id> send`.
fn read_rids<'a>(section: &Section<'a>) -> Result<BTreeMap<Rid, &'a str>, SdpError> {
    let mut rids = BTreeMap::new();
    for value in section.all("rid") {
        let malformed = || section.malformed("rid");
        let (id, rest) = value.split_once(' ').ok_or_else(malformed)?;
        let rid = Rid::new(id).ok_or_else(malformed)?;
        let (direction, restrictions) = rest.split_once(' ').unwrap_or((rest, ""));
        match direction {
            "send" if rids.insert(rid, restrictions.trim()).is_none() => {}
            "send" => return Err(SdpError::Repeated { place: section.place, attribute: "rid" }),
            "recv" => {}
            _ => return Err(malformed()),
        }
    }
    Ok(rids)
}

/// Whether `pt=` among the restrictions, if there, names the payload type.
fn allows_payload_type(restrictions: &str, payload_type: u8) -> bool {
    let mut parameters = restrictions.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    match parameters.find(|(name, _)| *name == "pt") {
        Some((_, list)) => list.split(',').any(|listed| read_payload_type(listed) == Some(payload_type)),
        None => true,
    }
}

/// The SSRCs of `a=ssrc` and `a=ssrc-group:FID`, in the order they are first named (RFC 5576 section 4).
fn read_ssrcs(section: &Section<'_>, shared: &mut Shared) -> Result<Vec<OfferedSsrc>, SdpError> {
    let mut named: Vec<u32> = Vec::new();
    let mut name = |ssrc| -> Result<(), SdpError> {
        if !named.contains(&ssrc) {
            shared.claim_ssrc(section.place, ssrc)?;
            named.push(ssrc);
        }
        Ok(())
    };
    for value in section.all("ssrc") {
        name(value.split(' ').next().and_then(read_ssrc).ok_or(section.malformed("ssrc"))?)?;
    }
    let mut pairs: Vec<[u32; 2]> = Vec::new();
    for value in section.all("ssrc-group") {
        let Some(list) = value.strip_prefix("FID ") else { continue };
        let (media, rtx) = list.split_once(' ').ok_or(section.malformed("ssrc-group"))?;
        let (media, rtx) = read_ssrc(media).zip(read_ssrc(rtx)).ok_or(section.malformed("ssrc-group"))?;
        for ssrc in [media, rtx] {
            name(ssrc)?;
            if media == rtx || pairs.iter().flatten().any(|&paired| paired == ssrc) {
                return Err(SdpError::DuplicateSsrc { place: section.place, ssrc });
            }
        }
        pairs.push([media, rtx]);
    }
    let is_rtx = |ssrc| pairs.iter().any(|&[_, rtx]| rtx == ssrc);
    let rtx_of = |ssrc| pairs.iter().find(|&&[media, _]| media == ssrc).map(|&[_, rtx]| rtx);
    Ok(named
        .into_iter()
        .filter(|&ssrc| !is_rtx(ssrc))
        .map(|ssrc| OfferedSsrc { ssrc, rtx: rtx_of(ssrc) })
        .collect())
}

/// An SSRC other than 0, which browsers keep for probes.
fn read_ssrc(text: &str) -> Option<u32> {
    read_number(text.trim()).filter(|ssrc| *ssrc != 0)
}
