//! `hypothec-oracle doctor`.

use crate::clock::Clock;
use crate::daemon::cli::Place;
use crate::daemon::config::{relays, Network, Said, LISTEN};
use crate::daemon::doctor::{
    look_at_attendance, look_at_bitcoind, look_at_clock, look_at_disk, look_at_key_file, look_at_live, look_at_mirror,
    look_at_relay, look_at_service, look_at_signer, look_at_statements, look_at_venue, Asker, Finding, Level, WebVenue,
};
use crate::daemon::feed::fetch::PATIENCE;
use crate::daemon::policies::published;
use crate::daemon::private::ask_status;
use crate::price::policy::Policy;
use crate::screen;
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What to look at; the config file's `listen`, `signer`, `mirrors`, `venues`, `bitcoind`, `nostr`, and `live` with its `policy`
/// and `venue_urls`, count too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    hypothec-oracle doctor --config /etc/hypothec-oracle.toml\n  \
    hypothec-oracle doctor --data ~/.hypothec-oracle --mirror https://mirror.example --json\n\n\
    Exit code 1 when something is wrong.")]
pub struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Where the daemon listens [default: 127.0.0.1:3939].
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// regtest, signet or bitcoin [default: signet].
    #[arg(long)]
    network: Option<Network>,
    /// The signer's socket.
    #[arg(long, value_name = "SOCKET")]
    signer: Option<PathBuf>,
    /// Base URL of a mirror of this oracle.
    #[arg(long, value_name = "URL")]
    mirror: Vec<String>,
    /// A venue to ask.
    #[arg(long, value_name = "NAME=URL")]
    venue: Vec<String>,
    /// A bitcoind to compare the clock with, http://user:password@127.0.0.1:8332.
    #[arg(long, value_name = "URL")]
    bitcoind: Option<String>,
    /// Read the time from this file; regtest only.
    #[arg(long, value_name = "FILE")]
    regtest_clock: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks at everything and prints what it found.
    ///
    /// # Errors
    /// When something is wrong.
    pub async fn run(self) -> anyhow::Result<()> {
        let venue = |text: &String| {
            let (name, url) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=URL"))?;
            Ok((name.to_owned(), url.to_owned()))
        };
        let said = Said {
            listen: self.listen,
            network: self.network,
            signer: self.signer,
            mirrors: self.mirror,
            venues: self.venue.iter().map(venue).collect::<anyhow::Result<_>>()?,
            bitcoind: self.bitcoind,
            regtest_clock: self.regtest_clock,
            ..Said::default()
        };
        let found = examine(said.over(self.place.said()?)).await?;
        if self.json {
            screen::say(format_args!("{}", serde_json::to_string_pretty(&found)?))?;
        } else {
            found.iter().try_for_each(|one| screen::say(format_args!("{one}")))?;
        }
        match found.iter().filter(|one| one.level == Level::Trouble).count() {
            0 => Ok(()),
            1 => bail!("one thing is wrong; see above"),
            many => bail!("{many} things are wrong; see above"),
        }
    }
}

async fn examine(said: Said) -> anyhow::Result<Vec<Finding>> {
    let data = said.data()?;
    let network = said.network.unwrap_or(Network::Signet);
    let clock = said.regtest_clock.clone().map_or(Clock::System, Clock::File);
    let now = clock.now()?;
    let asker = Asker::new()?;
    let mut found = look_at_disk(&data);
    let mut expected: Option<XOnlyPublicKey> = None;
    found.push(look_at_key_file(&data, network, said.signer.is_some()));
    if let Some(socket) = said.signer.clone() {
        let (finding, key) = tokio::task::spawn_blocking(move || look_at_signer(&socket)).await?;
        found.push(finding);
        expected = key;
    }
    let own = format!("http://{}", said.listen.unwrap_or(LISTEN));
    let (service, key) = look_at_service(&asker, &own, now).await;
    found.extend(service);
    if let (Some(ours), Some(signers)) = (key, expected.filter(|expected| Some(*expected) != key)) {
        found.push(Finding::trouble(
            "key",
            format!("the daemon serves key {ours}, the signer holds {signers}"),
            "what the daemon announces could not be attested",
            "give the daemon the signer it began with, and start it again",
        ));
    }
    if let Some(key) = key.or(expected) {
        found.extend(look_at_statements(&data, &key));
    }
    let mut witnesses = Vec::new();
    for (name, url) in &said.venues {
        let venue = WebVenue { name: name.clone(), url: url.clone() };
        let (finding, witness) = look_at_venue(&asker, &venue, &clock).await;
        found.push(finding);
        witnesses.extend(witness);
    }
    if said.live {
        let policy = match &said.policy {
            None => published(&data)?.at(now).cloned().unwrap_or_default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("read policy {}", path.display()))?;
                Policy::parse(&text).with_context(|| format!("understand policy {}", path.display()))?
            }
        };
        found.extend(look_at_live(&policy, &said.venue_urls, PATIENCE, now).await?);
        // One look says how they are now; the daemon knows how they have been. Where it does not run, that is said above.
        if let Ok(status) = ask_status(&data).await {
            found.extend(look_at_attendance(&status.venues));
        }
        // What the feed makes of them was just said; their servers' clocks are asked for beside it.
        for venue in &policy.venues {
            let base = said.venue_urls.get(venue).map_or(venue.base(), String::as_str).trim_end_matches('/');
            let path = venue.paths().first().copied().unwrap_or_default();
            let venue = WebVenue { name: venue.to_string(), url: format!("{base}{path}") };
            witnesses.extend(look_at_venue(&asker, &venue, &clock).await.1);
        }
    }
    for mirror in &said.mirrors {
        let mirror = mirror.trim_end_matches('/');
        match key.or(expected) {
            Some(key) => found.push(look_at_mirror(&asker, &own, mirror, key, now).await),
            None => found.push(Finding::note(
                "mirror",
                format!("{mirror}: not compared, for this oracle's own key is not known"),
                "a mirror that says something else is an equivocation",
                "start the daemon or the signer and ask again",
            )),
        }
    }
    for relay in relays(&said.nostr.clone().unwrap_or_default())? {
        match key.or(expected) {
            Some(key) => found.push(look_at_relay(&data, &relay, key, now).await),
            None => found.push(Finding::note(
                "relay",
                format!("{relay}: not looked at, for this oracle's own key is not known"),
                "what a relay shows must be this oracle's",
                "start the daemon or the signer and ask again",
            )),
        }
    }
    // Test clocks stand still; nobody else's clock can agree with one.
    if !clock.is_file() {
        found.push(look_at_clock(&witnesses, network != Network::Regtest));
        if let Some(bitcoind) = &said.bitcoind {
            found.push(look_at_bitcoind(&asker, bitcoind, now).await);
        }
    }
    Ok(found)
}
