//! A signed loan as one side gives it back to the other, and as the other side writes it down.

use super::event::{Block, Event};
use super::state::{Loan, Stage};
use crate::contract::recover::{proofs, LoanFile, Recovered};
use crate::contract::settle::{self, VerifiedAttestation};
use crate::contract::{ContractError, Role};
use crate::loan::terms::Terms;
use crate::loan::tlv::Bytes;
use bitcoin::secp256k1::{PublicKey, SecretKey, SECP256K1};
use bitcoin::Transaction;

impl Loan {
    /// Is there something to give back: both sides signed, the funding is in a block, and nothing that is spends it?
    pub fn can_be_given_back(&self) -> bool {
        let open = matches!(self.stage, Stage::Confirming | Stage::Active | Stage::Closing);
        open && self.funding.as_ref().is_some_and(|seen| seen.block.is_some()) && !self.is_exit_confirmed()
    }

    /// Is this our key in the signed contract? Before one is signed, any is.
    pub fn has_key(&self, key: &SecretKey) -> bool {
        let own = key.public_key(SECP256K1);
        self.skeleton.as_ref().is_none_or(|skeleton| own == *skeleton.key_of(self.role))
    }

    /// The exit that verified attestations unlock: signed with our key, or, where this is another one, put together of the
    /// signatures that both sides exchanged.
    ///
    /// # Errors
    /// When the contract is not signed, or the attestations settle nothing yet.
    pub fn settle_with(&self, key: &SecretKey, attested: &VerifiedAttestation) -> Result<Transaction, ContractError> {
        let unsigned = || ContractError::OutOfRange("the contract, which is not signed");
        let skeleton = self.skeleton.as_ref().ok_or_else(unsigned)?;
        let borrowers = || self.messages.read_sign().map(|sign| (&sign.cet_adaptor_signatures).into());
        let lenders = || self.messages.read_accept().map(|accept| (&accept.cet_adaptor_signatures).into());
        let place = settle::place(&self.terms, &self.payouts, attested)?;
        let theirs: Vec<_> = match self.role {
            Role::Borrower => lenders().ok_or_else(unsigned)?,
            Role::Lender => borrowers().ok_or_else(unsigned)?,
        };
        if self.has_key(key) {
            return settle::settle(skeleton, self.role, key, &theirs, &place);
        }
        let ours: Vec<_> = match self.role {
            Role::Borrower => borrowers().ok_or_else(unsigned)?,
            Role::Lender => lenders().ok_or_else(unsigned)?,
        };
        let (borrowers, lenders) = match self.role {
            Role::Borrower => (ours, theirs),
            Role::Lender => (theirs, ours),
        };
        settle::settle_without_keys(skeleton, &borrowers, &lenders, &place)
    }

    /// All that settles it; `None` before both sides have signed.
    pub fn file(&self) -> Option<LoanFile> {
        let messages = &self.messages;
        Some(LoanFile {
            terms: Bytes(self.terms.to_tlv()),
            offer: Bytes(messages.offer.clone()?),
            accept: Bytes(messages.accept.clone()?),
            sign: Bytes(messages.sign.clone()?),
            borrower_fallback: messages.borrower_fallback?,
            lender_fallback: messages.lender_fallback?,
            proofs: Bytes(proofs(&self.announcements)),
        })
    }
}

/// The events of a loan that was given back and checked, as if each had been recorded in its time.
pub fn events(
    (role, peer, key_index): (Role, PublicKey, [u8; 32]),
    terms: Terms,
    file: LoanFile,
    recovered: Recovered,
    (funding, block): (Transaction, Block),
) -> Vec<Event> {
    let Recovered { announcements, skeleton, borrower_coins, lender_coin } = recovered;
    let LoanFile { offer, accept, sign, borrower_fallback, lender_fallback, .. } = file;
    let (offer, accept, sign, skeleton) = (offer.0, accept.0, sign.0, Box::new(skeleton));
    let coins = match role {
        Role::Borrower => borrower_coins.into_iter().map(|(outpoint, _)| outpoint).collect(),
        Role::Lender => Vec::new(),
    };
    let (terms, announcements) = (Box::new(terms), Box::new(announcements));
    let mut events = vec![Event::Agreed { role, peer, terms, announcements, key_index, coins, proven: Vec::new() }];
    match role {
        Role::Borrower => {
            events.push(Event::Offered { offer });
            events.push(Event::Signed { accept, lender_fallback, sign, fallback: borrower_fallback, skeleton });
        }
        Role::Lender => {
            events.push(Event::Ready { coin: lender_coin.0 });
            events.push(Event::Accepted { offer, accept, fallback: lender_fallback, skeleton });
            events.push(Event::Funded { sign, borrower_fallback, transaction: funding.clone() });
        }
    }
    events.push(Event::FundingSeen { transaction: funding, block: Some(block) });
    events
}
