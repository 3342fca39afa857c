//! Who looks at a page: the language and the colours that are wanted, from the address's last
//! choice, a cookie, or what the browser asks for.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::words::{LANGUAGES, Words};

/// The cookies' names. They hold a choice of looks and nothing that is secret.
const LANGUAGE: &str = "zimaged-language";
const SCHEME: &str = "zimaged-scheme";

/// A choice is remembered for a year.
const COOKIE_AGE_S: u32 = 365 * 24 * 60 * 60;

/// How somebody wants to see the pages.
#[derive(Clone, Copy)]
pub struct Visitor {
    pub words: &'static Words,
    /// `light` or `dark`; `None` where the system's choice counts.
    pub scheme: Option<&'static str>,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Infallible> {
        Ok(Visitor::of(&parts.headers))
    }
}

impl Visitor {
    /// As the headers of a request say.
    pub fn of(headers: &HeaderMap) -> Visitor {
        let words = cookie(headers, LANGUAGE)
            .and_then(language)
            .or_else(|| accepted_language(headers))
            .unwrap_or(LANGUAGES[0]);
        Visitor { words, scheme: cookie(headers, SCHEME).and_then(scheme) }
    }
}

/// How the visitor's browser calls us, like `http://127.0.0.1:7860`: by the origin that it names
/// when it sends something, which knows of a proxy with TLS, else by the host that it asks for.
pub struct OurAddress(pub String);

impl<S: Sync> FromRequestParts<S> for OurAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<OurAddress, Infallible> {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let host = || format!("http://{}", header(header::HOST).unwrap_or_default());
        Ok(OurAddress(header(header::ORIGIN).map_or_else(host, str::to_owned)))
    }
}

/// A choice that is to be remembered.
#[derive(Deserialize)]
pub struct Choice {
    language: Option<String>,
    scheme: Option<String>,
}

/// Remembers the choice and leads back to where the link was.
pub async fn choose(Query(choice): Query<Choice>, headers: HeaderMap) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let language = choice.language.as_deref().and_then(language).map(|words| (LANGUAGE, words.tag));
    let scheme = choice.scheme.as_deref().and_then(scheme).map(|name| (SCHEME, name));
    for (name, value) in [language, scheme].into_iter().flatten() {
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={COOKIE_AGE_S}; SameSite=Strict; HttpOnly");
        if let Ok(cookie) = cookie.parse() {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    answer.headers_mut().insert(header::LOCATION, back(&headers, "./"));
    answer
}

/// The page that the request comes from, below `pages`, which is where they lie as seen from the
/// request's own address; the first page where it says none. Only its last name and its query
/// count: so no answer leads to another site, and a proxy may have its own path before them.
pub fn back(headers: &HeaderMap, pages: &'static str) -> HeaderValue {
    let from = headers.get(header::REFERER).and_then(|from| from.to_str().ok());
    let path = from.and_then(|from| from.split_once("://")).and_then(|(_, rest)| {
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        Some(format!("{pages}{}{query}", path.rsplit_once('/')?.1))
    });
    let path = path.and_then(|path| path.parse().ok());
    path.unwrap_or(HeaderValue::from_static(pages))
}

fn language(tag: &str) -> Option<&'static Words> {
    LANGUAGES.into_iter().find(|words| words.tag == tag)
}

fn scheme(name: &str) -> Option<&'static str> {
    ["light", "dark"].into_iter().find(|known| *known == name)
}

/// The first of the languages that the browser names and that we speak; by RFC 9110 the order is
/// one of taste already in all browsers, so that the weights need not be read.
fn accepted_language(headers: &HeaderMap) -> Option<&'static Words> {
    let accepted = headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()?;
    let tags = accepted.split(',').map(|tag| tag.split([';', '-']).next().unwrap_or_default());
    tags.map(str::trim).find_map(language)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn the_first_language_that_we_speak_counts() {
        for (accepted, tag) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Some("zh")),
            ("fr-FR, en-GB;q=0.7", Some("en")),
            ("fr", None),
        ] {
            let words = accepted_language(&headers(header::ACCEPT_LANGUAGE, accepted));
            assert_eq!(words.map(|words| words.tag), tag, "{accepted}");
        }
    }

    #[test]
    fn the_way_back_never_leads_to_another_site() {
        for (from, to) in [
            ("http://127.0.0.1:7860/queue?job=1", "./queue?job=1"),
            ("https://proxy.example/zimaged/gallery?q=a/b", "./gallery?q=a/b"),
            ("http://evil.example//evil.example/x", "./x"),
            ("nonsense", "./"),
        ] {
            assert_eq!(back(&headers(header::REFERER, from), "./"), to, "{from}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let cookies = headers(header::COOKIE, "a=b; zimaged-scheme=dark;c=d");
        assert_eq!(cookie(&cookies, SCHEME).and_then(scheme), Some("dark"));
        assert_eq!(cookie(&cookies, LANGUAGE), None);
    }
}
