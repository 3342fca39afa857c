//! Why a port cannot be had, in words that say who has it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// What is told of an address that cannot be listened on.
pub fn trouble(address: SocketAddr, error: &io::Error) -> String {
    let holder = match error.kind() {
        io::ErrorKind::AddrInUse => holder(Path::new("/proc"), address.port()),
        _ => None,
    };
    match (error.kind(), holder) {
        (io::ErrorKind::AddrInUse, Some(holder)) => {
            format!(
                "{address} is taken by {holder}; [http] listen in daemon.toml names another port"
            )
        }
        (io::ErrorKind::AddrInUse, None) => {
            format!("{address} is taken; [http] listen in daemon.toml names another port")
        }
        _ => format!("cannot listen on {address}: {error}; see [http] listen in daemon.toml"),
    }
}

/// Name and id of the process that listens on the port, as far as this user may know it.
fn holder(proc: &Path, port: u16) -> Option<String> {
    let sockets: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| listening(&table, port))
        .collect();
    let processes = fs::read_dir(proc).ok()?.flatten();
    let mut processes = processes.filter(|entry| {
        entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
    });
    let process = processes.find(|process| {
        let open = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let mut links = open.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    })?;
    let name = fs::read_to_string(process.path().join("comm")).ok()?;
    Some(format!("{} (process {})", name.trim(), process.file_name().display()))
}

/// The sockets of `/proc/net/tcp` that listen on the port, as `/proc/PID/fd` names them.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        let (_, its_port) = local.rsplit_once(':')?;
        let its_port = u16::from_str_radix(its_port, 16).ok()?;
        (state == LISTEN && its_port == port).then(|| format!("socket:[{inode}]"))
    };
    table.lines().filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let error = std::net::TcpListener::bind(address).expect_err("taken");
        let told = trouble(address, &error);
        assert!(told.contains(&format!("(process {})", std::process::id())), "{told}");
    }

    #[test]
    fn only_sockets_that_listen_on_the_very_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:1EB4 00000000:0000 0A 0:0 0:0 0 0 0 111 1\n\
            1: 0100007F:1EB4 0100007F:AAAA 01 0:0 0:0 0 0 0 222 1\n\
            2: 0100007F:1EB5 00000000:0000 0A 0:0 0:0 0 0 0 333 1\n";
        assert_eq!(listening(table, 7860), ["socket:[111]"]);
    }
}
