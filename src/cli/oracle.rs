//! `hypothec oracle`: whose prices the node trusts.

use super::amount::short;
use super::line::Place;
use super::out::{item, moment, usd, Grid};
use super::which::{named, Named};
use crate::api::views::{OracleRequest, OracleView, ProofRequest, ProofView};
use anyhow::{anyhow, bail, Context};
use bitcoin::key::XOnlyPublicKey;
use clap::Subcommand;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The longest proof file read, in bytes: the longest proof as hex, and the JSON around it.
const LARGEST: u64 = 1024 * 1024;

/// The price oracles the node trusts
#[derive(Debug, Subcommand)]
pub(super) enum Oracle {
    /// Trust an oracle: its key is pinned for ever
    #[command(after_help = "Examples:\n  hypothec oracle add http://127.0.0.1:3939\n  \
        hypothec oracle add https://oracle.example.org --pubkey 79be…1798\n  \
        hypothec oracle add https://oracle.example.org https://mirror.example.net\n  \
        hypothec oracle add https://oracle.example.org wss://relay.example.com")]
    Add {
        /// Its base URL, and those of its mirrors and Nostr relays: all are asked and compared
        #[arg(value_parser = url, required = true, value_name = "URL")]
        urls: Vec<String>,
        /// The key it must have, from somewhere other than itself; asked of it otherwise
        #[arg(long, value_name = "KEY", value_parser = key)]
        pubkey: Option<XOnlyPublicKey>,
    },
    /// Ask an oracle no more and forget it
    ///
    /// Refused while an open loan or the lender's policy names it. What is proved against it stays known.
    #[command(after_help = "Example:\n  hypothec oracle remove 79be667e…1798")]
    Remove {
        /// Its key, the beginning of it, or its short form
        #[arg(value_name = "ORACLE", value_parser = named)]
        oracle: Named,
    },
    /// The oracles trusted, and what they said last
    #[command(after_help = "Example:\n  hypothec oracle list")]
    List,
    /// Give the node the proof that an oracle contradicted itself
    ///
    /// The node checks and keeps it, refuses quotes on that oracle from then on, and tells its peers.
    #[command(after_help = "Example:\n  hypothec oracle proof proof.hex       as `prove-equivocation` writes it")]
    Proof {
        /// The proof's hex, or the JSON that was printed with it
        file: PathBuf,
    },
}

impl Oracle {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        match self {
            Oracle::Add { urls, pubkey } => {
                let mut urls = urls.into_iter();
                let (url, mirrors) = (urls.next().unwrap_or_default(), urls.collect());
                let asked = pubkey.is_none();
                let view: OracleView = client.post("/v1/oracles", &OracleRequest { url, mirrors, pubkey }).await?;
                place.out().say(&view, |view| {
                    let advice = match asked {
                        true => "\nThe key came from the oracle itself: compare it with one from another source.",
                        false => "",
                    };
                    let note = view.note.as_ref().map(|note| format!("\nNote: {note}.")).unwrap_or_default();
                    format!(
                        "Trusting {} at {}.{advice}{note}\nA lender also names it in its policy:\n  {} policy set --add-oracle {}\n\nNext: {} oracle list",
                        view.pubkey,
                        view.url,
                        place.again(),
                        short(&view.pubkey.to_string()),
                        place.again(),
                    )
                })
            }
            Oracle::Proof { file } => {
                let proof = proof(&file).with_context(|| format!("proof file {}", file.display()))?;
                let view: ProofView = client.post("/v1/oracles/proof", &ProofRequest { proof }).await?;
                place.out().say(&view, |view| {
                    let done = match view.new {
                        true => "It is kept, and every peer is told. Nothing new is quoted or signed on this oracle.",
                        false => "That was known already; the first proof is kept.",
                    };
                    format!("The proof holds: {}.\n{done}\n\nNext: {} loan list", view.equivocation, place.again())
                })
            }
            Oracle::Remove { oracle } => {
                let key = oracle.oracle(place).await?;
                let gone: OracleView = client.delete(&format!("/v1/oracles/{key}")).await?;
                place.out().say(&gone, |gone| {
                    let places: Vec<&str> = [&gone.url].into_iter().chain(&gone.mirrors).map(String::as_str).collect();
                    format!(
                        "Removed oracle {}.\nIt was asked at {}.\n\nNext: {} oracle list",
                        gone.pubkey,
                        places.join(" and "),
                        place.again()
                    )
                })
            }
            Oracle::List => {
                let oracles: Vec<OracleView> = client.get("/v1/oracles").await?;
                place.out().say(&oracles, |oracles| list(oracles, &place.again()))
            }
        }
    }
}

