//! Whole loans, end to end: real processes with their own data folders, a real bitcoind, real sockets. One file a story.
//!
//! What needs a process to die at a chosen line is compiled in only with `--features faults`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;
#[path = "../common/offers.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod offers;
#[path = "../world/stranger.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod stranger;

mod a_person_lends_by_hand;
mod a_person_waits_at_the_terminal;
mod another_program_has_the_ports;
mod borrower_repays_from_collateral;
mod borrower_repays_from_wallet;
mod borrower_walks_away_while_the_funding_waits;
mod borrower_withdraws_a_repayment;
mod counterparty_settles_first;
mod funding_is_reorged;
mod hostile_offers_are_refused;
mod level_is_touched;
mod level_is_touched_while_a_repayment_waits;
mod loan_across_a_year_end;
mod loan_matures;
mod nobody_wakes_for_a_year;
mod only_the_words_are_left;
mod oracle_falls_silent;
mod several_oracles;

#[cfg(feature = "faults")]
mod a_disk_fills_up;
#[cfg(feature = "faults")]
mod borrower_restarts_at_each_step;
#[cfg(feature = "faults")]
mod lender_never_broadcasts_so_the_borrower_withdraws;
#[cfg(feature = "faults")]
mod lender_restarts_at_each_step;
#[cfg(feature = "faults")]
mod two_nodes_on_one_key;
