//! Why a peer is not reached, by name: each has another remedy.

use bitcoin::secp256k1::constants::PUBLIC_KEY_SIZE;

/// Bytes of the handshake's second act: version, key, tag. Whoever sends it right has proved the key.
const SECOND_ACT: usize = 1 + PUBLIC_KEY_SIZE + 16;

/// Why a peer is not reached, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// The name leads nowhere.
    #[error("no address is known for its host name: see that it is written right, and that names are looked up here")]
    UnknownHost,
    /// Refused by the machine.
    #[error("connection refused, nothing listens there: see that its node runs, and the port")]
    NotListening,
    /// Nobody answers.
    #[error("no answer: see the host and the port, and that a firewall lets this through")]
    Silent,
    /// The system knows no way.
    #[error("there is no way to it from here ({0}): see this machine's network, and the host")]
    NoWay(String),
    /// It closed the connection instead of proving the key that it was asked to prove.
    #[error("another key answers there: ask the peer for its address as its `status` shows it")]
    WrongKey,
    /// It answers, in another language.
    #[error("what answers there speaks another protocol: see the port")]
    OtherProtocol,
    /// It has the key, and ended the connection at once and without a word.
    #[error(
        "it has the key and ended the connection at once: it is on another network (compare `network` in both \
         configurations), or has no place for one more (try again in a minute)"
    )]
    TurnedAway,
    /// A connection there was.
    #[error("{0}")]
    Ended(String),
}

/// How a connection stopped before the key was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// Time ran out.
    Silent,
    /// The other side closed it.
    Closed,
    /// What it said could not be read.
    Refused,
}

impl Unreached {
    /// Why, where the other side had sent so many good bytes before.
    pub(super) fn unproved(answered: usize, how: Stopped) -> Unreached {
        match (answered, how) {
            (SECOND_ACT.., Stopped::Closed | Stopped::Refused) => Unreached::TurnedAway,
            (0 | SECOND_ACT.., Stopped::Silent) => Unreached::Silent,
            // The first act can be read with the right key alone; who has another closes without a word.
            (0, Stopped::Closed) => Unreached::WrongKey,
            _ => Unreached::OtherProtocol,
        }
    }

    /// Why no connection came to be.
    pub(super) fn unopened(error: &std::io::Error) -> Unreached {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::ConnectionRefused => Unreached::NotListening,
            ErrorKind::TimedOut => Unreached::Silent,
            _ => Unreached::NoWay(error.to_string()),
        }
    }
}
