//! `hypothec wallet`: the node's own coins.

use super::amount::bitcoins;
use super::line::Place;
use super::out::{both, sats, Grid};
use crate::api::views::{AddressView, Balance, SendRequest, Sent};
use bitcoin::Amount;
use clap::Subcommand;

/// The node's own coins
#[derive(Debug, Subcommand)]
pub(super) enum Wallet {
    /// A fresh address to receive on
    #[command(after_help = "Example:\n  hypothec wallet address")]
    Address,
    /// What the wallet holds
    #[command(after_help = "Example:\n  hypothec wallet balance --json")]
    Balance,
    /// Pay somebody; coins set aside for a loan stay where they are
    #[command(
        after_help = "Examples:\n  hypothec wallet send bcrt1q… 0.25\n  hypothec wallet send bcrt1q… 100000sat\n  \
        hypothec wallet send bcrt1q… --all"
    )]
    Send {
        /// Whom
        address: String,
        /// How much, in bitcoin or with `sat`
        #[arg(value_name = "AMOUNT", value_parser = bitcoins, required_unless_present = "all", allow_negative_numbers = true)]
        amount: Option<Amount>,
        /// Everything that is free, less the fee
        #[arg(long, conflicts_with = "amount")]
        all: bool,
    },
}

impl Wallet {
    pub(super) async fn run(self, place: &Place) -> anyhow::Result<()> {
        let client = place.client()?;
        match self {
            Wallet::Address => {
                let address: AddressView = client.act("/v1/wallet/address").await?;
                // The address alone, so that it can be passed on; what else is to say goes beside it.
                if !place.out().is_json() {
                    eprintln!(
                        "A fresh address of this node's wallet. See what arrives: {} wallet balance",
                        place.again()
                    );
                }
                place.out().say(&address, |address| address.address.clone())
            }
            Wallet::Balance => {
                let balance: Balance = client.get("/v1/wallet/balance").await?;
                place.out().say(&balance, |balance| balance_text(balance, &place.again()))
            }
            Wallet::Send { address, amount, all: _ } => {
                let request = SendRequest { address: address.clone(), sats: amount.map(Amount::to_sat) };
                let sent: Sent = client.post("/v1/wallet/send", &request).await?;
                place.out().say(&sent, |sent| {
                    let what = amount.map_or("everything free".to_owned(), |amount| both(amount.to_sat()));
                    format!(
                        "Sent {what} to {address}; the fee is {}.\ntransaction {}\n\nNext: {} wallet balance",
                        sats(sent.fee_sats),
                        sent.txid,
                        place.again()
                    )
                })
            }
        }
    }
}

fn balance_text(balance: &Balance, again: &str) -> String {
    let mut grid = Grid::plain();
    grid.row(["free".to_owned(), both(balance.confirmed_sats)]);
    grid.row(["not yet confirmed".to_owned(), both(balance.unconfirmed_sats)]);
    grid.row(["set aside for loans".to_owned(), both(balance.reserved_sats)]);
    let grid = grid.right(&[1]);
    let empty = *balance == Balance::default();
    let next = if empty { format!("\nNext: {again} wallet address") } else { String::new() };
    format!("{}{next}", grid.text())
}
