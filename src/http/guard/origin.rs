//! Whether a page has sent a request, and whose: browsers say so, and other programs say nothing.

use axum::http::{HeaderMap, HeaderValue, Uri, header};

use super::host::Hosts;

/// What a request's headers say of the page that has sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// No browser.
    Nothing,
    OwnPage,
    /// Another site, or one that hides which it is.
    Foreign,
}

impl Sender {
    pub fn of(headers: &HeaderMap, hosts: &Hosts) -> Sender {
        let origins: Vec<&HeaderValue> = headers.get_all(header::ORIGIN).iter().collect();
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        // `none` is an address that the user has typed.
        let is_foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        let is_foreign_origin = origins.iter().any(|origin| !is_own(origin, hosts));
        match (is_foreign_site || is_foreign_origin, origins.is_empty() && site.is_none()) {
            (true, _) => Sender::Foreign,
            (false, true) => Sender::Nothing,
            (false, false) => Sender::OwnPage,
        }
    }
}

fn is_own(origin: &HeaderValue, hosts: &Hosts) -> bool {
    let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let Some(uri) = uri else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    is_web && is_bare && uri.authority().is_some_and(|authority| hosts.has(authority.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpConfig;

    fn sender(headers: &[(&'static str, &str)]) -> Sender {
        let config = HttpConfig::default();
        let hosts = Hosts::new(&config, &config.listen);
        let headers = headers.iter().map(|(name, value)| {
            (name.parse().expect("a name"), HeaderValue::from_str(value).expect("a value"))
        });
        Sender::of(&headers.collect(), &hosts)
    }

    #[test]
    fn programs_say_nothing_and_our_own_pages_say_so() {
        assert_eq!(sender(&[]), Sender::Nothing);
        // npm's openai
        assert_eq!(sender(&[("sec-fetch-mode", "cors")]), Sender::Nothing);
        for own in [
            &[("origin", "http://localhost:7860")][..],
            &[("origin", "http://127.0.0.1:7860"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(sender(own), Sender::OwnPage, "{own:?}");
        }
    }

    #[test]
    fn every_other_page_is_a_stranger() {
        for foreign in [
            &[("origin", "null")][..],
            &[("origin", "http://localhost:7861")],
            &[("origin", "http://localhost.evil.example:7860")],
            &[("origin", "http://evil.example/localhost:7860")],
            &[("origin", "file://localhost:7860")],
            &[("origin", "localhost:7860")],
            &[("origin", "http://localhost:7860"), ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://localhost:7860"), ("origin", "null")],
        ] {
            assert_eq!(sender(foreign), Sender::Foreign, "{foreign:?}");
        }
    }
}
