//! Writing and reading a stream of records.

use super::{push_bigsize, take_bigsize, Bytes, TlvField, TlvSlot};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why bytes are not the message they should be: which message, which field, what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}.{field}: {reason}")]
pub struct TlvError {
    /// The message being read.
    pub message: &'static str,
    /// The field at fault; `(stream)` when no field is.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: TlvReason,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlvReason {
    /// The bytes end inside a type, a length or a value.
    #[error("cut short; send every byte of it")]
    CutShort,
    /// A BigSize is longer than its value needs.
    #[error("{0} is written with more bytes than it needs; use the shortest BigSize")]
    NotMinimal(u64),
    /// Types must strictly increase: this one comes after a greater or equal one.
    #[error("type {found} follows type {previous}; types must strictly increase")]
    NotIncreasing { previous: u64, found: u64 },
    /// A type this message does not have.
    #[error("unknown type {0}; this version has no such field")]
    Unknown(u64),
    /// A field that must be there is not.
    #[error("missing; type {0} must be present")]
    Missing(u64),
    /// A value of the wrong length.
    #[error("{found} bytes where {expected} are right")]
    Length { expected: usize, found: usize },
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
}

/// Whether each type is greater than the one before: what `tlv_struct!` demands at compile time.
pub const fn strictly_increasing(types: &[u64]) -> bool {
    let mut rest = types;
    while let [first, tail @ ..] = rest {
        if let [second, ..] = tail {
            if *first >= *second {
                return false;
            }
        }
        rest = tail;
    }
    true
}

/// Records of odd types that a reader does not know, by ascending type: kept, so that what was read is written back to
/// the same bytes, and otherwise ignored. An unknown even type is never among them: it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(pub Vec<(u64, Bytes)>);

impl Unknown {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends records to a stream. Give it types in increasing order.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    /// Still to be written, each before the next greater type.
    unknown: std::collections::VecDeque<(u64, Bytes)>,
}

impl Writer {
    /// An empty stream.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty stream that puts `unknown` records in their places.
    pub fn with_unknown(unknown: &Unknown) -> Writer {
        Writer { out: Vec::new(), unknown: unknown.0.clone().into() }
    }

    /// Appends `field` as a record of type `kind`; an absent optional field appends nothing.
    pub fn field<S: TlvSlot>(&mut self, kind: u64, field: &S) {
        field.put(kind, self);
    }

    /// Appends one record.
    pub fn record<F: TlvField>(&mut self, kind: u64, field: &F) {
        while self.unknown.front().is_some_and(|(unknown, _)| *unknown < kind) {
            self.next_unknown();
        }
        self.append(kind, field);
    }

    fn next_unknown(&mut self) {
        if let Some((kind, value)) = self.unknown.pop_front() {
            self.append(kind, &value);
        }
    }

    fn append<F: TlvField>(&mut self, kind: u64, field: &F) {
        let mut value = Vec::new();
        field.write(&mut value);
        push_bigsize(&mut self.out, kind);
        push_bigsize(&mut self.out, value.len() as u64);
        self.out.append(&mut value);
    }

    /// The stream's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        while !self.unknown.is_empty() {
            self.next_unknown();
        }
        self.out
    }
}

/// Takes records off a stream in the order of their types.
#[derive(Debug)]
pub struct Reader<'a> {
    message: &'static str,
    rest: &'a [u8],
    previous: Option<u64>,
    /// A record whose type has been read but not yet asked for.
    next: Option<(u64, &'a [u8])>,
    /// What nobody asked for, where that is kept.
    unknown: Option<Unknown>,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; `message` names the message in errors.
    pub fn new(message: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { message, rest: bytes, previous: None, next: None, unknown: None }
    }

    /// A reader that keeps records of odd types nobody asks for; of even types it refuses them as any other does.
    pub fn keeping_odd(message: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { unknown: Some(Unknown::default()), ..Reader::new(message, bytes) }
    }

    /// Reads the field of type `kind`. Ask in increasing order of types.
    pub fn field<S: TlvSlot>(&mut self, kind: u64, name: &'static str) -> Result<S, TlvError> {
        let value = self.take(kind).map_err(|reason| self.error(name, reason))?;
        S::get(kind, value).map_err(|reason| self.error(name, reason))
    }

    /// The end: refuses anything that was not asked for.
    pub fn finish(self) -> Result<(), TlvError> {
        self.finish_with_unknown().map(|_| ())
    }

    /// The end: the records of odd types that nobody asked for, where they are kept; refuses anything else.
    pub fn finish_with_unknown(mut self) -> Result<Unknown, TlvError> {
        loop {
            match self.peek() {
                Ok(None) => return Ok(self.unknown.unwrap_or_default()),
                Ok(Some((kind, value))) => {
                    self.keep(kind, value).map_err(|reason| self.error("(stream)", reason))?;
                }
                Err(reason) => return Err(self.error("(stream)", reason)),
            }
        }
    }

    /// Keeps a record nobody asked for, or says that it is unknown.
    fn keep(&mut self, kind: u64, value: &[u8]) -> Result<(), TlvReason> {
        let unknown = self.unknown.as_mut().filter(|_| kind % 2 == 1).ok_or(TlvReason::Unknown(kind))?;
        unknown.0.push((kind, Bytes(value.to_vec())));
        self.next = None;
        Ok(())
    }

    fn error(&self, field: &'static str, reason: TlvReason) -> TlvError {
        TlvError { message: self.message, field, reason }
    }

    /// The value of type `kind` if it comes next; a lower type is one nobody asked for.
    fn take(&mut self, kind: u64) -> Result<Option<&'a [u8]>, TlvReason> {
        loop {
            match self.peek()? {
                Some((found, value)) if found == kind => {
                    self.next = None;
                    return Ok(Some(value));
                }
                Some((found, value)) if found < kind => self.keep(found, value)?,
                _ => return Ok(None),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<(u64, &'a [u8])>, TlvReason> {
        if self.next.is_some() || self.rest.is_empty() {
            return Ok(self.next);
        }
        let found = take_bigsize(&mut self.rest)?;
        if let Some(previous) = self.previous.filter(|previous| *previous >= found) {
            return Err(TlvReason::NotIncreasing { previous, found });
        }
        let length = usize::try_from(take_bigsize(&mut self.rest)?).map_err(|_| TlvReason::CutShort)?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or(TlvReason::CutShort)?;
        self.rest = rest;
        self.previous = Some(found);
        self.next = Some((found, value));
        Ok(self.next)
    }
}
