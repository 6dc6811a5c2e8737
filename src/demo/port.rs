//! Ports for the programs of a play, which keep them over a restart.
//!
//! A port the system hands out comes from the range of outgoing connections: while a program is down, any connection
//! may be given its port, and it cannot come back. These lie below that range, and no two calls give the same one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range of outgoing connections on Linux (from 32,768), above the ports that have names.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

static HANDED_OUT: AtomicU16 = AtomicU16::new(0);

/// A port of this machine that nobody listens on now, and that no later call will give.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> std::io::Result<u16> {
    let count = PORTS.end - PORTS.start;
    // Plays that run at the same time begin in different places.
    let start = u16::try_from(std::process::id().wrapping_mul(7_919) % u32::from(count)).unwrap_or(0);
    for _ in 0..count {
        let step = HANDED_OUT.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (start + step) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, "every port from 12000 to 32000 is taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_never_one_that_an_outgoing_connection_may_take() {
        let taken = free_port().unwrap();
        let _holder = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let ports: std::collections::HashSet<u16> = (0..200).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 200);
        assert!(!ports.contains(&taken) && ports.iter().all(|port| PORTS.contains(port)));
    }
}
