//! `hypothec peer`: the other nodes.

use super::amount::peer;
use super::line::Place;
use super::out::Grid;
use crate::api::views::{ConnectRequest, PeerView};
use clap::Subcommand;

/// The other nodes
#[derive(Debug, Subcommand)]
pub(super) enum Peer {
    /// Dial a node and keep dialling it
    #[command(after_help = "Example:\n  hypothec peer connect \
        0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798@127.0.0.1:9810")]
    Connect {
        /// pubkey@host:port, as the other node's `status` shows it
        #[arg(value_parser = peer)]
        address: String,
    },
    /// The nodes known, and whether they are there
    #[command(after_help = "Example:\n  hypothec peer list")]
    List,
}

impl Peer {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        match self {
            Peer::Connect { address } => {
                let seen: PeerView = client.post("/v1/peers", &ConnectRequest { address }).await?;
                place.out().say(&seen, |seen| match seen.connected {
                    true => format!("Connected with {}.\n\nNext: {} quote --help", seen.node_id, place.again()),
                    false => format!(
                        "Dialling {}; it did not answer yet, and is dialled again and again.\n\nNext: {} peer list",
                        seen.node_id,
                        place.again()
                    ),
                })
            }
            Peer::List => {
                let peers: Vec<PeerView> = client.get("/v1/peers").await?;
                place.out().say(&peers, |peers| list(peers, &place.again()))
            }
        }
    }
}

fn list(peers: &[PeerView], again: &str) -> String {
    if peers.is_empty() {
        return format!("No peers yet.\n\nNext: {again} peer connect pubkey@host:port");
    }
    let mut grid = Grid::new(["peer", "there", "dialled at"]);
    for peer in peers {
        let there = if peer.connected { "yes" } else { "no" };
        grid.row([peer.node_id.to_string(), there.to_owned(), peer.address.clone().unwrap_or("(dials us)".into())]);
    }
    grid.text()
}
