//! Which queue a command speaks to, and which commands say so.

use std::path::Path;

use super::{Command, stderr};
use crate::config::Config;

/// Whether what the command writes goes into the queue, and would be lost with it.
pub(super) fn changes_queue(command: &Command) -> bool {
    use Command::{Cancel, Edit, History, Pause, Replay, Resume, Retry, Submit};
    matches!(
        command,
        Cancel(_) | Edit(_) | History(_) | Pause { .. } | Replay(_) | Resume | Retry(_) | Submit(_)
    )
}

/// Whether the command changes the queue, or writes a file that comes from it: then its user is to
/// know which one that is. `run` and `status` always say it.
pub(super) fn names_queue(command: &Command) -> bool {
    use Command::{Backup, Replay, Restore, Sheet};
    match command {
        Backup { .. } | Restore { .. } | Sheet(_) => true,
        Replay(replay) if !replay.hands_over() => false,
        command => changes_queue(command),
    }
}

/// Whether the command speaks to a queue, and so makes nothing where there is none.
pub(super) fn needs_queue(command: &Command, names_model: bool) -> bool {
    match command {
        Command::Check(_) | Command::Fit(_) | Command::Report(_) => false,
        Command::Model(command) => !names_model && !command.names_files(),
        _ => true,
    }
}

/// Says which queue it is, where that is not to be seen from the current folder.
pub(super) fn tell_queue_elsewhere(config: &Config) {
    let home = config.file.as_deref().unwrap_or(&config.state).parent();
    if home != std::env::current_dir().ok().as_deref() {
        stderr::remark(&which_queue(&config.state, config.file.as_deref()));
    }
}

/// Which queue a command speaks to, for people.
pub(super) fn which_queue(state: &Path, config: Option<&Path>) -> String {
    let config = config.map(|path| format!(" ({})", path.display())).unwrap_or_default();
    format!("queue {}{config}", state.display())
}
