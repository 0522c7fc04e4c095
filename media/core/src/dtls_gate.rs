//! The gate before the DTLS library: it puts the ClientHello together, picks the SRTP profile, and bounds
//! what a peer can make the library do. Pure: datagrams in, verdicts out; it knows no time, no address and no
//! key.
//!
//! `rtc-dtls` needs it for three reasons. Its fragment buffer takes time quadratic in the number of
//! fragments. Its server takes the client's first SRTP profile, so it is given only one. And a ClientHello
//! repeated while it waits for the client's last flight disarms its retransmission timer for good;
//! [`repeats_only_hellos`] is how its caller knows.
//!
//! The server of `rtc-dtls` always answers the first ClientHello with a HelloVerifyRequest (RFC 6347 section
//! 4.2.1), so there are two: `message_seq` 0, and `message_seq` 1 with the cookie. Both pass here, whole; the
//! client's next flight starts at `message_seq` 2.

use thiserror::Error;

use crate::bounds::{
    CLIENT_HELLO_BYTES_MAX, CLIENT_HELLO_FRAGMENTS_MAX, CLIENT_HELLOS_MAX, DTLS_HANDSHAKE_RECORDS_MAX,
    DTLS_LATE_RECORDS_MAX, DTLS_MESSAGE_BYTES_MAX, DTLS_MESSAGE_FRAGMENTS_MAX,
};
use crate::srtp::SrtpProfile;

/// Bytes of a DTLS 1.2 record header (RFC 6347 section 4.1).
const RECORD_HEADER_BYTES: usize = 13;
/// Bytes of a handshake header (RFC 6347 section 4.2.2).
const HANDSHAKE_HEADER_BYTES: usize = 12;
const CONTENT_CHANGE_CIPHER_SPEC: u8 = 20;
const CONTENT_HANDSHAKE: u8 = 22;
const CONTENT_APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;
/// The `use_srtp` extension (RFC 5764 section 4.1.1).
const USE_SRTP: u16 = 14;
/// `message_seq` of the ClientHello that carries the cookie.
const COOKIE_HELLO: u16 = 1;
/// The highest `message_seq` in the clear: Certificate 2, ClientKeyExchange 3, CertificateVerify 4.
const LAST_CLEAR_MESSAGE: u16 = 4;
/// Clear messages after the ClientHellos.
const LATER_MESSAGES: usize = (LAST_CLEAR_MESSAGE - COOKIE_HELLO) as usize;

/// The gate of one peer. [`DtlsGate::default`] waits for a ClientHello.
#[derive(Debug, Default)]
pub struct DtlsGate {
    phase: Phase,
    hello: Option<Box<Assembly>>,
    hellos: u32,
    cookie_returned: bool,
    profile: Option<SrtpProfile>,
    records: u32,
    later: [LaterMessage; LATER_MESSAGES],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No ClientHello has passed.
    #[default]
    Start,
    /// A ClientHello has passed. It is repeated until its answer arrives, and comes again with the cookie.
    Hello,
    /// The client is sending its last flight: no ClientHello passes any more.
    Flight,
    /// The association stands.
    Established,
}

/// What to do with a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    /// Give it to the association as it is.
    Pass,
    /// Keep it from the association: it was taken in here, or it would do no good.
    Hold,
    /// Give `datagram` to the association instead; start one if there is none yet. This comes for each whole
    /// ClientHello, so at least twice in a handshake, more often where datagrams are lost.
    ClientHello {
        /// One record with one whole handshake message, epoch 0, numbered as the first fragment that was
        /// taken.
        datagram: Vec<u8>,
        /// The profile to configure, and no other. It is the same each time.
        profile: SrtpProfile,
    },
    /// Keep it from the association: it breaks a rule.
    Refuse(GateError),
}

