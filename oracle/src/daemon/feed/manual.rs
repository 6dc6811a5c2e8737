//! The manual feed: an operator's word, for regtest and trials.
//!
//! The operator's channel is the data folder, which only the operator can write; nothing on the public listener sets a
//! price. [`set_price`] leaves the file `price.next`; the daemon claims it as `price.taken`, and when its effect is durable
//! and served, renames it to `price`, where it stands until the next, also across a restart. [`set_price`] returns then.
//! What was claimed last stays in `price.last`, also when the price is cleared: the next is held against it.
//!
//! The price holds from one poll to the next. On a clock file the hours that were jumped over count at the price that
//! stood; on the machine's clock a gap of more than two minutes means that nobody was watching, and its hours are
//! missed.

use super::{Feed, News};
use crate::daemon::store::replace;
use crate::room::plain;
use crate::units::{Cents, Time, HOUR};
use anyhow::{bail, Context};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Highest price taken, in cents: a hundred million dollars.
pub const HIGHEST: u64 = 10_000_000_000;
/// Seconds in which an hour's low may still fall after its end, and the longest gap in watching on a real clock.
const GRACE: u32 = 120;
/// Longest jump of a clock file that counts as watched, in seconds: four years.
const LONGEST_JUMP: u32 = 4 * 366 * 86_400;
/// What the price file says when there is no price.
const NONE: &str = "none";

/// The operator's price and when it was last looked at.
#[derive(Debug)]
pub struct Manual {
    data: PathBuf,
    standing: Option<Cents>,
    last: Option<Time>,
    longest_gap: u32,
}

impl Manual {
    /// Takes up the price that stands in a data folder. `jumps`: the clock is a file, and a jump is no gap.
    ///
    /// # Errors
    /// When the price file holds something else.
    pub fn open(data: &Path, jumps: bool) -> anyhow::Result<Manual> {
        let mut feed = Manual {
            data: data.to_path_buf(),
            standing: None,
            last: None,
            longest_gap: if jumps { LONGEST_JUMP } else { GRACE },
        };
        // What was claimed before a crash counts: the operator may have seen it served.
        feed.heard()?;
        feed.standing = read_price(&data.join("price"))?.flatten();
        // Older versions kept no note of it.
        if let Some(cents) = feed.standing.filter(|_| !last_path(data).exists()) {
            remember(data, LastSet { cents, at: Time(0) })?;
        }
        Ok(feed)
    }

    /// Claims a new price if one waits.
    fn take(&mut self, now: Time) -> anyhow::Result<bool> {
        let (next, taken) = (self.data.join("price.next"), self.data.join("price.taken"));
        if !renamed(&next, &taken)? {
            return Ok(false);
        }
        match read_price(&taken) {
            Ok(price) => {
                let price = price.flatten();
                let noted = price.map_or(Ok(()), |cents| remember(&self.data, LastSet { cents, at: now }));
                if let Err(error) = noted {
                    renamed(&taken, &next)?;
                    return Err(error);
                }
                self.standing = price;
                Ok(true)
            }
            Err(error) => {
                renamed(&taken, &self.data.join("price.refused"))?;
                Err(error)
            }
        }
    }

    /// The standing price over everything since the last poll.
    fn hold(&self, now: Time, news: &mut News) {
        let Some(price) = self.standing else { return };
        let since = self.last.filter(|last| now.since(*last) <= self.longest_gap);
        let mut hour = since.unwrap_or(now).hour_floor();
        while hour <= now {
            news.lows.insert(hour, price);
            // The price of an hour's first second is its fixing, said by the first poll that reaches it.
            if since.map_or(hour == now, |last| hour > last) {
                news.fixings.insert(hour, price);
            }
            let Some(next) = hour.plus(HOUR) else { return };
            hour = next;
        }
    }
}

