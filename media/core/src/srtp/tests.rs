//! Vectors of the RFCs, a cross-check against `rtc-srtp`, and what hostile packets may not do.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::gcm::{GcmKey, open_rtcp, open_rtp, seal_rtcp, seal_rtp};
use super::kdf::SessionKey;
use super::*;

const PROFILES: [SrtpProfile; 3] = SrtpProfile::PREFERENCE;

pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn material(profile: SrtpProfile) -> KeyingMaterial {
    let exported: Vec<u8> = (0..profile.exporter_len()).map(|i| (i * 7 + 3) as u8).collect();
    KeyingMaterial::from_exporter(profile, &exported).unwrap()
}

/// A sealer as the client has it, and the opener the server has for it.
fn client_to_server(profile: SrtpProfile) -> (SrtpSealer, SrtpOpener) {
    let material = material(profile);
    let (sealer, _) = session(&material, SrtpRole::Client).unwrap();
    let (_, opener) = session(&material, SrtpRole::Server).unwrap();
    (sealer, opener)
}

fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&0x1234_5678_u32.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn rtcp(ssrc: u32, reports: usize) -> Vec<u8> {
    let mut packet = vec![0x80 | reports as u8, 201, 0, 1 + 6 * reports as u8];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..24 * reports).map(|i| i as u8));
    packet
}

fn seal(sealer: &mut SrtpSealer, plain: &[u8], index: u64) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + sealer.rtp_overhead(), 0xee);
    let len = sealer.seal_rtp(&mut buffer, 12, plain.len(), index).unwrap();
    assert_eq!(len, buffer.len());
    buffer
}

fn seal_control(sealer: &mut SrtpSealer, plain: &[u8]) -> Vec<u8> {
    let mut buffer = plain.to_vec();
    buffer.resize(plain.len() + sealer.rtcp_overhead(), 0xee);
    let len = sealer.seal_rtcp(&mut buffer, plain.len()).unwrap();
    assert_eq!(len, buffer.len());
    buffer
}

fn open(opener: &mut SrtpOpener, sealed: &[u8]) -> Result<(Vec<u8>, u64), SrtpError> {
    let mut packet = sealed.to_vec();
    let header = RtpHeader::parse(&packet).unwrap();
    let opened = opener.open_rtp(&mut packet, &header)?;
    packet.truncate(opened.len);
    Ok((packet, opened.index))
}

fn open_control(opener: &mut SrtpOpener, sealed: &[u8]) -> Result<Vec<u8>, SrtpError> {
    let mut packet = sealed.to_vec();
    let len = opener.open_rtcp(&mut packet)?;
    packet.truncate(len);
    Ok(packet)
}

/// RFC 7714 sections 16 and 17: the session keys and the salt of all its examples.
fn rfc_7714_key(key_len: usize) -> GcmKey {
    let key: Vec<u8> = (0..key_len as u8).collect();
    GcmKey::new(&SessionKey::from_parts(&key, &hex("517569642070726f2071756f"))).unwrap()
}