/// Which rule a datagram broke.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GateError {
    /// Not a sequence of whole DTLS records.
    #[error("malformed DTLS record")]
    MalformedRecord,
    /// A handshake header that contradicts its record or itself.
    #[error("malformed handshake fragment")]
    MalformedFragment,
    /// The ClientHello, put together, does not parse.
    #[error("malformed ClientHello")]
    MalformedClientHello,
    /// The ClientHello offers no SRTP profile of this server, or no SRTP at all.
    #[error("no SRTP profile in common")]
    NoSrtpProfile,
    /// The ClientHello with the cookie offers other SRTP profiles than the one before.
    #[error("SRTP profiles changed within the handshake")]
    SrtpProfileChanged,
    /// Fragments of one message after the ClientHello that say different lengths.
    #[error("fragments of one handshake message contradict each other")]
    ContradictingFragments,
    /// A handshake message in more fragments than the bound.
    #[error("handshake message in too many fragments")]
    TooManyFragments,
    /// A handshake message longer than the bound.
    #[error("handshake message too long")]
    MessageTooLong,
    /// A message that has no place in the client's last flight.
    #[error("unexpected handshake message")]
    UnexpectedMessage,
    /// More ClientHellos than the bound.
    #[error("too many ClientHellos")]
    TooManyClientHellos,
    /// More records than a handshake needs.
    #[error("too many records")]
    TooManyRecords,
}

impl DtlsGate {
    /// Judges one datagram. Of a refused one, what stood before the offence may have been taken in.
    pub fn inspect(&mut self, datagram: &[u8]) -> GateVerdict {
        let judged = match self.phase {
            Phase::Start => self.assemble_hello(datagram),
            Phase::Hello if !self.cookie_returned || repeats_only_hellos(datagram) => {
                self.assemble_hello(datagram)
            }
            Phase::Flight if repeats_only_hellos(datagram) => Ok(GateVerdict::Hold),
            Phase::Hello | Phase::Flight => self.inspect_flight(datagram),
            Phase::Established => self.inspect_established(datagram),
        };
        judged.unwrap_or_else(GateVerdict::Refuse)
    }

    /// Tells the gate of a datagram that leaves for the client: once a ServerHello has left, ClientHellos are
    /// held.
    ///
    /// Until then each repeat passes, so that a ClientHello lost between gate and association is made good by
    /// the next.
    pub fn sent(&mut self, datagram: &[u8]) {
        if self.phase == Phase::Hello && is_server_hello(datagram) {
            self.begin_flight();
        }
    }

    /// The association stands. From here only what has a record under its keys passes: the client's last
    /// flight, when it is repeated because the server's was lost, and alerts.
    pub fn established(&mut self) {
        self.begin_flight();
        self.phase = Phase::Established;
        self.records = 0;
    }

