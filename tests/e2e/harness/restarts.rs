//! The story of a node that dies again and again, at every step of its loans, and loses nothing.

use super::crash::Outcome;
use super::{after, Theatre, NOON};
use hypothec::contract::Role;
use hypothec::demo::prices::Prices;
use hypothec::loan::LoanId;
use hypothec::protocol::Exit;
use hypothec_oracle::units::Cents;

/// Where a node is to die.
pub struct Points {
    /// While a loan is negotiated; the second says whether the loan must still come to be.
    pub negotiating: &'static [(&'static str, bool)],
    /// While one is repaid.
    pub repaying: &'static [&'static str],
    /// While loans are settled by a touch, the other node being off.
    pub settling: &'static [&'static str],
}

/// Plays it all with `role` as the one who dies.
pub async fn dies_at_each_step(role: Role, points: &Points) {
    // A fifth of a bitcoin at $10,000 backs some hundred dollars; at $100 everything is liquidated.
    let hours = 24 * 20;
    let crash = after(NOON, 48);
    let prices = Prices::flat(NOON, hours, Cents(1_000_000)).falling(crash, Cents(10_000));
    let mut theatre = Theatre::rich(NOON, prices).await;
    let mut active: Vec<LoanId> = Vec::new();
    for (number, (point, must_be)) in points.negotiating.iter().enumerate() {
        match theatre.negotiate_through(role, point, number).await {
            Outcome::Active(id) => active.push(id),
            Outcome::Nothing => assert!(!must_be, "{point}: the loan is lost"),
        }
    }
    let left = active.split_off(points.repaying.len().min(active.len()));
    assert_eq!(active.len(), points.repaying.len(), "too few loans for every point");
    for (point, id) in points.repaying.iter().zip(active) {
        theatre.repay_through(role, point, id).await;
    }
    assert!(left.len() >= 2, "too few loans to settle");
    theatre.node(role.other()).stop().await.unwrap();
    theatre.walk_to(crash, 12 * 3_600).await.unwrap();
    // The hour of the crash passes while nobody runs.
    theatre.node(role).stop().await.unwrap();
    theatre.hours(1).await.unwrap();
    for point in points.settling {
        theatre.rise_to_die(role, point).await;
    }
    theatre.revive(role).await;
    theatre.revive(role.other()).await;
    for id in left {
        theatre.settled(id, Exit::Liquidated).await;
    }
    theatre.every_sat_is_explained().await;
}
