//! The tick log on disk: one file a UTC day in `ticks/`, appended to and synced before anything is said over it.
//!
//! Nothing is ever rewritten. What a crash left half written at the end of the newest file was never acted upon and is
//! cut off when the log is opened. Readers see only what is durable. One process writes: it holds a lock. Each replica of
//! an oracle has a log of its own in its own data folder, and keeps it whether or not it is the one that speaks.

use crate::crash;
use crate::ticklog::chain::{Chain, End};
use crate::ticklog::entry::{Entry, Head, Line, LogId, LONGEST_LINE};
use crate::units::{Day, Time};
use anyhow::{bail, Context};
use rustix::fs::{flock, FlockOperation};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Most bytes of a day that one answer carries.
pub const PAGE: u64 = 1024 * 1024;

/// How far the log is durable.
#[derive(Clone, Copy, Debug, Default)]
struct Durable {
    /// The newest day and the bytes of its file.
    newest: Option<(Day, u64)>,
    end: Option<End>,
    /// Hours before the running one that wait for their head.
    waiting: usize,
}

/// The one writer.
pub struct TickLog {
    folder: PathBuf,
    file: Option<(Day, File, u64)>,
    chain: Chain,
    /// The log's id, or what it will be from the next tick on.
    id: LogId,
    durable: Arc<RwLock<Durable>>,
    /// Held as long as the log is open: two writers would cut off each other's lines.
    _lock: File,
}

/// A reader of what is durable; any number of them.
#[derive(Clone, Debug)]
pub struct LogReader {
    folder: PathBuf,
    durable: Arc<RwLock<Durable>>,
}

fn path_of(folder: &Path, day: Day) -> PathBuf {
    folder.join(format!("{day}.log"))
}

/// The days of a folder, oldest first. Other files are not ours.
fn days(folder: &Path) -> anyhow::Result<Vec<Day>> {
    let mut days = Vec::new();
    for file in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let name = file?.file_name();
        days.extend(name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(Day::from_yyyymmdd));
    }
    days.sort_unstable();
    Ok(days)
}

