//! DTLS before the library: no sequence of datagrams makes the gate panic or hold more than its bounds, and every
//! ClientHello it passes is one that a fresh gate would pass too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::bounds::{CLIENT_HELLO_BYTES_MAX, CLIENT_HELLO_FRAGMENTS_MAX};
use vestibule_media_core::dtls_gate::{DtlsGate, GateVerdict};

fuzz_target!(|input: &[u8]| {
    run(input, |datagram| datagram.to_vec());
    run(input, repaired);
});

/// The input is a list of steps: what to do (one byte), a length (two bytes), and as many bytes.
fn run(mut input: &[u8], prepare: impl Fn(&[u8]) -> Vec<u8>) {
    let mut gate = DtlsGate::default();
    while let Some((&[step, high, low], rest)) = input.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (bytes, after) = rest.split_at(len);
        input = after;
        match step % 8 {
            6 => gate.sent(bytes),
            7 => gate.established(),
            _ => inspect(&mut gate, &prepare(bytes)),
        }
    }
}

fn inspect(gate: &mut DtlsGate, datagram: &[u8]) {
    let verdict = gate.inspect(datagram);
    let (bytes, fragments) = gate.held();
    assert!(bytes <= CLIENT_HELLO_BYTES_MAX && fragments <= CLIENT_HELLO_FRAGMENTS_MAX);
    if let GateVerdict::ClientHello { datagram, profile } = verdict {
        // A fresh gate knows of no cookie; it takes this as a first ClientHello.
        let mut first = datagram;
        first[17..19].fill(0);
        let again = DtlsGate::default().inspect(&first);
        assert_eq!(again, GateVerdict::ClientHello { datagram: first, profile });
    }
}

/// The same as one clear handshake record of one fragment, so that more inputs get past the headers.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    const HEADERS: usize = 13 + 12;
    let mut datagram = bytes.to_vec();
    datagram.resize(bytes.len().max(HEADERS + 1), 0);
    let body = datagram.len() - HEADERS;
    datagram[..5].copy_from_slice(&[22, 0xfe, 0xfd, 0, 0]);
    datagram[11..13].copy_from_slice(&((body + 12) as u16).to_be_bytes());
    datagram[22..25].copy_from_slice(&(body as u32).to_be_bytes()[1..]);
    datagram
}
