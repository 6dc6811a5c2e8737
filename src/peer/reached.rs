//! Why a peer is not reached, by name: each has another remedy.

use bitcoin::constants::ChainHash;
use bitcoin::secp256k1::constants::PUBLIC_KEY_SIZE;
use bitcoin::Network;

/// So many of a peer's networks are named.
const NAMED: usize = 3;

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
    /// It has the key, and its `init` says that it is on other networks than this node's.
    #[error("it is on `{0}`: compare `network` in both configurations")]
    OtherNetwork(String),
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

/// Networks as people call them; one that has no name here by its first block.
pub(super) fn names(chains: &[ChainHash]) -> String {
    let networks = [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
    let name = |chain: &ChainHash| {
        let known = networks.iter().find(|network| ChainHash::using_genesis_block(**network) == *chain);
        known.map_or_else(|| format!("a chain of its own, {chain}"), ToString::to_string)
    };
    match chains {
        [] => "no network".to_owned(),
        // A peer may name thousands.
        some => some.iter().take(NAMED).map(name).collect::<Vec<_>>().join("` and `"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_networks_are_named_and_few_of_many() {
        let of = ChainHash::using_genesis_block;
        assert_eq!(names(&[of(Network::Signet)]), "signet");
        assert_eq!(names(&[of(Network::Bitcoin), of(Network::Testnet4)]), "bitcoin` and `testnet4");
        assert_eq!(names(&[]), "no network");
        let strange = names(&[ChainHash::from([7; 32]); 1_000]);
        assert!(strange.starts_with("a chain of its own, 0707") && strange.len() < 400, "{strange}");
    }
}
