//! How each kind of value is written inside its record.

use super::{push_bigsize, take_bigsize, TlvReason};
use crate::loan::units::{BasisPoints, Cents, Days, SatPerVb, Time};
use bitcoin::secp256k1::{ecdsa, schnorr, PublicKey, XOnlyPublicKey};
use bitcoin::{Amount, OutPoint, ScriptBuf, Txid};
use serde::{Deserialize, Serialize};

/// The longest script accepted: no standard script is longer, and consensus spends none beyond.
const MAX_SCRIPT: usize = 10_000;
/// The most items of a list: an item of one byte may take many in memory.
const MAX_ITEMS: usize = 10_000;

/// A value of one record. The record gives its length, so `read` gets exactly the bytes that `write` made.
///
/// An implementation must be canonical: `read` refuses every byte string that `write` would not produce.
pub trait TlvField: Sized {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);
    /// The value of exactly these bytes, or what is wrong with them.
    fn read(bytes: &[u8]) -> Result<Self, TlvReason>;
}

/// A place in a message: a field that must be there, or an `Option` of one that may be.
pub trait TlvSlot: Sized {
    /// Writes the record, or nothing.
    fn put(&self, kind: u64, writer: &mut super::Writer);
    /// The slot of the record found, if one was.
    fn get(kind: u64, value: Option<&[u8]>) -> Result<Self, TlvReason>;
}

impl<F: TlvField> TlvSlot for F {
    fn put(&self, kind: u64, writer: &mut super::Writer) {
        writer.record(kind, self);
    }

    fn get(kind: u64, value: Option<&[u8]>) -> Result<F, TlvReason> {
        F::read(value.ok_or(TlvReason::Missing(kind))?)
    }
}

impl<F: TlvField> TlvSlot for Option<F> {
    fn put(&self, kind: u64, writer: &mut super::Writer) {
        if let Some(field) = self {
            writer.record(kind, field);
        }
    }

    fn get(_kind: u64, value: Option<&[u8]>) -> Result<Option<F>, TlvReason> {
        value.map(F::read).transpose()
    }
}

/// Exactly `N` bytes.
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], TlvReason> {
    bytes.try_into().map_err(|_| TlvReason::Length { expected: N, found: bytes.len() })
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl TlvField for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend(self.to_be_bytes());
            }

            fn read(bytes: &[u8]) -> Result<$int, TlvReason> {
                exactly(bytes).map(<$int>::from_be_bytes)
            }
        }
    )*};
}
integers!(u8, u16, u32, u64);

macro_rules! wrapped {
    ($($outer:ident),*) => {$(
        impl TlvField for $outer {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(bytes: &[u8]) -> Result<$outer, TlvReason> {
                TlvField::read(bytes).map($outer)
            }
        }
    )*};
}
wrapped!(Cents, Time, BasisPoints, Days, SatPerVb);

/// One byte, 0 or 1.
impl TlvField for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &[u8]) -> Result<bool, TlvReason> {
        match u8::read(bytes)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(TlvReason::Invalid(format!("{other} is neither 0 nor 1"))),
        }
    }
}

impl<const N: usize> TlvField for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self);
    }

    fn read(bytes: &[u8]) -> Result<[u8; N], TlvReason> {
        exactly(bytes)
    }
}

/// Sats in eight bytes; never more than there can be.
impl TlvField for Amount {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_sat().write(out);
    }

    fn read(bytes: &[u8]) -> Result<Amount, TlvReason> {
        let amount = Amount::from_sat(u64::read(bytes)?);
        match amount <= Amount::MAX_MONEY {
            true => Ok(amount),
            false => Err(TlvReason::Invalid(format!("{} sats are more than 21 million bitcoin", amount.to_sat()))),
        }
    }
}

/// 33 bytes, compressed.
impl TlvField for PublicKey {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.serialize());
    }

    fn read(bytes: &[u8]) -> Result<PublicKey, TlvReason> {
        let bytes: [u8; 33] = exactly(bytes)?;
        PublicKey::from_slice(&bytes).map_err(|_| TlvReason::Invalid("not a compressed public key".into()))
    }
}

