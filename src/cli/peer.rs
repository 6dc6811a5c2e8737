//! `hypothec peer`: the other nodes.

use super::amount::{peer, short};
use super::client::Client;
use super::line::Place;
use super::out::{item, Grid};
use super::which::{named, Named};
use crate::api::views::{ConnectRequest, PeerView};
use clap::Subcommand;
use std::time::Duration;

/// How often `connect` looks whether the peer is there.
const LOOKS: u32 = 20;
/// And how long it waits before each look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

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
    /// Dial a node no more and forget its address
    ///
    /// Refused while a loan with it is open. It may still connect by itself.
    #[command(after_help = "Examples:\n  hypothec peer remove 0279be66…1798\n  hypothec peer remove 0279be")]
    Remove {
        /// Its key, the beginning of it, or its short form as lists print it
        #[arg(value_name = "PEER", value_parser = named)]
        peer: Named,
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
                let seen = settle(&client, seen).await?;
                place.out().say(&seen, |seen| match seen.connected {
                    _ if seen.wanted.is_some() => elsewhere(seen, &place.again()),
                    true => format!("Connected with {}.\n\nNext: {} quote --help", seen.node_id, place.again()),
                    false => not_there(seen, &place.again()),
                })
            }
            Peer::Remove { peer } => {
                let key = peer.peer(place).await?.node_id;
                let gone: PeerView = client.delete(&format!("/v1/peers/{key}")).await?;
                place.out().say(&gone, |gone| {
                    let address = match &gone.address {
                        Some(address) => format!("It was dialled at {address}."),
                        None => "It was connected and never dialled; it may connect again by itself.".to_owned(),
                    };
                    format!("Removed peer {}.\n{address}\n\nNext: {} peer list", gone.node_id, place.again())
                })
            }
            Peer::List => {
                let peers: Vec<PeerView> = client.get("/v1/peers").await?;
                place.out().say(&peers, |peers| list(peers, &place.again()))
            }
        }
    }
}

/// One that is dialled on and on; where that leads nowhere as it was typed, how to take it back.
fn not_there(seen: &PeerView, again: &str) -> String {
    let why = seen.problem.as_ref();
    let now = why.map(|why| format!("Now: {}.\n", why.message)).unwrap_or_default();
    let is_mistyped = |code: &str| ["wrong_key", "unknown_host", "other_network", "other_protocol"].contains(&code);
    let back = match why.is_some_and(|why| is_mistyped(&why.code)) {
        true => format!("If it was mistyped, forget it: {again} peer remove {}\n", short(&seen.node_id.to_string())),
        false => String::new(),
    };
    format!(
        "Dialling {}; it is not there yet, and is dialled again and again.\n{now}{back}\nNext: {again} peer list",
        seen.node_id
    )
}

/// One that is known at another place, and does not answer at the one that was typed.
fn elsewhere(seen: &PeerView, again: &str) -> String {
    let (id, wanted) = (short(&seen.node_id.to_string()), seen.wanted.as_deref().unwrap_or_default());
    let typed = wanted.split_once('@').map_or(wanted, |(_, at)| at);
    let kept = seen.address.as_deref().and_then(|address| address.split_once('@')).map_or("it dials us", |(_, at)| at);
    let is = if seen.connected { "is connected" } else { "is not connected either" };
    let why = seen.wanted_problem.as_ref().map_or("no answer yet".to_owned(), |why| why.message.clone());
    format!(
        "Not reached at {typed}: {why}.\nIt {is}; the address that is kept stays {kept} until it answers at the new one, which is \
         tried again and again.\nIf it was mistyped, name the old one again: {again} peer connect {}\n\nNext: {again} peer list",
        seen.address.clone().unwrap_or(id)
    )
}

/// The peer as it is once it is there, or after some seconds.
async fn settle(client: &Client, mut seen: PeerView) -> anyhow::Result<PeerView> {
    for _ in 0..LOOKS {
        // Known at another place, it is there and not where it was looked for.
        if seen.connected && (seen.wanted.is_none() || seen.wanted_problem.is_some()) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let peers: Vec<PeerView> = client.get("/v1/peers").await?;
        seen = peers.into_iter().find(|peer| peer.node_id == seen.node_id).unwrap_or(seen);
    }
    Ok(seen)
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
    let why =
        |peer: &PeerView| Some(format!("{}: {}", short(&peer.node_id.to_string()), peer.problem.as_ref()?.message));
    let moved = |peer: &PeerView| {
        let why = peer.wanted_problem.as_ref().map_or("no answer yet", |why| &why.message);
        Some(format!("{}: not at {}: {why}", short(&peer.node_id.to_string()), peer.wanted.as_ref()?))
    };
    let moved: String = peers.iter().filter_map(moved).map(|one| item(&one)).collect();
    let moved = if moved.is_empty() { moved } else { format!("\nTried elsewhere:\n{moved}") };
    let away: String = peers.iter().filter(|peer| !peer.connected).filter_map(why).map(|why| item(&why)).collect();
    let away = if away.is_empty() { away } else { format!("\nNot there:\n{away}") };
    format!("{}{away}{moved}", grid.text())
}
