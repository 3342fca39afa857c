//! Where the daemon answers over HTTP, or would.

use super::{Aspect, Finding};
use crate::config::Config;
use crate::http;
use crate::instance::InstanceLock;
use crate::status::{self, HttpStatus};

/// Whether it can be listened on, or is.
pub(super) async fn port(config: &Config) -> Finding {
    let listen = &config.http.listen;
    if !config.http.enabled {
        return Finding::ok(Aspect::Port, "HTTP is off (enabled of [http] in daemon.toml)");
    }
    if InstanceLock::is_held(&config.state) {
        return of_daemon(status::read(&config.state).map(|status| status.http));
    }
    match http::check_free(listen).await {
        Ok(()) => Finding::ok(Aspect::Port, format!("{listen} is free")),
        Err(why) => Finding::warning(Aspect::Port, format!("no HTTP: {why}")),
    }
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
