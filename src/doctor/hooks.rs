//! The programs that are told of renders that have ended.

use super::{Aspect, Finding};
use crate::config::HookConfig;
use crate::hooks::find_program;

/// Whether each of them is there; nothing where none is configured.
pub(super) fn hooks(config: &HookConfig) -> Vec<Finding> {
    let programs = [("on_done", &config.on_done), ("on_failed", &config.on_failed)];
    let named = programs.into_iter().filter_map(|(key, command)| Some((key, command.as_ref()?)));
    named.map(|(key, command)| finding(key, command)).collect()
}

fn finding(key: &str, command: &[String]) -> Finding {
    let program = command.first().map_or("", String::as_str);
    match find_program(program) {
        Some(path) => Finding::ok(Aspect::Hooks, format!("{key}: {}", path.display())),
        None => Finding::warning(
            Aspect::Hooks,
            format!(
                "{key} of [hooks]: there is no program {program} that can be run; name its path"
            ),
        ),
    }
}
