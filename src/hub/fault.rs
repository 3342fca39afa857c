//! What went wrong with a request, and whether it may go well the next time.

use std::io::{self, Read};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use ureq::Timeout;

use super::answer::HttpAnswer;
use super::error::HubError;
use super::progress::FetchProgress;

/// So much of what a hub says about an error is read.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// So many of its characters are told.
const MESSAGE_CHARS_MAX: usize = 200;

/// A hub may ask for so much patience, and no more.
const WAIT_MAX: Duration = Duration::from_secs(600);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// So often something is tried in vain, one time right after the other.
const TRIES_MAX: u32 = 6;
/// A router that starts again is back within two minutes: so often a host is not reached.
const AWAY_TRIES_MAX: u32 = 12;
/// For whom it stays so.
const OTHER_WAYS: &str = "; where this host is never reached: --from modelscope, or a mirror in \
    HF_ENDPOINT; through a proxy: HTTPS_PROXY";

/// For whom a repository is not there.
const NO_REPOSITORY: &str = "no such repository, or it is private and wants a token (HF_TOKEN, or \
    MODELSCOPE_API_TOKEN)";

/// Why a request had no good answer.
#[derive(Debug)]
pub enum HttpFault {
    /// The same request may succeed, after the time that the host asks for.
    Passing { told: String, wait: Option<Duration> },
    /// The host is not reached at all: no network, or no way to this host from here.
    Unreached { told: String, tries_max: u32 },
    /// It will not.
    Final(HubError),
}

impl HttpFault {
    pub fn passing(told: impl Into<String>) -> HttpFault {
        HttpFault::Passing { told: told.into(), wait: None }
    }

    fn away(told: String) -> HttpFault {
        HttpFault::Unreached { told, tries_max: AWAY_TRIES_MAX }
    }

    fn not_found(host: &str) -> HttpFault {
        HttpFault::away(format!("{host} is not found: no network?"))
    }

    pub fn refused(told: impl Into<String>) -> HttpFault {
        HttpFault::Final(HubError::Refused(told.into()))
    }

    /// So often the same is tried in vain.
    fn tries_max(&self) -> u32 {
        match self {
            HttpFault::Unreached { tries_max, .. } => *tries_max,
            HttpFault::Passing { .. } => TRIES_MAX,
            HttpFault::Final(_) => 1,
        }
    }

    /// The same, for a host whose refusals say nothing of the next time.
    pub fn that_passes(self) -> HttpFault {
        match self {
            HttpFault::Final(error) => HttpFault::passing(error.to_string()),
            passes => passes,
        }
    }

    /// For a request that had no answer.
    pub fn of(url: &str, error: ureq::Error) -> HttpFault {
        let host = host(url);
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
                HttpFault::refused(format!("{host}: {error}"))
            }
            ureq::Error::HostNotFound => HttpFault::not_found(host),
            ureq::Error::Io(error) if is_not_found(&error) => HttpFault::not_found(host),
            ureq::Error::Io(error) if is_away(&error) => {
                HttpFault::away(format!("{host}: {error}"))
            }
            // Somebody is there, so that waiting changes less.
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                HttpFault::Unreached { told: format!("{host}: {error}"), tries_max: TRIES_MAX }
            }
            ureq::Error::Io(error) => HttpFault::of_body(url, &error),
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                HttpFault::away(format!("{host} cannot be connected to"))
            }
            ureq::Error::Timeout(_) => HttpFault::passing(format!("{host} says nothing")),
            error => HttpFault::passing(format!("{host}: {error}")),
        }
    }

    /// For an answer that broke off.
    pub fn of_body(url: &str, error: &io::Error) -> HttpFault {
        let host = host(url);
        let text = error.to_string();
        if text.contains("certificate") {
            let told = format!(
                "{host}: {text}; behind a proxy with an authority of its own, SSL_CERT_FILE names its \
                 certificate"
            );
            return HttpFault::refused(told);
        }
        HttpFault::passing(format!("{host}: {text}"))
    }
}

/// Whether the network is away, or the host.
fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), HostUnreachable | NetworkDown | NetworkUnreachable)
}

/// Whether it has no address. The standard library has no kind for that, only these words.
fn is_not_found(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address")
}

/// For an answer whose status is an error.
pub fn of_status(mut answer: HttpAnswer) -> HttpFault {
    let (status, host) = (answer.status, host(&answer.url).to_owned());
    let code = answer.header("x-error-code").unwrap_or_default().to_owned();
    let message = message(&mut answer);
    match status {
        408 | 429 | 500 | 502 | 503 | 504 => HttpFault::Passing {
            told: match status {
                429 => format!("{host} allows no more requests for now (429)"),
                _ => format!("{host} answers {status}{message}"),
            },
            wait: asked_wait(&answer),
        },
        401 | 403 => HttpFault::refused(not_allowed(&host, status, &code, &message)),
        404 | 410 => HttpFault::refused(match code.as_str() {
            "RevisionNotFound" => format!("{host} has no such revision of it{message}"),
            "EntryNotFound" => format!("{host} has no such file in it{message}"),
            // ModelScope says so of private ones, too.
            _ => format!("{host} has {NO_REPOSITORY}{message}"),
        }),
        451 => HttpFault::refused(format!("{host} may not give it out here (451){message}")),
        _ => HttpFault::refused(format!("{host} answers {status}{message}")),
    }
}

