//! Where it listens, and when it does not.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;

use crate::support::http::Reply;
use crate::support::{House, said};

#[test]
fn the_real_port_is_told_in_the_log_and_by_status_and_answers() {
    let house = House::started("");
    let address = house.http();
    assert!(!address.ends_with(":0"), "{address}");
    house.until_logged(&format!("HTTP on http://{address}"));
    assert!(said(&house.zimaged(&["status"])).contains(&format!("http://{address}")));
    assert_eq!(house.get("/health").ok().text(), "ok\n");
    let status = house.get("/api/v1/status").ok().json();
    assert_eq!(status["running"], true);
    assert_eq!(status["daemon"]["http"]["url"], format!("http://{address}"));
    house.worker_pid();
    house.until("it is ready", || (house.get("/ready").status == 200).then_some(()));
}

#[test]
fn without_a_face_nothing_listens() {
    let house = House::started("[http]\nenabled = false\n");
    house.worker_pid();
    assert!(!house.log().contains("HTTP on"), "{}", house.log());
    let status = house.json(&["status"]);
    assert!(status["daemon"]["http"]["url"].is_null(), "{status}");
}

// faults 118
#[test]
fn a_taken_port_is_told_with_its_holder_and_the_queue_goes_on_until_it_is_free() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = holder.local_addr().expect("bound");
    let house = House::started(&format!("[http]\nlisten = '{address}'\n"));
    let told = format!("{address} is taken by it-");
    house.until_logged(&told);
    house.until_logged(&format!("(process {})", std::process::id()));
    house.until("status tells it", || {
        said(&house.zimaged(&["status"])).contains(&told).then_some(())
    });
    house.drop_job("fox.toml", "prompt = 'a fox'\n");
    house.until_sql("SELECT count(*) FROM history WHERE state = 'done'", "1");
    drop(holder);
    assert_eq!(house.http(), address.to_string());
    assert_eq!(house.get("/health").status, 200);
}

#[test]
fn an_address_for_others_without_a_token_ends_with_78_and_says_what_would_be_right() {
    let house = House::new("[http]\nlisten = '0.0.0.0:0'\n");
    let output = house.zimaged(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("add token = \"always\""), "{}", said(&output));
}

#[test]
fn a_token_that_everybody_can_read_ends_with_78() {
    let house = House::new("[http]\nlisten = '127.0.0.1:0'\ntoken = 'always'\n");
    std::fs::create_dir(house.path("state")).unwrap();
    std::fs::write(house.path("state/http-token"), "a-good-long-token-it-is\n").unwrap();
    let output = house.zimaged(&["run"]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("chmod 600"), "{}", said(&output));
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut house = House::started("");
    let idle: Vec<_> = (0..20).map(|_| house.connect()).collect();
    assert_eq!(house.get("/health").status, 200);
    assert_eq!(house.stop("TERM"), Some(0));
    drop(idle);
}

/// A question over a socket in the file system, by whatever name.
fn ask_socket(house: &House, path: &str) -> Reply {
    let mut stream = UnixStream::connect(house.path("http.socket")).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    Reply::parse(&answer)
}

#[test]
fn a_socket_in_the_file_system_is_for_a_group_and_replaces_what_a_killed_daemon_left() {
    let mut house = House::new("");
    let path = house.path("http.socket");
    let config = std::fs::read_to_string(house.path("daemon.toml")).expect("a configuration");
    let config = config.replace("127.0.0.1:0", &format!("unix:{}", path.display()));
    std::fs::write(house.path("daemon.toml"), config).expect("a writable folder");
    house.start();
    assert_eq!(ask_socket(&house, "/health").text(), "ok\n");
    let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let status = ask_socket(&house, "/api/v1/status").ok().json();
    assert_eq!(status["daemon"]["http"]["url"], format!("unix:{}", path.display()));
    house.stop("KILL");
    assert!(path.exists());
    house.start();
    house.until("it listens again", || UnixStream::connect(&path).is_ok().then_some(()));
    assert_eq!(ask_socket(&house, "/health").text(), "ok\n");
}

#[test]
fn a_port_that_systemd_has_opened_is_answered_on() {
    let house = House::new("");
    let opened = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = opened.local_addr().expect("bound");
    let fd = opened.as_raw_fd();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_zimaged")).arg("--config").arg(house.path("daemon.toml"));
    command.arg("run").stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    // SAFETY: between fork and exec only `dup2` and `fcntl` are called, which are safe there.
    unsafe {
        command.pre_exec(move || match (libc::dup2(fd, 3), libc::fcntl(3, libc::F_SETFD, 0)) {
            (3, 0) => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut daemon = command.spawn().expect("a shell");
    drop(opened);
    assert_eq!(house.http(), address.to_string());
    assert_eq!(house.get("/health").ok().text(), "ok\n");
    daemon.kill().expect("our own child");
    daemon.wait().expect("our own child");
}
