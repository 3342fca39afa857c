//! A webhook: what is told goes in one request to an address that was looked at first.

use std::time::Duration;

use ureq::config::Config as ClientConfig;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::message::HookMessage;
use crate::public_address::is_public;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);

/// So much of an answer is read; the rest of it is nobody's.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

pub(super) struct Webhook {
    pub(super) url: String,
    /// Whether it may lie on this machine or in a private network.
    pub(super) may_be_private: bool,
}

impl Webhook {
    /// An error says why it was not told: any answer but 2xx, a redirect among them, is none.
    pub(super) async fn post(self, message: &HookMessage) -> Result<(), String> {
        let (event_id, json) = (message.event_id.clone(), message.json());
        let post = tokio::task::spawn_blocking(move || self.send(&event_id, &json));
        post.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn send(&self, event_id: &str, json: &str) -> Result<(), String> {
        let config = Agent::config_builder()
            .user_agent(concat!("zimaged/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy would resolve the name itself, and not look at what it is.
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(TIMEOUT))
            .build();
        let resolver = CheckedResolver { may_be_private: self.may_be_private };
        let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
        let request = agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", event_id);
        let mut answer = request.send(json).map_err(told)?;
        let status = answer.status();
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match status.is_success() {
            true => Ok(()),
            false => {
                let words = read.unwrap_or_default();
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                Err(format!("it answers {status}: {words}"))
            }
        }
    }
}

/// An error of the resolver is a sentence of ours, before which the client sets a word of its own.
fn told(error: Error) -> String {
    match error {
        Error::Other(ours) => ours.to_string(),
        error => error.to_string(),
    }
}

/// Resolves a name, and refuses addresses that are not public. The connection goes to what was
/// looked at.
#[derive(Debug)]
struct CheckedResolver {
    may_be_private: bool,
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ClientConfig,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let addresses = DefaultResolver::default().resolve(uri, config, timeout)?;
        let private = addresses.iter().find(|address| !is_public(address.ip()));
        match private.filter(|_| !self.may_be_private) {
            None => Ok(addresses),
            Some(address) => {
                let why = format!(
                    "{} is an address of this machine or of a private network: say webhook_private = \
                     true in [hooks] if that is meant",
                    address.ip()
                );
                Err(Error::Other(why.into()))
            }
        }
    }
}
