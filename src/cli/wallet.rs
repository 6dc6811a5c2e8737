//! `hypothec wallet`: the node's own coins.

use super::amount::bitcoins;
use super::amount::short;
use super::ask;
use super::client::Client;
use super::confirm::{consequence, Sure};
use super::line::Place;
use super::out::{both, count, moment, print, print_text, sats, signed, tell, Grid};
use crate::api::views::{
    AddressView, Balance, ConsolidateRequest, Consolidated, HistoryEntry, OracleView, PreviewRequest, PreviewView,
    SendRequest, Sent,
};
use crate::node::data::DataFolder;
use crate::node::unlock::lock_folder;
use crate::node::words::Held;
use bitcoin::Amount;
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The node's own coins
#[derive(Debug, Subcommand)]
pub(super) enum Wallet {
    /// A fresh address to receive on
    #[command(after_help = "Example:\n  hypothec wallet address")]
    Address,
    /// What the wallet holds
    #[command(after_help = "Example:\n  hypothec wallet balance --json")]
    Balance,
    /// Every transaction of the wallet: when, what it was for, its fee, and what it made of the wallet
    #[command(
        after_help = "Examples:\n  hypothec wallet history\n  hypothec wallet history --json | jq 'map(.change_sats) | add'"
    )]
    History,
    /// Pay somebody; coins set aside for a loan stay where they are
    #[command(
        after_help = "Examples:\n  hypothec wallet send bcrt1q… 0.25\n  hypothec wallet send bcrt1q… 100000sat\n  \
        hypothec wallet send bcrt1q… --all\n  \
        hypothec wallet send bcrt1q… 0.25 --yes       without asking, for programs",
        group = clap::ArgGroup::new("sum").required(true).args(["amount", "all"])
    )]
    Send {
        /// Whom
        address: String,
        /// How much, in bitcoin or with `sat`; or --all
        #[arg(value_name = "AMOUNT", value_parser = bitcoins, allow_negative_numbers = true)]
        amount: Option<Amount>,
        /// Everything free, less the fee and what exits may need
        #[arg(long, conflicts_with = "amount")]
        all: bool,
        /// With --all: also what is kept for the fees of exits
        #[arg(long, requires = "all", conflicts_with = "amount")]
        with_fee_coin: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Join the smallest free coins into one, 400 at most; again until few are left
    #[command(
        after_help = "Examples:\n  hypothec wallet consolidate\n  hypothec wallet consolidate --yes       without asking, for programs"
    )]
    Consolidate {
        /// Also what is kept for the fees of exits while loans are open
        #[arg(long)]
        with_fee_coin: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Encrypt the words on disk with a passphrase, or with another one; the node must not run
    #[command(
        after_help = "Examples:\n  hypothec wallet encrypt                                  asks for the passphrase\n  \
        hypothec wallet encrypt --passphrase-file new.txt\n  \
        hypothec wallet encrypt --old-passphrase-file old.txt --passphrase-file new.txt"
    )]
    Encrypt {
        /// Where the new passphrase is; asked for otherwise
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Where the present one is, if the words are encrypted; asked for otherwise
        #[arg(long, value_name = "FILE")]
        old_passphrase_file: Option<PathBuf>,
    },
}

impl Wallet {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        if let Wallet::Encrypt { passphrase_file, old_passphrase_file } = self {
            return encrypt(place, passphrase_file.as_deref(), old_passphrase_file.as_deref());
        }
        let client = place.client()?;
        match self {
            Wallet::Encrypt { .. } => Ok(()),
            Wallet::Consolidate { with_fee_coin, sure } => {
                let balance = match sure.is_said() {
                    true => Balance::default(),
                    false => client.get("/v1/wallet/balance").await?,
                };
                let text = |view: &PreviewView| consequence::of_joining(view, &balance);
                sure.ask(&client, &PreviewRequest::Consolidate { with_fee_coin }, text).await?;
                let request = ConsolidateRequest { with_fee_coin };
                let done: Consolidated = client.post("/v1/wallet/consolidate", &request).await?;
                place.out().say(&done, |done| {
                    let again = place.again();
                    let next = match done.left {
                        0..=1 => format!("{again} wallet balance"),
                        left => format!(
                            "{} are left; once this is in a block, {again} wallet consolidate",
                            count(left, "free coin")
                        ),
                    };
                    if let Some(unsure) = &done.unsure {
                        return may_be_out(unsure, &place.again());
                    }
                    format!(
                        "Joined {} into one; the fee is {}.\ntransaction {}\n\nNext: {next}",
                        count(done.joined, "coin"),
                        sats(done.fee_sats),
                        done.txid,
                    )
                })
            }
            Wallet::Address => {
                let address: AddressView = client.act("/v1/wallet/address").await?;
                // The address alone, so that it can be passed on; what else is to say goes beside it.
                if !place.out().is_json() {
                    tell(&format!(
                        "A fresh address of this node's wallet. See what arrives:\n  {} wallet balance",
                        place.again()
                    ));
                }
                place.out().say(&address, |address| address.address.clone())
            }
            Wallet::History => {
                let history: Vec<HistoryEntry> = client.get("/v1/wallet/history").await?;
                place.out().say(&history, |history| history_text(history, &place.again()))
            }
            Wallet::Balance => {
                let balance: Balance = client.get("/v1/wallet/balance").await?;
                place.out().say(&balance, |balance| balance_text(balance, &place.again()))
            }
            Wallet::Send { address, amount, all, with_fee_coin, sure } => {
                let amount_sats = amount.map(Amount::to_sat);
                let (price, balance) = match sure.is_said() {
                    true => (None, Balance::default()),
                    false => (price(&client).await?, client.get("/v1/wallet/balance").await?),
                };
                let would = PreviewRequest::Send { address: address.clone(), sats: amount_sats, all, with_fee_coin };
                let text = |view: &PreviewView| {
                    let quotes = consequence::for_quotes(view.pays_sats, &balance);
                    format!("{}{quotes}", consequence::of_sending(all, &address, price, view))
                };
                sure.ask(&client, &would, text).await?;
                let request = SendRequest { address: address.clone(), sats: amount_sats, all, with_fee_coin };
                let sent: Sent = client.post("/v1/wallet/send", &request).await?;
                place.out().say(&sent, |sent| {
                    if let Some(unsure) = &sent.unsure {
                        return may_be_out(unsure, &place.again());
                    }
                    let what = amount.map_or("everything free".to_owned(), |amount| both(amount.to_sat()));
                    let ended = match sent.quotes_ended {
                        0 => String::new(),
                        many => {
                            format!("{} ended: what is left does not pay them.\n", count(many.into(), "open quote"))
                        }
                    };
                    let behind = match sent.costly_coins {
                        0 => String::new(),
                        coins => format!("{}\n", consequence::stays_behind(coins, sent.costly_sats)),
                    };
                    format!(
                        "Sent {what} to {address}; the fee is {}.\ntransaction {}\n{ended}{behind}\nNext: {} wallet balance",
                        sats(sent.fee_sats),
                        sent.txid,
                        place.again()
                    )
                })
            }
        }
    }
}