#[test]
fn rfc_7714_16_srtp_vectors() {
    let plain = hex("8040f17b 8041f8d3 5501a0b2
         47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573");
    let sealed_128 = hex("8040f17b 8041f8d3 5501a0b2
         f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833
         899d7f27 beb16a91 52cf765e e4390cce");
    let sealed_256 = hex("8040f17b 8041f8d3 5501a0b2
         32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b
         7aa3db36 dfffd6b0 f9bb7878 d7a76c13");
    for (key_len, sealed) in [(16, sealed_128), (32, sealed_256)] {
        let key = rfc_7714_key(key_len);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 16, 0);
        seal_rtp(&key, &mut buffer, 12, plain.len(), 0xf17b).unwrap();
        assert_eq!(buffer, sealed, "sealed with AES-{}", key_len * 8);
        assert_eq!(open_rtp(&key, &mut buffer, 12, 0x5501_a0b2, 0xf17b), Ok(plain.len()));
        assert_eq!(buffer[..plain.len()], plain);
    }
}

#[test]
fn rfc_7714_17_srtcp_vectors() {
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
         deadbeef deadbeef deadbeef deadbeef deadbeef");
    let sealed_128 = hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
         c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    let sealed_256 = hex("81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50
         a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4");
    for (key_len, sealed) in [(16, sealed_128), (32, sealed_256)] {
        let key = rfc_7714_key(key_len);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + 20, 0);
        seal_rtcp(&key, &mut buffer, plain.len(), 0x5d4).unwrap();
        assert_eq!(buffer, sealed, "sealed with AES-{}", key_len * 8);
        assert_eq!(open_rtcp(&key, &mut buffer, 0x4d61_7273, 0x5d4), Ok(plain.len()));
        assert_eq!(buffer[..plain.len()], plain);
    }
}

/// `rtc-srtp` with the client's keys.
fn reference(profile: SrtpProfile) -> Context {
    let material = material(profile);
    let theirs = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let provider = AwsLcRsProvider::new();
    Context::new(material.client_key(), material.client_salt(), theirs, None, None, provider.crypto())
        .unwrap()
}

#[test]
fn rtc_srtp_seals_what_this_opens_and_opens_what_this_seals_over_two_wraps() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let (mut their_sealer, mut their_opener) = (reference(profile), reference(profile));
        let mut rng = StdRng::seed_from_u64(1);
        for index in (60_000_u64..200_000).step_by(317) {
            let payload: Vec<u8> = (0..rng.random_range(0..1_200)).map(|_| rng.random()).collect();
            let plain = rtp(0xcafe_0001, index as u16, &payload);
            let sealed = seal(&mut sealer, &plain, index);
            assert_eq!(their_sealer.encrypt_rtp(&plain).unwrap(), sealed, "{profile:?} {index}");
            assert_eq!(their_opener.decrypt_rtp(&sealed).unwrap(), plain, "{profile:?} {index}");
            assert_eq!(open(&mut opener, &sealed).unwrap(), (plain, index), "{profile:?}");
        }
    }
}

#[test]
fn rtc_srtp_agrees_on_rtp_headers_with_csrcs_and_extensions() {
    // CC 2, X, and one word of extension.
    let header = hex("b260 0007 00000001 cafe0001 00000011 00000022 bede 0001 10ff0000");
    let plain = [header.clone(), vec![0x5a; 100]].concat();
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let mut buffer = plain.clone();
        buffer.resize(plain.len() + sealer.rtp_overhead(), 0);
        sealer.seal_rtp(&mut buffer, header.len(), plain.len(), 7).unwrap();
        assert_eq!(reference(profile).encrypt_rtp(&plain).unwrap(), buffer, "{profile:?}");
        assert_eq!(open(&mut opener, &buffer), Ok((plain.clone(), 7)), "{profile:?}");
    }
}

#[test]
fn rtc_srtp_agrees_on_rtcp() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let (mut their_sealer, mut their_opener) = (reference(profile), reference(profile));
        for reports in [0, 1, 2, 31, 3] {
            let plain = rtcp(0xcafe_0001, reports);
            let sealed = seal_control(&mut sealer, &plain);
            assert_eq!(their_sealer.encrypt_rtcp(&plain).unwrap(), sealed, "{profile:?}");
            assert_eq!(their_opener.decrypt_rtcp(&sealed).unwrap(), plain, "{profile:?}");
            assert_eq!(open_control(&mut opener, &sealed), Ok(plain), "{profile:?}");
        }
    }
}

#[test]
fn keys_are_those_of_the_role() {
    for profile in PROFILES {
        let material = material(profile);
        let (mut client_seals, mut client_opens) = session(&material, SrtpRole::Client).unwrap();
        let (mut server_seals, mut server_opens) = session(&material, SrtpRole::Server).unwrap();
        let plain = rtp(1, 1, b"up");
        assert!(open(&mut server_opens, &seal(&mut client_seals, &plain, 1)).is_ok());
        assert!(open(&mut client_opens, &seal(&mut server_seals, &plain, 1)).is_ok());
        let (_, mut other) = session(&material, SrtpRole::Client).unwrap();
        let own = seal(&mut client_seals, &plain, 1);
        assert_eq!(open(&mut other, &own), Err(SrtpError::Authentication));
    }
}

