//! A capture file read packet by packet: Ethernet (which loopback pretends to be), IPv4 and IPv6, UDP and TCP.
//!
//! It knows just what loopback shows: no fragments, no VLANs, no IPv6 extension headers. Anything else is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    /// The sequence number of the payload's first byte, and whether the connection opens here.
    Tcp {
        sequence: u32,
        opens: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Since 1970.
    pub(crate) at: Duration,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

/// All packets of a capture file, in its order.
pub(crate) fn read(file: &Path) -> Vec<Packet> {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let nanos_per_unit = match word(0) {
        0xa1b2_c3d4 => 1_000,
        0xa1b2_3c4d => 1,
        other => panic!("{}: no capture file (magic {other:08x})", file.display()),
    };
    assert_eq!(word(20), 1, "{}: the link type is Ethernet", file.display());
    let mut packets = Vec::new();
    let mut at = 24;
    while at + 16 <= bytes.len() {
        let time = Duration::new(u64::from(word(at)), word(at + 4) * nanos_per_unit);
        let length = usize::try_from(word(at + 8)).expect("a length");
        // The last record may be cut off when the capture was stopped.
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
        packets.extend(packet(time, frame));
        at += 16 + length;
    }
    packets
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn packet(at: Duration, frame: &[u8]) -> Option<Packet> {
    let body = frame.get(14..)?;
    let (protocol, from, to, rest) = match half(frame, 12)? {
        0x0800 => {
            let header = usize::from(body.first()? & 0x0f) * 4;
            let total = usize::from(half(body, 2)?);
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?));
            (*body.get(9)?, IpAddr::from(address(12)?), IpAddr::from(address(16)?), body.get(header..total)?)
        }
        0x86dd => {
            let length = usize::from(half(body, 4)?);
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(body.get(at..at + 16)?).ok()?));
            (*body.get(6)?, IpAddr::from(address(8)?), IpAddr::from(address(24)?), body.get(40..40 + length)?)
        }
        _ => return None,
    };
    let from = SocketAddr::new(from, half(rest, 0)?);
    let to = SocketAddr::new(to, half(rest, 2)?);
    let (transport, payload) = match protocol {
        17 => (Transport::Udp, rest.get(8..)?),
        6 => {
            let sequence = u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?);
            let header = usize::from(rest.get(12)? >> 4) * 4;
            let opens = rest.get(13)? & 0x02 != 0;
            (
                Transport::Tcp { sequence: if opens { sequence.wrapping_add(1) } else { sequence }, opens },
                rest.get(header..)?,
            )
        }
        _ => return None,
    };
    Some(Packet { at, from, to, transport, payload: payload.to_vec() })
}

/// The bytes that one end of a connection sent, and when each of them did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flow {
    pub(crate) bytes: Vec<u8>,
    /// Where a packet's bytes end, and its time.
    marks: Vec<(usize, Duration)>,
}

impl Flow {
    /// When the byte at this place went over the wire.
    pub(crate) fn time_of(&self, place: usize) -> Duration {
        let mark = self.marks.partition_point(|(end, _)| *end <= place);
        self.marks.get(mark).or(self.marks.last()).expect("a flow with bytes").1
    }
}

/// One TCP connection to the port: what the client sent and what it heard.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: SocketAddr,
    expected: [Option<u32>; 2],
    pub(crate) flows: [Flow; 2],
}

/// The connections to this port. A segment sent again is taken once.
pub(crate) fn connections(packets: &[Packet], port: u16) -> Vec<Connection> {
    let mut all: Vec<Connection> = Vec::new();
    for packet in packets {
        let Transport::Tcp { sequence, opens } = packet.transport else { continue };
        let (client, side) = if packet.to.port() == port {
            (packet.from, 0)
        } else if packet.from.port() == port {
            (packet.to, 1)
        } else {
            continue;
        };
        if opens && side == 0 {
            all.push(Connection { client, expected: [Some(sequence), None], flows: Default::default() });
            continue;
        }
        // The newest connection of that client: ports come round again.
        let Some(connection) = all.iter_mut().rev().find(|connection| connection.client == client) else { continue };
        let expected = connection.expected[side].get_or_insert(sequence);
        if *expected != sequence || packet.payload.is_empty() {
            continue;
        }
        *expected = sequence.wrapping_add(u32::try_from(packet.payload.len()).expect("a segment's length"));
        let flow = &mut connection.flows[side];
        flow.bytes.extend_from_slice(&packet.payload);
        flow.marks.push((flow.bytes.len(), packet.at));
    }
    all
}
