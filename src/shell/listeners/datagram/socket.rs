//! Datagram sockets, UDP and Unix alike.
//!
//! tokio says when there is something to read; both directions are system calls of our own. A Unix receiver that does not read makes a send to it, and to it alone,
//! want to wait, which tokio would take for the whole socket and hold back everybody's answers.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::addr::SocketAddrLen;
use rustix::net::{MMsgHdr, RecvFlags, SendAncillaryBuffer, SendFlags, SocketAddrAny, recvfrom, sendmmsg};
use smallvec::SmallVec;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::super::settings::DatagramEndpoint;
use super::super::socket::{BindError, remove_stale};

/// Bytes that the system may hold for a socket that is not read at once: a burst of some thousand requests.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Datagrams that one system call sends.
const SENT_TOGETHER: usize = 32;

/// The address family alone: a Unix sender that has bound no name.
const NAMELESS: SocketAddrLen = 2;

/// A datagram socket before a reactor has it. Several reactors may read from clones of one.
#[derive(Debug)]
pub(in super::super) enum BoundDatagram {
    Udp(std::net::UdpSocket),
    Unix(UnixDatagram),
}

impl BoundDatagram {
    /// Binds. A Unix socket's file that nobody serves any more is replaced; one that somebody serves is not.
    pub(in super::super) fn bind(endpoint: &DatagramEndpoint) -> Result<Self, BindError> {
        let system = |source| BindError::System { endpoint: endpoint.to_string(), source };
        match endpoint {
            DatagramEndpoint::Udp(address) => udp(*address).map(Self::Udp).map_err(system),
            DatagramEndpoint::Unix { path, mode } => {
                remove_stale(path, |path| UnixDatagram::unbound()?.connect(path))?;
                unix(path, *mode).map(Self::Unix).map_err(system)
            }
        }
    }

    /// Where it is bound: with the port that the system chose.
    pub(in super::super) fn local(&self, asked: &DatagramEndpoint) -> DatagramEndpoint {
        match self {
            Self::Udp(socket) => socket.local_addr().map_or_else(|_| asked.clone(), DatagramEndpoint::Udp),
            Self::Unix(_) => asked.clone(),
        }
    }

    pub(in super::super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Udp(socket) => socket.try_clone().map(Self::Udp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// The same for the current runtime.
    pub(super) fn into_async(self) -> io::Result<DatagramSocket> {
        match self {
            Self::Udp(socket) => UdpSocket::from_std(socket).map(DatagramSocket::Udp),
            Self::Unix(socket) => tokio::net::UnixDatagram::from_std(socket).map(DatagramSocket::Unix),
        }
    }
}

fn udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    enlarge(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn unix(path: &Path, mode: u32) -> io::Result<UnixDatagram> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    enlarge(&socket);
    // Nobody else can reach it between bind and chmod: the mode of the socket itself is what bind gives the file.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(0o600))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(socket.into())
}

/// As much as the system allows: less is no error, it only loses more of a burst.
fn enlarge(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
}

/// A datagram that came: how long it was, and where its answer goes.
pub(super) struct Came {
    /// Bytes in the buffer.
    pub(super) bytes: usize,
    /// It did not fit, and was cut.
    pub(super) cut: bool,
    /// `None`: its sender has no address.
    pub(super) from: Option<SocketAddrAny>,
}

/// A datagram socket of a runtime.
#[derive(Debug)]
pub(super) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(tokio::net::UnixDatagram),
}

impl DatagramSocket {
    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }

    /// Takes one datagram. `None`: there is none now.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        let call = || {
            loop {
                match recvfrom(self.fd(), &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                    Err(Errno::INTR) => {}
                    other => return other.map_err(io::Error::from),
                }
            }
        };
        // What finds nothing takes the readiness back.
        let received = match self {
            Self::Udp(socket) => socket.try_io(Interest::READABLE, call),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, call),
        };
        match received {
            Ok((bytes, length, from)) => {
                let from = from.filter(|from| from.addr_len() > NAMELESS);
                Ok(Some(Came { bytes, cut: length > bytes, from }))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends each of them, as many as one system call takes. What can't be sent at once is given up: its sender asks
    /// again. Returns how many went.
    pub(super) fn send_all(&self, datagrams: &[(&SocketAddrAny, &[u8])]) -> usize {
        datagrams.chunks(SENT_TOGETHER).map(|some| self.send_some(some)).sum()
    }

    fn send_some(&self, datagrams: &[(&SocketAddrAny, &[u8])]) -> usize {
        let slices: SmallVec<[[io::IoSlice<'_>; 1]; SENT_TOGETHER]> =
            datagrams.iter().map(|(_, bytes)| [io::IoSlice::new(bytes)]).collect();
        let mut controls: SmallVec<[SendAncillaryBuffer<'_, '_, '_>; SENT_TOGETHER]> =
            datagrams.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let parts = datagrams.iter().zip(&slices).zip(&mut controls);
        let mut messages: SmallVec<[MMsgHdr<'_>; SENT_TOGETHER]> =
            parts.map(|(((to, _), slice), control)| MMsgHdr::new_with_addr(to, slice, control)).collect();
        let mut rest = messages.as_mut_slice();
        let mut sent = 0;
        while !rest.is_empty() {
            let done = match sendmmsg(self.fd(), rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => continue,
                // The first of them can't be sent, whyever; the next is another's.
                Err(_) => 1,
                Ok(count) => {
                    sent += count;
                    count.max(1)
                }
            };
            rest = rest.split_at_mut_checked(done).map_or(&mut [], |(_, rest)| rest);
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_datagram_socket_is_replaced_and_a_served_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        let endpoint = DatagramEndpoint::Unix { path: path.clone(), mode: 0o660 };
        let first = BoundDatagram::bind(&endpoint).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(BoundDatagram::bind(&endpoint), Err(BindError::InUse { .. })));
        drop(first);
        assert!(path.exists());
        BoundDatagram::bind(&endpoint).unwrap();
    }
}
