//! A gap-free sequence of small checked rows in one sled tree, holding larger entries.
//!
//! sled is safe for small appended values, so an entry (a key and its bytes) is cut into rows of at most 2 kB. Every
//! row carries a CRC of its number and content; row numbers leave no gap; a batch ends with a commit row. What follows
//! the last commit row was never acknowledged and is dropped when the journal is opened.
//!
//! ```text
//! number (8 bytes, big endian) -> First  01 | key length u8 | key | entry length u32 | bytes…              | crc32
//!                                 More   02 | bytes…                                                        | crc32
//!                                 Commit 03 | number of the batch's first row u64 | base u64                | crc32
//!                                 Anew   04 | key length u8 | key | place u64 | entry length u32 | bytes…   | crc32
//!                                 Gone   05 | key length u8 | key                                           | crc32
//!                                 Hole   06 | number of its last row u64                                    | crc32
//! ```
//! Rows before `base` of the last commit row are dead: a compaction wrote everything alive again after them.
//!
//! *Anew* begins an entry as *First* does, and all earlier entries of its key are dead; `place` is how many its key had
//! before it. *Gone* says only that they are dead. What is dead is given back batch by batch: once the batch that says so
//! is on disk, a *Hole* takes the place of the dead batch's first row, and once that is on disk, the rows under it are
//! removed. Whatever still lies under a hole is nothing. Holes that touch are one.

use std::ops::RangeInclusive;

/// The most bytes of a row's value.
const ROW: usize = 2000;
const CRC: usize = 4;

/// Where an entry's rows are.
pub(super) type Rows = RangeInclusive<u64>;

/// Takes an entry: its key, what it is to those before it, its rows, its bytes. What it returns as wrong is damage.
pub(super) type Visit<'a> = dyn FnMut(&[u8], Kind, Rows, Vec<u8>) -> Result<(), String> + 'a;

/// What an entry is to the earlier ones of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One more.
    Another,
    /// The first of those that take their place; so many came before it.
    Anew(u64),
    /// None: it has no bytes, and says that they are dead.
    Gone,
}

/// An entry to be written.
pub(super) struct Entry<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub bytes: &'a [u8],
}

/// Why a journal could not be read or written.
#[derive(Debug)]
pub(super) enum Fault {
    /// The system or sled refused.
    Sled(sled::Error),
    /// The rows are not what was written.
    Damage(String),
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Corruption { .. } => Fault::Damage(format!("the database reports {error}")),
            other => Fault::Sled(other),
        }
    }
}

/// The open journal. One writer at a time; the caller syncs.
pub(super) struct Journal {
    tree: sled::Tree,
    next: u64,
    base: u64,
    show: fn(&[u8]) -> String,
}

enum Row<'a> {
    First { key: &'a [u8], kind: Kind, length: usize, part: &'a [u8] },
    More { part: &'a [u8] },
    Commit { start: u64, base: u64 },
    Hole { last: u64 },
}

/// An entry being put together from its rows.
struct Partial {
    key: Vec<u8>,
    kind: Kind,
    length: usize,
    bytes: Vec<u8>,
    first: u64,
}

impl Journal {
    /// Checks the whole journal and shows every acknowledged entry, in order, to `visit`. `show` names an entry's key
    /// for people. Changes nothing: call [`Journal::tidy`] once all else about the store has been checked.
    pub(super) fn open(tree: sled::Tree, show: fn(&[u8]) -> String, visit: &mut Visit<'_>) -> Result<Journal, Fault> {
        let mut journal = Journal { tree, next: 0, base: 0, show };
        if let Some((number, base)) = journal.last_commit()? {
            journal.next = number.checked_add(1).ok_or_else(|| Fault::Damage("a row has the last number".into()))?;
            journal.base = base;
        }
        journal.scan(visit)?;
        Ok(journal)
    }

    /// The number the next row gets: how many rows were ever committed.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Rows that are not dead.
    pub(super) fn live(&self) -> u64 {
        self.next.saturating_sub(self.base)
    }

