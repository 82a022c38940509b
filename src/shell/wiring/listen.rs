//! The front ends' settings, out of the configuration.

use std::time::Duration;

use crate::shell::config::{Address, Config, Secrets};
use crate::shell::listeners::{Access, ConnectionLimits, DatagramEndpoint, Endpoint, Settings};

/// What the front ends serve under this configuration.
pub(super) fn settings(config: &Config, secrets: &Secrets) -> Settings {
    let listen = &config.listen;
    let endpoint = |address: &Address| match address {
        Address::Ip(address) => Endpoint::Tcp(*address),
        Address::Unix(path) => Endpoint::Unix { path: path.clone(), mode: listen.unix_mode.0 },
    };
    let datagram = |address: &Address| match address {
        Address::Ip(address) => DatagramEndpoint::Udp(*address),
        Address::Unix(path) => DatagramEndpoint::Unix { path: path.clone(), mode: listen.unix_mode.0 },
    };
    Settings {
        resp: listen.resp.iter().map(endpoint).collect(),
        datagram: listen.datagram.iter().map(datagram).collect(),
        http: listen.http.0,
        admin_socket: Some(config.admin_socket()),
        reactors: usize::from(listen.reactors),
        limits: ConnectionLimits {
            connections_max: usize::try_from(listen.connections_max).unwrap_or(usize::MAX),
            idle: Duration::from_secs(u64::from(listen.idle_timeout.0)),
            ..ConnectionLimits::default()
        },
        access: Access::from(secrets),
    }
}
