use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof};
use proptest::strategy::Strategy;
use rtc_crypto::{RTCCryptoProvider, default_provider};
use rtc_stun::attributes::{ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute};
use rtc_stun::error_code::ErrorCodeAttribute;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Getter, Message as Reference, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use rtc_stun::uattrs::UnknownAttributes;
use rtc_stun::xoraddr::XorMappedAddress;

use super::*;
use crate::testing::check;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION_ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

/// RFC 5769 section 2.1.
const SAMPLE_REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
    0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
    0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
    0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
    0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
    0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 section 2.2.
const SAMPLE_IPV4_RESPONSE: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
    0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00,
    0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53,
    0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

/// RFC 5769 section 2.3.
const SAMPLE_IPV6_RESPONSE: [u8; 92] = [
    0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
    0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1,
    0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e,
    0x4b, 0xe6, 0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41, 0x80,
    0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
];

/// RFC 5769 section 2.4: long-term credentials, so the integrity is not ours to check, but the message must parse.
const SAMPLE_LONG_TERM_REQUEST: [u8; 116] = [
    0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29,
    0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88, 0xe3, 0x83, 0xaa, 0xe3,
    0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00, 0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f,
    0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36, 0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46,
    0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73, 0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70,
    0x6c, 0x65, 0x2e, 0x6f, 0x72, 0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6,
    0x4a, 0x3e, 0x02, 0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
];

fn request(datagram: &[u8]) -> BindingRequest<'_> {
    match parse(datagram) {
        Ok(Message::BindingRequest(request)) => request,
        other => panic!("not a binding request: {other:?}"),
    }
}

fn response(datagram: &[u8]) -> Response<'_> {
    match parse(datagram) {
        Ok(Message::Response(response)) => response,
        other => panic!("not a response: {other:?}"),
    }
}

