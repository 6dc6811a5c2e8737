//! `hypothec-oracle prove-equivocation A B`: from two things an oracle said, the proof that it may not have said both.

use crate::equivocation::Proof;
use anyhow::{bail, Context};
use bitcoin::hex::DisplayHex;
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
    hypothec-oracle prove-equivocation a.json b.json --announcement announcement.json --out proof.hex")]
pub struct ProveEquivocation {
    /// File or URL of an attestation, or of an announcement, as `/attestation/ID` and `/announcement/ID` serve it.
    first: String,
    /// The other one.
    second: String,
    /// File or URL of the event's announcement [default: `/announcement/ID` beside the first URL].
    #[arg(long, value_name = "FILE or URL")]
    announcement: Option<String>,
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
            _ => bail!("one is an attestation and the other an announcement; give two of a kind"),
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
            "event": proof.event_id(),
            "reveals_the_key": proof.reveals_the_key(),
            "proof": hex,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        Ok(())
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
            Heard::Attestation(_) => bail!("{from} is an attestation; an announcement is needed there"),
        }
    }
}

fn is_url(from: &str) -> bool {
    from.starts_with("http://") || from.starts_with("https://")
}

async fn hear(from: &str) -> anyhow::Result<Heard> {
    let bytes = if is_url(from) { download(from).await? } else { read(Path::new(from))? };
    serde_json::from_slice(&bytes).with_context(|| format!("{from} is neither an attestation nor an announcement"))
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
