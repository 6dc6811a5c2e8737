//! A key that the daemon holds itself. Its record is locked before anything else, and it signs nothing before the record
//! knows what the ledger says.

use super::super::ledger::Ledger;
use super::adopt::{check, entries};
use super::keys::Keys;
use super::record::Record;
use super::vault::Vault;
use crate::announce::OracleKeys;
use crate::event::{PaymentId, PaymentWord};
use anyhow::{bail, Context};
use bitcoin::key::XOnlyPublicKey;
use std::collections::BTreeMap;
use std::path::Path;

/// A key and its record, locked.
#[derive(Debug)]
pub struct Here {
    keys: OracleKeys,
    record: Record,
}

impl Here {
    /// Takes the record beside a key. Where there is none, one is begun if the key `has_spoken` from a ledger that is at
    /// hand: older versions kept no record in a daemon.
    ///
    /// # Errors
    /// When a signer or another daemon holds the record, it is damaged or another key's, or there is none and no ledger.
    pub fn hold(data: &Path, keys: OracleKeys, has_spoken: bool) -> anyhow::Result<Here> {
        let key = keys.public_key();
        let record = match Record::hold(data, &key).context("sign beside the key's record")? {
            Some(record) => record,
            None if has_spoken => Record::begin_unrecorded(data, &key).context("begin the key's record")?,
            None => bail!(
                "{} has a key, but neither its record `signed` nor a ledger with its watermark: what this key has signed is \
                 not known, and signing a second outcome would give it away. Restore the newest of them, or make a new key",
                data.display()
            ),
        };
        Ok(Here { keys, record })
    }

    /// The key.
    pub fn public_key(&self) -> XOnlyPublicKey {
        self.keys.public_key()
    }

    /// Takes what was said into the record and may sign from now on. The ledger has been held against its watermark.
    ///
    /// # Errors
    /// When record and ledger contradict each other, or the disk fails.
    pub fn knowing(mut self, ledger: &Ledger, payments: &BTreeMap<PaymentId, PaymentWord>) -> anyhow::Result<Keys> {
        check(&self.record.signed, ledger, payments).context("hold the ledger against the key's record")?;
        let fresh = self.record.adopt(&entries(ledger, payments)).context("continue the key's record")?;
        if fresh > 0 {
            tracing::info!("{fresh} entries of the ledger are new in the key's record");
        }
        Ok(Keys::Here(Box::new(Vault::beside_desk(self.keys, self.record))))
    }
}
