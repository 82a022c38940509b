//! Syslog: RFC 5424 messages, as datagrams (Unix socket, UDP: RFC 5426) or over TCP with counted octets (RFC 6587, 3.4.1).
//!
//! Written here because the crates for it block a thread, know no time limit, or speak only the older RFC 3164 over the
//! local socket; the message itself is one line of header.

use std::fmt::Write;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};

use super::carrier::{Failure, chain};
use crate::notice::{Change, Format, Level, Notice};
use crate::shell::config::{Destination, HostPort, SyslogAddress};
use crate::units::when::iso;

/// The largest datagram: every receiver should take 2 KiB, most take this.
const DATAGRAM_BYTES_MAX: usize = 8_192;
/// The largest message over TCP.
const STREAM_BYTES_MAX: usize = 128 * 1_024;
/// The longest MSGID (RFC 5424, section 6).
const MSGID_CHARS_MAX: usize = 32;
/// The longest HOSTNAME.
const HOSTNAME_CHARS_MAX: usize = 255;

#[derive(Debug)]
pub(super) struct Syslog {
    address: SyslogAddress,
    facility: u8,
    host: String,
}

impl Syslog {
    pub(super) fn new(destination: &Destination) -> Self {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            address: destination.address.clone().unwrap_or_default(),
            facility: destination.facility_number(),
            host: field(&node, HOSTNAME_CHARS_MAX),
        }
    }

    pub(super) async fn send(&self, notice: &Notice, format: Format) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::Passing(format!("{}: {}", self.address, chain(&error)));
        match &self.address {
            SyslogAddress::Unix(path) => {
                let message = self.message(notice, format, DATAGRAM_BYTES_MAX);
                let socket = UnixDatagram::unbound().map_err(failed)?;
                socket.send_to(message.as_bytes(), path).await.map_err(failed)?;
            }
            SyslogAddress::Udp(host) => {
                let message = self.message(notice, format, DATAGRAM_BYTES_MAX);
                let to = resolve(host).await.map_err(failed)?;
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await.map_err(failed)?;
                socket.send_to(message.as_bytes(), to).await.map_err(failed)?;
            }
            SyslogAddress::Tcp(host) => {
                let message = self.message(notice, format, STREAM_BYTES_MAX);
                let mut stream = TcpStream::connect((host.host(), host.port())).await.map_err(failed)?;
                let framed = format!("{} {message}", message.len());
                stream.write_all(framed.as_bytes()).await.map_err(failed)?;
                stream.shutdown().await.map_err(failed)?;
            }
        }
        Ok(format!("handed to {}; syslog answers nothing", self.address))
    }

    /// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID - BOM MSG`. What would be too long goes without attachments, and
    /// then as a short line: never cut in the middle of a document.
    fn message(&self, notice: &Notice, format: Format, max: usize) -> String {
        let mut message = self.header(notice);
        let head = message.len();
        message.push_str(&notice.render(format));
        if message.len() > max {
            message.truncate(head);
            let bare = Notice { attachments: Vec::new(), ..notice.clone() };
            message.push_str(&bare.render(format));
        }
        if message.len() > max {
            message.truncate(head);
            message.push_str(&notice.render(Format::Short));
        }
        message
    }

    fn header(&self, notice: &Notice) -> String {
        let severity = match (notice.change, notice.level) {
            // "Normal but significant" (RFC 5424, table 2).
            (Change::Cleared | Change::Test, _) => 5,
            (Change::Raised | Change::Happened, Level::Info) => 6,
            (Change::Raised | Change::Happened, Level::Warning) => 4,
            (Change::Raised | Change::Happened, Level::Major) => 3,
            (Change::Raised | Change::Happened, Level::Critical) => 2,
        };
        let (pri, at) = (u16::from(self.facility) * 8 + severity, iso(notice.at));
        let at = if at.is_empty() { "-" } else { &at };
        let mut header = String::new();
        // Writing to a string does not fail. The byte order mark says that UTF-8 follows.
        let _ = write!(
            header,
            "<{pri}>1 {at} {} callgate {} {} - \u{FEFF}",
            self.host,
            std::process::id(),
            field(&notice.id, MSGID_CHARS_MAX)
        );
        header
    }
}

async fn resolve(host: &HostPort) -> std::io::Result<std::net::SocketAddr> {
    let mut found = lookup_host((host.host(), host.port())).await?;
    found.next().ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address"))
}

/// A header field: printable ASCII without blanks, `-` for nothing.
fn field(text: &str, max: usize) -> String {
    let clean: String = text.chars().filter(char::is_ascii_graphic).take(max).collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}