/// 32 bytes, as BIP 340 has them.
impl TlvField for XOnlyPublicKey {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.serialize());
    }

    fn read(bytes: &[u8]) -> Result<XOnlyPublicKey, TlvReason> {
        let bytes: [u8; 32] = exactly(bytes)?;
        XOnlyPublicKey::from_slice(&bytes).map_err(|_| TlvReason::Invalid("not the x of a point on the curve".into()))
    }
}

/// 64 bytes, as BIP 340 has them.
impl TlvField for schnorr::Signature {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.serialize());
    }

    fn read(bytes: &[u8]) -> Result<schnorr::Signature, TlvReason> {
        let bytes: [u8; 64] = exactly(bytes)?;
        schnorr::Signature::from_slice(&bytes).map_err(|_| TlvReason::Invalid("not a BIP 340 signature".into()))
    }
}

/// 64 bytes, compact, with a low S.
impl TlvField for ecdsa::Signature {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.serialize_compact());
    }

    fn read(bytes: &[u8]) -> Result<ecdsa::Signature, TlvReason> {
        let bytes: [u8; 64] = exactly(bytes)?;
        let invalid = || TlvReason::Invalid("not a compact ECDSA signature with a low S".into());
        let signature = ecdsa::Signature::from_compact(&bytes).map_err(|_| invalid())?;
        let mut low = signature;
        low.normalize_s();
        if low == signature {
            Ok(signature)
        } else {
            Err(invalid())
        }
    }
}

/// 32 bytes in the order of hashing, not of display.
impl TlvField for Txid {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(AsRef::<[u8]>::as_ref(self));
    }

    fn read(bytes: &[u8]) -> Result<Txid, TlvReason> {
        exactly(bytes).map(bitcoin::hashes::Hash::from_byte_array)
    }
}

/// The txid's 32 bytes, then the output's index in four.
impl TlvField for OutPoint {
    fn write(&self, out: &mut Vec<u8>) {
        self.txid.write(out);
        self.vout.write(out);
    }

    fn read(bytes: &[u8]) -> Result<OutPoint, TlvReason> {
        let bytes: [u8; 36] = exactly(bytes)?;
        let (txid, vout) = bytes.split_at(32);
        Ok(OutPoint { txid: Txid::read(txid)?, vout: u32::read(vout)? })
    }
}

/// The script's bytes, at most 10,000.
impl TlvField for ScriptBuf {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<ScriptBuf, TlvReason> {
        if bytes.len() > MAX_SCRIPT {
            return Err(TlvReason::Invalid(format!(
                "a script of {} bytes; at most {MAX_SCRIPT} are right",
                bytes.len()
            )));
        }
        Ok(ScriptBuf::from_bytes(bytes.to_vec()))
    }
}

/// UTF-8.
impl TlvField for String {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<String, TlvReason> {
        String::from_utf8(bytes.to_vec()).map_err(|_| TlvReason::Invalid("not UTF-8 text".into()))
    }
}

/// Bytes as they are, such as a message of another protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub Vec<u8>);

impl TlvField for Bytes {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend(&self.0);
    }

    fn read(bytes: &[u8]) -> Result<Bytes, TlvReason> {
        Ok(Bytes(bytes.to_vec()))
    }
}

/// Each item with a BigSize length before it, at most 10,000. There is no count: the record's length ends the list.
impl<F: TlvField> TlvField for Vec<F> {
    fn write(&self, out: &mut Vec<u8>) {
        for item in self {
            let mut value = Vec::new();
            item.write(&mut value);
            push_bigsize(out, value.len() as u64);
            out.append(&mut value);
        }
    }

    fn read(mut bytes: &[u8]) -> Result<Vec<F>, TlvReason> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let length = usize::try_from(take_bigsize(&mut bytes)?).map_err(|_| TlvReason::CutShort)?;
            let (value, rest) = bytes.split_at_checked(length).ok_or(TlvReason::CutShort)?;
            if items.len() == MAX_ITEMS {
                return Err(TlvReason::Invalid(format!("a list of more than {MAX_ITEMS} items")));
            }
            items.push(F::read(value)?);
            bytes = rest;
        }
        Ok(items)
    }
}
