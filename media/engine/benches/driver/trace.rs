//! Sizes of packets as browsers send them, made from a seed: the same trace in every run, on every machine.
//!
//! VP8 at 1,500 kbit/s and 30 frames a second: frame sizes spread around the mean as a talking head's do, and each
//! frame is cut into packets of nearly one size, the smaller ones first, as libwebrtc cuts it. Opus at 20 ms: between
//! 80 and 120 bytes while somebody speaks.

/// Payload bytes of one packet at the most.
const PAYLOAD_BYTES_MAX: usize = 1_160;
/// Mean bytes of a frame.
const FRAME_BYTES: usize = 1_500_000 / 8 / 30;
/// A keyframe is that many times as large.
const KEYFRAME_FACTOR: usize = 8;

/// A small generator (xorshift64*): all that is asked of it is that it repeats itself.
#[derive(Clone)]
pub(crate) struct Trace {
    state: u64,
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }

    /// The payload sizes of the packets of the next frame.
    pub(crate) fn frame(&mut self, keyframe: bool) -> impl Iterator<Item = usize> + use<> {
        let bytes = if keyframe {
            FRAME_BYTES * KEYFRAME_FACTOR
        } else {
            // The sum of four: bell-shaped between a half and one and a half of the mean.
            let spread: u64 = (0..4).map(|_| self.below(FRAME_BYTES as u64 / 4)).sum();
            FRAME_BYTES / 2 + spread as usize
        };
        let packets = bytes.div_ceil(PAYLOAD_BYTES_MAX);
        let (size, larger) = (bytes / packets, bytes % packets);
        (0..packets).map(move |at| size + usize::from(at >= packets - larger))
    }

    /// The payload size of the next packet of speech.
    pub(crate) fn speech(&mut self) -> usize {
        80 + self.below(41) as usize
    }
}
