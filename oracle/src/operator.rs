//! Keys of one operator: a hand-over joins two, and so does an operator's statement that both are its own.
//!
//! Where several oracles must agree, what counts is operators: whoever holds two of three keys decides alone. Both keys
//! sign `tagged("hypothec/same-operator/v0", lower key (32) || higher key (32))`, BIP340 with no auxiliary randomness, or
//! the hand-over of [`rotation`](crate::rotation). Links are followed from key to key, in either direction, and never
//! taken back. Nobody can link a key whose secret it does not hold.

use crate::announce::{tagged, OracleKeys};
use crate::rotation::{Rotation, RotationError};
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most links kept of one oracle.
pub const LINKS_MOST: usize = 64;

/// An operator's statement that two keys are its own. Its JSON is what `/v1/same-operator` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SameOperator {
    /// The two keys, the lower one first.
    pub keys: [XOnlyPublicKey; 2],
    /// By each of them, in their order.
    pub signatures: [Signature; 2],
}

/// Why two keys are one operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// One handed over to the other.
    HandOver(Rotation),
    /// The operator says so.
    Stated(SameOperator),
}

/// Why a link is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// A hand-over that is not one.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// It needs two keys.
    #[error("the statement names {0} twice; it is about two keys")]
    SameKey(XOnlyPublicKey),
    /// There is one way to write it.
    #[error("the statement names {0} before {1}; the lower key comes first")]
    Order(String, String),
    /// A signature does not verify.
    #[error("key {signer} did not sign that it and {other} are one operator's")]
    Signature { signer: String, other: String },
    /// More than anybody needs.
    #[error("more than {LINKS_MOST} keys are said to be one operator's with {0}")]
    TooMany(XOnlyPublicKey),
}

impl SameOperator {
    /// Signs the statement with both keys, in whichever order they come.
    ///
    /// # Errors
    /// When both are one key.
    pub fn sign(one: &OracleKeys, other: &OracleKeys) -> Result<SameOperator, LinkError> {
        let mut both = [one, other];
        both.sort_by_key(|keys| keys.public_key().serialize());
        let [lower, higher] = both;
        let keys = [lower.public_key(), higher.public_key()];
        if keys[0] == keys[1] {
            return Err(LinkError::SameKey(keys[0]));
        }
        let message = message(&keys);
        Ok(SameOperator { keys, signatures: [lower.sign(&message), higher.sign(&message)] })
    }

    /// Did both keys sign it?
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn verify(&self) -> Result<(), LinkError> {
        let [lower, higher] = self.keys;
        match lower.serialize().cmp(&higher.serialize()) {
            std::cmp::Ordering::Equal => return Err(LinkError::SameKey(lower)),
            std::cmp::Ordering::Greater => return Err(LinkError::Order(lower.to_string(), higher.to_string())),
            std::cmp::Ordering::Less => {}
        }
        let message = message(&self.keys);
        for (signer, other, signature) in [(lower, higher, self.signatures[0]), (higher, lower, self.signatures[1])] {
            SECP256K1
                .verify_schnorr(&signature, &message, &signer)
                .map_err(|_| LinkError::Signature { signer: signer.to_string(), other: other.to_string() })?;
        }
        Ok(())
    }
}

impl Link {
    /// The two keys it is about.
    pub fn keys(&self) -> [XOnlyPublicKey; 2] {
        match self {
            Link::HandOver(said) => [said.old_key, said.new_key],
            Link::Stated(said) => said.keys,
        }
    }

    /// Did both keys sign it?
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn verify(&self) -> Result<(), LinkError> {
        match self {
            Link::HandOver(said) => Ok(said.verify(&said.old_key)?),
            Link::Stated(said) => said.verify(),
        }
    }

    /// How it is known, for a sentence.
    pub fn grounds(&self) -> String {
        match self {
            Link::HandOver(said) => format!("{} handed over to {}, signed by both", said.old_key, said.new_key),
            Link::Stated(said) => {
                format!("{} and {} both signed that one operator holds them", said.keys[0], said.keys[1])
            }
        }
    }
}

