//! From host names to socket addresses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use macula_core::{HostPort, MAX_ADDRESSES};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::DialError;

/// The address of a host that is given by its IP address.
pub(super) fn literal(host: &HostPort) -> Option<SocketAddr> {
    let ip: IpAddr = host.host.parse().ok()?;
    Some(SocketAddr::new(ip.to_canonical(), host.port))
}

/// Asks the system for the addresses of a named host, most preferred first, at most
/// [`MAX_ADDRESSES`], possibly repeated.
pub(super) async fn resolve(
    host: &HostPort,
    limit: Duration,
) -> Result<Vec<SocketAddr>, DialError> {
    let unresolvable = || DialError::Unresolvable {
        host: host.host.clone(),
    };
    let found = timeout(limit, lookup_host((host.host.as_str(), host.port)))
        .await
        .map_err(|_| unresolvable())?
        .map_err(|_| unresolvable())?;
    let addresses: Vec<_> = found
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .take(MAX_ADDRESSES)
        .collect();
    if addresses.is_empty() {
        return Err(unresolvable());
    }
    Ok(addresses)
}
