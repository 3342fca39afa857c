//! The daemon in the foreground: its log, its progress, its signals, and what it says at the end.

use std::fs::{self, File};
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};
use serde_json::Value;

use crate::support::terminal::run_on_terminal;
use crate::support::{House, kill, said};

const STATES: &str = "SELECT group_concat(state || ' ' || n) FROM \
                      (SELECT state, count(*) AS n FROM renders GROUP BY state ORDER BY state)";

/// A pipe that takes nothing more, as of a program that was stopped.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    fcntl_setpipe_size(&writer, 4096).expect("a small pipe");
    let bytes = fcntl_getpipe_size(&writer).expect("its size");
    writer.write_all(&vec![b'x'; bytes]).expect("room for so much");
    (reader, writer)
}

/// A daemon whose log goes into such a pipe, and which logs much.
fn with_full_log() -> (House, std::io::PipeReader) {
    let (reader, writer) = full_pipe();
    let mut house = House::new("");
    let log = Stdio::from(OwnedFd::from(writer));
    house.start_logging_to(log, &[("ZIMAGED_LOG", "trace")]);
    (house, reader)
}

// chaos 6
#[test]
fn a_log_that_nobody_reads_stops_neither_renders_nor_the_end() {
    let (mut house, reader) = with_full_log();
    house.drop_job("foxes.toml", "prompt = 'a fox'\nnum_images = 20\n");
    house.until_sql(STATES, "done 20");
    assert_eq!(house.stop("TERM"), Some(0));
    drop(reader);
}

// chaos 6
#[test]
fn lines_that_found_no_reader_are_counted_and_told_later() {
    let (mut house, mut reader) = with_full_log();
    house.drop_job("foxes.toml", "prompt = 'a fox'\nnum_images = 50\n");
    house.until_sql(STATES, "done 50");
    let read = Arc::new(Mutex::new(Vec::new()));
    let lines = read.clone();
    thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(bytes @ 1..) = reader.read(&mut some) {
            lines.lock().expect("a reader").extend_from_slice(&some[..bytes]);
        }
    });
    house.until("the lost lines are told", || {
        let text = String::from_utf8_lossy(&read.lock().expect("a reader")).into_owned();
        text.contains("lines of the log are missing").then_some(())
    });
    assert_eq!(house.stop("TERM"), Some(0));
}

// chaos 10
#[test]
fn signals_that_mean_nothing_to_it_do_not_kill_the_daemon_or_its_worker() {
    let mut house = House::started("");
    let worker = house.worker_pid();
    for signal in ["USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XFSZ", "RTMIN"] {
        kill(signal, house.daemon_pid());
        kill(signal, worker);
    }
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql(STATES, "done 1");
    assert_eq!(house.worker_pid(), worker, "{}", house.log());
    assert_eq!(house.stop("TERM"), Some(0));
}

// chaos 10
#[test]
fn the_end_of_the_processor_s_seconds_stops_the_daemon_in_good_order() {
    let mut house = House::started("");
    house.drop_job("slow.toml", "prompt = 'steps of 300 ms'\nsteps = 100\n");
    house.until_sql(STATES, "running 1");
    assert_eq!(house.stop("XCPU"), Some(0));
    assert_eq!(house.value("SELECT outcome FROM attempts"), "interrupted");
}