/// Those of `links` that lead to or away from `key`, from key to key, each verified. What joins nothing that is not joined
/// already is left out, and so are links that do not lead here or are not valid: whoever adds one hides no other.
///
/// # Errors
/// When nothing is left, and one that leads here is not valid; or when there are too many.
pub fn connected(key: XOnlyPublicKey, links: &[Link]) -> Result<Vec<Link>, LinkError> {
    let mut reached = BTreeSet::from([key]);
    let mut found = Vec::new();
    let mut wrong = None;
    let mut left: Vec<&Link> = links.iter().collect();
    loop {
        let next = left.iter().position(|link| {
            let [one, other] = link.keys();
            reached.contains(&one) != reached.contains(&other)
        });
        let Some(link) = next.map(|index| left.remove(index)) else {
            return match wrong {
                Some(error) if found.is_empty() => Err(error),
                _ => Ok(found),
            };
        };
        if let Err(error) = link.verify() {
            wrong = wrong.or(Some(error));
            continue;
        }
        if found.len() >= LINKS_MOST {
            return Err(LinkError::TooMany(key));
        }
        reached.extend(link.keys());
        found.push(*link);
    }
}

/// Which keys are one operator's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Of every key that is linked to another the least key of its operator.
    least: BTreeMap<XOnlyPublicKey, XOnlyPublicKey>,
}

impl Operators {
    /// What these links say, which the caller has verified.
    pub fn of<'a>(links: impl IntoIterator<Item = &'a Link>) -> Operators {
        let mut operators = Operators::default();
        for link in links {
            operators.join(link.keys());
        }
        operators
    }

    /// Two keys are one operator's, and so is all that each was joined with.
    fn join(&mut self, [one, other]: [XOnlyPublicKey; 2]) {
        let (one_least, other_least) = (self.operator(&one), self.operator(&other));
        let least = one_least.min(other_least);
        for key in [one, other] {
            self.least.insert(key, least);
        }
        for of in self.least.values_mut().filter(|of| **of == one_least || **of == other_least) {
            *of = least;
        }
    }

    /// What an operator is told from others by: the least of its keys.
    pub fn operator(&self, key: &XOnlyPublicKey) -> XOnlyPublicKey {
        self.least.get(key).copied().unwrap_or(*key)
    }

    /// Are these two keys one operator's?
    pub fn are_one(&self, one: &XOnlyPublicKey, other: &XOnlyPublicKey) -> bool {
        self.operator(one) == self.operator(other)
    }

    /// The first two of these keys that are one operator's.
    pub fn pair(&self, keys: &[XOnlyPublicKey]) -> Option<[XOnlyPublicKey; 2]> {
        let earlier = |(place, key)| {
            let before = keys.iter().take(place);
            before.copied().find(|earlier| self.are_one(earlier, key)).map(|earlier| [earlier, *key])
        };
        keys.iter().enumerate().find_map(earlier)
    }

    /// These keys, by operator; operators and keys in the order in which they are first named.
    pub fn groups(&self, keys: &[XOnlyPublicKey]) -> Vec<Vec<XOnlyPublicKey>> {
        let mut groups: Vec<Vec<XOnlyPublicKey>> = Vec::new();
        for key in keys {
            let own = groups.iter_mut().find(|group| group.first().is_some_and(|first| self.are_one(first, key)));
            match own {
                Some(group) => group.push(*key),
                None => groups.push(vec![*key]),
            }
        }
        groups
    }

    /// How many operators these keys are.
    pub fn count(&self, keys: &[XOnlyPublicKey]) -> usize {
        self.groups(keys).len()
    }

    /// The other keys of this key's operator.
    pub fn others(&self, key: &XOnlyPublicKey) -> Vec<XOnlyPublicKey> {
        let operator = self.operator(key);
        let own = self.least.iter().filter(|(other, of)| **of == operator && *other != key);
        own.map(|(other, _)| *other).collect()
    }
}

