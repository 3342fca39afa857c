//! Pieces that all parts of a report are told with.

use super::data::MeasuredSize;
use super::document::ReportBlock;

/// A heading of a part.
pub fn heading(text: &str) -> ReportBlock {
    ReportBlock::Heading(text.to_owned())
}

/// A table of texts.
pub fn table(head: &[&str], rows: Vec<Vec<String>>) -> ReportBlock {
    ReportBlock::Table { head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows }
}

/// `8.25 s`, or milliseconds where it is less than one.
pub fn seconds(ms: f64) -> String {
    match ms {
        ..1000.0 => format!("{ms:.0} ms"),
        ..100_000.0 => format!("{:.2} s", ms / 1000.0),
        _ => format!("{:.0} s", ms / 1000.0),
    }
}

/// How a picture is made, of the text of a rung: `device/full/whole`, without size and steps.
pub fn way(rung: &str) -> &str {
    rung.split(' ').next().unwrap_or_default()
}

/// As disks and buses are sold: `15.2 MB`, `12.31 GB`.
pub fn decimal(bytes: f64) -> String {
    match bytes {
        ..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.2} GB", bytes / 1e9),
    }
}

/// The same in a second.
pub fn by_second(bytes_per_s: f64) -> String {
    format!("{}/s", decimal(bytes_per_s))
}

/// A size, as people write it; jobs of the measurement are called so, too.
pub fn size_name((width, height): (u32, u32)) -> String {
    format!("{width}x{height}")
}

/// That of the pictures that were measured.
pub fn name(size: &MeasuredSize) -> String {
    size_name((size.width, size.height))
}