    /// Bytes and fragments of the ClientHello that are held for the rest of it.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        self.hello.as_ref().map_or((0, 0), |hello| (hello.body.len(), hello.fragments.len()))
    }

    fn begin_flight(&mut self) {
        self.hello = None;
        self.phase = Phase::Flight;
    }

    fn assemble_hello(&mut self, datagram: &[u8]) -> Result<GateVerdict, GateError> {
        for record in Records(datagram) {
            let record = record?;
            if record.epoch != 0 || record.content_type != CONTENT_HANDSHAKE {
                continue;
            }
            for fragment in Fragments(record.body) {
                let fragment = fragment?;
                if fragment.kind == CLIENT_HELLO
                    && fragment.message_seq <= COOKIE_HELLO
                    && let Some(whole) = self.take_fragment(&record, &fragment)?
                {
                    // What follows a ClientHello in its datagram can only be another one.
                    return self.pass_hello(&whole);
                }
            }
        }
        Ok(GateVerdict::Hold)
    }

    fn take_fragment(
        &mut self,
        record: &Record<'_>,
        fragment: &Fragment<'_>,
    ) -> Result<Option<Box<Assembly>>, GateError> {
        if self.phase == Phase::Start && fragment.message_seq == COOKIE_HELLO {
            // Nobody gave this client a cookie.
            return Err(GateError::UnexpectedMessage);
        }
        if fragment.message_len as usize > CLIENT_HELLO_BYTES_MAX {
            return Err(GateError::MessageTooLong);
        }
        if self.hello.as_ref().is_none_or(|hello| hello.message_seq < fragment.message_seq) {
            self.hello = Some(Box::new(Assembly::new(record, fragment)));
        }
        let Some(hello) = &mut self.hello else { return Ok(None) };
        if hello.message_seq > fragment.message_seq {
            // The client has its cookie: this repeat was on its way for long.
            return Ok(None);
        }
        if hello.contradicts(fragment) {
            // A client may cut its repeat differently (RFC 6347 section 4.1.1.1): begin again with that.
            **hello = Assembly::new(record, fragment);
        }
        hello.add(fragment)?;
        Ok(if hello.is_whole() { self.hello.take() } else { None })
    }

    fn pass_hello(&mut self, whole: &Assembly) -> Result<GateVerdict, GateError> {
        if self.hellos >= CLIENT_HELLOS_MAX {
            return Err(GateError::TooManyClientHellos);
        }
        let profile = chosen_profile(&whole.body)?;
        if *self.profile.get_or_insert(profile) != profile {
            return Err(GateError::SrtpProfileChanged);
        }
        self.hellos += 1;
        self.cookie_returned |= whole.message_seq == COOKIE_HELLO;
        self.phase = Phase::Hello;
        Ok(GateVerdict::ClientHello { datagram: whole.datagram(), profile })
    }

    /// The client's last flight: bounded in records, and each message in bytes and fragments.
    fn inspect_flight(&mut self, datagram: &[u8]) -> Result<GateVerdict, GateError> {
        let records = self.check_records(datagram, DTLS_HANDSHAKE_RECORDS_MAX)?;
        if records == 0 {
            return Ok(GateVerdict::Hold);
        }
        self.records += records;
        self.begin_flight();
        Ok(GateVerdict::Pass)
    }

    fn inspect_established(&mut self, datagram: &[u8]) -> Result<GateVerdict, GateError> {
        if !Records(datagram).flatten().any(|record| record.epoch > 0) {
            return Ok(GateVerdict::Hold);
        }
        let records = self.check_records(datagram, DTLS_LATE_RECORDS_MAX)?;
        self.records += records;
        Ok(if records > 0 { GateVerdict::Pass } else { GateVerdict::Hold })
    }

    /// Counts the records and fragments of a datagram against the bounds, whichever are more. Zero if there
    /// is a record in it that only a forger would send in the clear.
    fn check_records(&mut self, datagram: &[u8], records_max: u32) -> Result<u32, GateError> {
        let mut later = self.later;
        let mut count = 0;
        for record in Records(datagram) {
            let record = record?;
            count += 1;
            if record.epoch > 0 {
                continue;
            }
            match record.content_type {
                CONTENT_HANDSHAKE => {
                    let fragments = check_fragments(&mut later, record.body)?;
                    count += fragments.saturating_sub(1);
                }
                CONTENT_CHANGE_CIPHER_SPEC if record.body == [1] => {}
                // Anybody can send an alert or data in the clear, so they mean nothing.
                _ => return Ok(0),
            }
        }
        if self.records + count > records_max {
            return Err(GateError::TooManyRecords);
        }
        self.later = later;
        Ok(count)
    }
}

/// Whether a datagram holds nothing but clear handshake records with ClientHellos, first or with cookie.
///
/// Once its ServerHello has left, `rtc-dtls` must not be shown one: it would clear its retransmission timer
/// and wait forever for a flight that the client cannot send, having lost ours.
#[must_use]
pub fn repeats_only_hellos(datagram: &[u8]) -> bool {
    let is_hello = |record: Record<'_>| {
        record.epoch == 0
            && record.content_type == CONTENT_HANDSHAKE
            && Fragments(record.body)
                .all(|fragment| fragment.is_ok_and(|fragment| fragment.message_seq <= COOKIE_HELLO))
    };
    !datagram.is_empty() && Records(datagram).all(|record| record.is_ok_and(is_hello))
}

/// Whether a datagram holds a ServerHello in the clear.
#[must_use]
pub fn is_server_hello(datagram: &[u8]) -> bool {
    const SERVER_HELLO: u8 = 2;
    Records(datagram).flatten().any(|record| {
        record.epoch == 0
            && record.content_type == CONTENT_HANDSHAKE
            && Fragments(record.body).flatten().any(|fragment| fragment.kind == SERVER_HELLO)
    })
}

fn check_fragments(later: &mut [LaterMessage; LATER_MESSAGES], body: &[u8]) -> Result<u32, GateError> {
    let mut count = 0;
    for fragment in Fragments(body) {
        let fragment = fragment?;
        count += 1;
        if fragment.message_len > DTLS_MESSAGE_BYTES_MAX {
            return Err(GateError::MessageTooLong);
        }
        if fragment.message_seq <= COOKIE_HELLO {
            // A ClientHello in one datagram with what comes later: old, and harmless there.
            continue;
        }
        let place = usize::from(fragment.message_seq - COOKIE_HELLO - 1);
        later.get_mut(place).ok_or(GateError::UnexpectedMessage)?.add(&fragment)?;
    }
    Ok(count)
}

