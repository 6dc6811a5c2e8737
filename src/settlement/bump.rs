//! What is paid so that an exit confirms: by a child on one's own output of it, counted together as a package.
//!
//! The rate wanted rises with the blocks that count ([`super::counting`]), and is at most the fee cap; what
//! is paid is never more than a rival exit would cost. The lender goes first and the borrower follows two blocks behind:
//! where both pay, neither replaces the other's child for ever.

use crate::contract::Role;
use bitcoin::Amount;

/// Blocks by which the borrower's wanted rate lags behind the lender's.
pub const BORROWER_WAITS: u32 = 2;
/// Blocks in which the wanted rate rises by once the estimate.
pub const RISES_EVERY: u32 = 4;
/// The wanted rate is at most so many times the estimate.
pub const TIMES_MOST: u32 = 10;
/// What a child weighs at most that spends an exit's output to one of ours, virtual bytes.
pub const CHILD: u64 = 110;
/// The same with a coin of ours beside the output.
pub const CHILD_WITH_RESERVE: u64 = 178;
/// The most a child of a version 3 transaction may weigh for nodes to relay it, virtual bytes.
pub const TRUC_CHILD_MOST: u64 = 1_000;
/// What a replacement pays more for each of its virtual bytes, sats.
pub const INCREMENT: u64 = 1;
/// The smallest output of a child, sats.
pub const DUST: u64 = 294;
/// The other side's child has to give way to ours, where a parent has one only, if that costs at most so many times what
/// ours costs without it. Else it stays for this block: who hung it there pays.
pub const EVICTS_TIMES: u64 = 2;
/// Whatever it costs, a child gives way with which a miner gets less than this part of the estimate.
pub const EVICTS_BELOW: u64 = 2;
/// What getting one's own money is worth in any case: this part of it.
pub const WORTH_PARTS: u64 = 100;

/// A fee and the size it is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// To miners.
    pub fee: Amount,
    /// Virtual bytes.
    pub size: u64,
}

impl Paid {
    /// Both together.
    pub fn with(self, other: Paid) -> Paid {
        let fee = Amount::from_sat(self.fee.to_sat().saturating_add(other.fee.to_sat()));
        Paid { fee, size: self.size.saturating_add(other.size) }
    }

    /// sat/vB, rounded down.
    pub fn rate_floor(self) -> u64 {
        self.fee.to_sat() / self.size.max(1)
    }

    /// Does it pay `parts`/10 of `rate` sat/vB?
    pub(super) fn pays(self, rate: u64, parts: u32) -> bool {
        u128::from(self.fee.to_sat()) * 10 >= u128::from(rate) * u128::from(self.size) * u128::from(parts)
    }

    /// Does it pay more per byte?
    fn is_better_than(self, other: Paid) -> bool {
        u128::from(self.fee.to_sat()) * u128::from(other.size) > u128::from(other.fee.to_sat()) * u128::from(self.size)
    }
}

/// A child of the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// It alone.
    pub child: Paid,
    /// With everything it needs, the exit among it: what a miner counts.
    pub package: Paid,
}

/// An exit that waits for a block, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose output the child would spend.
    pub role: Role,
    /// Has it one unconfirmed child at most, as version 3 has where its rules are enforced?
    pub is_truc: bool,
    /// Blocks since it was first wanted, as far as they count.
    pub blocks: u32,
    /// For a block soon, sat/vB; no less than one's own mempool asks.
    pub estimate: u64,
    /// What exit and child pay together at most, sat/vB, where nothing has to give way to them; the estimate is not above.
    pub cap: u64,
    /// The exit alone.
    pub exit: Paid,
    /// Does one's own mempool hold it?
    pub is_relayed: bool,
    /// Our child as it was last signed.
    pub ours: Option<Paid>,
    /// The other side's best child in the mempool.
    pub theirs: Option<Theirs>,
    /// What stands in the mempool in its place: all its fees and sizes, at its best rate.
    pub rival: Option<Rival>,
    /// Our output of it.
    pub output: Amount,
    /// A confirmed coin of ours that may be added.
    pub reserve: Option<Amount>,
    /// What our child may pay at most; see [`most`].
    pub most: Amount,
}

/// Another spend of the 2-of-2 that waits, with what hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rival {
    /// All that is displaced pays this.
    pub fee: Amount,
    /// The best rate in it, sat/vB, rounded up.
    pub rate: u64,
}

