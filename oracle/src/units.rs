//! Money and time as integers with a unit in their type.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Seconds of one UTC hour.
pub const HOUR: u32 = 3_600;
/// Seconds of one UTC day.
pub const DAY: u32 = 86_400;

/// US cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cents(pub u64);

impl Cents {
    /// Whole dollars as cents; `None` on overflow.
    pub fn from_dollars(dollars: u64) -> Option<Cents> {
        dollars.checked_mul(100).map(Cents)
    }

    /// Whole dollars, the cents dropped.
    pub fn dollars_floor(self) -> u64 {
        self.0 / 100
    }
}

/// `$1,234.05`.
impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.dollars_floor().to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        write!(f, "${grouped}.{:02}", self.0 % 100)
    }
}

/// A moment: seconds since 1970-01-01 00:00 UTC, without leap seconds. Ends in 2106, as bitcoin's clock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u32);

impl Time {
    /// `self + seconds`, `None` past the end of time.
    pub fn plus(self, seconds: u32) -> Option<Time> {
        self.0.checked_add(seconds).map(Time)
    }

    /// Seconds from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// The UTC day this moment lies in.
    pub fn day(self) -> Day {
        Day(self.0 / DAY)
    }

    /// The hour of its day, 0 to 23.
    pub fn hour_of_day(self) -> u8 {
        u8::try_from(self.0 % DAY / HOUR).unwrap_or(0)
    }

    /// The start of the hour this moment lies in.
    pub fn hour_floor(self) -> Time {
        Time(self.0 - self.0 % HOUR)
    }

    /// The next full hour: `self` itself when it is one.
    pub fn hour_ceil(self) -> Option<Time> {
        match self.0 % HOUR {
            0 => Some(self),
            past => self.plus(HOUR - past),
        }
    }
}

impl Time {
    /// As people read it: `2020-03-12 10:00 UTC`; the seconds only where there are some.
    pub fn for_people(self) -> String {
        let text = self.to_string().trim_end_matches('Z').replacen('T', " ", 1);
        format!("{} UTC", text.strip_suffix(":00").unwrap_or(&text))
    }
}

/// `text` with every moment in it as people read it: programs and logs say RFC 3339, and a screen has one form.
pub fn times_for_people(text: &str) -> String {
    let (mut said, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((at, time)) = first_moment(rest) {
        let (before, after) = rest.split_at(at);
        said.push_str(before);
        said.push_str(&time.for_people());
        rest = after.get(MOMENT_LEN..).unwrap_or_default();
    }
    said + rest
}

/// Bytes of `2020-03-12T10:00:00Z`.
const MOMENT_LEN: usize = 20;

/// Where the first moment in RFC 3339, in UTC and whole seconds, stands.
fn first_moment(text: &str) -> Option<(usize, Time)> {
    text.match_indices('T').find_map(|(at, _)| {
        let begins = at.checked_sub("2020-03-12".len())?;
        // A longer number or name is no moment.
        let is_whole = |near: Option<&u8>| !near.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let before = begins.checked_sub(1).and_then(|before| bytes.get(before));
        if !is_whole(before) || !is_whole(bytes.get(begins.checked_add(MOMENT_LEN)?)) {
            return None;
        }
        let words = text.get(begins..begins.checked_add(MOMENT_LEN)?)?;
        let format = &time::format_description::well_known::Rfc3339;
        let unix = time::OffsetDateTime::parse(words, format).ok()?.unix_timestamp();
        let moment = Time(u32::try_from(unix).ok()?);
        (moment.to_string() == words).then_some((begins, moment))
    })
}

/// RFC 3339 in UTC: `2020-03-12T10:00:00Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.day().civil();
        let second = self.0 % DAY;
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / HOUR, second % HOUR / 60, second % 60)
    }
}

/// A UTC day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

impl Day {
    /// Its first second; `None` past the end of time.
    pub fn start(self) -> Option<Time> {
        self.0.checked_mul(DAY).map(Time)
    }

    /// The first second of the day after.
    pub fn end(self) -> Option<Time> {
        self.next()?.start()
    }

    /// The day after.
    pub fn next(self) -> Option<Day> {
        self.0.checked_add(1).map(Day)
    }

    /// Year, month (1 to 12) and day of month (1 to 31).
    pub fn civil(self) -> (i32, u8, u8) {
        let epoch = time::macros::date!(1970 - 01 - 01);
        let date = epoch.checked_add(time::Duration::days(i64::from(self.0))).unwrap_or(epoch);
        (date.year(), u8::from(date.month()), date.day())
    }

    /// The day of a `YYYYMMDD` text; `None` for anything that is not exactly that.
    pub fn from_yyyymmdd(text: &str) -> Option<Day> {
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let year: i32 = text.get(0..4)?.parse().ok()?;
        let month: u8 = text.get(4..6)?.parse().ok()?;
        let day: u8 = text.get(6..8)?.parse().ok()?;
        let date = time::Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()?;
        u32::try_from((date - time::macros::date!(1970 - 01 - 01)).whole_days()).ok().map(Day)
    }
}

/// `YYYYMMDD`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}{month:02}{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_reads_back_as_it_was_written_across_leap_years_and_year_ends() {
        for number in [0, 58, 59, 11_015, 11_016, 18_262, 18_320, 18_321, 49_709] {
            assert_eq!(Day::from_yyyymmdd(&Day(number).to_string()), Some(Day(number)));
        }
        assert_eq!(Day(18_333).to_string(), "20200312");
        assert_eq!(Day::from_yyyymmdd("20200230"), None);
        assert_eq!(Day::from_yyyymmdd("2020031"), None);
        assert_eq!(Day::from_yyyymmdd("+2020031"), None);
    }

    #[test]
    fn times_and_cents_are_written_for_people() {
        assert_eq!(Time(1_584_007_200).to_string(), "2020-03-12T10:00:00Z");
        assert_eq!(Time(1_584_007_200).for_people(), "2020-03-12 10:00 UTC");
        assert_eq!(Time(1_584_007_201).for_people(), "2020-03-12 10:00:01 UTC");
        assert_eq!(Cents(123_456_705).to_string(), "$1,234,567.05");
        assert_eq!(Cents(5).to_string(), "$0.05");
    }

    #[test]
    fn every_moment_in_a_text_becomes_one_that_people_read_and_nothing_else_changes() {
        for (text, said) in [
            ("due at 2020-03-12T10:00:00Z: then", "due at 2020-03-12 10:00 UTC: then"),
            ("2020-03-12T10:00:01Z and 2020-03-12T10:30:00Z", "2020-03-12 10:00:01 UTC and 2020-03-12 10:30 UTC"),
            ("The é of `2020-02-30T10:00:00Z`", "The é of `2020-02-30T10:00:00Z`"),
            ("12020-03-12T10:00:00Z", "12020-03-12T10:00:00Z"),
            ("2020-03-12T10:00:00Zulu", "2020-03-12T10:00:00Zulu"),
            ("2020-03-12T10:00:00.5Z TTTT éT", "2020-03-12T10:00:00.5Z TTTT éT"),
            ("", ""),
        ] {
            assert_eq!(times_for_people(text), said);
        }
    }

    #[test]
    fn the_next_full_hour_is_the_hour_itself_when_it_is_full() {
        assert_eq!(Time(7_200).hour_ceil(), Some(Time(7_200)));
        assert_eq!(Time(7_201).hour_ceil(), Some(Time(10_800)));
        assert_eq!(Time(u32::MAX).hour_ceil(), None);
    }
}
