//! Rotation: an oracle's old key names the new one, and from when on it attests.
//!
//! Both keys sign `tagged("hypothec/rotation/v0", old key (32) || new key (32) || from (4, big endian))`, BIP340 with no
//! auxiliary randomness: the old one hands over, the new one shows that somebody has its secret.
//!
//! A rotation moves no open loan: contracts name the key they were made with, and the old key goes on attesting for
//! them. It is shown to people, who decide whom to name in the next loan. Never switches anything by itself.

use crate::announce::{tagged, OracleKeys};
use crate::units::Time;
use bitcoin::key::XOnlyPublicKey;
use secp256k1_zkp::{schnorr::Signature, Message, SECP256K1};
use serde::{Deserialize, Serialize};

/// The most statements followed from one key on.
pub const LONGEST: usize = 64;

/// One hand-over. Its JSON is what `/v1/rotation` serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The key that hands over.
    pub old_key: XOnlyPublicKey,
    /// The key that takes over.
    pub new_key: XOnlyPublicKey,
    /// From then on new loans should name the new key.
    pub from: Time,
    /// By the old key.
    pub old_signature: Signature,
    /// By the new key.
    pub new_signature: Signature,
}

/// Why a rotation is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// A key cannot take over from itself.
    #[error("the rotation names {0} as its old and its new key; a new key is needed")]
    SameKey(XOnlyPublicKey),
    /// Somebody else's.
    #[error("the rotation is from key {found}, the key known here is {right}")]
    OtherKey { found: String, right: String },
    /// A signature does not verify.
    #[error("the {which} key did not sign this rotation from {old} to {new}")]
    Signature { which: &'static str, old: String, new: String },
    /// One key handed over twice, differently: whoever holds it cannot be believed any more.
    #[error("key {0} signed two different rotations; believe neither and ask the operator in person")]
    Conflict(XOnlyPublicKey),
    /// More than anybody needs.
    #[error("more than {LONGEST} rotations follow one another")]
    TooMany,
}

impl Rotation {
    /// Signs a hand-over with both keys.
    ///
    /// # Errors
    /// When both are one key.
    pub fn sign(old: &OracleKeys, new: &OracleKeys, from: Time) -> Result<Rotation, RotationError> {
        let (old_key, new_key) = (old.public_key(), new.public_key());
        if old_key == new_key {
            return Err(RotationError::SameKey(old_key));
        }
        let message = message(&old_key, &new_key, from);
        Ok(Rotation { old_key, new_key, from, old_signature: old.sign(&message), new_signature: new.sign(&message) })
    }

    /// Is it signed by both keys, and is the old one the key that is `pinned`?
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn verify(&self, pinned: &XOnlyPublicKey) -> Result<(), RotationError> {
        let (old, new) = (self.old_key, self.new_key);
        if old != *pinned {
            return Err(RotationError::OtherKey { found: old.to_string(), right: pinned.to_string() });
        }
        if old == new {
            return Err(RotationError::SameKey(old));
        }
        let message = message(&old, &new, self.from);
        for (which, key, signature) in [("old", old, self.old_signature), ("new", new, self.new_signature)] {
            SECP256K1.verify_schnorr(&signature, &message, &key).map_err(|_| RotationError::Signature {
                which,
                old: old.to_string(),
                new: new.to_string(),
            })?;
        }
        Ok(())
    }
}

/// Where statements lead from a pinned key, and where they part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The hand-overs from the pinned key on, oldest first.
    pub steps: Vec<Rotation>,
    /// Two different ones by the last key: it cannot be believed any more, and `steps` end before it.
    pub conflict: Option<(Rotation, Rotation)>,
}

