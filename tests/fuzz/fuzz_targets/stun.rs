//! STUN messages: reading never panics, and answers to any request can be read.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vestibule_media_core::stun::{
    IntegrityKey, MESSAGE_BYTES_MAX, Message, parse, write_binding_success, write_unknown_attributes,
};

static KEY: LazyLock<IntegrityKey> = LazyLock::new(|| IntegrityKey::new("VOkJxbRl1RmTxUk/WvJxBt"));

fuzz_target!(|datagram: &[u8]| {
    read(datagram);
    read(&repaired(datagram));
});

/// The same with the cookie and the length a message must have, so that more inputs get past the header.
fn repaired(datagram: &[u8]) -> Vec<u8> {
    let mut message = datagram.to_vec();
    message.resize(datagram.len().max(20).next_multiple_of(4), 0);
    message[0] &= 0x01;
    message[1] &= 0x11;
    let len = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    message[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    message
}

fn read(datagram: &[u8]) {
    match parse(datagram) {
        Ok(Message::BindingRequest(request)) => {
            _ = request.verify(&KEY).is_ok();
            let unknown = request.unknown_attributes().count();
            assert_eq!(unknown > 0, request.unknown_required);
            let mut out = [0; MESSAGE_BYTES_MAX];
            let id = &request.transaction_id;
            let len = write_unknown_attributes(&mut out, id, request.unknown_attributes(), &KEY);
            let Ok(Message::Response(response)) = parse(&out[..len]) else { panic!("420 cannot be read") };
            assert_eq!((response.transaction_id, response.error_code), (*id, Some(420)));
            assert!(response.verify(&KEY).is_ok());
        }
        Ok(Message::Response(response)) => {
            _ = response.verify(&KEY).is_ok();
            if let Some(mapped) = response.mapped_address {
                let mut out = [0; MESSAGE_BYTES_MAX];
                let len = write_binding_success(&mut out, &response.transaction_id, mapped, &KEY);
                let Ok(Message::Response(written)) = parse(&out[..len]) else {
                    panic!("answer cannot be read")
                };
                let told = written.mapped_address.expect("the writer always tells an address");
                assert_eq!((told.ip(), told.port()), (mapped.ip().to_canonical(), mapped.port()));
            }
        }
        _ => {}
    }
}
