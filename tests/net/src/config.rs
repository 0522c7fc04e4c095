//! What a line is like: the numbers of a [`Link`](crate::Link), set by a test or read from `key=value` text.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Bytes IPv4 and UDP add to each datagram on the wire.
const IPV4_UDP_BYTES: u32 = 28;

/// How one direction of a line treats datagrams. The default is a perfect line.
///
/// A datagram first waits for the line (`rate_bps`, `queue`), then it may be lost, then it travels (`delay_us`,
/// `jitter_us`, `reorder`). So a lost datagram has used its share of the rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// Travel time of every datagram, in microseconds.
    pub delay_us: u64,
    /// Up to so many microseconds more, drawn evenly for each datagram. Order is kept: who is late holds up the ones
    /// behind it.
    pub jitter_us: u64,
    /// Probability that a datagram is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long a held-back datagram is held, in microseconds.
    pub reorder_us: u64,
    /// Probability that a datagram is lost, each for itself.
    pub loss: f64,
    /// Loss in bursts, beside `loss`.
    pub burst: Option<BurstLoss>,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Bits per second the line carries; `None` is without limit.
    pub rate_bps: Option<NonZeroU64>,
    /// How much may wait for the line; what comes on top is dropped. Without a rate nothing waits.
    pub queue: QueueBound,
    /// Bytes each datagram takes on the line beyond its payload; the default is IPv4 + UDP.
    pub overhead_bytes: u32,
    /// Nothing passes while this is set: every datagram that reaches the end of the queue is lost.
    pub blocked: bool,
}

/// Loss in bursts after Gilbert and Elliott: the line is good or bad, and changes between two datagrams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// Probability per datagram that a good line turns bad.
    pub enter: f64,
    /// Probability per datagram that a bad line turns good; a bad spell lasts `1 / leave` datagrams on average.
    pub leave: f64,
    /// Probability that a datagram is lost while the line is bad.
    pub loss: f64,
}

/// How much may wait for a rate-limited line. The datagram on the line does not count as waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueBound {
    /// Bytes on the wire, headers included.
    Bytes(u64),
    /// Time a new datagram would wait, in microseconds.
    Micros(u64),
    /// Nothing waits: what goes over the rate is dropped, beyond so many bytes at once (a token bucket, as operators police
    /// video with).
    Policed(u64),
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay_us: 0,
            jitter_us: 0,
            reorder: 0.0,
            reorder_us: 30_000,
            loss: 0.0,
            burst: None,
            duplicate: 0.0,
            rate_bps: None,
            queue: QueueBound::Micros(200_000),
            overhead_bytes: IPV4_UDP_BYTES,
            blocked: false,
        }
    }
}

impl BurstLoss {
    /// Loses the share `share` (below 1) of all datagrams, in spells of `packets_mean` (1 or more) on average.
    #[must_use]
    pub fn average(share: f64, packets_mean: f64) -> Self {
        assert!((0.0..1.0).contains(&share) && packets_mean >= 1.0, "share {share}, mean {packets_mean}");
        let leave = 1.0 / packets_mean;
        Self { enter: (leave * share / (1.0 - share)).min(1.0), leave, loss: 1.0 }
    }
}

/// Setters, to write a configuration in one line.
impl LinkConfig {
    /// Travel time in milliseconds.
    #[must_use]
    pub const fn delay_ms(self, delay_ms: u64) -> Self {
        Self { delay_us: delay_ms * 1_000, ..self }
    }

    /// Jitter in milliseconds.
    #[must_use]
    pub const fn jitter_ms(self, jitter_ms: u64) -> Self {
        Self { jitter_us: jitter_ms * 1_000, ..self }
    }

    /// Probability of being held back, and for how many milliseconds.
    #[must_use]
    pub const fn reorder(self, probability: f64, held_ms: u64) -> Self {
        Self { reorder: probability, reorder_us: held_ms * 1_000, ..self }
    }

    /// Probability of loss, each datagram for itself.
    #[must_use]
    pub const fn loss(self, probability: f64) -> Self {
        Self { loss: probability, ..self }
    }

    /// Loss in bursts.
    #[must_use]
    pub const fn burst(self, burst: BurstLoss) -> Self {
        Self { burst: Some(burst), ..self }
    }

    /// Probability of arriving twice.
    #[must_use]
    pub const fn duplicate(self, probability: f64) -> Self {
        Self { duplicate: probability, ..self }
    }

    /// Rate limit in bits per second; panics at 0 (to let nothing through, set `blocked`).
    #[must_use]
    pub const fn rate_bps(self, rate_bps: u64) -> Self {
        let Some(rate_bps) = NonZeroU64::new(rate_bps) else {
            panic!("a rate of 0 never ends: set `blocked`")
        };
        Self { rate_bps: Some(rate_bps), ..self }
    }

    /// Queue bound in milliseconds of waiting.
    #[must_use]
    pub const fn queue_ms(self, queue_ms: u64) -> Self {
        Self { queue: QueueBound::Micros(queue_ms * 1_000), ..self }
    }