/// A child to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bump {
    /// Its fee.
    pub fee: Amount,
    /// Is the reserve coin needed for it?
    pub with_reserve: bool,
}

/// What a side may pay for an exit that brings it `ours`: no more than it would lose by the worst of `rivals` (what it
/// would get from each), and always a hundredth of what it is about.
pub fn most(ours: Amount, rivals: impl IntoIterator<Item = Amount>) -> Amount {
    let worst = rivals.into_iter().min().unwrap_or(ours);
    let loss = ours.to_sat().saturating_sub(worst.to_sat());
    Amount::from_sat(loss.max(ours.to_sat() / WORTH_PARTS))
}

/// The rate wanted after `blocks`, sat/vB; `None` while it is the other side's turn.
pub fn rate_wanted(role: Role, blocks: u32, estimate: u64) -> Option<u64> {
    let blocks = match role {
        Role::Lender => blocks,
        Role::Borrower => blocks.checked_sub(BORROWER_WAITS)?,
    };
    let parts = RISES_EVERY.saturating_add(blocks).min(RISES_EVERY.saturating_mul(TIMES_MOST));
    Some(estimate.max(1).saturating_mul(parts.into()).div_ceil(RISES_EVERY.into()))
}

/// The child to make or to replace ours by, if any.
pub fn bump(waiting: &Waiting) -> Option<Bump> {
    let rate = rate_wanted(waiting.role, waiting.blocks, waiting.estimate)?;
    if waiting.rival.is_none() && waiting.is_enough(rate.min(waiting.cap)) {
        return None;
    }
    let from = |sats: u64| sats.saturating_sub(DUST);
    let alone = from(waiting.output.to_sat());
    let plain = waiting.fee(rate, CHILD, waiting.most.to_sat());
    if let Some(fee) = plain.filter(|fee| *fee <= alone) {
        return Some(Bump { fee: Amount::from_sat(fee), with_reserve: false });
    }
    let together = waiting.reserve.map(|reserve| from(reserve.to_sat().saturating_add(waiting.output.to_sat())));
    if let Some(together) = together.filter(|_| plain.is_some()) {
        let fee = waiting.fee(rate, CHILD_WITH_RESERVE, waiting.most.to_sat().min(together))?;
        return Some(Bump { fee: Amount::from_sat(fee), with_reserve: true });
    }
    let fee = waiting.fee(rate, CHILD, waiting.most.to_sat().min(alone))?;
    Some(Bump { fee: Amount::from_sat(fee), with_reserve: false })
}

impl Waiting {
    /// The best package a miner would find.
    pub fn best(&self) -> Paid {
        // Of two children of a version 3 transaction one has driven the other out; where theirs is seen, it was theirs.
        let ours = self.ours.filter(|_| self.rivals_child().is_none()).map(|ours| self.exit.with(ours));
        let theirs = self.theirs.map(|theirs| theirs.package);
        let all = [ours, theirs].into_iter().flatten();
        all.fold(self.exit, |best, one| if one.is_better_than(best) { one } else { best })
    }

    /// Is the rate reached? What is relayed already is not replaced for a tenth, and by the borrower, whose estimate is
    /// never quite the lender's, not for a fifth.
    fn is_enough(&self, rate: u64) -> bool {
        let parts = match (self.is_relayed, self.role) {
            (false, _) => 10,
            (true, Role::Lender) => 9,
            (true, Role::Borrower) => 8,
        };
        self.best().pays(rate, parts)
    }

    /// The fee of a child of `size` that brings the package to `rate`, or as near as `most` sats go; `None` where that
    /// would replace nothing and improve nothing.
    fn fee(&self, rate: u64, size: u64, most: u64) -> Option<u64> {
        let whole = self.exit.size.saturating_add(size);
        let missing = |rate: u64| rate.saturating_mul(whole).saturating_sub(self.exit.fee.to_sat());
        let [wanted, uncapped] =
            [rate.min(self.cap), rate].map(|rate| missing(rate).max(self.estimate.saturating_mul(size)));
        let least = self.least(size);
        let most = most.min(self.below_cap(whole));
        if !self.may_evict(size, uncapped) {
            return None;
        }
        let fee = wanted.max(least);
        if fee <= most {
            return Some(fee);
        }
        let package = self.exit.with(Paid { fee: Amount::from_sat(most), size });
        (most >= least.max(1) && package.is_better_than(self.best())).then_some(most)
    }

