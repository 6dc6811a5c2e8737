//! Rotation: an oracle's old key names the new one, and from when on it attests.
//!
//! Both keys sign `tagged("hypothec/rotation/v0", old key (32) || new key (32) || from (4, big endian))`, BIP340 with no
//! auxiliary randomness: the old one hands over, the new one shows that somebody has its secret.
//!
//! A rotation moves no open loan: contracts name the key they were made with, and the old key goes on attesting for
//! them. It is shown to people, who decide whom to name in the next loan. Never switches anything by itself.
//!
//! Hand-overs never run in a circle: one back to a key that had handed over before counts for nothing.

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

/// Which of several hand-overs count. They are read in their order, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that do. They never run in a circle.
    pub counts: Vec<Rotation>,
    /// Those that lead back to their own old key by ones before them: the earlier count, once and for all.
    pub circles: Vec<Rotation>,
    /// Those that nobody can believe, and why.
    pub wrong: Vec<(Rotation, RotationError)>,
}

impl Sorted {
    /// Sorts them. One that is said twice counts once.
    pub fn of(rotations: &[Rotation]) -> Sorted {
        let mut sorted = Sorted::default();
        for one in rotations {
            let is_known =
                |known: &Rotation| (known.old_key, known.new_key, known.from) == (one.old_key, one.new_key, one.from);
            if sorted.counts.iter().any(is_known) {
                continue;
            }
            match one.verify(&one.old_key) {
                Err(error) => sorted.wrong.push((*one, error)),
                Ok(()) if leads(&sorted.counts, one.new_key, &one.old_key) => sorted.circles.push(*one),
                Ok(()) => sorted.counts.push(*one),
            }
        }
        sorted
    }
}

/// Do hand-overs lead from one key to another?
fn leads(rotations: &[Rotation], from: XOnlyPublicKey, to: &XOnlyPublicKey) -> bool {
    reached(rotations, from, |one| (one.old_key, one.new_key)).contains(to)
}

/// The keys reached from one, itself first, each once. `step`: from which key to which a hand-over is walked.
fn reached(
    rotations: &[Rotation],
    from: XOnlyPublicKey,
    step: fn(&Rotation) -> (XOnlyPublicKey, XOnlyPublicKey),
) -> Vec<XOnlyPublicKey> {
    let mut reached = vec![from];
    let mut next = 0_usize;
    while let Some(key) = reached.get(next).copied() {
        for (_, far) in rotations.iter().map(step).filter(|(near, _)| *near == key) {
            if !reached.contains(&far) {
                reached.push(far);
            }
        }
        next = next.saturating_add(1);
    }
    reached
}

/// Where statements lead from a pinned key, and where they part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Succession {
    /// The hand-overs that led to the pinned key: kept, so that none ever leads back by which the pinned key would seem to
    /// hand over.
    pub before: Vec<Rotation>,
    /// The hand-overs from the pinned key on, oldest first.
    pub steps: Vec<Rotation>,
    /// Two different ones by the last key: it cannot be believed any more, and `steps` end before it.
    pub conflict: Option<(Rotation, Rotation)>,
}