/// That it is not known yet whether a transaction is out.
fn may_be_out(unsure: &str, again: &str) -> String {
    format!("Not known to be sent yet: {unsure}.\n\nNext: {again} status")
}

/// What a bitcoin is worth, where an oracle says so.
async fn price(client: &Client) -> anyhow::Result<Option<u64>> {
    let oracles: Vec<OracleView> = client.get("/v1/oracles").await?;
    Ok(oracles.iter().find_map(|oracle| oracle.spot_cents))
}

/// Needs no node, and that none runs: the folder itself is changed.
fn encrypt(place: &Place, new: Option<&Path>, old: Option<&Path>) -> anyhow::Result<()> {
    let folder = DataFolder::open(&place.data()?)?;
    let _lock = lock_folder(&folder)?;
    let was = folder.held();
    let held_file = folder.path().join("words.age");
    if was == Held::Sealed {
        tell("The words are encrypted already. First the present passphrase, then the new one.");
    }
    // The old one first: a person answers in that order.
    let words = folder.words_with(|| ask::of_words(old, false))?;
    let new = ask::new_of_words(new)?;
    folder.encrypt_words(&words, &new)?;
    if place.out().is_json() {
        return print(&json!({ "file": held_file, "was_encrypted": was == Held::Sealed }).to_string());
    }
    let old = match was {
        Held::Sealed => "The old passphrase opens it no more; it still opens backups made with it.",
        Held::Plain | Held::Nowhere => {
            "The plain file is gone. What an SSD or an older copy of the disk has kept of it stays readable: where that \
             matters, make a new node with new words and move the coins there."
        }
    };
    print_text(&format!(
        "The words are encrypted in {}. The node asks for the passphrase at each start; \
         without it only the words on paper open the wallet.\n\n{old}",
        held_file.display()
    ))
}

fn history_text(history: &[HistoryEntry], again: &str) -> String {
    if history.is_empty() {
        return format!("No transactions yet.\n\nNext: {again} wallet address");
    }
    let mut grid = Grid::new(["when", "what", "loan", "fee", "wallet, sat", "transaction"]);
    for one in history {
        grid.row([
            one.at.map_or("waits".to_owned(), moment),
            one.what.clone().unwrap_or("not known here".to_owned()),
            one.loan_id.map_or("–".to_owned(), |id| short(&id.to_string())),
            one.fee_sats.map_or("–".to_owned(), signed),
            signed(one.change_sats),
            one.txid.to_string(),
        ]);
    }
    let sum = history.iter().map(|one| one.change_sats).fold(0, i64::saturating_add);
    format!(
        "{}All together: {} sat, which is what the wallet holds. Of a fee that both sides of a loan pay this is our part; all of it: {again} loan show LOAN\n",
        grid.right(&[3, 4]).spare(&[5, 3]).text(),
        signed(sum),
    )
}

fn balance_text(balance: &Balance, again: &str) -> String {
    let mut grid = Grid::plain();
    grid.row(["free".to_owned(), both(balance.confirmed_sats)]);
    if balance.fee_reserve_sats > 0 {
        grid.row(["of that kept for fees".to_owned(), both(balance.fee_reserve_sats)]);
    }
    grid.row(["not yet confirmed".to_owned(), both(balance.unconfirmed_sats)]);
    if balance.immature_sats > 0 {
        grid.row(["mining rewards below 100 blocks".to_owned(), both(balance.immature_sats)]);
    }
    grid.row(["set aside for loans".to_owned(), both(balance.reserved_sats)]);
    let grid = grid.right(&[1]);
    let empty = *balance == Balance::default();
    let next = if empty { format!("\nNext: {again} wallet address") } else { String::new() };
    let waits = match (balance.confirmed_sats, balance.unconfirmed_sats) {
        (0, 1..) => {
            "\nWhat is not yet confirmed can be used after the next block. A loan can also be repaid from its \
            collateral meanwhile, which needs no coin.\n"
        }
        _ => "",
    };
    format!("{}{waits}{next}", grid.text())
}