    /// True when no row was ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.next == 0 && self.tree.is_empty()
    }

    /// Removes what is dead: an unfinished last batch, rows before the base, and what lies under holes.
    pub(super) fn tidy(&mut self) -> Result<(), Fault> {
        for range in [self.tree.range(self.next.to_be_bytes()..), self.tree.range(..self.base.to_be_bytes())] {
            for row in range {
                self.tree.remove(row?.0)?;
            }
        }
        let mut under = None;
        for row in self.tree.iter() {
            let (number, value) = row?;
            let number = parse_number(&number)?;
            match under {
                Some(last) if number <= last => drop(self.tree.remove(number.to_be_bytes())?),
                _ => under = hole(number, &value),
            }
        }
        Ok(())
    }

    /// Digs holes where the entries in `dead` lie, in batches that hold nothing else, and returns them for
    /// [`Journal::fill`]. Only once the batch that says that they are dead is on disk; that one, as the last, stays.
    pub(super) fn dig(&mut self, mut dead: Vec<Rows>) -> Result<Vec<Rows>, Fault> {
        dead.sort_unstable_by_key(|rows| *rows.start());
        let mut holes: Vec<Rows> = Vec::new();
        for batch in self.batches(&dead)? {
            let (mut first, mut last) = batch.into_inner();
            let touches = |hole: &mut Rows| hole.end().checked_add(1) == Some(first);
            if let Some(before) = holes.pop_if(touches) {
                first = *before.start();
            } else if let Some((number, value)) = self.tree.get_lt(first.to_be_bytes())? {
                let number = parse_number(&number)?;
                if hole(number, &value).is_some_and(|last| last.checked_add(1) == Some(first)) {
                    first = number;
                }
            }
            let after = last.saturating_add(1);
            if let Some(value) = self.tree.get(after.to_be_bytes())? {
                last = hole(after, &value).unwrap_or(last);
            }
            self.put_row(first, [&[6], last.to_be_bytes().as_slice()].concat())?;
            holes.push(first..=last);
        }
        Ok(holes)
    }

    /// Removes what lies under holes. Only once these are on disk.
    pub(super) fn fill(&mut self, holes: &[Rows]) -> Result<(), Fault> {
        for hole in holes {
            for row in self.tree.range(hole.start().saturating_add(1).to_be_bytes()..=hole.end().to_be_bytes()) {
                self.tree.remove(row?.0)?;
            }
        }
        Ok(())
    }

    /// The batches, with their commit rows, that these entries are all of; what lies beside what lives is refused.
    fn batches(&self, dead: &[Rows]) -> Result<Vec<Rows>, Fault> {
        let mut batches: Vec<Rows> = Vec::new();
        let mut entries = dead.iter().peekable();
        while let Some(first) = entries.next() {
            let mut next = first.end().saturating_add(1);
            while let Some(more) = entries.next_if(|rows| *rows.start() == next) {
                next = more.end().saturating_add(1);
            }
            let commit = self.tree.get(next.to_be_bytes())?;
            match commit.as_deref().and_then(|value| decode(next, value)) {
                Some(Row::Commit { start, .. }) if start == *first.start() => {}
                _ => return Err(Fault::Damage(format!("rows {} to {next} are no whole batch", first.start()))),
            }
            match batches.last_mut() {
                // Those that touch are one.
                Some(before) if before.end().checked_add(1) == Some(*first.start()) => *before = *before.start()..=next,
                _ => batches.push(*first.start()..=next),
            }
        }
        Ok(batches)
    }

    /// Writes a batch with its commit row. Not on disk until the caller has synced. After an error the journal must
    /// not be written to again.
    ///
    /// With `rebase` everything before this batch becomes dead; [`Journal::tidy`] removes it after the sync.
    pub(super) fn append<'a>(
        &mut self,
        entries: impl Iterator<Item = Entry<'a>>,
        rebase: bool,
    ) -> Result<Vec<Rows>, Fault> {
        let start = self.next;
        let mut number = start;
        let mut placed = Vec::new();
        for entry in entries {
            let first = number;
            for body in bodies(&entry) {
                number = self.put_row(number, body)?;
            }
            placed.push(first..=number.saturating_sub(1));
        }
        crate::crash::point("store-before-commit");
        let base = if rebase { start } else { self.base };
        let mut commit = vec![3];
        commit.extend_from_slice(&start.to_be_bytes());
        commit.extend_from_slice(&base.to_be_bytes());
        self.next = self.put_row(number, commit)?;
        self.base = base;
        Ok(placed)
    }

    /// The bytes of the entry in `rows`.
    pub(super) fn read(&self, rows: &Rows) -> Result<Vec<u8>, Fault> {
        let mut entry: Option<Partial> = None;
        let mut expected = *rows.start();
        for row in self.tree.range(rows.start().to_be_bytes()..=rows.end().to_be_bytes()) {
            let (number, value) = row?;
            let number = self.number(&number, expected, entry.as_ref())?;
            expected = number.saturating_add(1);
            match self.decode(number, &value, entry.as_ref())? {
                Row::First { key, kind, length, part } => {
                    entry = Some(Partial::new(key, kind, length, part, number));
                }
                Row::More { part } => extend(&mut entry, part, number)?,
                Row::Commit { .. } | Row::Hole { .. } => {
                    return Err(Fault::Damage(format!("row {number} ends a batch too early")));
                }
            }
        }
        match entry {
            Some(entry) if entry.bytes.len() == entry.length => Ok(entry.bytes),
            Some(entry) => Err(Fault::Damage(format!("a record of {} is cut short", (self.show)(&entry.key)))),
            None => Err(Fault::Damage(format!("rows {} to {} are missing", rows.start(), rows.end()))),
        }
    }

    fn put_row(&self, number: u64, mut body: Vec<u8>) -> Result<u64, Fault> {
        let crc = crc(number, &body);
        body.extend_from_slice(&crc.to_be_bytes());
        self.tree.insert(number.to_be_bytes(), body)?;
        number.checked_add(1).ok_or_else(|| Fault::Damage("the row numbers are used up".into()))
    }

    /// The number and base of the last commit row; rows after it belong to a batch that was never acknowledged.
    fn last_commit(&self) -> Result<Option<(u64, u64)>, Fault> {
        for row in self.tree.iter().rev() {
            let (number, value) = row?;
            let number = parse_number(&number)?;
            if let Row::Commit { base, .. } = self.decode(number, &value, None)? {
                return Ok(Some((number, base)));
            }
        }
        Ok(None)
    }

    fn scan(&self, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let mut batch = self.base;
        let mut expected = self.base;
        let mut entry: Option<Partial> = None;
        for row in self.tree.range(self.base.to_be_bytes()..self.next.to_be_bytes()) {
            let (number, value) = row?;
            // What still lies under a hole is nothing.
            if parse_number(&number)? < expected {
                continue;
            }
            let number = self.number(&number, expected, entry.as_ref())?;
            expected = number.saturating_add(1);
            match self.decode(number, &value, entry.as_ref())? {
                Row::First { key, kind, length, part } => {
                    self.finish(entry.take(), number, visit)?;
                    entry = Some(Partial::new(key, kind, length, part, number));
                }
                Row::Hole { last } => {
                    if number != batch || last < number {
                        return Err(Fault::Damage(format!("rows {number} to {last} are no whole batches")));
                    }
                    expected = last.saturating_add(1);
                    batch = expected;
                }
                Row::More { part } => extend(&mut entry, part, number)?,
                Row::Commit { start, .. } => {
                    self.finish(entry.take(), number, visit)?;
                    if start != batch {
                        return Err(Fault::Damage(format!("the batch ending at row {number} began at row {start}")));
                    }
                    batch = expected;
                }
            }
        }
        if expected != self.next {
            return Err(Fault::Damage(format!("rows {expected} to {} are missing", self.next.saturating_sub(1))));
        }
        Ok(())
    }

    /// Hands on an entry that ends before row `next`.
    fn finish(&self, entry: Option<Partial>, next: u64, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let Some(entry) = entry else { return Ok(()) };
        if entry.bytes.len() != entry.length {
            let (name, length, found) = ((self.show)(&entry.key), entry.length, entry.bytes.len());
            return Err(Fault::Damage(format!("a record of {name} has {found} of its {length} bytes")));
        }
        let rows = entry.first..=next.saturating_sub(1);
        visit(&entry.key, entry.kind, rows, entry.bytes).map_err(Fault::Damage)
    }

    /// Checks that the next row found is the next row expected.
    fn number(&self, key: &[u8], expected: u64, near: Option<&Partial>) -> Result<u64, Fault> {
        let number = parse_number(key)?;
        if number != expected {
            let last = number.saturating_sub(1);
            return Err(Fault::Damage(format!("rows {expected} to {last} are missing{}", self.place(near))));
        }
        Ok(number)
    }

    fn decode<'a>(&self, number: u64, value: &'a [u8], near: Option<&Partial>) -> Result<Row<'a>, Fault> {
        decode(number, value).ok_or_else(|| Fault::Damage(format!("row {number} is corrupt{}", self.place(near))))
    }

    fn place(&self, near: Option<&Partial>) -> String {
        near.map(|entry| format!(", in or after a record of {}", (self.show)(&entry.key))).unwrap_or_default()
    }
}

