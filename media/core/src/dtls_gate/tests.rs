//! The gate with hand-made datagrams; the handshakes of the engine's tests go through it too.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const CLIENT_KEY_EXCHANGE: u8 = 16;
const CERTIFICATE: u8 = 11;

fn record(content_type: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 0xfe, 0xfd];
    record.extend_from_slice(&epoch.to_be_bytes());
    record.extend_from_slice(&sequence.to_be_bytes()[2..]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

fn fragment(kind: u8, message_seq: u16, message_len: usize, offset: usize, body: &[u8]) -> Vec<u8> {
    let mut fragment = vec![kind];
    fragment.extend_from_slice(&(message_len as u32).to_be_bytes()[1..]);
    fragment.extend_from_slice(&message_seq.to_be_bytes());
    fragment.extend_from_slice(&(offset as u32).to_be_bytes()[1..]);
    fragment.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    fragment.extend_from_slice(body);
    fragment
}

/// One record with the bytes `from..to` of a message.
fn part(kind: u8, message_seq: u16, message: &[u8], from: usize, to: usize, sequence: u64) -> Vec<u8> {
    record(
        CONTENT_HANDSHAKE,
        0,
        sequence,
        &fragment(kind, message_seq, message.len(), from, &message[from..to]),
    )
}

fn whole(kind: u8, message_seq: u16, message: &[u8], sequence: u64) -> Vec<u8> {
    part(kind, message_seq, message, 0, message.len(), sequence)
}

/// A ClientHello with `profiles` in `use_srtp`, or without the extension; as long as Chromium's.
fn client_hello(profiles: Option<&[u16]>, cookie: &[u8]) -> Vec<u8> {
    let mut hello = vec![0xfe, 0xfd];
    hello.extend_from_slice(&[0x42; 32]);
    hello.push(0);
    hello.push(cookie.len() as u8);
    hello.extend_from_slice(cookie);
    hello.extend_from_slice(&[0, 2, 0xc0, 0x2b, 1, 0]);
    let mut extensions = Vec::new();
    // A key share makes Chromium's ClientHello long.
    extensions.extend_from_slice(&[0, 51]);
    extensions.extend_from_slice(&1_216_u16.to_be_bytes());
    extensions.extend_from_slice(&[0x17; 1_216]);
    if let Some(profiles) = profiles {
        let list: Vec<u8> = profiles.iter().flat_map(|profile| profile.to_be_bytes()).collect();
        extensions.extend_from_slice(&USE_SRTP.to_be_bytes());
        extensions.extend_from_slice(&(list.len() as u16 + 3).to_be_bytes());
        extensions.extend_from_slice(&(list.len() as u16).to_be_bytes());
        extensions.extend_from_slice(&list);
        extensions.push(0);
    }
    hello.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    hello.extend_from_slice(&extensions);
    hello
}

fn chromium_hello() -> Vec<u8> {
    client_hello(Some(&[0x0001, 0x0008, 0x0007]), &[])
}

fn passed(datagram: Vec<u8>) -> GateVerdict {
    GateVerdict::ClientHello { datagram, profile: SrtpProfile::AeadAes128Gcm }
}

/// A gate that has passed both ClientHellos.
fn gate_after_hellos() -> DtlsGate {
    let mut gate = DtlsGate::default();
    let first = whole(CLIENT_HELLO, 0, &chromium_hello(), 0);
    assert_eq!(gate.inspect(&first), passed(first.clone()));
    let second = whole(CLIENT_HELLO, 1, &chromium_hello(), 1);
    assert_eq!(gate.inspect(&second), passed(second.clone()));
    gate
}

fn server_hello() -> Vec<u8> {
    whole(2, 1, &[0; 80], 1)
}

/// Certificate, ClientKeyExchange, ChangeCipherSpec and an encrypted Finished, as one datagram.
fn last_flight(sequence: u64) -> Vec<u8> {
    let mut flight = whole(CERTIFICATE, 2, &[1; 400], sequence);
    flight.extend(whole(CLIENT_KEY_EXCHANGE, 3, &[2; 33], sequence + 1));
    flight.extend(record(CONTENT_CHANGE_CIPHER_SPEC, 0, sequence + 2, &[1]));
    flight.extend(record(CONTENT_HANDSHAKE, 1, sequence + 3, &[9; 40]));
    flight
}

#[test]
fn a_client_hello_in_two_datagrams_becomes_one_record() {
    let hello = chromium_hello();
    let (first, second) =
        (part(CLIENT_HELLO, 0, &hello, 0, 1_000, 0), part(CLIENT_HELLO, 0, &hello, 1_000, hello.len(), 1));
    for (one, other, sequence) in [(&first, &second, 0), (&second, &first, 1)] {
        let mut gate = DtlsGate::default();
        assert_eq!(gate.inspect(one), GateVerdict::Hold);
        assert_eq!(gate.inspect(one), GateVerdict::Hold, "an exact repeat is ignored");
        assert_eq!(gate.inspect(other), passed(whole(CLIENT_HELLO, 0, &hello, sequence)));
        assert_eq!(gate.held(), (0, 0));
    }
}

#[test]
fn two_fragments_in_one_datagram_and_in_one_record() {
    let hello = chromium_hello();
    let mut two_records = part(CLIENT_HELLO, 0, &hello, 0, 600, 4);
    two_records.extend(part(CLIENT_HELLO, 0, &hello, 600, hello.len(), 5));
    let mut body = fragment(CLIENT_HELLO, 0, hello.len(), 0, &hello[..600]);
    body.extend(fragment(CLIENT_HELLO, 0, hello.len(), 600, &hello[600..]));
    for datagram in [two_records, record(CONTENT_HANDSHAKE, 0, 4, &body)] {
        assert_eq!(DtlsGate::default().inspect(&datagram), passed(whole(CLIENT_HELLO, 0, &hello, 4)));
    }
}

#[test]
fn a_repeated_first_hello_passes_again_for_the_hello_verify_request_may_be_lost() {
    let mut gate = DtlsGate::default();
    for sequence in [0, 1] {
        let datagram = whole(CLIENT_HELLO, 0, &chromium_hello(), sequence);
        assert_eq!(gate.inspect(&datagram), passed(datagram.clone()));
    }
}

#[test]
fn a_late_fragment_of_the_first_hello_does_not_disturb_the_one_with_the_cookie() {
    let mut gate = DtlsGate::default();
    let (hello, with_cookie) = (chromium_hello(), client_hello(Some(&[7]), &[5; 20]));
    gate.inspect(&whole(CLIENT_HELLO, 0, &hello, 0));
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 1, &with_cookie, 0, 900, 1)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &hello, 0, 900, 2)), GateVerdict::Hold);
    let rest = part(CLIENT_HELLO, 1, &with_cookie, 900, with_cookie.len(), 3);
    assert_eq!(gate.inspect(&rest), passed(whole(CLIENT_HELLO, 1, &with_cookie, 1)));
}