#[test]
fn rfc_5769_request_is_read_and_verified() {
    let request = request(&SAMPLE_REQUEST);
    assert_eq!(request.transaction_id, TRANSACTION_ID);
    assert_eq!((request.local_ufrag, request.remote_ufrag), (&b"evtj"[..], &b"h6vY"[..]));
    assert_eq!(request.priority, Some(0x6e00_01ff));
    assert!(request.controlled && !request.use_candidate && !request.unknown_required);
    assert_eq!(request.verify(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert_eq!(request.verify(&IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBs")), Err(StunError::Integrity));
}

#[test]
fn rfc_5769_responses_are_read_and_verified() {
    let cases: [(&[u8], &str); 2] = [
        (&SAMPLE_IPV4_RESPONSE, "192.0.2.1:32853"),
        (&SAMPLE_IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ];
    for (datagram, mapped) in cases {
        let response = response(datagram);
        assert!(response.success);
        assert_eq!(response.transaction_id, TRANSACTION_ID);
        assert_eq!(response.mapped_address, Some(mapped.parse().unwrap()));
        assert_eq!(response.verify(&IntegrityKey::new(PASSWORD)), Ok(()));
    }
}

#[test]
fn rfc_5769_long_term_request_has_no_ice_username() {
    assert_eq!(parse(&SAMPLE_LONG_TERM_REQUEST).map(|_| ()), Err(StunError::Username));
}

#[test]
fn every_truncation_is_refused() {
    for sample in [&SAMPLE_REQUEST[..], &SAMPLE_IPV4_RESPONSE, &SAMPLE_IPV6_RESPONSE] {
        for len in 0..sample.len() {
            assert!(parse(&sample[..len]).is_err(), "{len} bytes");
            // With a length field that agrees, the cut shows in the fingerprint or in an attribute, or integrity is gone.
            let mut cut = sample[..len].to_vec();
            if len >= HEADER_LEN {
                cut[2..4].copy_from_slice(&((len - HEADER_LEN) as u16).to_be_bytes());
                let key = IntegrityKey::new(PASSWORD);
                let verified = match parse(&cut) {
                    Ok(Message::BindingRequest(request)) => request.verify(&key),
                    Ok(Message::Response(response)) => response.verify(&key),
                    _ => Err(StunError::Length),
                };
                // Only FINGERPRINT, which is optional, may be missing.
                assert_eq!(verified.is_ok(), len == sample.len() - 8, "{len} bytes");
            }
        }
    }
}

#[test]
fn a_flipped_bit_never_verifies() {
    let key = IntegrityKey::new(PASSWORD);
    for bit in 0..(SAMPLE_REQUEST.len() - 8) * 8 {
        let mut message = SAMPLE_REQUEST;
        message[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Message::BindingRequest(request)) = parse(&message) {
            // A longer USERNAME has swallowed both proofs.
            assert_eq!(request.verify(&key), Err(StunError::IntegrityMissing), "bit {bit}");
        }
        // Without FINGERPRINT it is for the integrity to tell; the length field is not covered as it stands.
        if (16..32).contains(&bit) {
            continue;
        }
        let mut bare = message[..message.len() - 8].to_vec();
        let len = (bare.len() - HEADER_LEN) as u16;
        bare[2..4].copy_from_slice(&len.to_be_bytes());
        if let Ok(Message::BindingRequest(request)) = parse(&bare) {
            assert!(request.verify(&key).is_err(), "bit {bit} passes the integrity");
        }
    }
}

/// A request with `before` in front of MESSAGE-INTEGRITY and `after` behind it, signed with [`PASSWORD`].
fn signed_request(before: &[(u16, &[u8])], after: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = SAMPLE_REQUEST[..HEADER_LEN].to_vec();
    let add = |message: &mut Vec<u8>, (kind, value): &(u16, &[u8])| {
        message.extend(kind.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(*value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    before.iter().for_each(|attribute| add(&mut message, attribute));
    let tag = integrity_tag(&message, &IntegrityKey::new(PASSWORD));
    add(&mut message, &(attribute::MESSAGE_INTEGRITY, tag.as_ref()));
    after.iter().for_each(|attribute| add(&mut message, attribute));
    let len = (message.len() - HEADER_LEN) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    message
}

const USERNAME: (u16, &[u8]) = (attribute::USERNAME, b"here:there");

#[test]
fn what_follows_message_integrity_is_not_believed() {
    let datagram = signed_request(
        &[USERNAME],
        &[(attribute::USE_CANDIDATE, b""), (attribute::ICE_CONTROLLED, &[0; 8]), (0x7fff, b"unknown")],
    );
    let request = request(&datagram);
    assert_eq!(request.verify(&IntegrityKey::new(PASSWORD)), Ok(()));
    assert!(!request.use_candidate && !request.controlled && !request.unknown_required);
    assert_eq!(request.unknown_attributes().count(), 0);
}

#[test]
fn a_second_message_integrity_does_not_replace_the_first() {
    let datagram = signed_request(&[USERNAME], &[(attribute::MESSAGE_INTEGRITY, &[0; 20])]);
    assert_eq!(request(&datagram).verify(&IntegrityKey::new(PASSWORD)), Ok(()));
}

#[test]
fn of_repeated_attributes_the_first_counts() {
    let datagram = signed_request(
        &[
            USERNAME,
            (attribute::USERNAME, b"other:one"),
            (attribute::PRIORITY, &[1; 4]),
            (attribute::PRIORITY, &[2; 4]),
        ],
        &[],
    );
    let request = request(&datagram);
    assert_eq!((request.local_ufrag, request.remote_ufrag), (&b"here"[..], &b"there"[..]));
    assert_eq!(request.priority, Some(0x0101_0101));
}

#[test]
fn nothing_may_follow_the_fingerprint() {
    let mut datagram = SAMPLE_REQUEST.to_vec();
    datagram.extend([0x80, 0x22, 0, 0]);
    datagram[3] += 4;
    assert_eq!(parse(&datagram).map(|_| ()), Err(StunError::Fingerprint));
}

#[test]
fn a_request_without_integrity_is_read_but_does_not_verify() {
    let mut datagram = signed_request(&[USERNAME], &[]);
    datagram.truncate(datagram.len() - 24);
    let len = (datagram.len() - HEADER_LEN) as u16;
    datagram[2..4].copy_from_slice(&len.to_be_bytes());
    assert_eq!(request(&datagram).verify(&IntegrityKey::new(PASSWORD)), Err(StunError::IntegrityMissing));
}

#[test]
fn a_request_needs_a_username_of_two_halves() {
    for before in [&[][..], &[(attribute::USERNAME, &b"nocolon"[..])]] {
        assert_eq!(parse(&signed_request(before, &[])).map(|_| ()), Err(StunError::Username));
    }
}

#[test]
fn unknown_required_attributes_are_told_in_the_420() {
    let before = [USERNAME, (0x7ffe, &b"x"[..]), (0x0003, b""), (0xc057, b"optional")];
    let datagram = signed_request(&before, &[]);
    let request = request(&datagram);
    assert!(request.unknown_required);
    assert_eq!(request.unknown_attributes().collect::<Vec<_>>(), [0x7ffe, 0x0003]);

    let mut out = [0; MESSAGE_BYTES_MAX];
    let key = IntegrityKey::new(PASSWORD);
    let len = write_unknown_attributes(&mut out, &request.transaction_id, request.unknown_attributes(), &key);
    let response = response(&out[..len]);
    assert_eq!((response.success, response.error_code), (false, Some(420)));
    assert_eq!(response.verify(&key), Ok(()));
    let mut reference = Reference::new();
    reference.unmarshal_binary(&out[..len]).unwrap();
    let mut told = UnknownAttributes(vec![]);
    told.get_from(&reference).unwrap();
    assert_eq!(told.0.iter().map(|kind| kind.value()).collect::<Vec<_>>(), [0x7ffe, 0x0003]);
}

#[test]
fn a_420_with_many_unknown_attributes_stays_in_its_bound() {
    let mut out = [0; MESSAGE_BYTES_MAX];
    let key = IntegrityKey::new(PASSWORD);
    let len = write_unknown_attributes(&mut out, &TRANSACTION_ID, 1..1_000, &key);
    assert_eq!(response(&out[..len]).error_code, Some(420));
}

#[test]
fn other_classes_and_methods_are_told_apart() {
    let mut message = SAMPLE_IPV4_RESPONSE[..HEADER_LEN].to_vec();
    message[2..4].fill(0);
    message[..2].copy_from_slice(&0x0011_u16.to_be_bytes());
    assert!(matches!(parse(&message), Ok(Message::BindingIndication)));
    message[..2].copy_from_slice(&0x0003_u16.to_be_bytes());
    assert!(matches!(parse(&message), Ok(Message::Other)));
    message[4] ^= 1;
    assert_eq!(parse(&message).map(|_| ()), Err(StunError::NotStun));
}

#[test]
fn a_buffer_that_is_too_short_gets_nothing() {
    let key = IntegrityKey::new(PASSWORD);
    let mapped = "[2001:db8::1]:5000".parse().unwrap();
    type Write<'a> = &'a dyn Fn(&mut [u8]) -> usize;
    let writers: [Write<'_>; 4] = [
        &|out| write_binding_success(out, &TRANSACTION_ID, mapped, &key),
        &|out| write_binding_error(out, &TRANSACTION_ID, 487, &key),
        &|out| write_unknown_attributes(out, &TRANSACTION_ID, [1].into_iter(), &key),
        &|out| write_binding_request(out, &TRANSACTION_ID, "abcd", "efgh", true, 1, &key),
    ];
    for write in writers {
        let mut out = [0; MESSAGE_BYTES_MAX];
        let len = write(&mut out);
        assert!(len > 0);
        for room in 0..len {
            assert_eq!(write(&mut out[..room]), 0, "{room} bytes");
        }
        assert_eq!(write(&mut out[..len]), len);
    }
}

fn ufrag() -> impl Strategy<Value = String> {
    vec(prop_oneof![b'a'..=b'z', b'A'..=b'Z', b'0'..=b'9'], 4..=64)
        .prop_map(|letters| letters.into_iter().map(char::from).collect())
}

fn reference_integrity(password: &str, provider: &dyn RTCCryptoProvider, message: &mut Reference) {
    MessageIntegrity::check(message, password.as_bytes(), provider.crypto()).unwrap();
    FINGERPRINT.check(message).unwrap();
}

#[test]
fn our_requests_are_what_rtc_stun_reads() {
    let provider = default_provider().unwrap();
    check((any::<[u8; 12]>(), ufrag(), ufrag(), any::<bool>(), any::<u32>(), ufrag()), |case| {
        let (id, local, remote, use_candidate, priority, password) = case;
        let key = IntegrityKey::new(&password);
        let mut out = [0; MESSAGE_BYTES_MAX];
        let len = write_binding_request(&mut out, &id, &local, &remote, use_candidate, priority, &key);

        let mut reference = Reference::new();
        reference.unmarshal_binary(&out[..len]).unwrap();
        reference_integrity(&password, &*provider, &mut reference);
        assert_eq!(reference.typ, BINDING_REQUEST);
        assert_eq!(reference.transaction_id, TransactionId(id));
        assert_eq!(reference.get(ATTR_USERNAME).unwrap(), format!("{remote}:{local}").as_bytes());
        assert_eq!(reference.get(ATTR_PRIORITY).unwrap(), priority.to_be_bytes());
        assert_eq!(reference.contains(ATTR_USE_CANDIDATE), use_candidate);

        let request = request(&out[..len]);
        assert_eq!((request.local_ufrag, request.remote_ufrag), (remote.as_bytes(), local.as_bytes()));
        assert_eq!(request.use_candidate, use_candidate);
        assert_eq!(request.verify(&key), Ok(()));
    });
}

#[test]
fn our_answers_are_what_rtc_stun_reads() {
    let provider = default_provider().unwrap();
    let codes = prop_oneof![proptest::strategy::Just(400_u16), proptest::strategy::Just(487), 300_u16..700];
    check((any::<[u8; 12]>(), any::<SocketAddr>(), codes, ufrag()), |(id, mapped, code, password)| {
        let key = IntegrityKey::new(&password);
        let mut out = [0; MESSAGE_BYTES_MAX];
        let len = write_binding_success(&mut out, &id, mapped, &key);
        let mut reference = Reference::new();
        reference.unmarshal_binary(&out[..len]).unwrap();
        reference_integrity(&password, &*provider, &mut reference);
        let mut told = XorMappedAddress::default();
        told.get_from(&reference).unwrap();
        assert_eq!((told.ip, told.port), (mapped.ip().to_canonical(), mapped.port()));
        let ours = response(&out[..len]);
        assert_eq!(
            ours.mapped_address.map(|mapped| (mapped.ip(), mapped.port())),
            Some((told.ip, told.port))
        );
        assert_eq!((ours.success, ours.verify(&key)), (true, Ok(())));

        let len = write_binding_error(&mut out, &id, code, &key);
        let mut reference = Reference::new();
        reference.unmarshal_binary(&out[..len]).unwrap();
        reference_integrity(&password, &*provider, &mut reference);
        let mut told = ErrorCodeAttribute::default();
        told.get_from(&reference).unwrap();
        assert_eq!(told.code.0, code);
        let ours = response(&out[..len]);
        assert_eq!((ours.success, ours.error_code, ours.verify(&key)), (false, Some(code), Ok(())));
    });
}

#[test]
fn what_rtc_stun_writes_is_read() {
    let provider = default_provider().unwrap();
    check((any::<[u8; 12]>(), ufrag(), ufrag(), ufrag(), any::<SocketAddr>(), any::<bool>()), |case| {
        let (id, local, remote, password, mapped, use_candidate) = case;
        let mut setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId(id)),
            Box::new(TextAttribute::new(ATTR_USERNAME, format!("{local}:{remote}"))),
            Box::new(XorMappedAddress { ip: mapped.ip(), port: mapped.port() }),
        ];
        if use_candidate {
            setters.push(Box::new(RawAttribute { typ: ATTR_USE_CANDIDATE, length: 0, value: vec![] }));
        }
        setters.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(
            password.clone(),
            provider.crypto(),
        )));
        setters.push(Box::new(FINGERPRINT));
        let mut reference = Reference::new();
        reference.build(&setters).unwrap();

        let request = request(&reference.raw);
        assert_eq!(request.transaction_id, id);
        assert_eq!((request.local_ufrag, request.remote_ufrag), (local.as_bytes(), remote.as_bytes()));
        assert_eq!(request.use_candidate, use_candidate);
        assert_eq!(request.verify(&IntegrityKey::new(&password)), Ok(()));
    });
}

#[test]
fn arbitrary_attributes_never_panic() {
    let attributes = vec((any::<u16>(), 0_u16..40, vec(any::<u8>(), 0..40)), 0..8);
    let key = IntegrityKey::new(PASSWORD);
    check((any::<u16>(), attributes), |(kind, attributes)| {
        let mut message = SAMPLE_REQUEST[..HEADER_LEN].to_vec();
        message[..2].copy_from_slice(&(kind & 0x0111).to_be_bytes());
        for (kind, len, value) in attributes {
            // Half of the types are ones this server reads.
            message.extend(if kind & 0x8000 == 0 { kind & 0x002f } else { kind & 0x802f }.to_be_bytes());
            message.extend(len.to_be_bytes());
            message.extend(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let len = (message.len() - HEADER_LEN) as u16;
        message[2..4].copy_from_slice(&len.to_be_bytes());
        if let Ok(Message::BindingRequest(request)) = parse(&message) {
            assert_eq!(request.unknown_required, request.unknown_attributes().next().is_some());
            _ = request.verify(&key);
        }
    });
}

#[test]
fn arbitrary_bytes_never_panic() {
    check(vec(any::<u8>(), 0..200), |bytes| _ = parse(&bytes).is_ok());
}

#[test]
fn a_key_does_not_show_itself() {
    assert_eq!(format!("{:?}", IntegrityKey::new(PASSWORD)), "IntegrityKey(..)");
}