impl Feed for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn grace(&self) -> u32 {
        GRACE
    }

    fn poll(&mut self, _frozen_until: Time, now: Time) -> anyhow::Result<News> {
        let mut news = News::default();
        self.hold(now, &mut news);
        // Before what is held is counted as said: else an hour's fixing would be lost with it.
        let took = self.take(now)?;
        self.last = Some(now);
        if let (true, Some(price)) = (took, self.standing) {
            let low = news.lows.entry(now.hour_floor()).or_insert(price);
            *low = price.min(*low);
        }
        news.spot = self.standing;
        Ok(news)
    }

    fn heard(&mut self) -> anyhow::Result<()> {
        renamed(&self.data.join("price.taken"), &self.data.join("price")).map(drop)
    }
}

/// The price that was set last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSet {
    /// The price.
    pub cents: Cents,
    /// When it was claimed; 1970 when that is not known.
    pub at: Time,
}

fn last_path(data: &Path) -> PathBuf {
    data.join("price.last")
}

fn remember(data: &Path, last: LastSet) -> anyhow::Result<()> {
    let path = last_path(data);
    let text = format!("{} {}\n", last.cents.0, last.at.0);
    replace(&path, &text).with_context(|| format!("note the price in {}", path.display()))
}

/// The price that was set last in this data folder, whether it stands or was cleared; none when there is no note of any.
///
/// # Errors
/// When the note is there and cannot be read.
pub fn last_set(data: &Path) -> anyhow::Result<Option<LastSet>> {
    let path = last_path(data);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("read {}", path.display()))?,
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let read = |cents: &str, at: &str| Some(LastSet { cents: Cents(cents.parse().ok()?), at: Time(at.parse().ok()?) });
    let said = match words[..] {
        [cents, at] => read(cents, at).filter(|said| (1..=HIGHEST).contains(&said.cents.0)),
        _ => None,
    };
    said.map(Some).with_context(|| format!("{} does not hold a price in cents and a time", path.display()))
}

/// Tells the daemon of this data folder the price, and waits until it is durable and served.
///
/// # Errors
/// When the price is not between one cent and a hundred million dollars, the folder cannot be written, or no daemon
/// with the manual feed took the price within `patience` (real time).
pub fn set_price(data: &Path, price: Cents, patience: Duration) -> anyhow::Result<()> {
    if !(1..=HIGHEST).contains(&price.0) {
        bail!("price {} cents is not between 1 and {HIGHEST} cents", price.0);
    }
    leave(data, &price.0.to_string(), patience)
}

/// Tells the daemon that there is no price from now on, as [`set_price`] tells one.
///
/// # Errors
/// As [`set_price`].
pub fn clear_price(data: &Path, patience: Duration) -> anyhow::Result<()> {
    leave(data, NONE, patience)
}

