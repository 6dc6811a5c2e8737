//! `hypothec-oracle prove-equivocation A B`: from two things an oracle said, the proof that it may not have said both.

use crate::equivocation::Proof;
use crate::price::policy::PolicyPage;
use crate::screen;
use crate::ticklog::entry::Head;
use crate::wire::{Pubkey, SignedLows};
use anyhow::{bail, Context};
use bitcoin::hex::DisplayHex;
use bitcoin::key::XOnlyPublicKey;
use clap::Args;
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation};
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest file or answer read.
const LONGEST: usize = 1024 * 1024;
/// How long a server may take. Real time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to compare.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypothec-oracle prove-equivocation https://one.example/attestation/btcusd1798761600 \\\n    \
    https://two.example/attestation/btcusd1798761600\n  \
    hypothec-oracle prove-equivocation https://one.example/v1/lows/20270101 https://two.example/v1/lows/20270101\n  \
    hypothec-oracle prove-equivocation a.json b.json --announcement announcement.json --out proof.hex")]
pub struct ProveEquivocation {
    /// File or URL of an attestation or announcement as `/attestation/ID` and `/announcement/ID` serve it, or of
    /// `/v1/lows/DAY`, `/v1/log/head` or `/v1/policy`.
    first: String,
    /// The other one.
    second: String,
    /// File or URL of the event's announcement [default: `/announcement/ID` beside the first URL].
    #[arg(long, value_name = "FILE or URL")]
    announcement: Option<String>,
    /// The oracle's key, for lows, heads and policies [default: `/pubkey` beside the first URL].
    #[arg(long, value_name = "HEX")]
    oracle: Option<XOnlyPublicKey>,
    /// Write the proof's hex here too; an existing file is never replaced.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Either kind, as oracles serve them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Heard {
    Attestation(OracleAttestation),
    Announcement(OracleAnnouncement),
    Lows(Box<SignedLows>),
    Head(Head),
    Policies(PolicyPage),
}

impl ProveEquivocation {
    /// Makes the proof, checks it, and prints it as JSON.
    ///
    /// # Errors
    /// When the two do not contradict each other, or cannot be read.
    pub async fn run(self) -> anyhow::Result<()> {
        let (first, second) = (hear(&self.first).await?, hear(&self.second).await?);
        let proof = match (&first, &second) {
            (Heard::Attestation(a), Heard::Attestation(b)) => {
                let announcement = self.announcement().await?;
                Proof::of_attestations(&announcement, a, b)?
            }
            (Heard::Announcement(a), Heard::Announcement(b)) => Proof::of_announcements(a, b)?,
            (Heard::Lows(a), Heard::Lows(b)) => Proof::of_lows(self.key().await?, a, b)?,
            (Heard::Head(a), Heard::Head(b)) => Proof::of_heads(self.key().await?, a, b)?,
            (Heard::Policies(a), Heard::Policies(b)) => of_policies(self.key().await?, a, b)?,
            _ => bail!("the two are of different kinds; give two attestations, two announcements, and so on"),
        };
        // What is printed is checked as whoever receives it will check it.
        let bytes = proof.to_bytes();
        let oracle = Proof::from_bytes(&bytes)?.check()?;
        let hex = bytes.to_lower_hex_string();
        if let Some(path) = &self.out {
            write(path, &hex)?;
        }
        let told = serde_json::json!({
            "oracle": oracle,
            "event": proof.about(),
            "reveals_the_key": proof.reveals_the_key(),
            "proof": hex,
        });
        Ok(screen::say(format_args!("{}", serde_json::to_string_pretty(&told)?))?)
    }

    async fn announcement(&self) -> anyhow::Result<OracleAnnouncement> {
        let from = match &self.announcement {
            Some(from) => from.clone(),
            None if is_url(&self.first) && self.first.contains("/attestation/") => {
                self.first.replace("/attestation/", "/announcement/")
            }
            None => bail!("the proof holds the event's announcement; say --announcement FILE or URL"),
        };
        match hear(&from).await? {
            Heard::Announcement(announcement) => Ok(announcement),
            _ => bail!("{from} is no announcement; one is needed there"),
        }
    }

    /// Whose words the two are. What is signed does not say it, and a wrong key verifies nothing.
    async fn key(&self) -> anyhow::Result<XOnlyPublicKey> {
        let beside = self.first.split("/v1/").next().filter(|_| is_url(&self.first));
        match (self.oracle, beside) {
            (Some(key), _) => Ok(key),
            (None, Some(base)) => {
                let from = format!("{base}/pubkey");
                let said: Pubkey = serde_json::from_slice(&download(&from).await?)
                    .with_context(|| format!("{from} is not an oracle's key"))?;
                Ok(said.pubkey)
            }
            (None, None) => bail!("a file does not say whose words it holds; say --oracle HEX"),
        }
    }
}

/// The first version that two pages publish differently.
fn of_policies(oracle: XOnlyPublicKey, a: &PolicyPage, b: &PolicyPage) -> anyhow::Result<Proof> {
    let twice = a.policies.iter().flat_map(|one| b.policies.iter().map(move |other| (one, other)));
    let mut differing = twice.filter(|(a, b)| a.policy.version == b.policy.version && a.policy != b.policy);
    let (one, other) = differing.next().context("both publish the same policies, as far as both have them")?;
    Ok(Proof::of_policies(oracle, one, other)?)
}

fn is_url(from: &str) -> bool {
    from.starts_with("http://") || from.starts_with("https://")
}

async fn hear(from: &str) -> anyhow::Result<Heard> {
    let bytes = if is_url(from) { download(from).await? } else { read(Path::new(from))? };
    serde_json::from_slice(&bytes).map_err(|_| {
        anyhow::anyhow!(
            "{from} is none of what an oracle signs: an attestation, an announcement, lows, a head of its log or its policies, \
             as JSON"
        )
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(u64::try_from(LONGEST)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

async fn download(url: &str) -> anyhow::Result<Vec<u8>> {
    let client =
        reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let mut answer = client.get(url).send().await.with_context(|| format!("ask {url}"))?.error_for_status()?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST {
            bail!("{url} answers more than {LONGEST} bytes");
        }
    }
    Ok(bytes)
}

fn write(path: &Path, hex: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create_new(path).with_context(|| format!("write {}", path.display()))?;
    writeln!(file, "{hex}")?;
    Ok(())
}