fn message(keys: &[XOnlyPublicKey; 2]) -> Message {
    tagged(b"hypothec/same-operator/v0", &[&keys[0].serialize(), &keys[1].serialize()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;
    use secp256k1_zkp::SecretKey;

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    fn key(byte: u8) -> XOnlyPublicKey {
        keys(byte).public_key()
    }

    fn stated(one: u8, other: u8) -> Link {
        Link::Stated(SameOperator::sign(&keys(one), &keys(other)).unwrap())
    }

    fn handed(old: u8, new: u8) -> Link {
        Link::HandOver(Rotation::sign(&keys(old), &keys(new), Time(3_600)).unwrap())
    }

    #[test]
    fn two_keys_are_one_operators_only_when_both_say_so() {
        let said = SameOperator::sign(&keys(1), &keys(2)).unwrap();
        assert_eq!(SameOperator::sign(&keys(2), &keys(1)).unwrap(), said, "whichever comes first");
        let read: SameOperator = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
        assert_eq!(read, said);
        read.verify().unwrap();
        // Who holds one key links nobody else's to it.
        let [lower, higher] = said.keys;
        for wrong in [0, 1] {
            let mut alone = said;
            alone.signatures[wrong] = said.signatures[1 - wrong];
            let (signer, other) = [(lower, higher), (higher, lower)][wrong];
            let right = LinkError::Signature { signer: signer.to_string(), other: other.to_string() };
            assert_eq!(alone.verify(), Err(right));
        }
        let turned = SameOperator { keys: [higher, lower], signatures: [said.signatures[1], said.signatures[0]] };
        assert_eq!(turned.verify(), Err(LinkError::Order(higher.to_string(), lower.to_string())));
        assert_eq!(SameOperator::sign(&keys(1), &keys(1)), Err(LinkError::SameKey(key(1))));
        // Nothing else that a key signs is read as such a statement: the tag stands in the digest.
        let handed = Rotation::sign(&keys(1), &keys(2), Time(0)).unwrap();
        let as_link = SameOperator { keys: said.keys, signatures: [handed.old_signature, handed.new_signature] };
        assert!(as_link.verify().is_err());
    }

    #[test]
    fn links_are_followed_from_key_to_key_in_either_direction() {
        let all = [handed(1, 2), stated(3, 2), handed(4, 3), stated(8, 9)];
        for from in 1..=4 {
            let found = connected(key(from), &all).unwrap();
            assert_eq!(found.len(), 3, "from {from}");
            let operators = Operators::of(&found);
            assert!((1..=4).all(|other| operators.are_one(&key(from), &key(other))), "from {from}");
            assert!(!operators.are_one(&key(from), &key(8)));
        }
        assert!(connected(key(5), &all).unwrap().is_empty());
        assert_eq!(connected(key(1), &[all[0], all[0], handed(2, 1)]).unwrap().len(), 1, "what is joined is joined");
        // A key that handed over to two: both hold that it handed over, so both are its operator's.
        let two = Operators::of(&connected(key(1), &[handed(1, 2), handed(1, 3)]).unwrap());
        assert!(two.are_one(&key(2), &key(3)));
        let Link::HandOver(mut forged) = handed(1, 2) else { panic!() };
        forged.from = Time(0);
        assert!(matches!(connected(key(1), &[Link::HandOver(forged)]), Err(LinkError::Rotation(_))));
        assert!(connected(key(7), &[Link::HandOver(forged)]).unwrap().is_empty(), "it does not lead there");
        let beside = connected(key(1), &[Link::HandOver(forged), stated(3, 1), handed(1, 2)]).unwrap();
        assert_eq!(beside.len(), 2, "what is not signed hides nothing");
        let many: Vec<Link> = (2..=67).map(|other| stated(1, other)).collect();
        assert_eq!(connected(key(1), &many), Err(LinkError::TooMany(key(1))));
    }

    #[test]
    fn keys_are_counted_by_their_operators() {
        let operators = Operators::of(&[stated(5, 6), handed(1, 2), stated(2, 5)]);
        let [a, b, c, d] = [key(1), key(6), key(3), key(4)];
        assert_eq!(operators.pair(&[c, a, d, b]), Some([a, b]));
        assert_eq!(operators.pair(&[c, a, d]), None);
        assert_eq!(operators.groups(&[c, a, d, b]), [vec![c], vec![a, b], vec![d]]);
        assert_eq!((operators.count(&[a, b]), operators.count(&[a, c, d, b])), (1, 3));
        assert_eq!(operators.others(&a).len(), 3);
        assert!(operators.others(&c).is_empty());
    }
}