#[test]
fn nothing_but_client_hellos_passes_before_the_hello_with_the_cookie() {
    let mut gate = DtlsGate::default();
    for _ in 0..2 {
        assert_eq!(gate.inspect(&last_flight(0)), GateVerdict::Hold);
        assert_eq!(gate.inspect(&record(CONTENT_APPLICATION_DATA, 1, 0, &[0; 50])), GateVerdict::Hold);
        gate.inspect(&whole(CLIENT_HELLO, 0, &chromium_hello(), 0));
    }
    let cookie_first = whole(CLIENT_HELLO, 1, &chromium_hello(), 0);
    let unasked = DtlsGate::default().inspect(&cookie_first);
    assert_eq!(unasked, GateVerdict::Refuse(GateError::UnexpectedMessage));
}

#[test]
fn profiles_are_chosen_by_the_server_and_not_in_the_clients_order() {
    let cases: [(&[u16], SrtpProfile); 4] = [
        (&[1, 2, 8, 7], SrtpProfile::AeadAes128Gcm),
        (&[1, 8], SrtpProfile::AeadAes256Gcm),
        (&[2, 1], SrtpProfile::Aes128CmSha1_80),
        (&[0x1234, 7], SrtpProfile::AeadAes128Gcm),
    ];
    for (offered, expected) in cases {
        let datagram = whole(CLIENT_HELLO, 0, &client_hello(Some(offered), &[]), 0);
        let verdict = DtlsGate::default().inspect(&datagram);
        assert_eq!(verdict, GateVerdict::ClientHello { datagram, profile: expected });
    }
}

