//! The last day as a picture, drawn by hand: one line, one stair and some dots are less than any chart library, and
//! their colours must follow the page's light and dark. Whole numbers all the way: tenths of a unit of the picture.

use super::facts::{Crossing, Facts};
use crate::units::{Cents, Time, DAY, HOUR};
use maud::{html, Markup};
use std::fmt::Write;

/// Size of the picture, in tenths.
const WIDTH: u64 = 7_200;
const HEIGHT: u64 = 2_600;
/// Room around: half of an hour's label at the right.
const EDGE: u64 = 320;
const BOTTOM: u64 = 300;
/// Room for a character of a label in the largest letters that the style gives it, on narrow screens, and beside a label.
const LETTER: u64 = 115;
const BESIDE: u64 = 160;

/// Where a moment and a price are in the picture.
struct Scale {
    /// Room for the prices on the left.
    left: u64,
    from: Time,
    lowest: u64,
    range: u64,
}

impl Scale {
    fn x(&self, at: Time) -> u64 {
        let past = u64::from(at.since(self.from)).min(u64::from(DAY));
        self.left + past * WIDTH.saturating_sub(self.left + EDGE) / u64::from(DAY)
    }

    fn y(&self, price: Cents) -> u64 {
        let above = price.0.saturating_sub(self.lowest).min(self.range);
        let up = u128::from(above) * u128::from(HEIGHT - EDGE - BOTTOM) / u128::from(self.range.max(1));
        (HEIGHT - BOTTOM).saturating_sub(u64::try_from(up).unwrap_or(0))
    }
}