    /// Is the cap what keeps it from paying more, where more is wanted? Not where something has to give way, unless what is
    /// there pays as much as the cap lets anything pay.
    pub(super) fn is_bound_by_cap(&self) -> bool {
        self.rival.is_none() && (self.rivals_child().is_none() || self.is_enough(self.cap))
    }

    /// The fee that brings `whole` bytes, the exit among them, to the cap. Where something has to give way what it costs
    /// decides, not the cap.
    fn below_cap(&self, whole: u64) -> u64 {
        match self.rival.is_some() || self.rivals_child().is_some() {
            true => u64::MAX,
            false => self.cap.saturating_mul(whole).saturating_sub(self.exit.fee.to_sat()),
        }
    }

    /// The child that has to give way to ours.
    fn rivals_child(&self) -> Option<Paid> {
        self.theirs.map(|theirs| theirs.child).filter(|_| self.is_truc)
    }

    /// Is the other side's child worth driving out by one of `size` that would pay `wanted` without it? A wide one makes that
    /// dear for us and costs its owner nothing when it is gone. The wanted rate rises with each block, so none that pays
    /// less than the estimate stays for long.
    fn may_evict(&self, size: u64, wanted: u64) -> bool {
        let Some(child) = self.rivals_child() else { return true };
        let is_cheap = dearer(child, size) <= wanted.saturating_mul(EVICTS_TIMES);
        is_cheap || !self.best().pays(self.estimate.div_ceil(EVICTS_BELOW), 10)
    }

    /// What a child of `size` pays at least so that nodes let it, and the exit with it, take the place of what is
    /// there: more in all, by a step for each of its bytes, and more for each byte.
    fn least(&self, size: u64) -> u64 {
        // A version 3 transaction has one child: the other side's gives way as our own does.
        let children = [self.ours, self.rivals_child()].into_iter().flatten();
        let beside = children.map(|child| dearer(child, size)).max().unwrap_or(0);
        let Some(rival) = self.rival else { return beside };
        let whole = self.exit.size.saturating_add(size);
        let step = whole.saturating_mul(INCREMENT);
        let in_all = rival.fee.to_sat().saturating_add(step).max(rival.rate.saturating_add(1).saturating_mul(whole));
        // A package is judged by its child only where that pays better than the exit does.
        let better = per_byte(self.exit, size).saturating_add(1);
        beside.max(in_all.saturating_sub(self.exit.fee.to_sat())).max(better)
    }
}

/// What one of `size` pays that takes the place of `other`.
fn dearer(other: Paid, size: u64) -> u64 {
    let in_all = other.fee.to_sat().saturating_add(size.saturating_mul(INCREMENT));
    in_all.max(per_byte(other, size).saturating_add(1))
}

