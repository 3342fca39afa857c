//! A program of the user's: run with what is told, within a time.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::time::timeout;

use super::message::HookMessage;
use crate::countdown::within;

/// So much of what it says on standard error is read; it may write on.
const WORDS_BYTES_MAX: usize = 4096;

/// How long they are waited for when it has ended.
const WORDS_TIMEOUT: Duration = Duration::from_millis(200);

/// Runs `command` to its end; an error says how it went wrong. Whatever it has started in its own
/// group is ended with it.
pub(super) async fn run(
    command: &[String],
    message: &HookMessage,
    time_limit: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no program is named".to_owned()) };
    let mut child = start(program, arguments, message)
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    let group = Group(child.id());
    let ended = within(time_limit, end(&mut child, message.json())).await;
    drop(group);
    match ended {
        None => Err(format!("{program} was ended after {} s", time_limit.as_secs_f64())),
        Some(Err(error)) => Err(format!("{program}: {error}")),
        Some(Ok((true, _))) => Ok(()),
        Some(Ok((false, words))) => Err(format!("{program} has failed: {words}")),
    }
}

/// Where the program is that is called so, if it can be run: by its path, or in the folders of
/// PATH.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let can_run = |path: &PathBuf| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    match program.contains('/') {
        true => Some(PathBuf::from(program)).filter(can_run),
        false => {
            let folders = std::env::var_os("PATH")?;
            std::env::split_paths(&folders).map(|folder| folder.join(program)).find(can_run)
        }
    }
}

fn start(program: &str, arguments: &[String], message: &HookMessage) -> io::Result<Child> {
    let mut command = Command::new(program);
    let variables = message.variables().into_iter();
    command
        .args(arguments)
        .envs(variables.map(|(name, value)| (format!("ZIMAGED_{name}"), value)))
        // It does not speak for the daemon.
        .env_remove("NOTIFY_SOCKET")
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn()
}

/// The processes that the program has started: ended when this is dropped, also where nobody waits
/// for the program any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(leader) = leader {
            // It has ended by itself as a rule.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Whether it has ended well, and what it said. What it has left running may keep its standard
/// error open, which is not waited for.
async fn end(child: &mut Child, json: String) -> io::Result<(bool, String)> {
    let (input, errors) = (child.stdin.take(), child.stderr.take());
    let mut talk = pin!(talk(input, errors, json));
    let (status, words) = tokio::select! {
        words = &mut talk => (child.wait().await?, words),
        status = child.wait() => {
            (status?, timeout(WORDS_TIMEOUT, talk).await.unwrap_or_default())
        }
    };
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    Ok((status.success(), if words.is_empty() { status.to_string() } else { words }))
}

/// Tells it everything, and reads the beginning of what it says until it says no more.
async fn talk(input: Option<ChildStdin>, errors: Option<ChildStderr>, json: String) -> Vec<u8> {
    let write = async {
        if let Some(mut input) = input {
            // A program that needs none of it closes its input.
            let _ = input.write_all(json.as_bytes()).await;
        }
    };
    let read = async {
        let (mut words, mut chunk) = (Vec::new(), [0; 1024]);
        let Some(mut errors) = errors else { return words };
        while let Ok(bytes @ 1..) = errors.read(&mut chunk).await {
            let room = WORDS_BYTES_MAX - words.len();
            words.extend_from_slice(&chunk[..bytes.min(room)]);
        }
        words
    };
    tokio::join!(write, read).1
}