// chaos 10
#[test]
fn a_log_past_the_limit_on_file_sizes_does_not_kill_the_daemon_at_its_start() {
    const LIMIT_BYTES: u64 = 20 << 20;
    let house = House::new("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let log = File::create(house.path("log")).expect("a writable folder");
    log.set_len(LIMIT_BYTES + 1).expect("a sparse file");
    drop(log);
    let log = File::options().append(true).open(house.path("log")).expect("the log");
    let run = house.command(&["run", "--until-idle", "fox.toml"]);
    let status = Command::new("bash")
        .args(["-c", &format!("ulimit -f {}; exec \"$@\"", LIMIT_BYTES / 1024), "bash"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(house.path(""))
        .stdout(Stdio::null())
        .stderr(log)
        .status()
        .expect("a shell");
    assert_eq!(status.code(), Some(0), "{status}");
}

// case F, clap#5457
#[test]
fn whatever_prints_into_a_closed_pipe_ends_quietly() {
    let house = House::new("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    assert!(house.zimaged(&["run", "--until-idle", "fox.toml"]).status.success());
    for command in [
        &["completions", "bash"][..],
        &["--help"],
        &["--version"],
        &["list"],
        &["list", "--json"],
        &["show", "1"],
        &["status"],
        &["check", "fox.toml"],
        &["fit", "--turbo", "--table"],
        &["wait", "1"],
        &["retry", "1"],
        &["pause"],
        &["resume"],
        &["run", "--until-idle", "fox.toml"],
    ] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let output = house.command(command).stdout(writer).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{command:?}: {said}");
        // 75: no daemon runs, which `status` says. 3: there is nothing to `retry`.
        assert!(
            matches!(output.status.code(), Some(0 | 1 | 3 | 75)),
            "{command:?}: {}",
            output.status
        );
    }
}

// newcomer 1
#[test]
fn a_run_tells_of_all_that_ended_in_it_and_its_exit_code_says_how() {
    let house = House::new("");
    let code = |arguments: &[&str]| {
        let output = house.zimaged(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (nothing, text) = code(&["run", "--until-idle"]);
    assert_eq!((nothing, text.trim()), (Some(0), "nothing was to be done"));
    house.drop_job("good.toml", "prompt = 'a fox'\n");
    let (good, text) = code(&["run", "--until-idle"]);
    assert!(good == Some(0) && text.contains("1 of 1 picture done"), "{good:?} {text}");
    house.drop_job("black.toml", "prompt = ['black', 'an owl']\n");
    let (failed, text) = code(&["run", "--until-idle"]);
    assert!(failed == Some(3) && text.contains("1 of 2 pictures done, 1 failed"), "{text}");
    assert!(!text.contains("1.1 "), "what an earlier run made is not told again: {text}");
    house.drop_job("wrong.toml", "prompt = 3\n");
    let (rejected, text) = code(&["run", "--until-idle"]);
    assert_eq!(rejected, Some(3), "{text}");
    assert!(text.contains("wrong.toml was rejected") && text.contains("1 file rejected"), "{text}");
    let (_, json) = code(&["run", "--until-idle", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["summary"]["pictures"], 0);
}

// newcomer 1
#[test]
fn a_degraded_picture_of_an_earlier_job_is_told_by_the_exit_code() {
    let house = House::new("");
    let job = "prompt = 'oom above 768 px'\nwidth = 1024\nheight = 1024\n";
    house.drop_job("large.toml", job);
    let output = house.zimaged(&["run", "--until-idle"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("1 of 1 picture done, 1 degraded"), "{}", said(&output));
}

// newcomer 1
#[test]
fn a_run_that_is_stopped_says_what_it_leaves() {
    let house = House::new("");
    fs::write(house.path("slow.toml"), "prompt = 'steps of 300 ms'\nsteps = 100\n")
        .expect("a writable folder");
    let mut run = house.command(&["run", "--until-idle", "slow.toml"]);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    house.until("it is up", || house.path("state/status.json").exists().then_some(()));
    house.until_sql(STATES, "running 1");
    kill("TERM", run.id());
    let output = run.wait_with_output().expect("our own child");
    assert_eq!(output.status.code(), Some(75), "{}", said(&output));
    assert!(said(&output).contains("1 render left in the queue"), "{}", said(&output));
}

/// A short run on a terminal of 80 columns, with these variables; what the terminal got.
fn on_terminal(job: &str, environment: &[(&str, &str)]) -> String {
    let house = House::new("");
    fs::write(house.path("fox.toml"), job).expect("a writable folder");
    let mut command = house.command(&["run", "--until-idle", "fox.toml"]);
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm-256color").envs(environment.iter().copied());
    let (status, _, shown) = run_on_terminal(&mut command, 80);
    assert_eq!(status.code(), Some(0), "{shown}");
    shown
}

/// The log without its colours, and without what only moves the cursor.
fn log_lines(shown: &str) -> Vec<String> {
    let escapes = regex::Regex::new("\x1b\\[[0-9;?]*[A-Za-z]|\r").expect("a pattern");
    let is_log = regex::Regex::new(r"^\d{4}-\d\d-\d\dT").expect("a pattern");
    let shown = shown.replace("\x1b[2K", "\n");
    let lines = shown.lines().map(|line| escapes.replace_all(line, "").trim_end().to_owned());
    lines.filter(|line| is_log.is_match(line)).collect()
}

const SLOW: &str = "prompt = ['steps of 100 ms', 'a fox']\nsteps = 8\n";

// newcomer 13
#[test]
fn a_run_on_a_terminal_has_a_live_line_below_lines_that_fit() {
    let shown = on_terminal(SLOW, &[]);
    assert!(shown.contains("job 1, picture 1 of 2, step "), "{shown}");
    let log = log_lines(&shown);
    assert!(log.iter().any(|line| line.contains("model loaded")), "{shown}");
    assert!(log.iter().filter(|line| line.contains(" done 000001-fox-")).count() == 2, "{log:#?}");
    let hash = regex::Regex::new("[0-9a-f]{32}").expect("a pattern");
    for line in log {
        // The folder of the test is as long as it is.
        let names_folder = line.contains("queue /");
        assert!(names_folder || line.len() < 100 && !hash.is_match(&line), "{line}");
    }
}

// newcomer 13
#[test]
fn what_is_no_terminal_gets_no_live_line() {
    let house = House::new("");
    fs::write(house.path("fox.toml"), SLOW).expect("a writable folder");
    let output = house.zimaged(&["run", "--until-idle", "fox.toml"]);
    let said = said(&output);
    assert!(!said.contains('\x1b') && !said.contains("picture 1 of 2"), "{said}");
    assert!(said.contains("done 000001-fox-0002"), "{said}");
}

// newcomer 14
#[test]
fn what_the_environment_says_of_colours_is_heeded() {
    let colour = |shown: &str| shown.contains("\x1b[3") || shown.contains("\x1b[2m");
    assert!(colour(&on_terminal(SLOW, &[])));
    assert!(!colour(&on_terminal(SLOW, &[("NO_COLOR", "1")])));
    assert!(!colour(&on_terminal(SLOW, &[("CLICOLOR", "0")])));
    let dumb = on_terminal(SLOW, &[("TERM", "dumb")]);
    assert!(!dumb.contains('\x1b') && dumb.contains(" done 000001-fox"), "{dumb}");
}

// newcomer 39
#[test]
fn how_much_is_logged_is_said_by_flags_and_then_by_the_environment() {
    let house = House::new("");
    fs::write(house.path("fox.toml"), "prompt = 'a fox'\n").expect("a writable folder");
    let log = |flags: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["run", "--until-idle", "fox.toml"], flags].concat();
        let mut command = house.command(&arguments);
        command.env_remove("ZIMAGED_LOG").env_remove("RUST_LOG").envs(environment.iter().copied());
        String::from_utf8_lossy(&command.output().expect("the binary starts").stderr).into_owned()
    };
    let usual = log(&[], &[]);
    assert!(usual.contains("INFO") && !usual.contains("DEBUG"), "{usual}");
    assert!(log(&["-v"], &[]).contains("DEBUG planned attempt="));
    let quiet = log(&["-q"], &[("RUST_LOG", "info")]);
    assert!(!quiet.contains("INFO") && !quiet.contains("WARN"), "{quiet}");
    assert!(!log(&["-qq"], &[]).contains("WARN"));
    assert!(log(&[], &[("RUST_LOG", "zimaged=debug")]).contains("DEBUG planned"));
    let ours = log(&[], &[("RUST_LOG", "zimaged=debug"), ("ZIMAGED_LOG", "error")]);
    assert!(!ours.contains("INFO") && !ours.contains("DEBUG"), "{ours}");
}

// newcomer 31
#[test]
fn a_wait_in_a_pipe_says_how_far_it_is_and_a_quiet_one_does_not() {
    let house = House::started("");
    let job = "prompt = 'hold, steps of 100 ms'\nsteps = 8\nnum_images = 4\n";
    house.hold_renders();
    house.drop_job("slow.toml", job);
    house.until_sql(STATES, "queued 3,running 1");
    house.release_renders();
    let quiet = house.command(&["wait", "1", "-q"]).stderr(Stdio::piped()).spawn().expect("starts");
    let waited = house.zimaged(&["wait", "1"]);
    let said = String::from_utf8_lossy(&waited.stderr).into_owned();
    assert!(said.contains("job 1: ") && said.contains(" of 4 pictures ended, picture "), "{said}");
    assert!(said.contains(" left"), "{said}");
    let quiet = quiet.wait_with_output().expect("our own child");
    assert!(quiet.stderr.is_empty(), "{}", String::from_utf8_lossy(&quiet.stderr));
}

#[test]
fn the_bar_of_a_wait_is_no_wider_than_the_terminal() {
    let house = House::started("");
    house.drop_job("late.toml", "prompt = 'a fox'\nnot_before = 2999-01-01T00:00:00Z\n");
    house.until_sql("SELECT count(*) FROM jobs", "1");
    let mut command = house.command(&["wait", "1", "--timeout", "1s"]);
    let shown = run_on_terminal(command.env("TERM", "xterm"), 40).2;
    let escapes = regex::Regex::new("\x1b\\[[0-9;?]*[A-Za-z]").expect("a pattern");
    let shown = escapes.replace_all(&shown, "\n");
    let bars: Vec<&str> = shown.split(['\n', '\r']).filter(|line| line.contains(" 0/1 ")).collect();
    assert!(bars.iter().any(|bar| bar.contains("starts on")), "{shown}");
    for bar in bars {
        assert!(bar.trim_end().chars().count() <= 40, "{bar}");
    }
}

// newcomer 14 and 31
#[test]
fn the_bar_of_a_wait_has_the_time_left_and_a_dumb_terminal_gets_lines() {
    let house = House::started("");
    let job = "prompt = 'steps of 100 ms'\nsteps = 8\nnum_images = 4\n";
    let wait = |id: &str, terminal: &str| {
        house.drop_job("slow.toml", job);
        house.until_sql(&format!("SELECT count(*) FROM jobs WHERE id = {id}"), "1");
        let mut command = house.command(&["wait", id]);
        run_on_terminal(command.env("TERM", terminal), 80).2
    };
    let bar = wait("1", "xterm");
    assert!(bar.contains("s left") && bar.contains('\x1b'), "{bar}");
    let lines = wait("2", "dumb");
    assert!(lines.contains("job 2: ") && !lines.contains('\x1b'), "{lines}");
}
