//! What a host answers.

use std::ops::Range;

use ureq::Body;
use ureq::http::HeaderMap;

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Where redirects led.
    pub url: String,
    /// The hash of the content as the hub named it on the way, before another host answered.
    pub linked: Option<String>,
    pub body: Body,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The bytes that this answer holds, and the length of the whole file, as `Content-Range` says.
    pub fn content_range(&self) -> Option<(Range<u64>, u64)> {
        let text = self.header("content-range")?.strip_prefix("bytes ")?;
        let (range, length) = text.split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let end = last.parse::<u64>().ok()?.checked_add(1)?;
        Some((start.parse().ok()?..end, length.parse().ok()?))
    }
}
