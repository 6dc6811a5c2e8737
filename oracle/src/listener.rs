//! Where both programs are connected to: room for a crowd that connects at once.
//!
//! What is connected waits in the kernel until the program takes it. Where nothing more fits there the kernel drops whoever
//! comes without a word: a client tries again after a second, then two, then four. So there is room for as many as a moment
//! brings, and the program, which takes them faster than they come, decides who stays.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be taken; the system may allow fewer (`net.core.somaxconn`, 4,096 as a rule).
pub const WAITING: u32 = 4_096;

/// Listens there; port 0 takes a free one. Must be called inside a runtime.
///
/// # Errors
/// When the address cannot be used, as the system says it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A program that starts again finds connections of the last one that are about to end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_crowd_that_connects_before_anybody_is_taken_is_connected_at_once() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut crowd = Vec::new();
        let connect = async {
            // More than the 128 that would fit by default.
            for _ in 0..300 {
                crowd.push(TcpStream::connect(address).await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(10), connect).await.expect("nobody is dropped");
        assert_eq!(crowd.len(), 300);
    }

    #[tokio::test]
    async fn an_address_in_use_is_refused_as_the_system_says_it() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let refused = bind(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}
