//! How far the journals had got: a small file beside the database, written after each sync.
//!
//! The database recovers from a lost tail by forgetting it. The mark makes such a loss visible.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The version of the whole folder's format; it ends the magic bytes. Format 2 may hold records that others have taken
/// the place of, and is format 1 where it holds none.
pub(super) const FORMAT: u32 = 2;
const MAGIC: &[u8; 8] = b"HYPSTOR2";
const MAGIC_BEFORE: &[u8; 8] = b"HYPSTOR1";
const MAGIC_NAME: &[u8] = b"HYPSTOR";
const SLOT: usize = 512;
const USED: usize = 36;

/// How many rows each journal had when both were last known to be on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub log: u64,
    pub docs: u64,
}

/// The open mark file. Two slots are written in turn, so a torn write never hurts the last good one.
pub(super) struct Mark {
    file: File,
    turn: u64,
    /// Slots that a program of an older format could read.
    old: usize,
}

/// What opening the mark file found.
pub(super) enum Found {
    /// The file was not there, or was never written to.
    Nothing,
    At(Mark, Position),
    /// Neither slot can be trusted.
    Unreadable,
    /// Another version wrote it.
    OtherFormat(String),
}

impl Mark {
    pub(super) fn open(path: &Path) -> io::Result<Found> {
        let mut file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            other => other?,
        };
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(2 * SLOT as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(Found::Nothing);
        }
        let newest = bytes.chunks(SLOT).filter_map(decode).max_by_key(|(turn, _)| *turn);
        Ok(match newest {
            Some((turn, position)) => {
                let old = bytes.chunks(SLOT).filter(|slot| slot.starts_with(MAGIC_BEFORE)).count();
                Found::At(Mark { file, turn, old }, position)
            }
            None => match bytes.strip_prefix(MAGIC_NAME).and_then(|rest| rest.first()) {
                Some(format) if !b"12".contains(format) && format.is_ascii_graphic() => {
                    Found::OtherFormat(char::from(*format).to_string())
                }
                _ => Found::Unreadable,
            },
        })
    }

    /// Makes the file of a new store.
    pub(super) fn create(path: &Path) -> io::Result<Mark> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut mark = Mark { file, turn: 0, old: 0 };
        mark.set(Position::default())?;
        mark.file.sync_all()?;
        Ok(mark)
    }

    /// Writes both slots anew where one is of an older format, so that its program refuses the folder. Each is whole
    /// before the other is touched.
    pub(super) fn raise(&mut self, position: Position) -> io::Result<()> {
        if std::mem::take(&mut self.old) > 0 {
            self.set(position)?;
            self.set(position)?;
        }
        Ok(())
    }

    /// Records a new position; on disk when this returns.
    pub(super) fn set(&mut self, position: Position) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        let mut slot = Vec::with_capacity(USED);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&self.turn.to_be_bytes());
        slot.extend_from_slice(&position.log.to_be_bytes());
        slot.extend_from_slice(&position.docs.to_be_bytes());
        let crc = crc32fast::hash(&slot);
        slot.extend_from_slice(&crc.to_be_bytes());
        slot.resize(SLOT, 0);
        self.file.seek(SeekFrom::Start((self.turn % 2) * SLOT as u64))?;
        self.file.write_all(&slot)?;
        self.file.sync_data()
    }
}

fn decode(slot: &[u8]) -> Option<(u64, Position)> {
    let (body, crc) = slot.get(..USED)?.split_last_chunk::<4>()?;
    let fields = body.strip_prefix(MAGIC.as_slice()).or_else(|| body.strip_prefix(MAGIC_BEFORE.as_slice()))?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (turn, rest) = fields.split_first_chunk::<8>()?;
    let (log, rest) = rest.split_first_chunk::<8>()?;
    let (docs, _) = rest.split_first_chunk::<8>()?;
    let position = Position { log: u64::from_be_bytes(*log), docs: u64::from_be_bytes(*docs) };
    Some((u64::from_be_bytes(*turn), position))
}