impl Partial {
    fn new(key: &[u8], kind: Kind, length: usize, part: &[u8], first: u64) -> Partial {
        Partial { key: key.to_vec(), kind, length, bytes: part.to_vec(), first }
    }
}

fn extend(entry: &mut Option<Partial>, part: &[u8], number: u64) -> Result<(), Fault> {
    let entry = entry.as_mut().ok_or_else(|| Fault::Damage(format!("row {number} continues no record")))?;
    entry.bytes.extend_from_slice(part);
    Ok(())
}

/// Cuts an entry into row bodies (without their CRC).
fn bodies<'a>(entry: &Entry<'a>) -> impl Iterator<Item = Vec<u8>> + 'a {
    let (key, bytes) = (entry.key, entry.bytes);
    let mut first = vec![0, u8::try_from(key.len()).unwrap_or(u8::MAX)];
    first.extend_from_slice(key);
    let kind = match entry.kind {
        Kind::Another => 1,
        Kind::Anew(place) => {
            first.extend_from_slice(&place.to_be_bytes());
            4
        }
        Kind::Gone => 5,
    };
    first.splice(..1, [kind]);
    let mut tail: &[u8] = &[];
    if entry.kind != Kind::Gone {
        first.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        let room = ROW.saturating_sub(CRC).saturating_sub(first.len());
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        first.extend_from_slice(head);
        tail = rest;
    }
    let more = tail.chunks(ROW - CRC - 1).map(|part| [&[2], part].concat());
    std::iter::once(first).chain(more)
}