impl Succession {
    /// Follows `rotations` from a pinned key. Ones of keys that it does not lead to are left out.
    ///
    /// # Errors
    /// When one that counts is not valid, or there are too many.
    pub fn of(pinned: XOnlyPublicKey, rotations: &[Rotation]) -> Result<Succession, RotationError> {
        let mut steps: Vec<Rotation> = Vec::new();
        let mut key = pinned;
        loop {
            let mut next: Option<Rotation> = None;
            let mut conflict = None;
            for one in rotations.iter().filter(|one| one.old_key == key) {
                one.verify(&key)?;
                match next {
                    None => next = Some(*one),
                    Some(other) if (other.new_key, other.from) == (one.new_key, one.from) => {}
                    Some(other) => conflict = conflict.or(Some((other, *one))),
                }
            }
            match next {
                None => return Ok(Succession { steps, conflict: None }),
                Some(_) if conflict.is_some() => return Ok(Succession { steps, conflict }),
                Some(_) if steps.len() >= LONGEST => return Err(RotationError::TooMany),
                Some(one) => {
                    key = one.new_key;
                    steps.push(one);
                }
            }
        }
    }

    /// All of its statements.
    pub fn statements(&self) -> Vec<Rotation> {
        let parting = self.conflict.iter().flat_map(|(one, other)| [*one, *other]);
        self.steps.iter().copied().chain(parting).collect()
    }
}

/// Where `rotations` lead from a pinned key: those that count, oldest first. Ones of other keys are left out.
///
/// # Errors
/// When one that counts is not valid, or a key handed over to two keys or at two times.
pub fn follow(pinned: XOnlyPublicKey, rotations: &[Rotation]) -> Result<Vec<Rotation>, RotationError> {
    let Succession { steps, conflict } = Succession::of(pinned, rotations)?;
    match conflict {
        None => Ok(steps),
        Some((one, _)) => Err(RotationError::Conflict(one.old_key)),
    }
}

fn message(old: &XOnlyPublicKey, new: &XOnlyPublicKey, from: Time) -> Message {
    tagged(b"hypothec/rotation/v0", &[&old.serialize(), &new.serialize(), &from.0.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use secp256k1_zkp::SecretKey;

    const FROM: Time = Time(1_584_007_200);

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    #[test]
    fn a_rotation_is_believed_only_with_both_signatures_and_from_the_pinned_key() {
        let (old, new) = (keys(1), keys(2));
        let said = Rotation::sign(&old, &new, FROM).unwrap();
        let read: Rotation = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
        assert_eq!(read, said);
        read.verify(&old.public_key()).unwrap();
        assert!(matches!(said.verify(&new.public_key()), Err(RotationError::OtherKey { .. })));
        let later = Rotation { from: Time(FROM.0 + 1), ..said };
        assert!(matches!(later.verify(&old.public_key()), Err(RotationError::Signature { which: "old", .. })));
        // A thief of the old key alone cannot name a key it does not hold.
        let unproven = Rotation { new_signature: said.old_signature, ..said };
        assert!(matches!(unproven.verify(&old.public_key()), Err(RotationError::Signature { which: "new", .. })));
        assert!(matches!(Rotation::sign(&old, &old, FROM), Err(RotationError::SameKey(_))));
    }

    #[test]
    fn rotations_are_followed_from_key_to_key_and_two_of_one_key_are_a_conflict() {
        let [first, second, third] = [keys(1), keys(2), keys(3)];
        let one = Rotation::sign(&first, &second, FROM).unwrap();
        let two = Rotation::sign(&second, &third, FROM).unwrap();
        let path = follow(first.public_key(), &[two, one, one]).unwrap();
        assert_eq!(path, [one, two]);
        assert!(follow(third.public_key(), &[one, two]).unwrap().is_empty());
        let other = Rotation::sign(&first, &third, FROM).unwrap();
        assert_eq!(follow(first.public_key(), &[one, other]), Err(RotationError::Conflict(first.public_key())));
        let parted = Succession::of(first.public_key(), &[one, other, two]).unwrap();
        assert_eq!(
            (parted.steps.len(), parted.conflict),
            (0, Some((one, other))),
            "what follows is followed by nobody"
        );
        assert_eq!(Succession::of(first.public_key(), &parted.statements()).unwrap(), parted);
        let later = Rotation::sign(&second, &third, Time(FROM.0 + 1)).unwrap();
        let parted = Succession::of(first.public_key(), &[one, two, later]).unwrap();
        assert_eq!(
            (parted.steps, parted.conflict),
            (vec![one], Some((two, later))),
            "another time is another hand-over"
        );
        let round = Rotation::sign(&second, &first, FROM).unwrap();
        assert_eq!(follow(first.public_key(), &[one, round]), Err(RotationError::TooMany));
    }
}