impl TickLog {
    /// Opens or makes the log of a data folder, checks the newest day's chain, and cuts off a half-written end.
    ///
    /// # Errors
    /// When the folder cannot be read or written, another process writes there, or the newest day is damaged.
    pub fn open(data: &Path) -> anyhow::Result<TickLog> {
        let folder = data.join("ticks");
        if !folder.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).context("make the tick log's folder")?;
            File::open(data)?.sync_all()?;
        }
        let lock = File::create(folder.join("lock")).context("make the tick log's lock")?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("the tick log in {} is being written by another oracle; give each a data folder", folder.display());
        }
        let (chain, durable, id) = (Chain::from_start(), Arc::default(), LogId(rand::random()));
        let mut log = TickLog { folder, file: None, chain, id, durable, _lock: lock };
        let days = days(&log.folder)?;
        // A day's file may be empty: its first line never became durable.
        for day in days.iter().rev() {
            let path = path_of(&log.folder, *day);
            let mut chain = Chain::from_middle();
            let bytes = read_chain(&path, &mut chain)?;
            let file = OpenOptions::new().append(true).open(&path)?;
            file.set_len(bytes)?;
            file.sync_all()?;
            if let Some(end) = chain.end() {
                log.id = end.log.unwrap_or(log.id);
                log.chain = log.with_its_heads(chain, &days, *day)?;
                log.file = Some((*day, file, bytes));
                break;
            }
        }
        log.publish();
        Ok(log)
    }

    /// The newest day's chain, read again from as far back as it takes to know which hours wait for a head: a signer may
    /// have been away for days.
    fn with_its_heads(&self, mut chain: Chain, days: &[Day], newest: Day) -> anyhow::Result<Chain> {
        let before: Vec<Day> = days.iter().copied().filter(|day| *day < newest).collect();
        let mut back = before.len();
        while !chain.knows_its_heads() {
            chain = match back.checked_sub(1) {
                Some(day) => {
                    back = day;
                    Chain::from_middle()
                }
                // Days that were put away cannot be signed for here any more.
                None => return Ok(chain),
            };
            for day in before.iter().skip(back).chain([&newest]) {
                read_chain(&path_of(&self.folder, *day), &mut chain)?;
            }
        }
        Ok(chain)
    }

    /// A reader.
    pub fn reader(&self) -> LogReader {
        LogReader { folder: self.folder.clone(), durable: Arc::clone(&self.durable) }
    }

    /// The last tick.
    pub fn end(&self) -> Option<End> {
        self.chain.end()
    }

    /// What the next tick must be numbered and name.
    pub fn next(&self) -> (u64, bitcoin::hashes::sha256::Hash) {
        self.chain.next()
    }

    /// Appends a tick, durable when this returns; where the log's id belongs it is put. Asks nobody: an hour that it begins closes the one before, whether or
    /// not that has its head yet.
    ///
    /// # Errors
    /// When the disk fails; nothing of the tick counts then, and it may be tried again.
    pub fn append(&mut self, entry: Entry) -> anyhow::Result<()> {
        let is_named = self.end().is_some_and(|end| end.log.is_some() && end.at.day() == entry.at.day());
        self.write(entry.at.day(), &Line::Tick(Entry { log: (!is_named).then_some(self.id), ..entry }))
    }

    /// The oldest tick that a head is to sign for at `now`: the last of an hour that is over.
    pub fn unsigned(&self, now: Time) -> Option<End> {
        let is_over = |end: &End| !end.headed && end.at.hour_floor() < now.hour_floor();
        self.chain.waiting().next().copied().or_else(|| self.end().filter(is_over))
    }

    /// How many hours that are over wait for a head at `now`.
    pub fn unsigned_hours(&self, now: Time) -> usize {
        let last = self.end().filter(|end| !end.headed && end.at.hour_floor() < now.hour_floor());
        self.chain.waiting().len().saturating_add(usize::from(last.is_some()))
    }

    /// Appends a head, durable when this returns: behind the last line there is, for nothing is rewritten.
    ///
    /// # Errors
    /// When it is not the one that is next, or the disk fails.
    pub fn sign(&mut self, head: Head) -> anyhow::Result<()> {
        let day = self.end().context("an empty log has no head")?.at.day();
        self.write(day, &Line::Head(head))
    }

    fn write(&mut self, day: Day, line: &Line) -> anyhow::Result<()> {
        let text = line.text();
        let mut chain = self.chain.clone();
        chain.follow(&text).context("the tick log would not follow from itself")?;
        let (mut file, bytes) = match self.file.take() {
            Some((open, file, bytes)) if open == day => (file, bytes),
            _ => self.begin(day)?,
        };
        crash::point("log-writing");
        let written =
            file.set_len(bytes).and_then(|()| file.write_all(format!("{text}\n").as_bytes())).and_then(|()| {
                crash::point("log-written");
                file.sync_data()
            });
        crash::point("log-synced");
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
        match written {
            Ok(()) => {
                self.file = Some((day, file, bytes.saturating_add(length)));
                self.chain = chain;
                self.publish();
                Ok(())
            }
            // The next write cuts off what may have been half written.
            Err(error) => {
                self.file = Some((day, file, bytes));
                Err(error).with_context(|| format!("write the tick log of {day}"))
            }
        }
    }

    fn begin(&self, day: Day) -> anyhow::Result<(File, u64)> {
        let path = path_of(&self.folder, day);
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let file = open.with_context(|| format!("open the tick log {}", path.display()))?;
        File::open(&self.folder)?.sync_all().context("sync the tick log's folder")?;
        Ok((file, 0))
    }

    fn publish(&self) {
        let newest = self.file.as_ref().map(|(day, _, bytes)| (*day, *bytes));
        let mut durable = self.durable.write().unwrap_or_else(PoisonError::into_inner);
        *durable = Durable { newest, end: self.chain.end(), waiting: self.chain.waiting().len() };
    }
}

/// Follows a file's lines as far as they are whole; how many bytes that is.
fn read_chain(path: &Path, chain: &mut Chain) -> anyhow::Result<u64> {
    let reading = || format!("read the tick log {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(reading)?);
    let mut bytes = 0u64;
    loop {
        let mut line = String::new();
        let most = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX).saturating_add(1);
        let read = reader.by_ref().take(most).read_line(&mut line);
        let whole = read.is_ok() && line.ends_with('\n');
        let is_last = reader.fill_buf().with_context(reading)?.is_empty();
        if !whole && is_last {
            return Ok(bytes);
        }
        read.with_context(reading)?;
        let damaged = || format!("read the tick log {}: it is damaged; restore it from a copy", path.display());
        chain.follow(line.trim_end_matches('\n')).with_context(damaged)?;
        bytes = bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
    }
}

