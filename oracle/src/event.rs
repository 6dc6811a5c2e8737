//! Event ids: what an oracle can be asked about, written so that the id says all of it.

use crate::ladder::Level;
use crate::units::{Day, Time, DAY, HOUR};
use bitcoin::hex::{DisplayHex, FromHex};
use std::fmt;

/// Binary digits of a fixing, most significant first.
pub const FIXING_DIGITS: u16 = 20;
/// The highest fixing, in dollars; a higher price is attested as this.
pub const FIXING_MAX: u32 = (1 << FIXING_DIGITS) - 1;
/// How long after its day the last word on a touch may come.
pub const TOUCH_GRACE: u32 = 7 * DAY;

/// Names a payment: 128 random bits, so that an id says nothing about who pays whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId(pub [u8; 16]);

impl PaymentId {
    /// The id of 32 lower-case hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<PaymentId> {
        let bytes = <[u8; 16]>::from_hex(text).ok()?;
        (PaymentId(bytes).to_string() == text).then_some(PaymentId(bytes))
    }
}

/// 32 hex digits.
impl fmt::Display for PaymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_lower_hex_string())
    }
}

/// What can be said of a payment, each an event of its own with this one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentWord {
    /// The money that was owed has arrived.
    Paid,
    /// The money that was promised has never been sent.
    Undisbursed,
}

impl PaymentWord {
    /// Both.
    pub const ALL: [PaymentWord; 2] = [PaymentWord::Paid, PaymentWord::Undisbursed];

    /// Its place in an id.
    pub fn text(self) -> &'static str {
        match self {
            PaymentWord::Paid => "paid",
            PaymentWord::Undisbursed => "undisbursed",
        }
    }

    /// The word of a text; `None` for any other text.
    pub fn parse(text: &str) -> Option<PaymentWord> {
        PaymentWord::ALL.into_iter().find(|word| word.text() == text)
    }
}

impl fmt::Display for PaymentWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Something an oracle may attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The price in whole dollars at `at`, a full hour.
    Fixing { at: Time },
    /// The price was at or below `level` at some time from hour `from_hour` to the end of `day`.
    Touch { level: Level, day: Day, from_hour: u8 },
    /// `word` is true of the payment `id`, of which all will have been said by the end of `day`.
    Payment { id: PaymentId, day: Day, word: PaymentWord },
}

impl Event {
    /// The event of an id, `None` unless the id is exactly what [`fmt::Display`] writes.
    pub fn parse(id: &str) -> Option<Event> {
        if let Some(rest) = id.strip_prefix("pay-") {
            return parse_payment(rest);
        }
        let event = match id.strip_prefix("btcusd-touch-") {
            Some(rest) => {
                let mut parts = rest.split('-');
                let level = Level::exactly(parts.next()?.parse().ok()?)?;
                let day = Day::from_yyyymmdd(parts.next()?)?;
                let from_hour = parts.next()?.strip_prefix('h')?.parse().ok().filter(|hour| *hour < 24)?;
                Event::Touch { level, day, from_hour }
            }
            None => {
                let at = Time(id.strip_prefix("btcusd")?.parse().ok()?);
                at.0.is_multiple_of(HOUR).then_some(Event::Fixing { at })?
            }
        };
        (event.to_string() == id).then_some(event)
    }

    /// When the oracle will have said all it will say: the fixing's hour, a week after a touch's day, or the end of the
    /// day that a payment's id names.
    ///
    /// A touch may be attested long before; the DLC specification's "earliest time" would be its first hour.
    pub fn maturity(self) -> Option<Time> {
        match self {
            Event::Fixing { at } => Some(at),
            Event::Touch { day, .. } => day.end()?.plus(TOUCH_GRACE),
            Event::Payment { day, .. } => day.end(),
        }
    }

    /// The first moment that counts for a touch.
    pub fn touch_from(self) -> Option<Time> {
        match self {
            Event::Fixing { .. } | Event::Payment { .. } => None,
            Event::Touch { day, from_hour, .. } => day.start()?.plus(u32::from(from_hour) * HOUR),
        }
    }
}

/// What follows `pay-`. Fixed places: nothing but what is written reads back.
fn parse_payment(rest: &str) -> Option<Event> {
    let mut parts = rest.split('-');
    let id = PaymentId::parse(parts.next()?)?;
    let day = Day::from_yyyymmdd(parts.next()?)?;
    let word = PaymentWord::parse(parts.next()?)?;
    parts.next().is_none().then_some(Event::Payment { id, day, word })
}

/// The event id.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Fixing { at } => write!(f, "btcusd{}", at.0),
            Event::Touch { level, day, from_hour } => write!(f, "btcusd-touch-{level}-{day}-h{from_hour:02}"),
            Event::Payment { id, day, word } => write!(f, "pay-{id}-{day}-{}", word.text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_the_event_that_wrote_it_and_nothing_else_reads() {
        for id in ["btcusd1584007200", "btcusd-touch-7490-20200312-h09", "btcusd-touch-50000-20201231-h00"] {
            assert_eq!(Event::parse(id).map(|e| e.to_string()).as_deref(), Some(id));
        }
        for id in [
            "btcusd1584007201",
            "btcusd+1584007200",
            "btcusd01584007200",
            "btcusd-touch-7491-20200312-h09",
            "btcusd-touch-07490-20200312-h09",
            "btcusd-touch-7490-20200312-h24",
            "btcusd-touch-7490-20200312-h9",
            "btcusd-touch-7490-20200312-h09-",
            "",
        ] {
            assert_eq!(Event::parse(id), None, "{id}");
        }
    }

    #[test]
    fn a_payments_id_says_which_payment_what_is_said_of_it_and_until_when() {
        let id = format!("pay-{}-20200312-paid", "0a".repeat(16));
        let event = Event::Payment { id: PaymentId([10; 16]), day: Day(18_333), word: PaymentWord::Paid };
        assert_eq!(Event::parse(&id), Some(event));
        assert_eq!(event.to_string(), id);
        assert_eq!(event.maturity(), Day(18_334).start());
        for wrong in [
            format!("pay-{}-20200312-paid", "0A".repeat(16)),
            format!("pay-{}-20200312-paid", "0a".repeat(15)),
            format!("pay-{}-20200312-PAID", "0a".repeat(16)),
            format!("pay-{}-20200312-paid-", "0a".repeat(16)),
            format!("pay-{}-20200312", "0a".repeat(16)),
            format!("pay-{}-paid", "0a".repeat(16)),
            "pay-".into(),
        ] {
            assert_eq!(Event::parse(&wrong), None, "{wrong}");
        }
    }
}