#[test]
fn a_hello_without_use_srtp_or_without_a_common_profile_is_refused() {
    for profiles in [None, Some(&[][..]), Some(&[2][..]), Some(&[5, 6][..])] {
        let datagram = whole(CLIENT_HELLO, 0, &client_hello(profiles, &[]), 0);
        let refused = GateVerdict::Refuse(GateError::NoSrtpProfile);
        assert_eq!(DtlsGate::default().inspect(&datagram), refused, "{profiles:?}");
    }
    let mut no_extensions = chromium_hello();
    no_extensions.truncate(2 + 32 + 1 + 1 + 4 + 2);
    let verdict = DtlsGate::default().inspect(&whole(CLIENT_HELLO, 0, &no_extensions, 0));
    assert_eq!(verdict, GateVerdict::Refuse(GateError::NoSrtpProfile));
}

#[test]
fn the_hello_with_the_cookie_may_not_change_the_profile() {
    let mut gate = DtlsGate::default();
    gate.inspect(&whole(CLIENT_HELLO, 0, &chromium_hello(), 0));
    let changed = gate.inspect(&whole(CLIENT_HELLO, 1, &client_hello(Some(&[1]), &[5; 20]), 1));
    assert_eq!(changed, GateVerdict::Refuse(GateError::SrtpProfileChanged));
}

/// A fragment buffer that is quadratic in fragments pays 0.39 s and 45 s of a thread for these. Here they
/// cost counts: nothing passes, eight fragments are held.
#[test]
fn one_byte_client_hello_fragments_reach_nobody() {
    for (datagrams, message_len) in [(45, 4_050), (223, 8_192), (223, 20_000)] {
        let hello = vec![0x11; message_len];
        let lots = message_len.div_ceil(FRAGMENTS_PER_RECORD);
        let attack: Vec<Vec<u8>> =
            (0..datagrams).map(|number| one_byte_fragments(CLIENT_HELLO, 0, &hello, number % lots)).collect();
        let mut gate = DtlsGate::default();
        #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
        let begin = std::time::Instant::now();
        let refused =
            attack.iter().filter(|datagram| matches!(gate.inspect(datagram), GateVerdict::Refuse(_))).count();
        let took = begin.elapsed();
        assert_eq!(refused, datagrams);
        let (bytes, fragments) = gate.held();
        assert!(bytes <= CLIENT_HELLO_BYTES_MAX && fragments <= CLIENT_HELLO_FRAGMENTS_MAX);
        vestibule_sim::report!(
            "{datagrams} datagrams of 1-byte fragments of a ClientHello of {message_len}: {took:?}, none passed"
        );
    }
}

#[test]
fn one_byte_fragments_of_later_messages_pass_in_no_number() {
    let message = vec![0x11; 8_000];
    let mut gate = gate_after_hellos();
    let attack: Vec<Vec<u8>> =
        (0..80).map(|number| one_byte_fragments(CERTIFICATE, 2, &message, number)).collect();
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    let begin = std::time::Instant::now();
    let passed = attack.iter().filter(|datagram| gate.inspect(datagram) == GateVerdict::Pass).count();
    vestibule_sim::report!(
        "80 datagrams of 1-byte Certificate fragments: {:?}, {passed} passed",
        begin.elapsed()
    );
    assert_eq!(passed, 0);
    // One at a time, up to the bound for a message; the same one again and again, up to the bound for a
    // handshake.
    let single = |at| part(CERTIFICATE, 2, &message, at, at + 1, 10 + at as u64);
    let passes = |gate: &mut DtlsGate, at| gate.inspect(&single(at)) == GateVerdict::Pass;
    let singles = (0..8_000).filter(|&at| passes(&mut gate, at)).count();
    assert_eq!(singles, DTLS_MESSAGE_FRAGMENTS_MAX as usize);
    let repeats = (0..8_000).filter(|_| passes(&mut gate, 0)).count();
    assert_eq!(singles + repeats, DTLS_HANDSHAKE_RECORDS_MAX as usize);
}