/// The last row of the hole that this row is, if it is one.
fn hole(number: u64, value: &[u8]) -> Option<u64> {
    if value.first() != Some(&6) {
        return None;
    }
    match decode(number, value)? {
        Row::Hole { last } => Some(last),
        _ => None,
    }
}

fn crc(number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn parse_number(key: &[u8]) -> Result<u64, Fault> {
    let bytes = <[u8; 8]>::try_from(key).map_err(|_| Fault::Damage("a row's number is not 8 bytes".into()))?;
    Ok(u64::from_be_bytes(bytes))
}

fn decode(number: u64, value: &[u8]) -> Option<Row<'_>> {
    let (body, sum) = value.split_last_chunk::<CRC>()?;
    if crc(number, body) != u32::from_be_bytes(*sum) {
        return None;
    }
    let (kind, rest) = body.split_first()?;
    match kind {
        1 | 4 | 5 => {
            let (key_length, rest) = rest.split_first()?;
            let (key, mut rest) = rest.split_at_checked(usize::from(*key_length))?;
            let kind = match kind {
                1 => Kind::Another,
                4 => {
                    let (place, after) = rest.split_first_chunk::<8>()?;
                    rest = after;
                    Kind::Anew(u64::from_be_bytes(*place))
                }
                _ if rest.is_empty() => return Some(Row::First { key, kind: Kind::Gone, length: 0, part: rest }),
                _ => return None,
            };
            let (length, part) = rest.split_first_chunk::<4>()?;
            Some(Row::First { key, kind, length: usize::try_from(u32::from_be_bytes(*length)).ok()?, part })
        }
        2 => Some(Row::More { part: rest }),
        3 => {
            let (start, rest) = rest.split_first_chunk::<8>()?;
            let base = <[u8; 8]>::try_from(rest).ok()?;
            Some(Row::Commit { start: u64::from_be_bytes(*start), base: u64::from_be_bytes(base) })
        }
        6 => Some(Row::Hole { last: u64::from_be_bytes(<[u8; 8]>::try_from(rest).ok()?) }),
        _ => None,
    }
}
