//! `[hooks]`: who is told of renders that have ended.

use toml::de::DeValue;

use super::units::duration_ms;
use crate::table::{Check, Mistake, Table, check};

/// No program may run longer: the next one waits for it.
const TIMEOUT_MS_MAX: u64 = 60 * 60 * 1000;

/// A longer first pause is no pause between tries any more.
const BACKOFF_MS_MAX: u64 = 60 * 60 * 1000;

/// So many arguments a program has at the most.
const ARGUMENTS_MAX: usize = 64;

/// `[hooks]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// A program and its arguments, for each picture that is done.
    pub on_done: Option<Vec<String>>,
    /// The same for each render that has failed.
    pub on_failed: Option<Vec<String>>,
    /// The address that is sent the same for both.
    pub webhook: Option<String>,
    /// Whether it may lie on this machine or in a private network.
    pub webhook_private: bool,
    /// How long a program may run.
    pub timeout_ms: u64,
    /// The first pause before something is tried again; each later one is twice as long.
    pub backoff_ms: u64,
}

impl Default for HookConfig {
    fn default() -> Self {
        HookConfig {
            on_done: None,
            on_failed: None,
            webhook: None,
            webhook_private: false,
            timeout_ms: 60_000,
            backoff_ms: 5000,
        }
    }
}

/// Reads the section.
pub(super) fn hooks(table: &mut Table) -> HookConfig {
    let default = HookConfig::default();
    let timeout = |value: &DeValue| duration_ms(value, 1..=TIMEOUT_MS_MAX);
    let backoff = |value: &DeValue| duration_ms(value, 1..=BACKOFF_MS_MAX);
    HookConfig {
        on_done: program(table, "on_done"),
        on_failed: program(table, "on_failed"),
        webhook: table.read("webhook", url),
        webhook_private: table.read("webhook_private", check::boolean).unwrap_or_default(),
        timeout_ms: table.read("timeout", timeout).unwrap_or(default.timeout_ms),
        backoff_ms: table.read("backoff", backoff).unwrap_or(default.backoff_ms),
    }
}

/// A program, or a list of it and its arguments. No shell reads it.
fn program(table: &mut Table, key: &'static str) -> Option<Vec<String>> {
    let right = "name a program, or a list of it and its arguments: [\"notify-send\", \"done\"]";
    let word = |value: &DeValue| match check::text(value) {
        Ok(word) => Ok(word.to_owned()),
        Err(mistake) => Err(mistake.help(right)),
    };
    let command = table.read_one_or_list(key, word)?;
    let is_right = command.first().is_some_and(|program| !program.is_empty())
        && command.len() <= ARGUMENTS_MAX
        && command.iter().all(|word| !word.contains('\0'));
    if !is_right {
        table.mistake(key, Mistake::new("it names no program").help(right));
    }
    is_right.then_some(command)
}

/// An address of HTTP, without a user in it: it is told in the log.
fn url(value: &DeValue) -> Check<String> {
    let text = check::text(value)?;
    let right = "use an address like \"https://box.example/hook\"";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let is_plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    match !host.is_empty() && !host.contains('@') && is_plain {
        true => Ok(text.to_owned()),
        false => Err(Mistake::new(format!("{} is no address", check::quoted(text))).help(right)),
    }
}