impl LogReader {
    /// The last durable tick.
    pub fn end(&self) -> Option<End> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).end
    }

    /// Hours before the running one that wait for their head.
    pub fn waiting(&self) -> usize {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).waiting
    }

    /// The days that have a log, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn days(&self) -> anyhow::Result<Vec<Day>> {
        let newest = self.durable.read().unwrap_or_else(PoisonError::into_inner).newest;
        let has = |day: &Day| newest.is_some_and(|(newest, _)| *day <= newest);
        Ok(days(&self.folder)?.into_iter().filter(has).collect())
    }

    /// Whole lines of a day from byte `from` on, at most [`PAGE`] bytes, and how many bytes the day has. `None` for a
    /// day without a log.
    ///
    /// # Errors
    /// When the file cannot be read, or `from` is not the start of a line.
    pub fn page(&self, day: Day, from: u64) -> anyhow::Result<Option<(String, u64)>> {
        let newest = self.durable.read().unwrap_or_else(PoisonError::into_inner).newest;
        let path = path_of(&self.folder, day);
        let size = match (newest, std::fs::metadata(&path)) {
            (Some((newest, bytes)), Ok(_)) if newest == day => bytes,
            (Some((newest, _)), Ok(file)) if day < newest => file.len(),
            _ => return Ok(None),
        };
        let mut file = File::open(&path)?;
        if from > 0 && from <= size {
            file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
            let mut before = [0u8; 1];
            file.read_exact(&mut before)?;
            if before != *b"\n" {
                bail!("byte {from} of {day} is not the start of a line");
            }
        }
        let mut bytes = Vec::new();
        file.take(PAGE.min(size.saturating_sub(from))).read_to_end(&mut bytes)?;
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1)));
        Ok(Some((String::from_utf8(bytes).context("the tick log is not text")?, size)))
    }

    /// Calls `each` with every tick from `from` on, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read or a line is damaged, or as `each`.
    pub fn ticks_from(&self, from: Time, each: &mut dyn FnMut(Entry) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for day in self.days()?.into_iter().filter(|day| *day >= from.day()) {
            let mut at = 0u64;
            while let Some((page, _)) = self.page(day, at)?.filter(|(page, _)| !page.is_empty()) {
                at = at.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
                for line in page.lines() {
                    let line =
                        serde_json::from_str(line).with_context(|| format!("the tick log of {day} is damaged"))?;
                    match line {
                        Line::Tick(entry) if entry.at >= from => each(entry)?,
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use crate::units::HOUR;
    use secp256k1_zkp::SecretKey;

    fn entry(log: &TickLog, at: u32) -> Entry {
        let (n, prev) = log.next();
        Entry { n, prev, log: None, at: Time(at), policy: 1, inputs: Vec::new(), median: None, held: None }
    }

    fn append(log: &mut TickLog, at: u32) -> anyhow::Result<()> {
        while let Some(end) = log.unsigned(Time(at)) {
            log.sign(head(end)).unwrap();
        }
        log.append(entry(log, at))
    }

    fn head(end: End) -> Head {
        let keys = OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap());
        Head::sign(&keys, end)
    }

    fn all(log: &TickLog) -> Vec<u32> {
        let mut all = Vec::new();
        log.reader()
            .ticks_from(Time(0), &mut |entry| {
                all.push(entry.at.0);
                Ok(())
            })
            .unwrap();
        all
    }

    #[test]
    fn the_log_goes_on_after_a_restart_and_a_half_written_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let day = 1_583_971_200;
        let times = [day - 10, day - 5, day, day + 5, day + HOUR];
        let mut log = TickLog::open(folder.path()).unwrap();
        for at in &times[..4] {
            append(&mut log, *at).unwrap();
        }
        assert!(append(&mut log, day + 5).is_err(), "time must advance");
        let second = TickLog::open(folder.path()).map(drop).unwrap_err();
        assert!(second.to_string().contains("by another oracle"), "{second}");
        drop(log);
        let newest = folder.path().join("ticks/20200312.log");
        OpenOptions::new().append(true).open(&newest).unwrap().write_all(b"{\"tick\":{\"n\":4,\"pr").unwrap();
        let mut log = TickLog::open(folder.path()).unwrap();
        append(&mut log, times[4]).unwrap();
        assert_eq!(all(&log), times);
        let yesterday = std::fs::read_to_string(folder.path().join("ticks/20200311.log")).unwrap();
        assert!(yesterday.lines().last().unwrap().starts_with("{\"head\""), "a day ends with its head");
        let (page, size) = log.reader().page(Day(18_333), 0).unwrap().unwrap();
        assert_eq!((page.len() as u64, page.lines().count()), (size, 4), "two ticks, a head, a tick");
        assert!(log.reader().page(Day(18_333), 3).is_err());
        assert_eq!(log.reader().page(Day(18_334), 0).unwrap(), None);
    }

    #[test]
    fn hours_that_wait_for_a_head_are_known_after_a_restart_however_many_days_they_have_waited() {
        let folder = tempfile::tempdir().unwrap();
        let start = 1_583_971_200;
        let mut log = TickLog::open(folder.path()).unwrap();
        append(&mut log, start - HOUR).unwrap();
        append(&mut log, start - 5).unwrap();
        for hour in 0..50 {
            log.append(entry(&log, start + hour * HOUR)).unwrap();
        }
        let now = Time(start + 50 * HOUR);
        let waiting = |log: &TickLog| (log.unsigned(now).unwrap().n, log.unsigned_hours(now), log.reader().waiting());
        assert_eq!(waiting(&log), (1, 51, 50), "the reader does not know that the last hour is over");
        drop(log);
        let mut log = TickLog::open(folder.path()).unwrap();
        assert_eq!(waiting(&log), (1, 51, 50));
        // Two are signed, and the process dies: the next one goes on with the third.
        for _ in 0..2 {
            log.sign(head(log.unsigned(now).unwrap())).unwrap();
        }
        assert!(log.sign(head(log.end().unwrap())).is_err(), "in order");
        drop(log);
        let mut log = TickLog::open(folder.path()).unwrap();
        let next = log.unsigned(now).unwrap();
        assert_eq!((next.n, next.at.0, log.unsigned_hours(now)), (3, start + HOUR, 49));
        while let Some(end) = log.unsigned(now) {
            log.sign(head(end)).unwrap();
        }
        assert_eq!(log.unsigned_hours(now), 0);
        drop(log);
        assert_eq!(TickLog::open(folder.path()).unwrap().unsigned(now), None);
    }

    #[test]
    fn a_changed_line_is_noticed_when_the_log_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = TickLog::open(folder.path()).unwrap();
        for at in [1_583_971_200, 1_583_971_205, 1_583_971_210] {
            append(&mut log, at).unwrap();
        }
        drop(log);
        let path = folder.path().join("ticks/20200312.log");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("1583971205", "1583971206")).unwrap();
        let error = TickLog::open(folder.path()).map(drop).unwrap_err();
        assert!(format!("{error:#}").contains("was changed"), "{error:#}");
    }

    #[test]
    fn a_log_keeps_its_id_and_one_of_an_older_version_takes_an_id_where_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let day = 1_583_971_200;
        let mut log = TickLog::open(folder.path()).unwrap();
        append(&mut log, day).unwrap();
        append(&mut log, day + 5).unwrap();
        let id = log.end().unwrap().log;
        assert!(id.is_some());
        drop(log);
        let path = folder.path().join("ticks/20200312.log");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("\"log\"").count(), 1, "the day's first tick names it");
        let mut log = TickLog::open(folder.path()).unwrap();
        append(&mut log, day + HOUR).unwrap();
        assert_eq!(log.end().unwrap().log, id);
        drop(log);
        let named = std::fs::read_to_string(&path).unwrap();
        assert_eq!(named.matches(&id.unwrap().to_string()).count(), 2, "and every head");
        std::fs::write(&path, named.replacen(&id.unwrap().to_string(), &"ab".repeat(16), 1)).unwrap();
        assert!(TickLog::open(folder.path()).is_err(), "a line of another log");
        // As an older version wrote it.
        let old = Line::Tick(Entry { log: None, ..first_entry(&text) }).text();
        std::fs::write(&path, format!("{old}\n")).unwrap();
        let mut log = TickLog::open(folder.path()).unwrap();
        assert_eq!(log.end().unwrap().log, None);
        append(&mut log, day + 5).unwrap();
        let taken = log.end().unwrap().log;
        assert!(taken.is_some() && taken != id);
        append(&mut log, day + HOUR).unwrap();
        drop(log);
        assert_eq!(TickLog::open(folder.path()).unwrap().end().unwrap().log, taken);
    }

    fn first_entry(text: &str) -> Entry {
        match serde_json::from_str(text.lines().next().unwrap()).unwrap() {
            Line::Tick(entry) => entry,
            Line::Head(_) => panic!("a tick comes first"),
        }
    }
}
