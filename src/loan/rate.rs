//! The yearly rate a lender asks: one small table over LTV, term and amount, straight lines between its points.
//!
//! The rate is the LTV's line plus the term's and the amount's, and always lies between 5 and 15 %.

use super::units::{BasisPoints, Cents, Days};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The lowest rate.
pub const APR_MIN: BasisPoints = BasisPoints(500);
/// The highest rate.
pub const APR_MAX: BasisPoints = BasisPoints(1_500);
/// The most points of one line.
pub const POINTS_MAX: usize = 32;

/// A corner of a line: at `at`, `bp` basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, i32)", into = "(u64, i32)")]
pub struct Point {
    /// LTV in basis points, term in days, or amount in cents.
    pub at: u64,
    /// Basis points a year; a line that adds to another may be negative.
    pub bp: i32,
}

impl From<(u64, i32)> for Point {
    fn from((at, bp): (u64, i32)) -> Point {
        Point { at, bp }
    }
}

impl From<Point> for (u64, i32) {
    fn from(point: Point) -> (u64, i32) {
        (point.at, point.bp)
    }
}

/// The rate: three lines that add up. Before its first and after its last point a line is flat; an empty one adds 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AprCurve {
    /// The rate over the initial LTV, in basis points.
    pub ltv: Vec<Point>,
    /// What the term adds, over days.
    #[serde(default)]
    pub days: Vec<Point>,
    /// What the amount adds, over cents.
    #[serde(default)]
    pub amount: Vec<Point>,
}

impl Default for AprCurve {
    /// 6 % at 20 % LTV to 9.5 % at 50 %; up to half a percent less for a month, up to 1.5 % more for a year;
    /// one percent more under $1,000, half a percent less from $100,000.
    fn default() -> AprCurve {
        let points = |points: &[(u64, i32)]| points.iter().copied().map(Point::from).collect();
        AprCurve {
            ltv: points(&[(2_000, 600), (5_000, 950), (6_000, 1_150)]),
            days: points(&[(30, -50), (90, 0), (365, 150)]),
            amount: points(&[(100_000, 100), (1_000_000, 0), (5_000_000, 0), (10_000_000, -50)]),
        }
    }
}