#[test]
fn repeats_packed_into_one_record_count_each() {
    let mut gate = gate_after_hellos();
    let body = fragment(CERTIFICATE, 2, 400, 0, &[1]).repeat(90);
    let passes = |_: &u64| gate.inspect(&record(CONTENT_HANDSHAKE, 0, 5, &body)) == GateVerdict::Pass;
    assert_eq!((0..10).filter(passes).count(), DTLS_HANDSHAKE_RECORDS_MAX as usize / 90);
}

const FRAGMENTS_PER_RECORD: usize = 90;

/// As many one-byte fragments as a datagram of 1,200 bytes holds, the `number`th lot of them.
fn one_byte_fragments(kind: u8, message_seq: u16, message: &[u8], number: usize) -> Vec<u8> {
    let offsets = number * FRAGMENTS_PER_RECORD..(number + 1) * FRAGMENTS_PER_RECORD;
    let body: Vec<u8> = offsets
        .filter(|&at| at < message.len())
        .flat_map(|at| fragment(kind, message_seq, message.len(), at, &message[at..at + 1]))
        .collect();
    record(CONTENT_HANDSHAKE, 0, number as u64, &body)
}

#[test]
fn a_repeat_cut_differently_begins_again() {
    let hello = chromium_hello();
    let mut gate = DtlsGate::default();
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &hello, 0, 1_000, 0)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &hello, 0, 500, 2)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &hello, 500, 1_000, 3)), GateVerdict::Hold);
    let rest = gate.inspect(&part(CLIENT_HELLO, 0, &hello, 1_000, hello.len(), 4));
    assert_eq!(rest, passed(whole(CLIENT_HELLO, 0, &hello, 2)));
}

#[test]
fn overlapping_fragments_are_never_put_together() {
    let hello = chromium_hello();
    let mut gate = DtlsGate::default();
    let mut other = hello.clone();
    other[300] ^= 0xff;
    gate.inspect(&part(CLIENT_HELLO, 0, &hello, 0, 800, 0));
    // Together they cover the message, but they overlap.
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &other, 200, hello.len(), 1)), GateVerdict::Hold);
    assert_eq!(gate.held().1, 1);
}

/// The two halves of the answer to the deadlock of `rtc-dtls`; the engine's tests show what it does to
/// handshakes.
#[test]
fn hellos_repeated_after_the_server_hello_are_held() {
    let mut gate = gate_after_hellos();
    let repeat = whole(CLIENT_HELLO, 1, &chromium_hello(), 2);
    assert!(repeats_only_hellos(&repeat));
    assert_eq!(gate.inspect(&repeat), passed(repeat.clone()), "until it is known that the first arrived");
    gate.sent(&whole(3, 0, &[0; 25], 0));
    assert!(matches!(gate.inspect(&repeat), GateVerdict::ClientHello { .. }), "a HelloVerifyRequest is none");
    gate.sent(&server_hello());
    assert_eq!(gate.inspect(&repeat), GateVerdict::Hold);
    assert_eq!(gate.inspect(&part(CLIENT_HELLO, 0, &chromium_hello(), 0, 900, 3)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&last_flight(4)), GateVerdict::Pass);
    assert_eq!(gate.inspect(&repeat), GateVerdict::Hold);
}

#[test]
fn the_last_flight_tells_that_the_server_hello_arrived() {
    let mut gate = gate_after_hellos();
    assert!(!repeats_only_hellos(&last_flight(2)));
    assert_eq!(gate.inspect(&last_flight(2)), GateVerdict::Pass);
    assert_eq!(gate.inspect(&whole(CLIENT_HELLO, 1, &chromium_hello(), 2)), GateVerdict::Hold);
}

#[test]
fn hellos_of_one_peer_are_bounded() {
    let mut gate = DtlsGate::default();
    let passes = |&sequence: &u64| {
        let hello = whole(CLIENT_HELLO, 0, &chromium_hello(), sequence);
        matches!(gate.inspect(&hello), GateVerdict::ClientHello { .. })
    };
    assert_eq!((0..1_000).filter(passes).count(), CLIENT_HELLOS_MAX as usize);
}