/// Tenths as the picture writes them.
fn unit(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The picture, or one sentence while there is nothing to draw.
pub fn chart(facts: &Facts) -> Markup {
    let prices = || facts.path.iter().chain(&facts.lows).map(|(_, cents)| cents.0);
    let (Some(lowest), Some(highest)) = (prices().min(), prices().max()) else {
        return html! { p.none { "No price has been seen in the last day." } };
    };
    let margin = ((highest - lowest) / 16).max(highest / 2_000);
    let lowest = lowest.saturating_sub(margin);
    let range = highest.saturating_add(margin).saturating_sub(lowest);
    let scale = Scale { left: left(lowest, range), from: Time(facts.clock.0.saturating_sub(DAY)), lowest, range };
    html! {
        svg.chart viewBox=(format!("0 0 {} {}", WIDTH / 10, HEIGHT / 10)) role="img" aria-labelledby="chart-title chart-text" {
            title #chart-title { "The last day" }
            desc #chart-text { (describe(facts)) }
            (prices_across(&scale))
            (hours_along(&scale, facts.clock))
            path.low d=(stair(&scale, &facts.lows, facts.clock)) {}
            path.price d=(line(&scale, &facts.path)) {}
            @for crossing in &facts.crossings { (dot(&scale, crossing, facts.clock)) }
        }
        p.key {
            span.swatch.price { } " price "
            span.swatch.low { } " low of each hour "
            span.swatch.touch { } " levels touched"
        }
    }
}

fn describe(facts: &Facts) -> String {
    let ends = facts.path.first().zip(facts.path.last());
    let moved =
        ends.map_or(String::new(), |((_, first), (_, last))| format!("The price went from {first} to {last}. "));
    let rungs: u32 = facts.crossings.iter().map(|crossing| crossing.rungs).sum();
    format!("{moved}{rungs} levels were touched for the first time of their day.")
}

/// Most lines across.
const LINES: u64 = 6;

/// The prices that get a line: multiples of the least step of 1, 2 or 5 times a power of ten, in whole dollars, that
/// leaves few enough of them.
fn round_prices(lowest: u64, range: u64) -> Vec<Cents> {
    let powers = (2..19u32).filter_map(|power| 10u64.checked_pow(power));
    let mut steps = powers.flat_map(|power| [1, 2, 5].map(|times| power.saturating_mul(times)));
    let Some(step) = steps.find(|step| range / step < LINES) else { return Vec::new() };
    let first = lowest.div_ceil(step);
    let last = lowest.saturating_add(range) / step;
    (first..=last).filter_map(|number| number.checked_mul(step).map(Cents)).collect()
}

/// Room for the longest of the prices, whatever it costs.
fn left(lowest: u64, range: u64) -> u64 {
    let letters = round_prices(lowest, range).into_iter().map(|price| whole_dollars(price).len()).max().unwrap_or(0);
    u64::try_from(letters).unwrap_or(0).saturating_mul(LETTER).saturating_add(BESIDE).min(WIDTH / 2)
}

fn prices_across(scale: &Scale) -> Markup {
    html! {
        @for price in round_prices(scale.lowest, scale.range) {
            @let y = unit(scale.y(price));
            line.grid x1=(unit(scale.left)) x2=(unit(WIDTH - EDGE)) y1=(y) y2=(y) {}
            text x=(unit(scale.left.saturating_sub(BESIDE / 2))) y=(y) dy="4" text-anchor="end" { (whole_dollars(price)) }
        }
    }
}

fn whole_dollars(price: Cents) -> String {
    price.to_string().split('.').next().unwrap_or_default().to_string()
}

fn hours_along(scale: &Scale, clock: Time) -> Markup {
    let first = scale.from.hour_ceil().unwrap_or(scale.from);
    let hours = (0..=DAY / HOUR).filter_map(|hour| first.plus(hour * HOUR));
    let hours: Vec<Time> = hours.filter(|hour| *hour <= clock && hour.hour_of_day() % 4 == 0).collect();
    html! {
        @for hour in hours {
            @let x = unit(scale.x(hour));
            line.tick x1=(x) x2=(x) y1=(unit(HEIGHT - BOTTOM)) y2=(unit(HEIGHT - BOTTOM + 50)) {}
            text x=(x) y=(unit(HEIGHT - 80)) text-anchor="middle" { (format!("{:02}:00", hour.hour_of_day())) }
        }
    }
}

fn line(scale: &Scale, points: &[(Time, Cents)]) -> String {
    let mut path = String::new();
    for (number, (at, price)) in points.iter().enumerate() {
        let step = if number == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(path, "{step}{} {}", unit(scale.x(*at)), unit(scale.y(*price)));
    }
    path
}

fn stair(scale: &Scale, lows: &[(Time, Cents)], clock: Time) -> String {
    let mut path = String::new();
    for (hour, low) in lows {
        let (y, end) = (unit(scale.y(*low)), end_of(*hour, clock));
        let _ = write!(path, "M{} {y}H{}", unit(scale.x(*hour)), unit(scale.x(end)));
    }
    path
}

fn end_of(hour: Time, clock: Time) -> Time {
    hour.plus(HOUR).map_or(clock, |end| end.min(clock))
}

fn dot(scale: &Scale, crossing: &Crossing, clock: Time) -> Markup {
    let middle = (scale.x(crossing.hour) + scale.x(end_of(crossing.hour, clock))) / 2;
    html! {
        circle.touch cx=(unit(middle)) cy=(unit(scale.y(crossing.low))) r="4" {
            title { (crossing.hour) ": down to " (crossing.low) ", " (crossing.rungs) " levels touched" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_has_room_on_the_left_also_where_letters_are_large() {
        for (lowest, label) in
            [(100_000, "$1,001"), (6_400_000, "$64,001"), (10_060_000, "$100,601"), (100_000_000, "$1,000,001")]
        {
            // Letters of 19 units, as the style has them on a screen of 390 pixels; a digit is at most 0.6 of that wide.
            let width = label.len() as u64 * 19 * 10 * 6 / 10;
            let room = left(lowest, 500) - BESIDE / 2;
            assert!(width <= room, "{label} takes {width} of {room}");
        }
        let scale = Scale { left: left(6_400_000, 500), from: Time(0), lowest: 6_400_000, range: 500 };
        let last = scale.x(Time(DAY));
        assert!(last + 5 * 19 * 10 * 6 / 10 / 2 <= WIDTH, "half of 16:00 beside the last hour");
    }

    #[test]
    fn the_lines_across_stand_at_round_prices() {
        let dollars = |lowest: u64, highest: u64| {
            let lines = round_prices(lowest, highest - lowest);
            assert!(lines.iter().all(|price| (lowest..=highest).contains(&price.0)), "{lines:?}");
            lines.into_iter().map(|price| price.0 / 100).collect::<Vec<_>>()
        };
        assert_eq!(dollars(683_512, 746_633), [7_000, 7_200, 7_400]);
        assert_eq!(dollars(6_400_010, 6_401_990), [64_005, 64_010, 64_015]);
        assert_eq!(dollars(400_000, 800_000), [4_000, 5_000, 6_000, 7_000, 8_000]);
        assert_eq!(dollars(6_400_000, 6_400_500), [64_000, 64_001, 64_002, 64_003, 64_004, 64_005]);
        for range in [0, 1, 99, 12_345, u64::MAX / 2, u64::MAX] {
            let lines = round_prices(0, range);
            assert!(u64::try_from(lines.len()).unwrap() <= LINES, "{range}: {lines:?}");
        }
    }
}
