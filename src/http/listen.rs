//! What is listened on: a port, a socket in the file system, or what systemd has opened for us; and
//! why a port cannot be had, in words that say who has it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::FdFlags;
use rustix::net::AddressFamily;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::config::Listen;
use crate::systemd;

/// Users of the same group may ask, and nobody else.
const SOCKET_MODE: u32 = 0o660;

/// What connections come by.
pub enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Listener {
    /// What systemd has opened for this process, if it has; only the first one counts.
    ///
    /// # Errors
    /// Where that is neither a port nor a socket in the file system that is listened on.
    pub fn inherited() -> io::Result<Option<Listener>> {
        let Some(fd) = systemd::inherited()? else { return Ok(None) };
        // SAFETY: systemd gives the descriptor to this process, and nobody else takes it: the
        // face is opened once.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        let family = rustix::net::getsockname(&fd)?.address_family();
        Ok(Some(match family {
            AddressFamily::UNIX => Listener::Socket(UnixListener::from_std(fd.into())?),
            _ => Listener::Port(TcpListener::from_std(fd.into())?),
        }))
    }

    /// Takes the address. A socket that a killed daemon has left is replaced.
    pub async fn bind(listen: &Listen) -> io::Result<Listener> {
        match listen {
            Listen::Address(address) => Ok(Listener::Port(TcpListener::bind(address).await?)),
            Listen::Socket(path) => {
                if UnixStream::connect(path).await.is_err_and(|error| is_left(&error)) {
                    fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
                Ok(Listener::Socket(listener))
            }
        }
    }

    /// Where it is, with its real port.
    pub fn place(&self) -> io::Result<Listen> {
        match self {
            Listener::Port(listener) => Ok(Listen::Address(listener.local_addr()?)),
            Listener::Socket(listener) => {
                let address = listener.local_addr()?;
                Ok(Listen::Socket(address.as_pathname().unwrap_or(Path::new("")).to_owned()))
            }
        }
    }

    /// The next connection.
    pub async fn accept(&self) -> io::Result<Either<TcpStream, UnixStream>> {
        match self {
            Listener::Port(listener) => Ok(Either::Left(listener.accept().await?.0)),
            Listener::Socket(listener) => Ok(Either::Right(listener.accept().await?.0)),
        }
    }
}

/// Whether the address could be listened on now; why not, and what would be right. Nothing is left
/// there.
pub async fn check_free(listen: &Listen) -> Result<(), String> {
    let taken = || io::Error::from(io::ErrorKind::AddrInUse);
    let free = match listen {
        Listen::Address(address) => TcpListener::bind(address).await.map(drop),
        Listen::Socket(path) => match UnixStream::connect(path).await {
            Ok(_) => Err(taken()),
            Err(error) if is_left(&error) || error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        },
    };
    free.map_err(|error| why_not(listen, &error))
}

/// Whether nobody listens on a socket that is there.
fn is_left(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// What is told of where it cannot listen.
pub fn why_not(listen: &Listen, error: &io::Error) -> String {
    match listen {
        Listen::Address(address) => trouble(*address, error),
        Listen::Socket(_) => {
            format!("cannot listen on {listen}: {error}; see [http] listen in daemon.toml")
        }
    }
}

/// What is told of an address that cannot be listened on.
fn trouble(address: SocketAddr, error: &io::Error) -> String {
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
