//! Where the daemon answers over HTTP, or would.

use super::{Aspect, Finding};
use crate::config::Config;
use crate::descriptors;
use crate::http;
use crate::instance::InstanceLock;
use crate::status::{self, HttpStatus};

/// Whether it can be listened on, or is, and whether many can ask there.
pub(super) async fn port(config: &Config) -> Vec<Finding> {
    let listen = &config.http.listen;
    if !config.http.enabled {
        return vec![Finding::ok(Aspect::Port, "HTTP is off (enabled of [http] in daemon.toml)")];
    }
    if InstanceLock::is_held(&config.state) {
        let http = status::read(&config.state).map(|status| status.http);
        let scarcity = http.as_ref().and_then(|http| http.scarcity.clone());
        return with_scarcity(of_daemon(http), scarcity);
    }
    let free = match http::check_free(listen).await {
        Ok(()) => Finding::ok(Aspect::Port, format!("{listen} is free")),
        Err(why) => Finding::warning(Aspect::Port, format!("no HTTP: {why}")),
    };
    with_scarcity(free, http::scarcity(descriptors::attainable()))
}

fn with_scarcity(finding: Finding, scarcity: Option<String>) -> Vec<Finding> {
    let scarcity = scarcity.map(|told| Finding::warning(Aspect::Port, told));
    [finding].into_iter().chain(scarcity).collect()
}

fn of_daemon(http: Option<HttpStatus>) -> Finding {
    match http {
        Some(HttpStatus { trouble: Some(trouble), .. }) => {
            Finding::warning(Aspect::Port, format!("no HTTP: {trouble}"))
        }
        Some(HttpStatus { url: Some(url), .. }) => {
            Finding::ok(Aspect::Port, format!("our daemon answers at {url}"))
        }
        _ => Finding::ok(Aspect::Port, "our daemon has not opened it yet"),
    }
}