/// A handshake message after the ClientHello: which fragments of it have passed.
#[derive(Clone, Copy, Debug, Default)]
struct LaterMessage {
    len: u32,
    fragments: [(u32, u32); DTLS_MESSAGE_FRAGMENTS_MAX as usize],
    count: u32,
}

impl LaterMessage {
    /// A repeat of the same fragment counts once; the number of repeats is bounded by the number of records.
    fn add(&mut self, fragment: &Fragment<'_>) -> Result<(), GateError> {
        if self.count > 0 && self.len != fragment.message_len {
            return Err(GateError::ContradictingFragments);
        }
        let span = (fragment.offset, fragment.body.len() as u32);
        let seen = &self.fragments[..self.count as usize];
        if seen.contains(&span) {
            return Ok(());
        }
        *self.fragments.get_mut(self.count as usize).ok_or(GateError::TooManyFragments)? = span;
        self.count += 1;
        self.len = fragment.message_len;
        Ok(())
    }
}

/// A ClientHello being put together.
#[derive(Debug)]
struct Assembly {
    version: [u8; 2],
    record_seq: [u8; 6],
    message_seq: u16,
    /// As long as the message; what has not arrived is zero.
    body: Vec<u8>,
    /// Offset and length of what has arrived.
    fragments: Vec<(usize, usize)>,
    missing: usize,
}

impl Assembly {
    fn new(record: &Record<'_>, first: &Fragment<'_>) -> Self {
        Self {
            version: record.version,
            record_seq: record.sequence,
            message_seq: first.message_seq,
            body: vec![0; first.message_len as usize],
            fragments: Vec::with_capacity(CLIENT_HELLO_FRAGMENTS_MAX),
            missing: first.message_len as usize,
        }
    }

    /// Whether the fragment is of a message of another length, or overlaps one that is held without being the
    /// same.
    fn contradicts(&self, fragment: &Fragment<'_>) -> bool {
        let span = (fragment.offset as usize, fragment.body.len());
        let overlaps =
            |&held: &(usize, usize)| held != span && span.0 < held.0 + held.1 && held.0 < span.0 + span.1;
        fragment.message_len as usize != self.body.len() || self.fragments.iter().any(overlaps)
    }

    fn add(&mut self, fragment: &Fragment<'_>) -> Result<(), GateError> {
        let span = (fragment.offset as usize, fragment.body.len());
        if self.fragments.contains(&span) {
            return Ok(());
        }
        if self.fragments.len() >= CLIENT_HELLO_FRAGMENTS_MAX {
            return Err(GateError::TooManyFragments);
        }
        let place = self.body.get_mut(span.0..span.0 + span.1).ok_or(GateError::MalformedFragment)?;
        place.copy_from_slice(fragment.body);
        self.fragments.push(span);
        self.missing -= span.1;
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// One record, one message, one fragment.
    fn datagram(&self) -> Vec<u8> {
        let len = self.body.len() as u32;
        let message_len = &len.to_be_bytes()[1..];
        let record_len = (HANDSHAKE_HEADER_BYTES + self.body.len()) as u16;
        let mut datagram = Vec::with_capacity(RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES + self.body.len());
        datagram.push(CONTENT_HANDSHAKE);
        datagram.extend_from_slice(&self.version);
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(&self.record_seq);
        datagram.extend_from_slice(&record_len.to_be_bytes());
        datagram.push(CLIENT_HELLO);
        datagram.extend_from_slice(message_len);
        datagram.extend_from_slice(&self.message_seq.to_be_bytes());
        datagram.extend_from_slice(&[0, 0, 0]);
        datagram.extend_from_slice(message_len);
        datagram.extend_from_slice(&self.body);
        datagram
    }
}

/// The best profile a ClientHello offers (RFC 5246 section 7.4.1.2 with the cookie of RFC 6347 section
/// 4.2.1).
fn chosen_profile(client_hello: &[u8]) -> Result<SrtpProfile, GateError> {
    let malformed = GateError::MalformedClientHello;
    let mut reader = Reader(client_hello);
    // client_version and random, session_id, cookie, cipher_suites, compression_methods.
    reader.take(2 + 32).ok_or(malformed)?;
    reader.take_u8_prefixed().ok_or(malformed)?;
    reader.take_u8_prefixed().ok_or(malformed)?;
    reader.take_u16_prefixed().ok_or(malformed)?;
    reader.take_u8_prefixed().ok_or(malformed)?;
    if reader.0.is_empty() {
        return Err(GateError::NoSrtpProfile);
    }
    let mut extensions = Reader(reader.take_u16_prefixed().ok_or(malformed)?);
    let mut offered = None;
    while !extensions.0.is_empty() {
        let kind = extensions.take_u16().ok_or(malformed)?;
        let body = extensions.take_u16_prefixed().ok_or(malformed)?;
        if kind == USE_SRTP && offered.replace(body).is_some() {
            return Err(malformed);
        }
    }
    let profiles = Reader(offered.ok_or(GateError::NoSrtpProfile)?).take_u16_prefixed().ok_or(malformed)?;
    let offers = |id: u16| profiles.chunks_exact(2).any(|offered| offered == id.to_be_bytes());
    SrtpProfile::PREFERENCE
        .into_iter()
        .find(|profile| offers(profile.dtls_id()))
        .ok_or(GateError::NoSrtpProfile)
}

/// One DTLS record, as far as it can be read without keys.
#[derive(Clone, Copy, Debug)]
struct Record<'a> {
    content_type: u8,
    version: [u8; 2],
    epoch: u16,
    sequence: [u8; 6],
    body: &'a [u8],
}