fn not_allowed(host: &str, status: u16, code: &str, message: &str) -> String {
    match code {
        "GatedRepo" if status == 401 => format!(
            "{host} gives this repository only to those who are known and have accepted its terms: \
             accept them on its page, and set HF_TOKEN{message}"
        ),
        "GatedRepo" => format!(
            "{host} gives this repository only to those who have accepted its terms, on its \
             page{message}"
        ),
        // Who is not known is not told whether it is there.
        _ if status == 401 => format!("{host} has {NO_REPOSITORY}: 401{message}"),
        _ => format!("{host} does not allow it: {status}{message}"),
    }
}

/// What the hub says, in its header or its JSON; with a colon in front.
fn message(answer: &mut HttpAnswer) -> String {
    let of_header = answer.header("x-error-message").map(str::to_owned);
    let text = of_header.or_else(|| {
        let mut body = Vec::new();
        answer.body.as_reader().take(MESSAGE_BYTES_MAX).read_to_end(&mut body).ok()?;
        let body: Value = serde_json::from_slice(&body).ok()?;
        let field = ["error", "Message", "message"].into_iter().find_map(|key| body[key].as_str());
        field.map(str::to_owned)
    });
    let text: String = text
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect();
    if text.is_empty() { text } else { format!(": {text}") }
}

/// How long the host asks to wait: `Retry-After` in seconds or as a date, or `t` of `RateLimit`.
fn asked_wait(answer: &HttpAnswer) -> Option<Duration> {
    let after = answer.header("retry-after").and_then(|text| match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
            date.timestamp().duration_since(Timestamp::now()).try_into().ok()
        }
    });
    after.or_else(|| {
        let limit = answer.header("ratelimit")?;
        let seconds = limit.split(';').find_map(|part| part.trim().strip_prefix("t="))?;
        Some(Duration::from_secs(seconds.parse().ok()?))
    })
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

/// Counts what is tried in vain, and waits between.
#[derive(Debug, Default)]
pub struct RetryCount {
    in_vain: u32,
}

impl RetryCount {
    /// What was tried has come further.
    pub fn forget(&mut self) {
        self.in_vain = 0;
    }

    /// Waits before the next try, or says why there is none.
    pub fn wait(&mut self, fault: HttpFault, progress: &FetchProgress) -> Result<(), HubError> {
        progress.check()?;
        let tries_max = fault.tries_max();
        let (told, wait) = self.next(fault)?;
        progress.tell_wait(format!(
            "{told}; tried {} of {tries_max} times, again in {} s (Ctrl-C ends it)",
            self.in_vain,
            wait.as_secs().max(1)
        ));
        progress.sleep(wait)
    }

    /// What is told, and how long is waited; or why there is no next try.
    fn next(&mut self, fault: HttpFault) -> Result<(String, Duration), HubError> {
        let tries_max = fault.tries_max();
        let (told, asked, ways) = match fault {
            HttpFault::Passing { told, wait } => (told, wait, ""),
            HttpFault::Unreached { told, .. } => (told, None, OTHER_WAYS),
            HttpFault::Final(error) => return Err(error),
        };
        self.in_vain += 1;
        if self.in_vain >= tries_max {
            return Err(HubError::Passing(format!(
                "{told}; tried {tries_max} times, the same command goes on from here{ways}"
            )));
        }
        if let Some(asked) = asked.filter(|asked| *asked > WAIT_MAX) {
            let minutes = asked.as_secs().div_ceil(60);
            return Err(HubError::Passing(format!(
                "{told}; it asks to wait for {minutes} minutes"
            )));
        }
        let own = (FIRST_WAIT * 2_u32.pow(self.in_vain - 1)).min(LONGEST_WAIT);
        Ok((told, asked.unwrap_or_default().max(own)))
    }
}

/// Tries until it succeeds or is known not to.
pub fn persistently<T>(
    progress: &FetchProgress,
    mut attempt: impl FnMut() -> Result<T, HttpFault>,
) -> Result<T, HubError> {
    let mut retries = RetryCount::default();
    loop {
        match attempt() {
            Ok(answer) => return Ok(answer),
            Err(fault) => retries.wait(fault, progress)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    /// How long is waited for all tries together, and what is told in the end.
    fn patience(fault: impl Fn() -> HttpFault) -> (Duration, String) {
        let (mut retries, mut waited) = (RetryCount::default(), Duration::ZERO);
        loop {
            match retries.next(fault()) {
                Ok((_, wait)) => waited += wait,
                Err(error) => return (waited, error.to_string()),
            }
        }
    }

    #[test]
    fn a_network_that_is_away_has_minutes_to_come_back_and_then_other_ways_are_named() {
        let (waited, told) = patience(|| HttpFault::of("https://a.b/c", ureq::Error::HostNotFound));
        assert!((90..180).contains(&waited.as_secs()), "{waited:?}");
        assert!(!told.contains("  "), "{told}");
        for part in ["a.b is not found", "--from modelscope", "HF_ENDPOINT", "HTTPS_PROXY"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // Too long for any name, so that nobody is asked for it.
        let unknown = ("x".repeat(70), 443).to_socket_addrs().expect_err("no such host");
        let fault = HttpFault::of("https://a.b/c", ureq::Error::Io(unknown));
        assert!(
            matches!(&fault, HttpFault::Unreached { told, .. } if told.contains("no network?")),
            "{fault:?}"
        );
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let fault = HttpFault::of("https://a.b/c", ureq::Error::Io(refused));
        assert!(matches!(fault, HttpFault::Unreached { tries_max: TRIES_MAX, .. }), "{fault:?}");
        let (waited, told) = patience(|| HttpFault::passing("a.b answers 503"));
        assert!(waited.as_secs() < 10 && !told.contains("HF_ENDPOINT"), "{waited:?} {told}");
    }
}
