//! The header `Prefer`, by RFC 7240: preferences between commas, each with a value and parameters
//! that none of ours has.

use axum::http::{HeaderMap, HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Whether the client prefers this, whatever else it says.
pub fn prefers(headers: &HeaderMap, name: &str) -> bool {
    let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
    let mut names = values.flat_map(|value| split(value, ',')).filter_map(preference_name);
    names.any(|known| known.eq_ignore_ascii_case(name))
}

/// What stands before a preference's parameters, and before its value.
fn preference_name(preference: &str) -> Option<&str> {
    Some(split(preference, ';').next()?.split('=').next()?.trim())
}

/// The parts of a value. What stands in quotes separates nothing.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => (),
        }
        character == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn is_async(values: &[&'static str]) -> bool {
        let headers = values.iter().map(|value| (PREFER, HeaderValue::from_static(value)));
        prefers(&headers.collect(), "respond-async")
    }

    #[test]
    fn a_preference_is_found_among_others_and_with_parameters() {
        for value in [
            "respond-async",
            "Respond-Async",
            "respond-async;x=1",
            "respond-async ; x = \"1,2\"",
            "respond-async=\"\"",
            "wait=10, respond-async",
            "return=minimal;a;b=2,respond-async",
            "x=\"a, \\\" b\", respond-async",
            ", ,respond-async,",
        ] {
            assert!(is_async(&[value]), "{value}");
        }
        assert!(is_async(&["wait=10", "respond-async"]), "in a header of its own");
    }

    #[test]
    fn what_only_looks_like_it_is_another_preference() {
        for value in ["", "respond-async-not", "x=respond-async", "x;respond-async"] {
            assert!(!is_async(&[value]), "{value}");
        }
        assert!(!is_async(&["x=\"a, respond-async, b\""]), "in quotes");
    }
}
