//! `hypothec init`: makes a node's data folder.

use super::ask;
use super::line::Place;
use super::out::{print, print_text};
use super::restore::Restore;
use crate::node::config::{Chain, Choices, Config};
use crate::node::data::{check_free, new_words, parse_words, DataFolder};
use crate::node::restored;
use crate::node::words::{Held, Keep};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  hypothec init --network signet          asks for the passphrase that the words are encrypted with
  hypothec init --network signet --passphrase-file passphrase.txt
  hypothec init --network regtest --no-passphrase --bitcoind-cookie ~/.bitcoin/regtest/.cookie
  hypothec init --restore                 type the words of a lost node
  hypothec init --restore --passphrase-file passphrase.txt < words.txt
  hypothec init --restore-backup node.backup";

/// Make a node's data folder: keys, words, configuration
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// regtest or signet
    #[arg(long, default_value_t)]
    network: Chain,
    /// Use the words of a lost node, typed or from standard input
    #[arg(long, conflicts_with = "restore_backup")]
    restore: bool,
    /// Restore a whole node from the file that `backup` wrote
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "bitcoind_url", "bitcoind_cookie", "listen", "announce", "api_listen"])]
    restore_backup: Option<PathBuf>,
    /// File with the passphrase of the words, or of the backup; asked for otherwise
    #[arg(long, value_name = "FILE", env = ask::PASSPHRASE_FILE, hide_env = true)]
    passphrase_file: Option<PathBuf>,
    /// Leave the words unencrypted on disk: whoever reads it, or a copy of it, has the coins
    #[arg(long)]
    no_passphrase: bool,
    /// Where bitcoind's RPC answers, http://host:port
    #[arg(long, value_name = "URL")]
    bitcoind_url: Option<String>,
    /// bitcoind's cookie file
    #[arg(long, value_name = "FILE")]
    bitcoind_cookie: Option<PathBuf>,
    /// Where peers reach the node, or "off"
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where others dial the node, where that is another address
    #[arg(long, value_name = "HOST:PORT")]
    announce: Option<String>,
    /// Where the commands reach the node; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    api_listen: Option<String>,
}

impl Init {
    pub(super) fn run(self, place: &Place) -> anyhow::Result<()> {
        if let Some(file) = self.restore_backup {
            return Restore::new(file, self.passphrase_file, self.no_passphrase).run(place);
        }
        let path = place.data()?;
        let choices = Choices {
            network: self.network,
            bitcoind_url: self.bitcoind_url,
            bitcoind_cookie: self.bitcoind_cookie,
            peer_listen: self.listen,
            announce: self.announce,
            api_listen: self.api_listen,
        };
        let config = choices.text();
        // Nothing is made from a configuration that the node would refuse, and nobody asked for what comes to nothing.
        Config::parse(&path, &config)?;
        check_free(&path)?;
        let words = match self.restore {
            true => parse_words(&ask::words()?)?,
            false => new_words()?,
        };
        let keep = match self.no_passphrase {
            true => Keep::Plain,
            // Whoever named a file wants them encrypted, and learns what is wrong with it.
            false if self.passphrase_file.is_some() => {
                Keep::Sealed(ask::new_of_words(self.passphrase_file.as_deref()).context("nothing was made")?)
            }
            false => Keep::Sealed(ask::new_of_words(None).context(
                "nothing was made; --no-passphrase leaves the words unencrypted, for whoever reads the disk",
            )?),
        };
        let folder = DataFolder::make_kept(&path, &words, &keep, &config, |folder| match self.restore {
            // What the lost node signed may still spend its coins.
            true => restored::mark_new(folder),
            false => Ok(()),
        })?;
        let (shown, again) = (folder.path().display(), place.again());
        let kept = kept(&folder, &again);
        if place.out().is_json() {
            let words = (!self.restore).then(|| words.to_string());
            let encrypted = !self.no_passphrase;
            let network = self.network.to_string();
            let done = json!({ "data": folder.path(), "network": network, "words": words, "encrypted": encrypted });
            return print(&serde_json::to_string_pretty(&done)?);
        }
        if self.restore {
            return print_text(&format!(
                "Made {shown} for {} with the words you gave.\n\n{kept}\n\n\
                 The node finds its coins again when it runs, from the chain alone, and moves\n\
                 them to a new address before anything else: what the lost node signed may\n\
                 still spend them. Open loans were in the lost folder. If you have a backup,\n\
                 delete this folder and restore that instead. If not, each peer you have a\n\
                 loan with gives it back once it is connected, and the node checks it:\n\
                 \x20 {again} peer connect KEY@HOST:PORT\n\
                 Until then no exit of such a loan goes out from here. Add your oracles, too:\n\
                 \x20 {again} oracle add URL\n\n\
                 Next: {again} node",
                self.network
            ));
        }
        let numbered: String = (1u32..).zip(words.words()).map(|(n, word)| format!("  {n:>2}. {word}\n")).collect();
        print_text(&format!(
            "Made {shown} for {}.\n\n\
             These words are the node's keys. They are shown once: write them down on paper, in this order.\n\n\
             {numbered}\n\
             They restore the coins of the node's wallet and its name among peers.\n\
             They do not restore an open loan: its contract and signatures are only in the data folder. Make a backup \
             after each new loan, with `{again} backup FILE`.\n\n\
             {kept}\n\n\
             Settings: {shown}/hypothec.toml, each explained. See that `[bitcoind]` reaches your bitcoind. A lender also\n\
             says in `[peers]` where it listens and, as `announce`, what others dial.\n\
             Next: {again} node",
            self.network
        ))
    }
}

/// How the words are kept, and what follows from it.
pub(super) fn kept(folder: &DataFolder, again: &str) -> String {
    let shown = folder.path().display();
    match folder.held() {
        Held::Sealed => format!(
            "On disk they are encrypted, in {shown}/words.age. The node asks for the passphrase at each start; \
             a service is given it as OPERATING.md says. Without it only the words on paper open the wallet."
        ),
        Held::Plain | Held::Nowhere => format!(
            "On disk they are NOT encrypted: whoever reads {shown}/words, or a copy of that disk, has the coins.\n\
             Encrypt them with `{again} wallet encrypt`."
        ),
    }
}