fn leave(data: &Path, text: &str, patience: Duration) -> anyhow::Result<()> {
    let (next, taken) = (data.join("price.next"), data.join("price.taken"));
    let draft = data.join(format!("price.{}", std::process::id()));
    let written = write_to(&draft, text).and_then(|()| std::fs::rename(&draft, &next));
    if let Err(error) = written {
        drop(std::fs::remove_file(&draft));
        let why = plain(&error.to_string());
        bail!(
            "nothing is set, and an oracle that runs there goes on with the price it has: {} cannot be written ({why})",
            next.display()
        );
    }
    let asked = Instant::now();
    while next.exists() || taken.exists() {
        if asked.elapsed() > patience {
            drop(std::fs::remove_file(&next));
            bail!("no oracle took the price in {}; is one running there with --manual?", data.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn write_to(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// The price in a file: `None` without a file, `Some(None)` when it says that there is none.
fn read_price(path: &Path) -> anyhow::Result<Option<Option<Cents>>> {
    let mut text = String::new();
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(|| format!("open {}", path.display()))?.take(64).read_to_string(&mut text)?,
    };
    match text.trim() {
        NONE => Ok(Some(None)),
        text => match text.parse() {
            Ok(cents @ 1..=HIGHEST) => Ok(Some(Some(Cents(cents)))),
            _ => bail!("{} holds {text:?}, not a price in cents such as 798765", path.display()),
        },
    }
}

/// Renames a file if it is there.
fn renamed(from: &Path, to: &Path) -> anyhow::Result<bool> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("rename {}", from.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_584_000_000);

    fn at(seconds: u32) -> Time {
        START.plus(seconds).unwrap()
    }

    #[test]
    fn a_price_that_cannot_be_written_is_said_to_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let said = set_price(&gone, Cents(9_000_000), Duration::ZERO).unwrap_err().to_string();
        assert!(
            said.starts_with("nothing is set, and an oracle that runs there goes on with the price it has"),
            "{said}"
        );
        assert!(said.contains("price.next cannot be written (") && !said.contains("os error"), "{said}");
    }

    fn say(data: &Path, text: &str) {
        std::fs::write(data.join("price.next"), text).unwrap();
    }

    #[test]
    fn a_price_holds_over_the_hours_that_a_clock_file_jumps() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Manual::open(folder.path(), true).unwrap();
        assert_eq!(feed.poll(Time(0), at(10)).unwrap(), News::default());
        say(folder.path(), "700000");
        let news = feed.poll(Time(0), at(10)).unwrap();
        assert_eq!((news.spot, news.lows.get(&START)), (Some(Cents(700_000)), Some(&Cents(700_000))));
        assert!(news.fixings.is_empty());
        say(folder.path(), "690000");
        let news = feed.poll(Time(0), at(2 * HOUR)).unwrap();
        assert_eq!(
            news.fixings.into_iter().collect::<Vec<_>>(),
            [(at(HOUR), Cents(700_000)), (at(2 * HOUR), Cents(700_000))]
        );
        assert_eq!(news.lows.into_values().collect::<Vec<_>>(), [700_000, 700_000, 690_000].map(Cents));
        let news = feed.poll(Time(0), at(2 * HOUR)).unwrap();
        assert!(news.fixings.is_empty(), "a fixing is said once, at the price that stood");
    }

    #[test]
    fn on_a_real_clock_hours_that_nobody_watched_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        say(folder.path(), "700000");
        let mut feed = Manual::open(folder.path(), false).unwrap();
        feed.poll(Time(0), at(HOUR - 60)).unwrap();
        let news = feed.poll(Time(0), at(HOUR + 1)).unwrap();
        assert_eq!((news.lows.len(), news.fixings.len()), (2, 1), "a minute apart is watched");
        let news = feed.poll(Time(0), at(4 * HOUR)).unwrap();
        assert_eq!(news.lows.into_keys().collect::<Vec<_>>(), [at(4 * HOUR)]);
        assert_eq!(news.fixings.into_keys().collect::<Vec<_>>(), [at(4 * HOUR)]);
    }

    #[test]
    fn the_price_stands_across_a_restart_and_none_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        say(folder.path(), "700000");
        let mut feed = Manual::open(folder.path(), true).unwrap();
        feed.poll(Time(0), at(1)).unwrap();
        drop(feed);
        let mut feed = Manual::open(folder.path(), true).unwrap();
        assert_eq!(feed.poll(Time(0), at(1)).unwrap().spot, Some(Cents(700_000)), "claimed before a crash");
        say(folder.path(), "none");
        assert_eq!(feed.poll(Time(0), at(2)).unwrap().spot, None);
        feed.heard().unwrap();
        assert_eq!(Manual::open(folder.path(), true).unwrap().poll(Time(0), at(3)).unwrap().spot, None);
    }

    #[test]
    fn what_is_no_price_is_put_aside_and_the_old_price_stands() {
        let folder = tempfile::tempdir().unwrap();
        let mut feed = Manual::open(folder.path(), true).unwrap();
        say(folder.path(), "700000");
        feed.poll(Time(0), at(1)).unwrap();
        feed.heard().unwrap();
        for text in ["", "0", "-1", "7000.5", "99999999999999999999"] {
            say(folder.path(), text);
            assert!(feed.poll(Time(0), at(1)).unwrap_err().to_string().contains("798765"));
            assert_eq!(feed.poll(Time(0), at(1)).unwrap().spot, Some(Cents(700_000)));
        }
    }

    #[test]
    fn an_operator_learns_that_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let error = set_price(folder.path(), Cents(1), Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("--manual"));
        assert!(!folder.path().join("price.next").exists());
        assert!(set_price(folder.path(), Cents(0), Duration::ZERO).is_err());
    }
}
