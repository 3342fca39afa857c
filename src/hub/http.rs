//! Requests to a hub: redirects as hubs mean them, time-outs, certificates, and which faults pass.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::answer::HttpAnswer;
use super::error::HubError;
use super::fault::{HttpFault, of_status};
use crate::files;

/// A hub leads to its store of files in two hops.
const REDIRECTS_MAX: u32 = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Names, sizes and hashes of the files of one repository.
const JSON_BYTES_MAX: u64 = 16 << 20;
/// A store of all authorities has 220 kB.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;
/// As many as there are connections to one host.
const IDLE_CONNECTIONS_MAX: usize = 16;

/// The client: connections are kept and used again.
#[derive(Debug)]
pub struct HttpClient {
    agent: Agent,
}

/// One thing to ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    pub url: &'a str,
    /// Sent to the host of `url`, and to no other one that it leads to.
    pub token: Option<&'a str>,
    /// The bytes wanted; the first byte and the one after the last.
    pub range: Option<(u64, u64)>,
}

impl HttpClient {
    /// A client that gives up on a host which says nothing for `silence_max`, and trusts the
    /// authorities in the file `certificates` in place of its own.
    pub fn new(silence_max: Duration, certificates: Option<&Path>) -> Result<HttpClient, HubError> {
        let roots = match certificates {
            None => RootCerts::WebPki,
            Some(path) => authorities(path)?,
        };
        let config = Agent::config_builder()
            .user_agent(concat!("zimaged/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(silence_max))
            .timeout_per_write(Some(silence_max))
            .max_idle_connections(IDLE_CONNECTIONS_MAX)
            .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(HttpClient { agent: config.new_agent() })
    }

    /// Asks, follows redirects, and gives whatever is answered in the end but errors.
    pub fn get(&self, ask: &Ask<'_>) -> Result<HttpAnswer, HttpFault> {
        let mut url = ask.url.to_owned();
        let mut token = ask.token;
        let mut linked = None;
        for _ in 0..REDIRECTS_MAX {
            let mut answer = self.send(&url, token, ask.range)?;
            linked = linked.or_else(|| answer.header("x-linked-etag").map(str::to_owned));
            answer.linked.clone_from(&linked);
            let Some(next) = redirect(&answer)? else {
                return match answer.status {
                    200 | 206 | 416 => Ok(answer),
                    _ if is_same_host(&url, ask.url) => Err(of_status(answer)),
                    // Its address was signed for a while; the hub gives another one.
                    _ => Err(of_status(answer).that_passes()),
                };
            };
            if !is_same_host(&next, &url) {
                // A signed address of another host; whose token it is is none of its business.
                token = None;
            }
            url = next;
        }
        Err(HttpFault::refused(format!("{} leads to other addresses over and over", ask.url)))
    }

    fn send(
        &self,
        url: &str,
        token: Option<&str>,
        range: Option<(u64, u64)>,
    ) -> Result<HttpAnswer, HttpFault> {
        let mut request = self.agent.get(url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((start, end)) = range {
            request = request.header(RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
        }
        let (parts, body) = request.call().map_err(|error| HttpFault::of(url, error))?.into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Ok(HttpAnswer { status, headers, url: url.to_owned(), linked: None, body })
    }

    /// Asks for JSON, and for the address of the next page of it.
    pub fn json(&self, ask: &Ask<'_>) -> Result<(serde_json::Value, Option<String>), HttpFault> {
        let mut answer = self.get(ask)?;
        let next = next_page(&answer);
        let mut text = Vec::new();
        let read = answer.body.as_reader().take(JSON_BYTES_MAX).read_to_end(&mut text);
        read.map_err(|error| HttpFault::of_body(ask.url, &error))?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok((value, next)),
            // A proxy's or a hotel's page; it may be gone the next time.
            Err(_) => Err(HttpFault::passing(format!("{} answers with no JSON", ask.url))),
        }
    }
}

/// Where the answer leads, if it leads elsewhere.
fn redirect(answer: &HttpAnswer) -> Result<Option<String>, HttpFault> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let Some(location) = location else {
        return Err(HttpFault::passing(format!("{} leads nowhere", answer.url)));
    };
    let next = joined(&answer.url, location);
    if answer.url.starts_with("https://") && !next.starts_with("https://") {
        return Err(HttpFault::refused(format!("{} leads to an unencrypted address", answer.url)));
    }
    Ok(Some(next))
}

/// `location` as the page `url` means it.
fn joined(url: &str, location: &str) -> String {
    let scheme = url.split_once("://").map_or("https", |(scheme, _)| scheme);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{scheme}://{rest}");
    }
    if location.split(['/', '?']).next().is_some_and(|start| start.ends_with(':')) {
        return location.to_owned();
    }
    match location.starts_with('/') {
        true => format!("{}{location}", origin(url)),
        false => {
            let path = url.split(['?', '#']).next().unwrap_or(url);
            let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
            format!("{folder}/{location}")
        }
    }
}

/// Whether both addresses are of one host, port and scheme.
pub fn is_same_host(url: &str, other: &str) -> bool {
    origin(url) == origin(other)
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let end = url[host_at..].find(['/', '?', '#']).map_or(url.len(), |at| host_at + at);
    &url[..end]
}

/// The address that `Link: <...>; rel="next"` names.
fn next_page(answer: &HttpAnswer) -> Option<String> {
    let link = answer.header("link")?;
    let next = link.split(',').find(|link| link.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    let next = joined(&answer.url, address);
    // The token goes with it.
    is_same_host(&next, &answer.url).then_some(next)
}

fn authorities(path: &Path) -> Result<RootCerts, HubError> {
    let pem = files::read_whole(path, CERTIFICATES_BYTES_MAX)
        .map_err(|error| HubError::of_io(path, error))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        let told = format!("{} holds no certificate in PEM form", path.display());
        return Err(HubError::Refused(told));
    }
    Ok(RootCerts::from(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_as_the_page_means_it() {
        let page = "https://hub.example:8443/a/b/c?d=/e";
        for (location, expected) in [
            ("https://cdn.example/x?y", "https://cdn.example/x?y"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/x/y", "https://hub.example:8443/x/y"),
            ("x?u=https://h/", "https://hub.example:8443/a/b/x?u=https://h/"),
        ] {
            assert_eq!(joined(page, location), expected);
        }
        assert_eq!(origin(page), "https://hub.example:8443");
        assert_ne!(origin(page), origin("https://hub.example/a"));
        assert_eq!(origin("http://h"), "http://h");
    }

    #[test]
    fn a_file_of_authorities_is_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let told = |path: &Path| {
            HttpClient::new(Duration::from_secs(1), Some(path)).unwrap_err().to_string()
        };
        assert!(told(&path).contains("ca.pem: No such file"), "{}", told(&path));
        std::fs::write(&path, "no certificate").unwrap();
        assert!(told(&path).contains("holds no certificate"), "{}", told(&path));
    }
}