pub(super) fn key(text: &str) -> Result<XOnlyPublicKey, String> {
    text.parse().map_err(|_| "write an oracle's key as 64 hex digits".to_owned())
}

/// The hex in a file: alone, or as `proof` of a JSON document.
fn proof(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(file)?.take(LARGEST.saturating_add(1)).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > LARGEST {
        bail!("it is longer than {LARGEST} bytes, and no proof is");
    }
    match text.trim() {
        json if json.starts_with('{') => {
            let read = serde_json::from_str::<ProofRequest>(json);
            Ok(read.map_err(|_| anyhow!("its JSON has no `proof`, a text of hex digits, or is cut short"))?.proof)
        }
        hex => Ok(hex.to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    let parsed = reqwest::Url::parse(text).ok();
    match parsed.filter(|url| matches!(url.scheme(), "http" | "https" | "ws" | "wss") && url.has_host()) {
        Some(_) => Ok(text.to_owned()),
        None => {
            Err("write http:// or https:// and a host, for example http://127.0.0.1:3939; ws:// or wss:// for a relay"
                .into())
        }
    }
}

fn list(oracles: &[OracleView], again: &str) -> String {
    if oracles.is_empty() {
        return format!("No oracles yet.\n\nNext: {again} oracle add http://host:port");
    }
    let mut grid = Grid::new(["oracle", "url", "price", "at"]);
    for oracle in oracles {
        grid.row([
            oracle.pubkey.to_string(),
            [&oracle.url].into_iter().chain(&oracle.mirrors).cloned().collect::<Vec<_>>().join("\n"),
            oracle.spot_cents.map_or("–".to_owned(), usd),
            oracle.spot_at.map_or("–".to_owned(), moment),
        ]);
    }
    let said = |oracle: &OracleView| {
        let proved = oracle.equivocation.iter().chain(&oracle.rotation_conflict);
        proved.chain(&oracle.dropped).chain(&oracle.trouble).cloned().collect::<Vec<_>>()
    };
    let troubles: String = oracles.iter().flat_map(said).map(|trouble| item(&trouble)).collect();
    let troubles = if troubles.is_empty() { troubles } else { format!("\nTrouble:\n{troubles}") };
    let rotations = oracles.iter().filter_map(|oracle| oracle.rotation.as_ref());
    let rotations: String = rotations.map(|rotation| item(&rotation.text)).collect();
    let rotations = if rotations.is_empty() { rotations } else { format!("\nHand-overs:\n{rotations}") };
    let joined = oracles.iter().filter(|oracle| !oracle.same_operator.is_empty());
    let joined: String = joined
        .map(|oracle| {
            let others = oracle.same_operator.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            item(&format!("{} and {others}", oracle.pubkey))
        })
        .collect();
    let joined = match joined.is_empty() {
        true => joined,
        false => format!("\nKeys of one operator, which count as one oracle:\n{joined}"),
    };
    format!("{}{rotations}{joined}{troubles}", grid.right(&[2]).text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::RotationView;

    #[test]
    fn a_hand_over_and_a_contradiction_are_shown_below_the_list() {
        let [old, new] = [1u8, 2].map(|byte| {
            let secret = bitcoin::secp256k1::SecretKey::from_slice(&[byte; 32]).unwrap();
            secret.x_only_public_key(bitcoin::secp256k1::SECP256K1).0
        });
        let oracle = OracleView {
            note: None,
            pubkey: old,
            url: "http://127.0.0.1:3939".into(),
            mirrors: Vec::new(),
            dropped: Vec::new(),
            spot_cents: None,
            spot_at: None,
            trouble: None,
            equivocation: None,
            rotation: Some(RotationView { new_key: new, from: 0, text: "it hands over; pin the new key".into() }),
            rotation_conflict: None,
            same_operator: Vec::new(),
        };
        let shown = list(std::slice::from_ref(&oracle), "hypothec");
        assert!(shown.contains("Hand-overs:") && shown.contains("pin the new key"), "{shown}");
        assert!(!shown.contains("Trouble:"), "{shown}");
        let conflict = Some("it signed two hand-overs".to_owned());
        let shown = list(&[OracleView { rotation: None, rotation_conflict: conflict, ..oracle }], "hypothec");
        assert!(!shown.contains("Hand-overs:") && shown.contains("Trouble:"), "{shown}");
        assert!(shown.contains("signed two hand-overs"), "{shown}");
    }
}
