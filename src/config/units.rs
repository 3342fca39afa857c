//! Sizes like `"6GiB"` and durations like `"10m"`.
//!
//! The crate `bytesize` would take a size without a unit for bytes and cut off a part of a byte in
//! silence. Here both are mistakes, which takes as many lines around the crate as without it.

use std::ops::RangeInclusive;

use jiff::SignedDuration;
use toml::de::DeValue;

use crate::table::{Check, Mistake, check};

const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Bytes, as a whole number or with a unit.
pub(super) fn bytes(value: &DeValue, range: RangeInclusive<u64>) -> Check<u64> {
    let right = || {
        format!(
            "use a size from {} to {} bytes, like \"6GiB\" or \"512MiB\"",
            range.start(),
            range.end()
        )
    };
    let text = match value {
        DeValue::Integer(_) => return check::whole(value, range),
        DeValue::String(text) => text,
        other => return Err(Mistake::expected("a size", other).help(right())),
    };
    parse_bytes(text).filter(|size| range.contains(size)).ok_or_else(|| match size_hint(text) {
        Some(hint) => Mistake::new(format!("{} is no size", check::quoted(text))).help(hint),
        None => Mistake::new(format!("{} is no size, or out of range", check::quoted(text)))
            .help(right()),
    })
}

/// What is meant by a size with a unit that other programs know: `8G`, `8gb`, `512 mib`.
pub fn size_hint(text: &str) -> Option<String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number = number.trim_end();
    let unit = match unit.to_lowercase().as_str() {
        "b" | "bytes" => "B",
        "k" | "ki" | "kib" => "KiB",
        "m" | "mi" | "mib" => "MiB",
        "g" | "gi" | "gib" | "gigs" => "GiB",
        "kb" => "KB",
        "mb" => "MB",
        "gb" => "GB",
        _ => return None,
    };
    let size = format!("{number}{unit}");
    parse_bytes(&size).filter(|_| size != text).map(|_| format!("say \"{size}\""))
}

/// `"6GiB"` in bytes; `None` when it is no size, or not a whole number of bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let size = number.trim_end().parse::<f64>().ok()? * *factor as f64;
    // 2^53: whole numbers up to there are exact.
    (size.fract() == 0.0 && (0.0..=9e15).contains(&size)).then_some(size as u64)
}

/// Milliseconds, written like `"500ms"`, `"10s"`, `"5m"` or `"1h 30m"`.
pub(super) fn duration_ms(value: &DeValue, range_ms: RangeInclusive<u64>) -> Check<u64> {
    let shown = |ms: u64| format!("{:#}", SignedDuration::from_millis(ms as i64));
    let right = || {
        format!(
            "use a time from {} to {}, like \"10s\" or \"5m\"",
            shown(*range_ms.start()),
            shown(*range_ms.end())
        )
    };
    let text = check::text(value).map_err(|mistake| mistake.help(right()))?;
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
        .filter(|ms| range_ms.contains(ms))
        .ok_or_else(|| {
            Mistake::new(format!("{} is no time, or out of range", check::quoted(text)))
                .help(right())
        })
}
