//! The daemon's side of rotation: the statements in its data folder, and their route.

use super::journal::Journal;
use super::statements::Held;
use super::{http::Counter, statements, store};
use crate::rotation::{Rotation, RotationError, Sorted};
use crate::units::Time;
use anyhow::{bail, Context};
use axum::extract::State;
use axum::response::Response;
use bitcoin::key::XOnlyPublicKey;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where they lie.
pub fn path(data: &Path) -> PathBuf {
    data.join("rotation.json")
}

/// The statements in a data folder: those that are this key's oracle's to serve, and what is wrong with the others.
///
/// # Errors
/// When the file is not one of statements.
pub fn held(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Held<Rotation>> {
    let path = path(data);
    let Sorted { counts, circles, wrong } = Sorted::of(&statements::read::<Rotation>(&path)?);
    let in_circle = circles.iter().map(|one| {
        format!(
            "the hand-over from {} back to {} counts for nothing and is not served: {} handed over before, and what was \
             handed over first stands",
            one.old_key, one.new_key, one.new_key
        )
    });
    let mut held =
        Held { wrong: in_circle.chain(wrong.iter().map(|(_, error)| error.to_string())).collect(), served: counts };
    let is_own = |one: &Rotation| one.old_key == *key || one.new_key == *key;
    if !held.served.is_empty() && !held.served.iter().any(is_own) {
        held.wrong.push(format!("it is about other keys than {key}, and none of it is served"));
        held.served.clear();
    }
    let handed_before = |(place, one): &(usize, &Rotation)| {
        held.served.iter().take(*place).any(|earlier| earlier.old_key == one.old_key)
    };
    let parting = held.served.iter().enumerate().find(handed_before).map(|(_, one)| one.old_key);
    held.wrong.extend(parting.map(|key| RotationError::Conflict(key).to_string()));
    held.name(&path);
    Ok(held)
}

/// The statements in a data folder, all of them true; empty when there is no file.
fn read(data: &Path, key: &XOnlyPublicKey) -> anyhow::Result<Vec<Rotation>> {
    let held = held(data, key)?;
    match held.wrong.first() {
        None => Ok(held.served),
        Some(wrong) => bail!("{wrong}"),
    }
}

/// What was said already of a key that is to be handed over.
#[derive(Debug, PartialEq, Eq)]
pub struct Before {
    /// The statement itself.
    pub said: Option<Rotation>,
    /// To this key and from this time, so that nothing new is decided.
    pub is_decided: bool,
}

/// What the data folders of two keys say already of a hand-over from `old` to `new`. Asked before a statement is signed:
/// whoever holds two of one key can believe neither, and ones that run in a circle name no key that goes on.
/// `rotation.json` may have been moved away, so what was decided also lies in a journal beside each key.
///
/// # Errors
/// When both are one key, the old one was handed over to another or from another time on, the new one was handed over
/// itself, or a file is not what it should be.
pub fn before(data: &Path, to: &Path, rotation: [XOnlyPublicKey; 2], from: Time) -> anyhow::Result<Before> {
    let [old, new] = rotation;
    if old == new {
        return Err(RotationError::SameKey(old).into());
    }
    let held = read(data, &old)?;
    let said = held.iter().find(|one| one.old_key == old).copied();
    let shown = said.map(|said| (path(data), said.new_key, said.from));
    let decided = self::decided(data, &old)?.map(|(new, from)| (journal(data, &old), new, from));
    for (place, known, since) in shown.iter().chain(&decided) {
        if (*known, *since) != (new, from) {
            bail!(
                "{} hands this key over to {known} from {since} on: a rotation is signed once and never replaced",
                place.display()
            );
        }
    }
    if said.is_none() {
        let beside: Vec<Rotation> = statements::read(&path(to))?;
        for (place, handed) in [(path(data), &held), (path(to), &Sorted::of(&beside).counts)] {
            let by_new = handed.iter().find(|one| one.old_key == new).map(|one| (one.new_key, one.from));
            refuse_circle(&place, rotation, by_new)?;
        }
        refuse_circle(&journal(to, &new), rotation, self::decided(to, &new)?)?;
    }
    Ok(Before { said, is_decided: decided.is_some() })
}

/// Fails when the key that is to take over was itself handed over, as `place` says.
fn refuse_circle(
    place: &Path,
    [old, new]: [XOnlyPublicKey; 2],
    handed: Option<(XOnlyPublicKey, Time)>,
) -> anyhow::Result<()> {
    let Some((next, from)) = handed else { return Ok(()) };
    bail!(
        "nothing is signed: key {new} cannot take over from {old}, for it was itself handed over to {next}, from {from} on \
         ({} says so). A key that was handed over never comes back: nodes would ignore it. Make a new key, \
         `hypothec-oracle init --data DIR`, and hand over to that",
        place.display()
    )
}

/// Writes down to whom a key is handed over, before that is signed. It is on disk when this returns.
///
/// # Errors
/// When the disk fails.
pub fn decide(data: &Path, [old, new]: [XOnlyPublicKey; 2], from: Time) -> anyhow::Result<()> {
    let (path, line) = (journal(data, &old), format!("{DECIDED} {new} {}", from.0));
    let written = match path.exists() {
        // Older versions wrote down a hand-over of a key to itself before they refused to sign it.
        true => Journal::open(&path, &name(&old)).and_then(|(mut journal, _)| journal.append(&[line])),
        false => Journal::create_with(&path, &name(&old), &[line]),
    };
    written.context("write down to whom the key is handed over")
}

/// The first word of what was decided.
const DECIDED: &str = "rotation";

/// Where it is written down to whom a key was handed over.
fn journal(data: &Path, key: &XOnlyPublicKey) -> PathBuf {
    let mut name = format!("handed-over-{key}");
    name.truncate("handed-over-".len().saturating_add(16));
    data.join(name)
}

fn name(key: &XOnlyPublicKey) -> String {
    format!("hypothec hand-over 1 of {key}")
}

/// To which key this one was handed over, and from when, whatever became of the statement.
fn decided(data: &Path, old: &XOnlyPublicKey) -> anyhow::Result<Option<(XOnlyPublicKey, Time)>> {
    let path = journal(data, old);
    if !path.exists() {
        return Ok(None);
    }
    let (_held, lines) = Journal::open(&path, &name(old))?;
    let read = |line: &String| {
        let mut words = line.strip_prefix(DECIDED)?.split_whitespace();
        Some((words.next()?.parse().ok()?, Time(words.next()?.parse().ok()?)))
    };
    let said = lines.iter().map(read).collect::<Option<Vec<_>>>().filter(|said| !said.is_empty());
    let said = said.with_context(|| format!("{} does not say to whom the key was handed over", path.display()))?;
    Ok(said.into_iter().find(|(new, _)| new != old))
}

/// Adds a statement to those of a data folder, and writes all of them to `copy` too. A statement is in the folder before
/// it is anywhere else, so no second one is ever signed. Adding it again changes nothing.
///
/// # Errors
/// When a file cannot be read or written, or `copy` is there already.
pub fn add(data: &Path, rotation: &Rotation, copy: Option<&Path>) -> anyhow::Result<()> {
    let mut said = read(data, &rotation.old_key)?;
    if !said.contains(rotation) {
        said.push(*rotation);
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&said)?);
    store::replace(&path(data), &text).with_context(|| format!("write {}", path(data).display()))?;
    let Some(copy) = copy else { return Ok(()) };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(copy)
        .with_context(|| format!("write {}, which must not be there yet", copy.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    super::journal::sync_folder_of(copy)
}

/// `GET /v1/rotation`: the statements, oldest first; 404 while there is none.
pub async fn serve(State(counter): State<Counter>) -> Response {
    statements::serve(counter, held, ("no_rotation", "this oracle's key has not been handed over")).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::announce::OracleKeys;
    use secp256k1_zkp::SecretKey;

    fn keys(byte: u8) -> OracleKeys {
        OracleKeys::from_secret(SecretKey::from_slice(&[byte; 32]).unwrap())
    }

    fn both(old: &OracleKeys, new: &OracleKeys) -> [XOnlyPublicKey; 2] {
        [old.public_key(), new.public_key()]
    }

    /// What `rotate` does, without its files and questions.
    fn rotate(data: &Path, to: &Path, old: &OracleKeys, new: &OracleKeys, from: Time) -> anyhow::Result<Rotation> {
        let known = before(data, to, both(old, new), from)?;
        if !known.is_decided {
            decide(data, both(old, new), from)?;
        }
        let said = known.said.map_or_else(|| Rotation::sign(old, new, from), Ok)?;
        add(data, &said, None)?;
        Ok(said)
    }

    fn write(data: &Path, said: &[Rotation]) {
        std::fs::write(path(data), serde_json::to_string(said).unwrap()).unwrap();
    }

    #[test]
    fn a_data_folder_serves_only_rotations_that_are_true_and_its_own() {
        let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (data, to) = (folder.path(), to.path());
        let (old, new) = (keys(1), keys(2));
        let serves = |keys: &OracleKeys| held(data, &keys.public_key()).unwrap().served;
        assert!(serves(&old).is_empty());
        let said = rotate(data, to, &old, &new, Time(3_600)).unwrap();
        assert_eq!((serves(&old), serves(&new)), (vec![said], vec![said]), "the new oracle shows it too");
        let other = held(data, &keys(3).public_key()).unwrap();
        assert!(other.served.is_empty() && other.wrong[0].contains("other keys"), "{other:?}");
        assert_eq!(rotate(data, to, &old, &new, said.from).unwrap(), said);
        let again = |new: &OracleKeys, from| rotate(data, to, &old, new, from).unwrap_err().to_string();
        assert!(again(&keys(3), said.from).contains("never replaced"));
        assert!(again(&new, Time(7_200)).contains("never replaced"));
        // The new key hands over in its turn; its oracle shows both statements.
        let next = rotate(data, to, &new, &keys(3), Time(9_000)).unwrap();
        let copy = data.join("copy.json");
        add(data, &next, Some(&copy)).unwrap();
        assert_eq!(serves(&old), [said, next]);
        assert_eq!(rotate(data, to, &old, &new, said.from).unwrap(), said, "also when the new key went on");
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(path(data)).unwrap());
        assert!(format!("{:#}", add(data, &next, Some(&copy)).unwrap_err()).contains("must not be there"));
        // Moved away, and still nothing else is signed.
        std::fs::remove_file(path(data)).unwrap();
        assert!(again(&keys(3), said.from).contains("handed-over"));
        let known = before(data, to, both(&old, &new), said.from).unwrap();
        assert_eq!(known, Before { said: None, is_decided: true }, "the same one may be");
        let forged = Rotation { from: Time(7_200), ..said };
        write(data, &[forged, next]);
        let found = held(data, &new.public_key()).unwrap();
        assert_eq!((found.served, found.wrong.len()), (vec![next], 1));
        assert!(found.wrong[0].contains("rotation.json: ") && found.wrong[0].contains("did not sign"));
        assert!(again(&new, said.from).contains("did not sign"), "and nothing is added to it");
    }

    #[test]
    fn nothing_is_signed_to_a_key_that_was_handed_over_and_no_key_to_itself() {
        let (one, two, three) = (keys(1), keys(2), keys(3));
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let [a, b, c, d] = [0, 1, 2, 3].map(|place: usize| folders[place].path());
        // Said by mistake, and afterwards as it should be: nothing was decided by the first, and what an older
        // version wrote down of it stands in nobody's way.
        assert!(rotate(a, a, &one, &one, Time(0)).unwrap_err().to_string().contains("a new key is needed"));
        decide(a, both(&one, &one), Time(0)).unwrap();
        rotate(a, b, &one, &two, Time(3_600)).unwrap();
        assert!(rotate(a, b, &one, &three, Time(3_600)).unwrap_err().to_string().contains("never replaced"));
        // As the journal beside the earlier key says, and as its file, and as the copy in the later one's folder.
        std::fs::rename(path(a), a.join("aside")).unwrap();
        let refused = |data, to, old: &OracleKeys, new: &OracleKeys| {
            let refused = rotate(data, to, old, new, Time(7_200)).unwrap_err().to_string();
            assert!(refused.contains("nothing is signed") && refused.contains("init --data"), "{refused}");
            assert!(refused.contains(&new.public_key().to_string()), "{refused}");
            assert!(!journal(data, &old.public_key()).exists(), "nothing is decided either");
            refused
        };
        assert!(refused(b, a, &two, &one).contains("handed-over-"));
        std::fs::rename(a.join("aside"), path(b)).unwrap();
        assert!(refused(b, d, &two, &one).contains("rotation.json"));
        rotate(b, c, &two, &three, Time(7_200)).unwrap();
        std::fs::copy(path(b), path(c)).unwrap();
        assert!(refused(c, d, &three, &one).contains(&two.public_key().to_string()), "a longer circle");
        rotate(c, d, &three, &keys(4), Time(9_000)).unwrap();
    }

    #[test]
    fn what_closes_a_circle_or_parts_is_named_and_the_rest_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let (one, two) = (keys(1), keys(2));
        let said = Rotation::sign(&one, &two, Time(7_200)).unwrap();
        let round = Rotation::sign(&two, &one, Time(0)).unwrap();
        write(data, &[said, round]);
        for key in [one.public_key(), two.public_key()] {
            let held = held(data, &key).unwrap();
            assert_eq!((held.served, held.wrong.len()), (vec![said], 1));
            assert!(held.wrong[0].contains("counts for nothing") && held.wrong[0].contains("rotation.json: "));
        }
        let other = Rotation::sign(&one, &keys(3), Time(7_200)).unwrap();
        write(data, &[said, other]);
        let held = held(data, &one.public_key()).unwrap();
        assert_eq!(held.served, [said, other], "nodes see that it cannot be believed");
        assert!(held.wrong[0].contains("signed two different rotations"), "{:?}", held.wrong);
    }
}
