//! `[http]`: where the daemon's HTTP face listens, and whom it trusts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeValue;

use super::units::duration_ms;
use crate::table::{Check, Mistake, Table, check};

/// A waiting call may take so long at the most.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The port of the programs whose clients find ours.
const PORT: u16 = 7860;

/// The kernel has room for no longer path of a socket.
const SOCKET_BYTES_MAX: usize = 107;

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Whether there is an HTTP face at all.
    pub enabled: bool,
    pub listen: Listen,
    pub token: TokenUse,
    /// Names under which people reach it, beside those of this machine: `box.lan` for any port, or
    /// `box.lan:7860`.
    pub hosts: Vec<String>,
    /// Whether another model's name than ours is an error.
    pub strict_model: bool,
    pub sdapi_untouched: Untouched,
    /// How long a call may wait for its pictures.
    pub wait_max_ms: u64,
}

/// Where the face listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Address(SocketAddr),
    /// A socket in the file system, for a proxy or for users of one group.
    Socket(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Listen::Address(address) => write!(f, "{address}"),
            Listen::Socket(path) => write!(f, "{SOCKET}{}", path.display()),
        }
    }
}

/// What stands before the path of a socket.
const SOCKET: &str = "unix:";

/// Who must know the token in `state/http-token`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Nobody: only this machine can reach us.
    Off,
    /// Everybody.
    Always,
}

/// What the values mean that clients of `/sdapi/v1` send without anybody having chosen them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untouched {
    /// As if they were not there: the model's own count.
    Model,
    /// What they say.
    AsSent,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            enabled: true,
            listen: Listen::Address(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT)),
            token: TokenUse::Off,
            hosts: Vec::new(),
            strict_model: false,
            sdapi_untouched: Untouched::Model,
            // The time-out of OpenAI's own clients.
            wait_max_ms: 600_000,
        }
    }
}

impl Listen {
    /// Whether other machines can reach it.
    pub fn is_open(&self) -> bool {
        match self {
            Listen::Address(address) => !address.ip().is_loopback(),
            Listen::Socket(_) => false,
        }
    }

    /// For people and programs.
    pub fn url(&self) -> String {
        match self {
            Listen::Address(address) => format!("http://{address}"),
            Listen::Socket(_) => self.to_string(),
        }
    }
}

/// Reads the section. An address that other machines reach is refused without a token.
pub(super) fn http(table: &mut Table) -> HttpConfig {
    let default = HttpConfig::default();
    let tokens = [("off", TokenUse::Off), ("always", TokenUse::Always)];
    let meanings = [("model", Untouched::Model), ("as_sent", Untouched::AsSent)];
    let config = HttpConfig {
        enabled: table.read("enabled", check::boolean).unwrap_or(default.enabled),
        listen: table.read("listen", address).unwrap_or(default.listen),
        token: table.read("token", |value| check::choice(value, &tokens)).unwrap_or(default.token),
        hosts: table.read_list("hosts", host).unwrap_or(default.hosts),
        strict_model: table.read("strict_model", check::boolean).unwrap_or(default.strict_model),
        sdapi_untouched: table
            .read("sdapi_untouched", |value| check::choice(value, &meanings))
            .unwrap_or(default.sdapi_untouched),
        wait_max_ms: table
            .read("wait_max", |value| duration_ms(value, 1000..=WAIT_MS_MAX))
            .unwrap_or(default.wait_max_ms),
    };
    if config.enabled && config.listen.is_open() && config.token == TokenUse::Off {
        let message = format!("other machines can reach {}, and there is no token", config.listen);
        let help = "add token = \"always\", which then lies in state/http-token, or listen on \
                    \"127.0.0.1:7860\"";
        table.mistake("listen", Mistake::new(message).help(help));
    }
    config
}

/// An address and a port, or the path of a socket; names are not looked up.
fn address(value: &DeValue) -> Check<Listen> {
    let text = check::text(value)?;
    let right = "use an address and a port, like \"127.0.0.1:7860\" or \"[::1]:7860\", or the \
                 absolute path of a socket, like \"unix:/run/zimaged/http\"";
    if let Some(path) = text.strip_prefix(SOCKET) {
        let path = PathBuf::from(path);
        let wrong = || Mistake::new(format!("{} is no path of a socket", check::quoted(text)));
        let fits = path.is_absolute() && path.as_os_str().len() <= SOCKET_BYTES_MAX;
        return if fits { Ok(Listen::Socket(path)) } else { Err(wrong().help(right)) };
    }
    let named = text.replace("localhost:", "127.0.0.1:");
    named.parse().map(Listen::Address).map_err(|_| {
        Mistake::new(format!("{} is no address with a port", check::quoted(text))).help(right)
    })
}

/// A name as a browser sends it.
fn host(value: &DeValue) -> Check<String> {
    let text = check::text(value)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Mistake::new(format!("{} is no host", check::quoted(text)))
            .help("use a name like \"box.lan\", or one with a port")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::problem::Problem;

    fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
        Config::parse(text, Path::new("/srv/z"))
    }

    fn http(text: &str) -> HttpConfig {
        parsed(text).expect("a good configuration").http
    }

    #[test]
    fn an_address_that_other_machines_reach_needs_a_token() {
        let told = parsed("[http]\nlisten = '0.0.0.0:7860'\n").expect_err("open to all");
        let [problem] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!((problem.line, problem.key.as_deref()), (2, Some("http.listen")));
        assert!(problem.help.as_deref().is_some_and(|help| help.contains("token = \"always\"")));
        http("[http]\nlisten = '0.0.0.0:7860'\ntoken = 'always'\n");
        http("[http]\nlisten = '0.0.0.0:7860'\nenabled = false\n");
        let told = parsed("[http]\nlisten = 'box:1'\nhosts = ['a b']\n").expect_err("no address");
        assert_eq!(told.len(), 2);
        assert_eq!(http("[http]\nlisten = 'localhost:1'\n").listen.to_string(), "127.0.0.1:1");
        assert_eq!(http("[http]\nlisten = 'unix:/run/z'\n").listen.to_string(), "unix:/run/z");
        for no_path in ["unix:z", &format!("unix:/{}", "z".repeat(107))] {
            parsed(&format!("[http]\nlisten = '{no_path}'\n")).expect_err("no path of a socket");
        }
    }
}