#[test]
fn messages_that_have_no_place_in_the_last_flight_are_refused() {
    let mut gate = gate_after_hellos();
    let refusals = [
        (whole(CERTIFICATE, 5, &[0; 10], 2), GateError::UnexpectedMessage),
        (whole(CERTIFICATE, u16::MAX, &[0; 10], 2), GateError::UnexpectedMessage),
        (part(CERTIFICATE, 2, &[0; 9_000], 0, 100, 2), GateError::MessageTooLong),
    ];
    for (datagram, error) in refusals {
        assert_eq!(gate.inspect(&datagram), GateVerdict::Refuse(error));
    }
    assert_eq!(gate.inspect(&part(CERTIFICATE, 2, &[0; 400], 0, 100, 2)), GateVerdict::Pass);
    let other_length = gate.inspect(&part(CERTIFICATE, 2, &[0; 300], 100, 200, 3));
    assert_eq!(other_length, GateVerdict::Refuse(GateError::ContradictingFragments));
}

#[test]
fn alerts_and_data_in_the_clear_are_held_whenever_they_come() {
    let fatal = record(21, 0, 9, &[2, 40]);
    let data = record(CONTENT_APPLICATION_DATA, 0, 9, &[0; 20]);
    let change = record(CONTENT_CHANGE_CIPHER_SPEC, 0, 9, &[7]);
    let mut gate = DtlsGate::default();
    let mut with_alert = last_flight(20);
    with_alert.extend_from_slice(&fatal);
    for stage in 0..4 {
        for datagram in [&fatal, &data, &change, &with_alert] {
            assert_eq!(gate.inspect(datagram), GateVerdict::Hold, "stage {stage}");
        }
        match stage {
            0 => gate = gate_after_hellos(),
            1 => assert_eq!(gate.inspect(&last_flight(2)), GateVerdict::Pass),
            _ => gate.established(),
        }
    }
}

#[test]
fn once_established_only_what_is_under_the_keys_passes_and_in_bounded_number() {
    let mut gate = gate_after_hellos();
    assert_eq!(gate.inspect(&last_flight(2)), GateVerdict::Pass);
    gate.established();
    assert_eq!(gate.inspect(&whole(CERTIFICATE, 2, &[1; 400], 6)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&whole(CLIENT_HELLO, 0, &chromium_hello(), 6)), GateVerdict::Hold);
    assert_eq!(gate.inspect(&last_flight(6)), GateVerdict::Pass, "the client repeats its last flight");
    let close = record(21, 1, 8, &[0; 26]);
    assert_eq!(gate.inspect(&close), GateVerdict::Pass);
    let flood = (0..1_000).filter(|_| gate.inspect(&close) == GateVerdict::Pass).count();
    assert_eq!(flood as u32, DTLS_LATE_RECORDS_MAX - 5);
}

#[test]
fn garbage_truncated_and_oversized_datagrams_never_panic() {
    let seed = 11;
    let mut rng = StdRng::seed_from_u64(seed);
    let hello = chromium_hello();
    let mut samples =
        vec![whole(CLIENT_HELLO, 0, &hello, 0), part(CLIENT_HELLO, 0, &hello, 0, 700, 0), last_flight(0)];
    samples.push(server_hello());
    for round in 0..20_000 {
        let mut gate = if round % 2 == 0 { DtlsGate::default() } else { gate_after_hellos() };
        for _ in 0..3 {
            let mut datagram = samples[rng.random_range(0..samples.len())].clone();
            for _ in 0..rng.random_range(0..6) {
                let at = rng.random_range(0..datagram.len());
                datagram[at] = rng.random();
            }
            datagram.truncate(rng.random_range(0..=datagram.len()));
            gate.inspect(&datagram);
            gate.sent(&datagram);
        }
        let (bytes, fragments) = gate.held();
        assert!(bytes <= CLIENT_HELLO_BYTES_MAX && fragments <= CLIENT_HELLO_FRAGMENTS_MAX, "seed {seed}");
    }
    let mut gate = DtlsGate::default();
    assert_eq!(gate.inspect(&[]), GateVerdict::Hold);
    assert_eq!(gate.inspect(&[22; 70_000]), GateVerdict::Refuse(GateError::MalformedRecord));
}

#[test]
fn every_truncation_of_a_client_hello_is_an_error_and_no_panic() {
    let hello = chromium_hello();
    for len in 1..hello.len() {
        let verdict = DtlsGate::default().inspect(&whole(CLIENT_HELLO, 0, &hello[..len], 0));
        assert!(matches!(verdict, GateVerdict::Refuse(_)), "{len}");
    }
}