/// What is wrong with a curve.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CurveError {
    #[error("{line}: {found} points; at most {POINTS_MAX} are right")]
    TooMany { line: &'static str, found: usize },
    #[error("ltv: no points; name at least one rate")]
    Empty,
    #[error("{line}: a point at {} follows one at {}; points must increase", place(line, *found), place(line, *previous))]
    Order { line: &'static str, previous: u64, found: u64 },
    #[error("{line}: {} at {}; the lines together must stay from {APR_MIN} to {APR_MAX} a year", percent((*found).into()), place(line, *at))]
    Rate { line: &'static str, at: u64, found: i32 },
    #[error("the rate would reach {}; it must stay from {APR_MIN} to {APR_MAX} a year", percent(*found))]
    Range { found: i64 },
}

/// Basis points as people say them.
fn percent(found: i64) -> String {
    let points = u32::try_from(found.unsigned_abs()).map_or(BasisPoints(u32::MAX), BasisPoints);
    format!("{}{points}", if found < 0 { "-" } else { "" })
}

/// Where a point lies, in what its line is over.
fn place(line: &str, at: u64) -> String {
    match line {
        "ltv" => percent(i64::try_from(at).unwrap_or(i64::MAX)),
        "days" => format!("{at} days"),
        _ => Cents(at).to_string(),
    }
}

impl AprCurve {
    /// Whether every rate the curve can ask lies between 5 and 15 %.
    pub fn validate(&self) -> Result<(), CurveError> {
        let lines = [("ltv", &self.ltv), ("days", &self.days), ("amount", &self.amount)];
        if self.ltv.is_empty() {
            return Err(CurveError::Empty);
        }
        for (line, points) in lines {
            check_line(line, points)?;
        }
        // Lines are highest and lowest at points, and any three can come together.
        let sum = |pick: fn(&[Point]) -> i32| lines.iter().map(|(_, points)| i64::from(pick(points))).sum::<i64>();
        let lowest = sum(|points| points.iter().map(|p| p.bp).min().unwrap_or(0));
        let highest = sum(|points| points.iter().map(|p| p.bp).max().unwrap_or(0));
        let wrong = [lowest, highest].into_iter().find(|bp| *bp < APR_MIN.0.into() || *bp > APR_MAX.0.into());
        wrong.map_or(Ok(()), |found| Err(CurveError::Range { found }))
    }

    /// The rate for a loan. Kept between 5 and 15 % even if the curve was never validated.
    pub fn apr(&self, ltv: BasisPoints, days: Days, amount: Cents) -> BasisPoints {
        let sum = [(&self.ltv, ltv.0.into()), (&self.days, days.0.into()), (&self.amount, amount.0)]
            .into_iter()
            .map(|(points, at)| line_floor(points, at))
            .sum::<i64>();
        BasisPoints(u32::try_from(sum).unwrap_or(0)).clamp(APR_MIN, APR_MAX)
    }
}

fn check_line(line: &'static str, points: &[Point]) -> Result<(), CurveError> {
    if points.len() > POINTS_MAX {
        return Err(CurveError::TooMany { line, found: points.len() });
    }
    if let Some(wrong) = points.iter().find(|point| !(-10_000..=10_000).contains(&point.bp)) {
        return Err(CurveError::Rate { line, at: wrong.at, found: wrong.bp });
    }
    let mut pairs = points.iter().zip(points.iter().skip(1));
    match pairs.find(|(previous, next)| previous.at >= next.at) {
        Some((previous, next)) => Err(CurveError::Order { line, previous: previous.at, found: next.at }),
        None => Ok(()),
    }
}

/// The line's height at `at`, rounded down.
fn line_floor(points: &[Point], at: u64) -> i64 {
    let after = points.partition_point(|point| point.at <= at);
    let left = after.checked_sub(1).and_then(|before| points.get(before));
    match (left, points.get(after)) {
        (Some(left), Some(right)) => {
            let rise = i128::from(right.bp) - i128::from(left.bp);
            let along = i128::from(at) - i128::from(left.at);
            let run = (i128::from(right.at) - i128::from(left.at)).max(1);
            i64::from(left.bp).saturating_add(i64::try_from((rise * along).div_euclid(run)).unwrap_or(0))
        }
        (Some(only), None) | (None, Some(only)) => only.bp.into(),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_straight_between_points_and_flat_beyond() {
        let line: Vec<Point> = [(10, 100), (20, 200), (30, 50)].map(Point::from).to_vec();
        let heights = [0, 10, 15, 20, 25, 29, 30, u64::MAX].map(|at| line_floor(&line, at));
        assert_eq!(heights, [100, 100, 150, 200, 125, 65, 50, 50]);
        assert_eq!(line_floor(&[], 7), 0);
    }

    #[test]
    fn the_default_curve_asks_more_for_more_risk() {
        let curve = AprCurve::default();
        assert_eq!(curve.validate(), Ok(()));
        let apr = |ltv, days, cents| curve.apr(BasisPoints(ltv), Days(days), Cents(cents)).0;
        assert_eq!(apr(5_000, 90, 5_000_000), 950);
        assert_eq!(apr(3_500, 90, 5_000_000), 775);
        assert_eq!(apr(5_000, 365, 5_000_000), 1_100);
        assert_eq!(apr(5_000, 90, 10_000), 1_050);
        assert_eq!(apr(0, 1, u64::MAX), 500);
    }

    #[test]
    fn a_curve_that_leaves_5_to_15_percent_is_refused() {
        let curve = |ltv: &[(u64, i32)], days: &[(u64, i32)]| AprCurve {
            ltv: ltv.iter().copied().map(Point::from).collect(),
            days: days.iter().copied().map(Point::from).collect(),
            amount: Vec::new(),
        };
        assert_eq!(curve(&[(0, 500)], &[]).validate(), Ok(()));
        assert_eq!(curve(&[], &[]).validate(), Err(CurveError::Empty));
        assert_eq!(curve(&[(0, 499)], &[]).validate(), Err(CurveError::Range { found: 499 }));
        assert_eq!(curve(&[(0, 1_000)], &[(9, 501)]).validate(), Err(CurveError::Range { found: 1_501 }));
        let order = CurveError::Order { line: "days", previous: 9, found: 9 };
        assert_eq!(curve(&[(0, 600)], &[(9, 0), (9, 1)]).validate(), Err(order));
        let rate = CurveError::Rate { line: "ltv", at: 0, found: i32::MAX };
        assert_eq!(curve(&[(0, i32::MAX)], &[]).validate(), Err(rate));
    }

    proptest! {
        #[test]
        fn any_curve_at_all_asks_between_5_and_15_percent(
            points in proptest::collection::vec((any::<u64>(), any::<i32>()), 0..6),
            ltv in any::<u32>(), days in any::<u32>(), cents in any::<u64>(),
        ) {
            let points: Vec<Point> = points.into_iter().map(Point::from).collect();
            let curve = AprCurve { ltv: points.clone(), days: points.clone(), amount: points };
            let apr = curve.apr(BasisPoints(ltv), Days(days), Cents(cents));
            prop_assert!((APR_MIN..=APR_MAX).contains(&apr));
        }
    }
}