impl Succession {
    /// Follows `rotations`, the oldest first, from a pinned key: at most [`LONGEST`], and as many that led to it. Ones of
    /// keys that it has nothing to do with are left out, and so are those that close a circle or are not valid: whoever adds
    /// one hides no other.
    ///
    /// # Errors
    /// When nothing is left, and one by the pinned key is not valid.
    pub fn of(pinned: XOnlyPublicKey, rotations: &[Rotation]) -> Result<Succession, RotationError> {
        let Sorted { counts, wrong, .. } = Sorted::of(rotations);
        let mut found = Succession::default();
        let mut key = pinned;
        loop {
            let mut own = counts.iter().filter(|one| one.old_key == key);
            match (own.next(), own.next()) {
                (Some(one), Some(other)) => {
                    found.conflict = Some((*one, *other));
                    break;
                }
                (Some(one), None) if found.steps.len() < LONGEST => {
                    key = one.new_key;
                    found.steps.push(*one);
                }
                _ => break,
            }
        }
        let earlier = reached(&counts, pinned, |one| (one.new_key, one.old_key));
        let led_here = counts.iter().filter(|one| earlier.contains(&one.new_key));
        found.before = led_here.take(LONGEST).copied().collect();
        match wrong.into_iter().find(|(one, _)| one.old_key == pinned) {
            Some((_, error)) if found.statements().is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    /// All of its statements.
    pub fn statements(&self) -> Vec<Rotation> {
        let parting = self.conflict.iter().flat_map(|(one, other)| [*one, *other]);
        self.before.iter().chain(&self.steps).copied().chain(parting).collect()
    }
}

/// Where `rotations` lead from a pinned key: those that count, oldest first. Ones of other keys are left out.
///
/// # Errors
/// When one that counts is not valid, or a key handed over to two keys or at two times.
pub fn follow(pinned: XOnlyPublicKey, rotations: &[Rotation]) -> Result<Vec<Rotation>, RotationError> {
    let Succession { steps, conflict, .. } = Succession::of(pinned, rotations)?;
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
    }

    #[test]
    fn hand_overs_that_run_in_a_circle_end_where_it_closes_and_the_earlier_counts_for_good() {
        let [first, second, third] = [keys(1), keys(2), keys(3)];
        let one = Rotation::sign(&first, &second, FROM).unwrap();
        // Whatever time it names: what stands first counts.
        let round = Rotation::sign(&second, &first, Time(0)).unwrap();
        let sorted = Sorted::of(&[one, round]);
        assert_eq!((sorted.counts, sorted.circles, sorted.wrong), (vec![one], vec![round], vec![]));
        assert_eq!(follow(first.public_key(), &[one, round]), Ok(vec![one]));
        // By the second key nothing is handed over either, not even by who tells the later one alone.
        let second_key = second.public_key();
        let known = Succession::of(second_key, &[one, round]).unwrap();
        assert_eq!((known.before.as_slice(), known.steps.as_slice()), (&[one][..], &[][..]));
        let again = Succession::of(second_key, &[known.statements(), vec![round]].concat()).unwrap();
        assert_eq!(again, known);
        // A longer one, and one that the pinned key is not in.
        let two = Rotation::sign(&second, &third, FROM).unwrap();
        let back = Rotation::sign(&third, &first, FROM).unwrap();
        assert_eq!(follow(first.public_key(), &[one, two, back]), Ok(vec![one, two]));
        assert_eq!(follow(keys(4).public_key(), &[back, one, two]), Ok(vec![]));
        let into = Rotation::sign(&keys(4), &first, FROM).unwrap();
        assert_eq!(follow(keys(4).public_key(), &[one, round, into]), Ok(vec![into, one]));
        // What nobody signed closes nothing, so nobody takes a hand-over away by it.
        let forged = Rotation { from: Time(1), ..round };
        assert_eq!(follow(first.public_key(), &[forged, one]), Ok(vec![one]), "nor hides one");
        assert!(follow(second_key, &[forged]).is_err(), "it is told where there is nothing else");
        let Sorted { counts, wrong, .. } = Sorted::of(&[forged, one]);
        assert_eq!((counts, wrong.len()), (vec![one], 1));
        let itself = Rotation { new_key: one.old_key, ..one };
        assert!(matches!(Sorted::of(&[itself]).wrong[..], [(_, RotationError::SameKey(_))]));
    }

    #[test]
    fn no_more_are_followed_than_anybody_needs() {
        let all: Vec<Rotation> =
            (1..100).map(|number| Rotation::sign(&keys(number), &keys(number + 1), FROM).unwrap()).collect();
        assert_eq!(follow(keys(1).public_key(), &all).unwrap().len(), LONGEST);
        assert_eq!(Succession::of(keys(100).public_key(), &all).unwrap().statements().len(), LONGEST);
    }
}