#[test]
fn exporter_output_is_split_by_rfc_5764_and_checked() {
    let exported: Vec<u8> = (0..56).collect();
    let material = KeyingMaterial::from_exporter(SrtpProfile::AeadAes128Gcm, &exported).unwrap();
    assert_eq!(material.client_key(), &exported[..16]);
    assert_eq!(material.server_key(), &exported[16..32]);
    assert_eq!(material.client_salt(), &exported[32..44]);
    assert_eq!(material.server_salt(), &exported[44..]);
    let wrong = KeyingMaterial::from_exporter(SrtpProfile::Aes128CmSha1_80, &exported);
    assert_eq!(wrong.err(), Some(SrtpError::KeyingMaterialLength { expected: 60, got: 56 }));
    assert!(!format!("{material:?}").contains("17"), "keys may not be printed");
}

#[test]
fn replayed_packets_are_refused() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let first = seal(&mut sealer, &rtp(9, 100, b"one"), 100);
        assert!(open(&mut opener, &first).is_ok());
        assert_eq!(open(&mut opener, &first), Err(SrtpError::Replayed));
        for sequence in 101..2_000 {
            open(&mut opener, &seal(&mut sealer, &rtp(9, sequence, b""), sequence.into())).unwrap();
        }
        assert_eq!(open(&mut opener, &first), Err(SrtpError::Replayed), "older than the window");

        let control = seal_control(&mut sealer, &rtcp(9, 1));
        assert!(open_control(&mut opener, &control).is_ok());
        assert_eq!(open_control(&mut opener, &control), Err(SrtpError::Replayed));
    }
}

#[test]
fn a_packet_late_by_a_thousand_is_read_once() {
    let (mut sealer, mut opener) = client_to_server(SrtpProfile::AeadAes128Gcm);
    let late = seal(&mut sealer, &rtp(9, 1_000, b"late"), 1_000);
    for sequence in [999, 1_001, 2_023] {
        open(&mut opener, &seal(&mut sealer, &rtp(9, sequence, b""), sequence.into())).unwrap();
    }
    assert!(open(&mut opener, &late).is_ok());
    assert_eq!(open(&mut opener, &late), Err(SrtpError::Replayed));
}

#[test]
fn rollover_is_followed_with_loss_reordering_and_late_packets_over_the_wrap() {
    for profile in PROFILES {
        let seed = 42;
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut sealer, mut opener) = client_to_server(profile);
        let mut indices: Vec<u64> = (32_000..330_000).step_by(211).collect();
        // Reorder within three places, so that some cross each wrap late; lose a tenth.
        for at in 3..indices.len() {
            indices.swap(at, at - rng.random_range(0..3));
        }
        let (mut received, mut opened) = (0, 0);
        for index in indices {
            if rng.random_range(0..10) == 0 {
                continue;
            }
            received += 1;
            let plain = rtp(5, index as u16, &index.to_be_bytes());
            let sealed = seal(&mut sealer, &plain, index);
            match open(&mut opener, &sealed) {
                Ok((_, found)) => {
                    opened += 1;
                    assert_eq!(found, index, "{profile:?} seed {seed}");
                }
                // Steps of 211 leave the window of 1,024 soon.
                Err(error) => assert_eq!(error, SrtpError::Replayed, "{profile:?} seed {seed} index {index}"),
            }
        }
        assert!(opened * 10 > received * 9, "{profile:?} seed {seed}: {opened} of {received} opened");
    }
}

#[test]
fn a_late_packet_from_before_the_wrap_keeps_its_old_counter() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        for index in [0xfff0, 0xfffe, 0x1_0000, 0x1_0005] {
            open(&mut opener, &seal(&mut sealer, &rtp(5, index as u16, b""), index)).unwrap();
        }
        let late = seal(&mut sealer, &rtp(5, 0xffff, b""), 0xffff);
        assert_eq!(open(&mut opener, &late).unwrap().1, 0xffff);
        assert_eq!(open(&mut opener, &late), Err(SrtpError::Replayed));
        let next = seal(&mut sealer, &rtp(5, 6, b""), 0x1_0006);
        assert_eq!(open(&mut opener, &next).unwrap().1, 0x1_0006);
    }
}