/// What `size` bytes cost at the rate of `paid`, rounded up.
fn per_byte(paid: Paid, size: u64) -> u64 {
    let cost = u128::from(paid.fee.to_sat()) * u128::from(size);
    u64::try_from(cost.div_ceil(u128::from(paid.size.max(1)))).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::settlement) fn sat(sats: u64) -> Amount {
        Amount::from_sat(sats)
    }

    /// A touch paid ahead at 25 sat/vB, refused by the mempool, whose lender gets 40,000,000 sats.
    pub(in crate::settlement) fn touch() -> Waiting {
        Waiting {
            role: Role::Lender,
            is_truc: false,
            blocks: 0,
            estimate: 50,
            cap: 500,
            exit: Paid { fee: sat(4_250), size: 170 },
            is_relayed: false,
            ours: None,
            theirs: None,
            rival: None,
            output: sat(40_000_000),
            reserve: None,
            most: sat(1_000_000),
        }
    }

    fn fee(waiting: &Waiting) -> Option<u64> {
        bump(waiting).map(|bump| bump.fee.to_sat())
    }

    #[test]
    fn a_child_brings_the_package_to_the_estimate_and_with_each_block_to_a_quarter_more() {
        let at = |blocks| fee(&Waiting { blocks, ..touch() });
        assert_eq!(at(0), Some(50 * 280 - 4_250));
        assert_eq!(at(4), Some(100 * 280 - 4_250));
        assert_eq!(at(36), Some(500 * 280 - 4_250));
        assert_eq!(at(1_000), at(36));
        let calm = Waiting { estimate: 5, ..touch() };
        assert_eq!([0, 15, 16].map(|blocks| fee(&Waiting { blocks, ..calm })), [None; 3], "paid ahead for 16 blocks");
        assert_eq!(fee(&Waiting { blocks: 17, ..calm }), Some(27 * 280 - 4_250));
    }

    #[test]
    fn the_borrower_waits_two_blocks_and_adds_nothing_to_a_child_of_the_lenders() {
        let borrower = Waiting { role: Role::Borrower, ..touch() };
        assert_eq!([0, 1].map(|blocks| fee(&Waiting { blocks, ..borrower })), [None; 2]);
        let alone = Waiting { blocks: 2, ..borrower };
        assert_eq!(fee(&alone), Some(50 * 280 - 4_250));
        let child = Paid { fee: sat(50 * 280 - 4_250), size: 110 };
        let theirs = Theirs { child, package: touch().exit.with(child) };
        assert_eq!(fee(&Waiting { theirs: Some(theirs), is_relayed: true, ..alone }), None);
    }

    #[test]
    fn one_that_pays_too_little_gives_way_and_in_version_3_to_the_other_sides_too() {
        let child = Paid { fee: sat(5_000), size: 110 };
        let theirs = Some(Theirs { child, package: touch().exit.with(child) });
        let below = Waiting { theirs, is_relayed: true, estimate: 34, ..touch() };
        assert_eq!(fee(&below), None, "9,250 sats for 280 vB are 33");
        let below = Waiting { estimate: 37, ..below };
        assert_eq!(fee(&below), Some(37 * 280 - 4_250), "beside it in version 2");
        assert_eq!(fee(&Waiting { is_truc: true, ..below }), Some(6_110), "in its place in version 3");
    }

    #[test]
    fn a_wide_child_of_the_other_sides_gives_way_only_where_that_is_cheap_or_it_pays_next_to_nothing() {
        let at = |estimate: u64, sats: u64, blocks: u32| {
            let child = Paid { fee: sat(sats), size: 978 };
            let theirs = Some(Theirs { child, package: touch().exit.with(child) });
            fee(&Waiting { theirs, is_truc: true, is_relayed: true, blocks, estimate, ..touch() })
        };
        let beside = |sats, blocks| at(50, sats, blocks);
        // Alone it would be 9,750: theirs brings the exit to 44 of 50 sat/vB.
        assert_eq!(beside(47_000, 0), None, "it pays");
        assert_eq!([1, 2, 3].map(|blocks| beside(47_000, blocks)), [None; 3]);
        // What is wanted has doubled, and theirs has not.
        assert_eq!(beside(47_000, 4), Some(47_110));
        assert_eq!(beside(19_000, 0), Some(19_110), "twice");
        assert_eq!(at(52, 24_000, 0), Some(24_110), "less than half the estimate for a miner");
        assert_eq!([beside(24_000, 0), at(52, 26_000, 0)], [None; 2]);
        // It drove ours out, which had paid the estimate for less: what it pays now is more.
        let child = Paid { fee: sat(88_500), size: 978 };
        let theirs = Some(Theirs { child, package: touch().exit.with(child) });
        let ours = Some(Paid { fee: sat(9_750), size: CHILD });
        let driven = Waiting { theirs, ours, is_truc: true, is_relayed: true, ..touch() };
        assert_eq!([0, 4, 8].map(|blocks| fee(&Waiting { blocks, ..driven })), [None; 3]);
    }

    #[test]
    fn exit_and_child_pay_no_more_than_the_cap_together_unless_another_has_to_give_way() {
        let capped = Waiting { cap: 60, blocks: 1_000, ..touch() };
        assert_eq!(fee(&capped), Some(60 * 280 - 4_250));
        let ours = Some(Paid { fee: sat(60 * 280 - 4_250 - 10), size: CHILD });
        assert_eq!(fee(&Waiting { ours, ..capped }), None, "a step would go beyond it");
        let rival = Some(Rival { fee: sat(16_800), rate: 80 });
        assert_eq!(fee(&Waiting { rival, ..capped }), Some(81 * 280 - 4_250));
    }

    #[test]
    fn what_stands_in_an_exits_place_is_paid_for_in_all_and_per_byte() {
        // Another touch with a child that pays 60 sat/vB.
        let rival = Rival { fee: sat(16_800), rate: 60 };
        let calm = Waiting { estimate: 5, rival: Some(rival), ..touch() };
        assert_eq!(fee(&calm), Some(61 * 280 - 4_250));
        // A repayment, wide and cheap.
        let rival = Rival { fee: sat(20_000), rate: 10 };
        assert_eq!(fee(&Waiting { rival: Some(rival), ..calm }), Some(20_000 + 280 - 4_250));
        assert_eq!(fee(&Waiting { rival: Some(rival), most: sat(16_000), ..calm }), None, "more than is at stake");
    }

    #[test]
    fn no_more_is_paid_than_the_worst_rival_would_cost_and_a_hundredth_always() {
        assert_eq!(most(sat(10_000_000), [sat(9_000_000), sat(9_990_000)]), sat(1_000_000));
        assert_eq!(most(sat(10_000_000), [sat(10_000_001)]), sat(100_000));
        assert_eq!(most(sat(1_000), []), sat(10));
        assert_eq!(fee(&Waiting { most: sat(3_000), ..touch() }), Some(3_000));
        let dearest = fee(&Waiting { blocks: 1_000, most: Amount::MAX, ..touch() }).unwrap();
        // Beside the widest child of the other side's, whatever it pays.
        let beside = |sats: u64| {
            let child = Paid { fee: sat(sats), size: TRUC_CHILD_MOST };
            let theirs = Some(Theirs { child, package: touch().exit.with(child) });
            fee(&Waiting { theirs, is_truc: true, is_relayed: true, blocks: 1_000, most: Amount::MAX, ..touch() })
        };
        let widest = (0..1_000_000).step_by(50).filter_map(beside).max().unwrap();
        println!(
            "bound fee-race {dearest} sats at 50 sat/vB, {widest} where the other side's child of 1,000 vB gives way, unless \
             a rival stands in its place"
        );
        assert!(widest <= EVICTS_TIMES * dearest, "{widest}");
        assert_eq!(fee(&Waiting { most: sat(10), output: sat(1_000), ..touch() }), None, "no better per byte");
    }

    #[test]
    fn an_output_too_small_for_the_fee_takes_the_reserve_coin_beside_it() {
        let small = Waiting { output: sat(6_000), ..touch() };
        assert_eq!(bump(&small), Some(Bump { fee: sat(5_706), with_reserve: false }));
        let reserve = Waiting { reserve: Some(sat(20_000)), ..small };
        assert_eq!(bump(&reserve), Some(Bump { fee: sat(50 * 348 - 4_250), with_reserve: true }));
        assert!(!bump(&Waiting { reserve: Some(sat(20_000)), ..touch() }).unwrap().with_reserve);
        const { assert!(CHILD_WITH_RESERVE <= TRUC_CHILD_MOST && CHILD < CHILD_WITH_RESERVE) };
    }

    fn any_paid() -> impl Strategy<Value = Paid> {
        (0u64..3_000_000, 60u64..1_000).prop_map(|(fee, size)| Paid { fee: sat(fee), size })
    }

    prop_compose! {
        pub(in crate::settlement) fn any_waiting()(
            lender in any::<bool>(),
            is_truc in any::<bool>(),
            blocks in 0u32..100,
            (estimate, over) in (0u64..2_000, 0u64..9_000),
            exit in any_paid(),
            is_relayed in any::<bool>(),
            ours in proptest::option::of(any_paid()),
            theirs in proptest::option::of(any_paid()),
            rival in proptest::option::of((0u64..3_000_000, 0u64..2_000)),
            output in 0u64..3_000_000,
            reserve in proptest::option::of(0u64..100_000),
            most in 0u64..3_000_000,
        ) -> Waiting {
            let role = if lender { Role::Lender } else { Role::Borrower };
            let theirs = theirs.map(|child| Theirs { child, package: exit.with(child) });
            let rival = rival.map(|(fee, rate)| Rival { fee: sat(fee), rate });
            let (output, reserve, most) = (sat(output), reserve.map(sat), sat(most));
            let cap = estimate + over;
            Waiting { role, is_truc, blocks, estimate, cap, exit, is_relayed, ours, theirs, rival, output, reserve, most }
        }
    }

    proptest! {
        /// Never more than is at stake or than there is, and always as much as replaces what is there.
        #[test]
        fn a_child_pays_no_more_than_is_at_stake_and_enough_to_be_let_in(waiting in any_waiting()) {
            let Some(Bump { fee, with_reserve }) = bump(&waiting) else { return Ok(()) };
            let size = if with_reserve { CHILD_WITH_RESERVE } else { CHILD };
            let brought = waiting.output.to_sat() + if with_reserve { waiting.reserve.unwrap().to_sat() } else { 0 };
            prop_assert!(fee <= waiting.most);
            prop_assert!(fee.to_sat() + DUST <= brought);
            let child = Paid { fee, size };
            let theirs = waiting.theirs.map(|theirs| theirs.child).filter(|_| waiting.is_truc);
            for other in [waiting.ours, theirs].into_iter().flatten() {
                prop_assert!(fee.to_sat() >= other.fee.to_sat() + size && child.is_better_than(other));
            }
            let package = waiting.exit.with(child);
            if let Some(rival) = waiting.rival {
                prop_assert!(package.fee.to_sat() >= rival.fee.to_sat() + package.size);
                prop_assert!(package.pays(rival.rate + 1, 10) && child.is_better_than(waiting.exit));
            }
            let rate = rate_wanted(waiting.role, waiting.blocks, waiting.estimate).unwrap();
            if waiting.rival.is_none() && waiting.rivals_child().is_none() {
                prop_assert!(package.fee.to_sat() <= waiting.cap * package.size);
            }
            if let Some(child) = waiting.rivals_child() {
                let whole = waiting.exit.size + size;
                let alone = (rate * whole).saturating_sub(waiting.exit.fee.to_sat()).max(waiting.estimate * size);
                let paid_next_to_nothing = !waiting.best().pays(waiting.estimate.div_ceil(2), 10);
                prop_assert!(dearer(child, size) <= 2 * alone || paid_next_to_nothing);
            }
            let limited = fee == waiting.most || fee.to_sat() + DUST == brought;
            prop_assert!(package.pays(rate.min(waiting.cap), 10) || limited);
        }

        /// Two honest nodes whose estimates are a tenth apart: the borrower adds nothing to what the lender pays.
        #[test]
        fn two_honest_nodes_do_not_replace_each_others_children(
            is_truc in any::<bool>(),
            estimate in 1u64..500,
            off in 95u64..=105,
            blocks in 1u32..200,
        ) {
            let at = |role, estimate, blocks| Waiting { role, is_truc, estimate, blocks, most: sat(10_000_000), ..touch() };
            let mut ours: Option<Paid> = None;
            for blocks in 0..blocks {
                let lender = Waiting { ours, is_relayed: true, ..at(Role::Lender, estimate, blocks) };
                let made = bump(&lender);
                ours = made.map(|bump| Paid { fee: bump.fee, size: CHILD }).or(ours);
                let theirs = ours.map(|child| Theirs { child, package: touch().exit.with(child) });
                let borrower = at(Role::Borrower, estimate * off / 100, blocks);
                prop_assert_eq!(bump(&Waiting { theirs, is_relayed: true, ..borrower }), None, "after {} blocks", blocks);
            }
        }

        /// However wide it is, and whatever it pays: no child of the other side's holds an exit below the estimate for long.
        #[test]
        fn a_child_of_the_other_sides_below_the_estimate_has_gone_after_six_blocks(
            ahead in 0u64..60,
            estimate in 2u64..500,
            size in 60u64..=TRUC_CHILD_MOST,
            sats in 0u64..600_000,
        ) {
            let exit = Paid { fee: sat(170 * ahead), size: 170 };
            let child = Paid { fee: sat(sats), size };
            let theirs = Some(Theirs { child, package: exit.with(child) });
            let most = sat(10_000_000);
            let open = Waiting { exit, estimate, cap: 5_000, theirs, most, is_relayed: true, ..touch() };
            let waiting = Waiting { is_truc: true, blocks: 6, ..open };
            prop_assert!(waiting.best().pays(estimate, 10) || bump(&waiting).is_some());
        }

        #[test]
        fn no_number_at_all_makes_it_panic(
            numbers in proptest::array::uniform14(any::<u64>()),
            role in any::<bool>(),
            flags in any::<(bool, bool)>(),
        ) {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = numbers;
            let child = Paid { fee: sat(f), size: g };
            let waiting = Waiting {
                role: if role { Role::Lender } else { Role::Borrower },
                is_truc: flags.0,
                blocks: a as u32,
                estimate: b,
                cap: n,
                exit: Paid { fee: sat(c), size: d },
                is_relayed: flags.1,
                ours: Some(Paid { fee: sat(e), size: h }),
                theirs: Some(Theirs { child, package: child.with(Paid { fee: sat(i), size: j }) }),
                rival: Some(Rival { fee: sat(k), rate: l }),
                output: sat(m),
                reserve: Some(sat(n)),
                most: sat(a),
            };
            let _ = bump(&waiting);
        }
    }
}
