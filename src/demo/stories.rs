//! The four stories: what is borrowed when, and what the prices will do to it.
//!
//! Pure. The prices decide how each ends; here is only what must be true of them for the story to be told.

use super::prices::{Between, Prices, Touch};
use crate::node::view::QuoteView;
use crate::protocol::Exit;
use anyhow::Context;
use hypothec_oracle::units::{Time, DAY, HOUR};

/// 9 March 2020, 00:00 UTC: the curtain rises.
pub const BEGIN: Time = Time(1_583_712_000);
/// Before the crash: the borrower of the first story repays.
pub const REPAYS: Time = Time(BEGIN.0 + 2 * DAY + 9 * HOUR);
/// 14 March, 12:00: the oracle says its last word.
pub const SILENCE: Time = Time(BEGIN.0 + 5 * DAY + 12 * HOUR);

/// Which story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plot {
    /// The borrower repays early, out of its wallet.
    Repaid,
    /// The crash touches a level.
    Liquidated,
    /// Nobody does anything.
    Matured,
    /// The oracle falls silent before the loan is due.
    OracleSilent,
}

impl Plot {
    /// Its name in the document.
    pub fn name(self) -> &'static str {
        match self {
            Plot::Repaid => "repaid",
            Plot::Liquidated => "liquidated",
            Plot::Matured => "matured",
            Plot::OracleSilent => "oracle_silent",
        }
    }

    /// The exit it must take.
    pub fn exit(self) -> Exit {
        match self {
            Plot::Repaid => Exit::Repaid,
            Plot::Liquidated => Exit::Liquidated,
            Plot::Matured => Exit::Matured,
            Plot::OracleSilent => Exit::FellBack,
        }
    }
}

/// One loan to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// Which.
    pub plot: Plot,
    /// When it is borrowed; the loan starts then.
    pub opens: Time,
    /// Dollars, in cents.
    pub principal_cents: u64,
    /// Sats locked.
    pub collateral_sats: u64,
    /// Days.
    pub days: u32,
}

/// All of them, in the order they begin: an hour apart, at that hour's first price.
pub const STORIES: [Story; 4] = [
    Story { plot: Plot::Repaid, opens: BEGIN, principal_cents: 200_000, collateral_sats: 80_000_000, days: 30 },
    Story {
        plot: Plot::Liquidated,
        opens: Time(BEGIN.0 + HOUR),
        principal_cents: 390_000,
        collateral_sats: 100_000_000,
        days: 14,
    },
    Story {
        plot: Plot::Matured,
        opens: Time(BEGIN.0 + 2 * HOUR),
        principal_cents: 240_000,
        collateral_sats: 100_000_000,
        days: 5,
    },
    Story {
        plot: Plot::OracleSilent,
        opens: Time(BEGIN.0 + 3 * HOUR),
        principal_cents: 180_000,
        collateral_sats: 90_000_000,
        days: 6,
    },
];

impl Story {
    /// When it is due.
    pub fn due(&self) -> Time {
        Time(self.opens.0.saturating_add(self.days.saturating_mul(DAY)))
    }

    /// Until when its story could be spoiled by a touch.
    fn quiet_until(&self) -> Time {
        match self.plot {
            Plot::Repaid => REPAYS,
            Plot::OracleSilent => SILENCE,
            Plot::Liquidated | Plot::Matured => self.due(),
        }
    }

    /// Will these prices tell this story of the loan that is quoted? The touch that ends it, if one does.
    ///
    /// # Errors
    /// Says what would happen instead.
    pub fn foresee(&self, quote: &QuoteView, prices: &Prices) -> anyhow::Result<Option<Touch>> {
        let name = self.plot.name();
        if self.plot == Plot::Liquidated {
            let touch = prices.first_touch(&quote.levels, Between::Least, self.due());
            return touch.map(Some).with_context(|| format!("story {name}: no level would be touched before due"));
        }
        match prices.first_touch(&quote.levels, Between::Most, self.quiet_until()) {
            None => Ok(None),
            Some(Touch { hour, low, level }) => {
                anyhow::bail!("story {name}: level {level} could be touched in the hour {hour}, whose low is {low}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loan::fixtures::reference;
    use crate::loan::ltv::ltv_ceil;
    use crate::loan::policy::Policy;
    use crate::loan::terms::Terms;
    use crate::loan::units::{BasisPoints, Cents, Days};
    use crate::node::view::LevelView;
    use bitcoin::Amount;

    fn prices() -> Prices {
        Prices::parse(super::super::prices::MARCH_2020).unwrap()
    }

    /// The terms a lender with the default policy gives for a story.
    fn terms(story: &Story) -> Terms {
        let spot = prices().bar(story.opens).unwrap().open;
        let (principal, collateral) = (Cents(story.principal_cents), Amount::from_sat(story.collateral_sats));
        let ltv = ltv_ceil(principal, collateral, spot).unwrap();
        assert!(ltv <= BasisPoints(5_000), "{:?} starts at {ltv}", story.plot);
        let apr = Policy::default().apr.apr(ltv, Days(story.days), principal);
        let (start, days, reference_price) = (story.opens, Days(story.days), spot);
        Terms { start, days, principal, reference_price, apr, collateral, ..reference() }
    }

    fn levels(terms: &Terms) -> Vec<LevelView> {
        let view = |day: crate::loan::terms::TouchDay| LevelView {
            day: day.day.to_string(),
            level: day.level.dollars(),
            owed_cents: day.owed.0,
            borrower_sats: 0,
            lender_sats: 0,
            event: day.event().to_string(),
        };
        terms.touch_days().into_iter().map(view).collect()
    }

    #[test]
    fn the_crash_of_the_12th_touches_the_level_of_the_loan_that_is_liquidated_and_of_no_other() {
        let prices = prices();
        for story in STORIES {
            let levels = levels(&terms(&story));
            let least = prices.first_touch(&levels, Between::Least, story.quiet_until());
            let most = prices.first_touch(&levels, Between::Most, story.quiet_until());
            assert_eq!(least, most, "every day is named");
            match story.plot {
                Plot::Liquidated => {
                    let touch = least.unwrap();
                    assert_eq!(touch.hour.to_string(), "2020-03-12T23:00:00Z");
                    assert_eq!((touch.low, touch.level), (Cents(477_659), 5_010));
                }
                _ => assert_eq!(least, None, "{:?}", story.plot),
            }
        }
    }

    #[test]
    fn the_fixing_comes_days_after_the_start_and_the_silence_between_it_and_the_last_loans_due() {
        let [repaid, _, matured, silent] = STORIES;
        assert_eq!(terms(&matured).touch_days().len(), 6);
        assert_eq!(matured.due().to_string(), "2020-03-14T02:00:00Z");
        assert!(prices().fixing(matured.due()).is_some());
        assert_eq!(SILENCE.to_string(), "2020-03-14T12:00:00Z");
        assert!(matured.due().plus(6 * HOUR).unwrap() <= SILENCE && SILENCE < silent.due());
        assert!(REPAYS < repaid.due());
    }
}