/// Named for the attack: packets nobody could have sealed, in numbers, with the numbering pushed over the
/// wrap.
#[test]
fn forged_packets_change_nothing() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        open(&mut opener, &seal(&mut sealer, &rtp(5, 0x7000, b"start"), 0x7000)).unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        for _ in 0..5_000 {
            let ssrc = if rng.random() { 5 } else { rng.random() };
            let body: Vec<u8> = (0..rng.random_range(0..64)).map(|_| rng.random()).collect();
            assert!(open(&mut opener, &rtp(ssrc, rng.random(), &body)).is_err());
            let mut control = rtcp(ssrc, 1);
            control.extend_from_slice(&body);
            control.extend_from_slice(&(RTCP_ENCRYPTED | rng.random::<u32>()).to_be_bytes());
            assert!(open_control(&mut opener, &control).is_err());
        }
        assert_eq!((opener.rtp.len(), opener.rtcp.len()), (1, 0), "{profile:?}");
        // A forged packet that would be half a wrap ahead must not have moved the guess.
        for index in [0x7001, 0x7002, 0xefff] {
            let sealed = seal(&mut sealer, &rtp(5, index as u16, b"next"), index);
            let mut forged = sealed.clone();
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(open(&mut opener, &forged), Err(SrtpError::Authentication));
            assert_eq!(open(&mut opener, &sealed).unwrap().1, index);
        }
    }
}

#[test]
fn every_flipped_bit_fails() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let sealed = seal(&mut sealer, &rtp(5, 9, b"payload"), 9);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            if RtpHeader::parse(&forged).is_ok() {
                assert!(open(&mut opener, &forged).is_err(), "{profile:?} RTP bit {bit}");
            }
        }
        assert!(open(&mut opener, &sealed).is_ok());
        let sealed = seal_control(&mut sealer, &rtcp(5, 1));
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open_control(&mut opener, &forged).is_err(), "{profile:?} RTCP bit {bit}");
        }
        assert!(open_control(&mut opener, &sealed).is_ok());
    }
}

/// `rtc-srtp` takes SRTCP with the E bit clear in AES-CM without looking at the tag: anybody could have sent
/// it.
#[test]
fn unencrypted_srtcp_is_refused() {
    for profile in PROFILES {
        let (_, mut opener) = client_to_server(profile);
        let mut forged = rtcp(5, 1);
        forged.extend_from_slice(&1_u32.to_be_bytes());
        if profile == SrtpProfile::Aes128CmSha1_80 {
            forged.extend_from_slice(&[0; 10]);
            assert!(
                reference(profile).decrypt_rtcp(&forged).is_ok(),
                "no longer so? drop the remark in mod.rs"
            );
        }
        assert_eq!(open_control(&mut opener, &forged), Err(SrtpError::NotEncrypted), "{profile:?}");
    }
}

#[test]
fn truncated_packets_and_small_buffers_are_errors() {
    for profile in PROFILES {
        let (mut sealer, mut opener) = client_to_server(profile);
        let sealed = seal(&mut sealer, &rtp(5, 9, b"x"), 9);
        for len in 12..sealed.len() {
            assert!(open(&mut opener, &sealed[..len]).is_err());
        }
        let sealed = seal_control(&mut sealer, &rtcp(5, 0));
        for len in 0..sealed.len() {
            assert!(open_control(&mut opener, &sealed[..len]).is_err());
        }
        let mut buffer = rtp(5, 9, b"x");
        let len = buffer.len();
        assert_eq!(sealer.seal_rtp(&mut buffer, 12, len, 9), Err(SrtpError::NoRoom));
        assert_eq!(sealer.seal_rtp(&mut buffer, 11, len, 9), Err(SrtpError::TooShort));
        assert_eq!(sealer.seal_rtp(&mut buffer, 14, 13, 9), Err(SrtpError::TooShort));
        assert_eq!(sealer.seal_rtp(&mut buffer, 12, len, 1 << 48), Err(SrtpError::KeyExhausted));
        assert_eq!(sealer.seal_rtcp(&mut buffer, len), Err(SrtpError::NoRoom));
        assert_eq!(sealer.seal_rtcp(&mut buffer, 7), Err(SrtpError::TooShort));
        assert_eq!(buffer, rtp(5, 9, b"x"), "errors leave the buffer alone");
        assert_eq!(opener.open_rtp_at(&mut [0; 4], 12, 5, 9), Err(SrtpError::TooShort));
    }
}

