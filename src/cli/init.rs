//! `hypothec init`: makes a node's data folder.

use super::ask;
use super::line::Place;
use super::out::print;
use super::restore::Restore;
use crate::node::config::{Chain, Choices, Config};
use crate::node::data::{new_words, parse_words, DataFolder};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  hypothec init --network signet
  hypothec init --network regtest --bitcoind-url http://127.0.0.1:18443 --bitcoind-cookie ~/.bitcoin/regtest/.cookie
  hypothec init --restore                 type the words of a lost node
  hypothec init --restore < words.txt
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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "bitcoind_url", "bitcoind_cookie", "listen", "api_listen"])]
    restore_backup: Option<PathBuf>,
    /// Where the backup's passphrase is; asked for otherwise
    #[arg(long, value_name = "FILE", requires = "restore_backup")]
    passphrase_file: Option<PathBuf>,
    /// Where bitcoind's RPC answers, http://host:port
    #[arg(long, value_name = "URL")]
    bitcoind_url: Option<String>,
    /// bitcoind's cookie file
    #[arg(long, value_name = "FILE")]
    bitcoind_cookie: Option<PathBuf>,
    /// Where peers reach the node, or "off"
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// Where the commands reach the node; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    api_listen: Option<String>,
}

impl Init {
    pub(super) fn run(self, place: &Place) -> anyhow::Result<()> {
        if let Some(file) = self.restore_backup {
            return Restore::new(file, self.passphrase_file).run(place);
        }
        let path = place.data()?;
        let choices = Choices {
            network: self.network,
            bitcoind_url: self.bitcoind_url,
            bitcoind_cookie: self.bitcoind_cookie,
            peer_listen: self.listen,
            api_listen: self.api_listen,
        };
        let config = choices.text();
        // Nothing is made from a configuration that the node would refuse.
        Config::parse(&path, &config)?;
        let words = match self.restore {
            true => parse_words(&ask::words()?)?,
            false => new_words()?,
        };
        let folder = DataFolder::make(&path, &words, &config, |_| Ok(()))?;
        let (shown, again) = (folder.path().display(), place.again());
        if place.out().is_json() {
            let words = (!self.restore).then(|| words.to_string());
            let done = json!({ "data": folder.path(), "network": self.network.to_string(), "words": words });
            return print(&serde_json::to_string_pretty(&done)?);
        }
        if self.restore {
            return print(&format!(
                "Made {shown} for {} with the words you gave.\n\n\
                 The node finds its coins again when it runs, from the chain alone. The words do not restore an open\n\
                 loan: its contract was only in the lost folder. For that you need a backup.\n\n\
                 Next: {again} node",
                self.network
            ));
        }
        let numbered: String = (1u32..).zip(words.words()).map(|(n, word)| format!("  {n:>2}. {word}\n")).collect();
        print(&format!(
            "Made {shown} for {}.\n\n\
             These words are the node's keys. They are shown once: write them down on paper, in this order.\n\n\
             {numbered}\n\
             They restore the coins of the node's wallet and its name among peers.\n\
             They do not restore an open loan: its contract and signatures are only in the data folder. Make a backup\n\
             after each new loan, with `{again} backup FILE`.\n\n\
             Settings: {shown}/hypothec.toml, each explained. See that `[bitcoind]` reaches your bitcoind.\n\
             Next: {again} node",
            self.network
        ))
    }
}
