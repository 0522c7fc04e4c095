//! A fast keyed hash for the table every datagram is looked up in.
//!
//! The default hasher costs more than the rest of the lookup. Nobody can aim at one place of the table here either: the
//! key is random, and only addresses whose checks were authentic are entered.

use std::hash::{BuildHasher, Hasher};

/// Makes hashers of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash {
    start: u64,
    factor: u64,
}

impl KeyedHash {
    pub(crate) const fn new(key: [u64; 2]) -> Self {
        Self { start: key[0], factor: key[1] | 1 }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.start, factor: self.factor }
    }
}

/// Both halves of a 128-bit product with the key, folded into each other, for each word.
pub(crate) struct KeyedHasher {
    state: u64,
    factor: u64,
}

impl KeyedHasher {
    #[inline]
    fn take(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = (product as u64) ^ ((product >> 64) as u64).rotate_left(32);
    }
}

impl Hasher for KeyedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.take(u64::from_ne_bytes(word));
        }
    }

    #[inline]
    fn write_u8(&mut self, word: u8) {
        self.take(word.into());
    }

    #[inline]
    fn write_u16(&mut self, word: u16) {
        self.take(word.into());
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.take(word.into());
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.take(word);
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.take(word as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.factor);
        (product as u64) ^ ((product >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn neighbouring_addresses_spread_over_a_table_at_both_ends_of_the_hash() {
        let hash = KeyedHash::new([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        let v4 = |i: u32| SocketAddr::from((i.to_be_bytes(), 40_000));
        let ports = |i: u32| SocketAddr::from(([192, 0, 2, 1], i as u16));
        let v6 = |i: u32| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, (i >> 16) as u16, i as u16], 9));
        for make in [v4 as fn(u32) -> SocketAddr, ports, v6] {
            let hashes: Vec<_> = (0..4_096).map(|i| hash.hash_one(make(i))).collect();
            // Of 4,096 in as many places a random function leaves 1,507 empty.
            for place in [|hash: &u64| hash & 0xfff, |hash: &u64| hash >> 52] {
                let taken = hashes.iter().map(place).collect::<HashSet<_>>().len();
                assert!((2_400..2_800).contains(&taken), "{taken}");
            }
        }
    }
}