    /// Queue bound in bytes on the wire.
    #[must_use]
    pub const fn queue_bytes(self, queue_bytes: u64) -> Self {
        Self { queue: QueueBound::Bytes(queue_bytes), ..self }
    }

    /// No queue but a token bucket of so many bytes on the wire.
    #[must_use]
    pub const fn policed_bytes(self, bucket_bytes: u64) -> Self {
        Self { queue: QueueBound::Policed(bucket_bytes), ..self }
    }

    /// Whether nothing passes.
    #[must_use]
    pub const fn blocked(self, blocked: bool) -> Self {
        Self { blocked, ..self }
    }
}

impl LinkConfig {
    /// This configuration with what `text` names changed: `key=value` pairs between commas or blanks.
    ///
    /// Keys: `delay_ms` `jitter_ms` `reorder` `reorder_ms` `loss` `burst_enter` `burst_leave` `burst_loss` `duplicate`
    /// `rate_bps` (0: no limit) `queue_ms` `queue_bytes` `policed_bytes` `overhead_bytes` `blocked` (0 or 1).
    ///
    /// # Errors
    /// Names the pair that has no value, an unknown key, or a value out of range; nothing is changed then.
    pub fn with_text(mut self, text: &str) -> Result<Self, ConfigError> {
        for pair in text.split([',', ' ', '\t']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| ConfigError::NoValue(pair.to_owned()))?;
            self.set(key, value)?;
        }
        Ok(self)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        match key {
            "delay_ms" => self.delay_us = micros(key, value)?,
            "jitter_ms" => self.jitter_us = micros(key, value)?,
            "reorder" => self.reorder = probability(key, value)?,
            "reorder_ms" => self.reorder_us = micros(key, value)?,
            "loss" => self.loss = probability(key, value)?,
            "burst_enter" => self.burst_mut().enter = probability(key, value)?,
            "burst_leave" => self.burst_mut().leave = probability(key, value)?,
            "burst_loss" => self.burst_mut().loss = probability(key, value)?,
            "duplicate" => self.duplicate = probability(key, value)?,
            "rate_bps" => self.rate_bps = NonZeroU64::new(number(key, value)?),
            "queue_ms" => self.queue = QueueBound::Micros(micros(key, value)?),
            "queue_bytes" => self.queue = QueueBound::Bytes(number(key, value)?),
            "policed_bytes" => self.queue = QueueBound::Policed(number(key, value)?),
            "overhead_bytes" => self.overhead_bytes = number(key, value)?,
            "blocked" => self.blocked = number::<u8>(key, value)? != 0,
            _ => return Err(ConfigError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    /// The burst model, made when a first value of it is set: single losses that never begin.
    fn burst_mut(&mut self) -> &mut BurstLoss {
        self.burst.get_or_insert(BurstLoss { enter: 0.0, leave: 1.0, loss: 1.0 })
    }

    /// Every probability of this configuration by its name, for the check when a link takes it.
    pub(crate) fn probabilities(&self) -> [(&'static str, f64); 6] {
        let burst = self.burst.unwrap_or(BurstLoss { enter: 0.0, leave: 1.0, loss: 0.0 });
        [
            ("reorder", self.reorder),
            ("loss", self.loss),
            ("burst.enter", burst.enter),
            ("burst.leave", burst.leave),
            ("burst.loss", burst.loss),
            ("duplicate", self.duplicate),
        ]
    }
}

impl FromStr for LinkConfig {
    type Err = ConfigError;

    /// A perfect line changed by [`LinkConfig::with_text`].
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::default().with_text(text)
    }
}

/// Why a text is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The text has this part without `=`.
    NoValue(String),
    /// No number of a link has this name.
    UnknownKey(String),
    /// The value does not parse or is out of range.
    BadValue {
        /// The key it was given for.
        key: String,
        /// The value as it was given.
        value: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValue(pair) => write!(f, "`{pair}` is not key=value"),
            Self::UnknownKey(key) => write!(f, "a link has no `{key}`"),
            Self::BadValue { key, value } => write!(f, "`{value}` is no value for `{key}`"),
        }
    }
}

impl std::error::Error for ConfigError {}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, ConfigError> {
    value.parse().map_err(|_| bad_value(key, value))
}

fn probability(key: &str, value: &str) -> Result<f64, ConfigError> {
    number(key, value).and_then(|p| if (0.0..=1.0).contains(&p) { Ok(p) } else { Err(bad_value(key, value)) })
}

/// Milliseconds, with a fraction if need be, as microseconds; an hour at the most.
fn micros(key: &str, value: &str) -> Result<u64, ConfigError> {
    let ms: f64 = number(key, value)?;
    if (0.0..=3_600_000.0).contains(&ms) {
        Ok((ms * 1_000.0).round() as u64)
    } else {
        Err(bad_value(key, value))
    }
}

fn bad_value(key: &str, value: &str) -> ConfigError {
    ConfigError::BadValue { key: key.to_owned(), value: value.to_owned() }
}
