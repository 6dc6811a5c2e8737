//! Writing and reading a stream of records.

use super::{push_bigsize, take_bigsize, TlvField, TlvSlot};
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

/// Appends records to a stream. Give it types in increasing order.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty stream.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Appends `field` as a record of type `kind`; an absent optional field appends nothing.
    pub fn field<S: TlvSlot>(&mut self, kind: u64, field: &S) {
        field.put(kind, self);
    }

    /// Appends one record.
    pub fn record<F: TlvField>(&mut self, kind: u64, field: &F) {
        let mut value = Vec::new();
        field.write(&mut value);
        push_bigsize(&mut self.out, kind);
        push_bigsize(&mut self.out, value.len() as u64);
        self.out.append(&mut value);
    }

    /// The stream's bytes.
    pub fn finish(self) -> Vec<u8> {
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
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; `message` names the message in errors.
    pub fn new(message: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { message, rest: bytes, previous: None, next: None }
    }

    /// Reads the field of type `kind`. Ask in increasing order of types.
    pub fn field<S: TlvSlot>(&mut self, kind: u64, name: &'static str) -> Result<S, TlvError> {
        let value = self.take(kind).map_err(|reason| self.error(name, reason))?;
        S::get(kind, value).map_err(|reason| self.error(name, reason))
    }

    /// The end: refuses anything that was not asked for.
    pub fn finish(mut self) -> Result<(), TlvError> {
        match self.peek() {
            Ok(None) => Ok(()),
            Ok(Some((kind, _))) => Err(self.error("(stream)", TlvReason::Unknown(kind))),
            Err(reason) => Err(self.error("(stream)", reason)),
        }
    }

    fn error(&self, field: &'static str, reason: TlvReason) -> TlvError {
        TlvError { message: self.message, field, reason }
    }

    /// The value of type `kind` if it comes next; a lower type is one nobody asked for.
    fn take(&mut self, kind: u64) -> Result<Option<&'a [u8]>, TlvReason> {
        match self.peek()? {
            Some((found, value)) if found == kind => {
                self.next = None;
                Ok(Some(value))
            }
            Some((found, _)) if found < kind => Err(TlvReason::Unknown(found)),
            _ => Ok(None),
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