#[test]
fn ssrc_tables_are_bounded_and_spare_streams_that_wrapped() {
    let (mut sealer, mut opener) = client_to_server(SrtpProfile::AeadAes128Gcm);
    for index in [0xff00, 0xffff, 0x1_0000] {
        open(&mut opener, &seal(&mut sealer, &rtp(1, index as u16, b""), index)).unwrap();
    }
    for ssrc in 2..500 {
        open(&mut opener, &seal(&mut sealer, &rtp(ssrc, 1, b""), 1)).unwrap();
        open_control(&mut opener, &seal_control(&mut sealer, &rtcp(ssrc, 0))).unwrap();
    }
    assert_eq!((opener.rtp.len(), opener.rtcp.len()), (SSRCS_PER_PEER_MAX, SSRCS_PER_PEER_MAX));
    let wrapped = seal(&mut sealer, &rtp(1, 1, b""), 0x1_0001);
    assert_eq!(open(&mut opener, &wrapped).unwrap().1, 0x1_0001, "the wrapped stream is still followed");
}

#[test]
fn srtcp_indices_end_before_they_repeat() {
    let (mut sealer, _) = client_to_server(SrtpProfile::AeadAes128Gcm);
    sealer.rtcp_index = RTCP_ENCRYPTED - 2;
    seal_control(&mut sealer, &rtcp(1, 0));
    assert_eq!(sealer.seal_rtcp(&mut [0; 64], 8), Err(SrtpError::KeyExhausted));
}

/// Not a pass or fail of time, which a busy machine would make random: it prints what sealing costs over the
/// bare AEAD.
#[test]
#[ignore = "measurement; run with --release --nocapture"]
fn cost_of_sealing_over_the_bare_aead() {
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
    let clock = std::time::Instant::now;
    let bare = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap());
    for payload in [160, 1_100] {
        let rounds = 1_000_000_u64;
        let mut buffer = rtp(5, 0, &vec![1; payload + 16]);
        let len = buffer.len() - 16;
        let mut best = [f64::MAX; 5];
        for _ in 0..7 {
            let begin = clock();
            for round in 0..rounds {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&round.to_be_bytes());
                let (header, rest) = buffer.split_at_mut(12);
                let tag = bare
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(&*header),
                        &mut rest[..payload],
                    )
                    .unwrap();
                let _ = std::hint::black_box(tag);
            }
            best[0] = best[0].min(begin.elapsed().as_nanos() as f64 / rounds as f64);
            for (slot, profile) in PROFILES.into_iter().enumerate() {
                let (mut sealer, _) = client_to_server(profile);
                let begin = clock();
                for round in 0..rounds {
                    buffer[2..4].copy_from_slice(&(round as u16).to_be_bytes());
                    let sealed = sealer.seal_rtp(std::hint::black_box(&mut buffer), 12, len, round);
                    std::hint::black_box(sealed).unwrap();
                }
                best[slot + 1] = best[slot + 1].min(begin.elapsed().as_nanos() as f64 / rounds as f64);
            }
            let (mut sealer, mut opener) = client_to_server(SrtpProfile::AeadAes128Gcm);
            let packets: Vec<Vec<u8>> =
                (0..10_000_u64).map(|i| seal(&mut sealer, &rtp(5, i as u16, &vec![1; payload]), i)).collect();
            let mut packets = packets;
            let begin = clock();
            for packet in &mut packets {
                let header = RtpHeader::parse(packet).unwrap();
                opener.open_rtp(packet, &header).unwrap();
            }
            best[4] = best[4].min(begin.elapsed().as_nanos() as f64 / 10_000.0);
        }
        println!(
            "{payload} B payload, ns per packet: bare AES-128-GCM {:.0}, seal {:?} {:.0}/{:.0}/{:.0}, parse and open {:.0}",
            best[0], PROFILES, best[1], best[2], best[3], best[4]
        );
    }
}