/// The records of a datagram; ends after the first error.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, GateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = read_record(&mut self.0);
        if record.is_none() {
            self.0 = &[];
        }
        Some(record.ok_or(GateError::MalformedRecord))
    }
}

fn read_record<'a>(datagram: &mut &'a [u8]) -> Option<Record<'a>> {
    let mut reader = Reader(datagram);
    let content_type = reader.take_u8()?;
    let version = *reader.take(2)?.first_chunk()?;
    let epoch = reader.take_u16()?;
    let sequence = *reader.take(6)?.first_chunk()?;
    let body = reader.take_u16_prefixed()?;
    *datagram = reader.0;
    let known = (CONTENT_CHANGE_CIPHER_SPEC..=CONTENT_APPLICATION_DATA).contains(&content_type);
    // DTLS 1.2, or 1.0 as the first ClientHello may say (RFC 6347 section 4.2.1). An empty record is good for
    // nothing.
    let spoken = matches!(version, [0xfe, 0xfd | 0xff]);
    (known && spoken && !body.is_empty()).then_some(Record { content_type, version, epoch, sequence, body })
}

/// One fragment of a handshake message.
#[derive(Clone, Copy, Debug)]
struct Fragment<'a> {
    kind: u8,
    message_len: u32,
    message_seq: u16,
    offset: u32,
    body: &'a [u8],
}

/// The fragments in the body of a handshake record; ends after the first error.
struct Fragments<'a>(&'a [u8]);

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<Fragment<'a>, GateError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let fragment = read_fragment(&mut self.0);
        if fragment.is_none() {
            self.0 = &[];
        }
        Some(fragment.ok_or(GateError::MalformedFragment))
    }
}

fn read_fragment<'a>(record: &mut &'a [u8]) -> Option<Fragment<'a>> {
    let mut reader = Reader(record);
    let kind = reader.take_u8()?;
    let message_len = reader.take_u24()?;
    let message_seq = reader.take_u16()?;
    let offset = reader.take_u24()?;
    let fragment_len = reader.take_u24()?;
    let body = reader.take(fragment_len as usize)?;
    *record = reader.0;
    let fits = offset + fragment_len <= message_len;
    // An empty fragment is whole only if its message is empty.
    let says_something = fragment_len > 0 || message_len == 0;
    (fits && says_something).then_some(Fragment { kind, message_len, message_seq, offset, body })
}

/// A cursor that never reads past its end.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn take_u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take_u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn take_u24(&mut self) -> Option<u32> {
        self.take(3).map(|bytes| u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
    }

    fn take_u8_prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.take_u8()?;
        self.take(usize::from(len))
    }

    fn take_u16_prefixed(&mut self) -> Option<&'a [u8]> {
        let len = self.take_u16()?;
        self.take(usize::from(len))
    }
}

#[cfg(test)]
mod tests;
