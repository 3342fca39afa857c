//! What we are called: a page of another name that leads here is a stranger (DNS rebinding).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

use crate::config::{HttpConfig, Listen};

/// The port of addresses that name none.
const PORT_OF_HTTP: u16 = 80;

/// The names and addresses that requests may be for.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// `None` where a socket in the file system is listened on, which no web site reaches.
    address: Option<IpAddr>,
    port: u16,
    named: Vec<String>,
}

impl Hosts {
    /// For the face that listens at `place`.
    pub fn new(config: &HttpConfig, place: &Listen) -> Hosts {
        let (address, port) = match place {
            Listen::Address(address) => (Some(address.ip()), address.port()),
            Listen::Socket(_) => (None, 0),
        };
        Hosts { address, port, named: config.hosts.clone() }
    }

    /// Whether the request is for us: by exactly one Host, and by its target where that names one.
    pub fn are_named_by(&self, request: &Request) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        if self.address.is_none() {
            return true;
        }
        let target = request.uri().authority();
        host.to_str().is_ok_and(|host| self.has(host))
            && target.is_none_or(|target| self.has(target.as_str()))
    }

    /// Whether `authority`, a host with or without a port, is one of ours. It is parsed and never
    /// compared by its beginning: `127.0.0.1.evil.example` begins like an address.
    pub fn has(&self, authority: &str) -> bool {
        if authority.contains('@') {
            return false;
        }
        let Ok(authority) = authority.to_ascii_lowercase().parse::<Authority>() else {
            return false;
        };
        if self.named.iter().any(|name| name == authority.host() || name == authority.as_str()) {
            return true;
        }
        authority.port_u16().unwrap_or(PORT_OF_HTTP) == self.port && self.is_ours(authority.host())
    }

    /// No other site has a number for a name, so that where all addresses of the machine are
    /// listened on each of them counts.
    fn is_ours(&self, host: &str) -> bool {
        if host == "localhost" {
            return true;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let Ok(address) = bare.parse::<IpAddr>() else { return false };
        let is_local = address.to_string() == "127.0.0.1" || address.to_string() == "::1";
        let is_listened_on = |own: IpAddr| address == own || own.is_unspecified();
        is_local || self.address.is_some_and(is_listened_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, named: &[&str]) -> Hosts {
        let place = Listen::Address(listen.parse().expect("an address"));
        let config = HttpConfig {
            hosts: named.iter().map(|name| (*name).to_owned()).collect(),
            ..HttpConfig::default()
        };
        Hosts::new(&config, &place)
    }

    #[test]
    fn only_this_machine_with_our_port_is_us() {
        let hosts = hosts("127.0.0.1:7860", &[]);
        for ours in ["localhost:7860", "LocalHost:7860", "127.0.0.1:7860", "[::1]:7860"] {
            assert!(hosts.has(ours), "{ours}");
        }
        for foreign in [
            "evil.example:7860",
            "localhost",
            "localhost:80",
            "localhost.:7860",
            "localhost.evil.example:7860",
            "127.0.0.1.evil.example:7860",
            "127.1:7860",
            "2130706433:7860",
            "0.0.0.0:7860",
            "192.168.1.2:7860",
            "[::ffff:127.0.0.1]:7860",
            "evil@localhost:7860",
            "localhost:7860@evil",
            "",
            " ",
        ] {
            assert!(!hosts.has(foreign), "{foreign}");
        }
    }

    #[test]
    fn names_of_the_configuration_and_listened_addresses_are_ours_too() {
        let lan = hosts("192.168.1.2:7860", &["box.lan", "proxy.example:443"]);
        for ours in ["box.lan", "box.lan:8443", "proxy.example:443", "192.168.1.2:7860"] {
            assert!(lan.has(ours), "{ours}");
        }
        assert!(!lan.has("proxy.example:80") && !lan.has("192.168.1.3:7860"));
        let all = hosts("0.0.0.0:7860", &[]);
        assert!(all.has("192.168.1.3:7860") && !all.has("evil.example:7860"));
    }
}
