//! Numbers as people read them.

/// With a blank between thousands: `1 234 567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Rounded, with a blank between thousands.
pub(crate) fn rounded(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
    let whole = number.max(0.0).round() as u64;
    grouped(whole)
}

/// With as many digits as say something: three.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        n if n >= 100.0 => rounded(number),
        n if n >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// `3.4 Mbit/s`.
pub(crate) fn bit_rate(bits_per_second: f64) -> String {
    match bits_per_second {
        n if n >= 1e9 => format!("{} Gbit/s", short(n / 1e9)),
        n if n >= 1e6 => format!("{} Mbit/s", short(n / 1e6)),
        n => format!("{} kbit/s", short(n / 1e3)),
    }
}

/// Microseconds, as milliseconds where they are many.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn delay(microseconds: u64) -> String {
    if microseconds < 1000 {
        format!("{microseconds} µs")
    } else {
        format!("{} ms", short(microseconds as f64 / 1000.0))
    }
}

/// `18.4 MB`; decimal, as all units here.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn bytes(bytes: i64) -> String {
    let number = bytes as f64;
    if number.abs() >= 1e6 {
        format!("{} MB", short(number / 1e6))
    } else {
        format!("{} kB", short(number / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(rounded(-1.0), "0");
    }

    #[test]
    fn three_digits_are_enough() {
        assert_eq!(
            (short(0.0512), short(12.34), short(1234.5)),
            ("0.05".into(), "12.3".into(), "1\u{202f}235".into())
        );
        assert_eq!(bit_rate(45_600_000.0), "45.6 Mbit/s");
        assert_eq!(bit_rate(64_000.0), "64.0 kbit/s");
        assert_eq!((delay(87), delay(12_345)), ("87 µs".into(), "12.3 ms".into()));
        assert_eq!((bytes(18_432_000), bytes(-95_000)), ("18.4 MB".into(), "-95.0 kB".into()));
    }
}
