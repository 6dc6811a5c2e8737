//! A secret under a passphrase: an age file with one scrypt recipient, so that the `age` tool opens it too.
//!
//! A passphrase is made the same however it was typed: Unicode NFKD, no white space around it, one space where there was
//! more inside. Capitals count. What was sealed before that rule still opens: what was typed is tried as it is, too.

use age::DecryptError;
use bitcoin::bech32::{self, Bech32, Hrp};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

pub use age::secrecy::{ExposeSecret, SecretString};

/// The least characters of a passphrase.
pub const SHORTEST: usize = 10;
/// scrypt's work: 2^18, about a second and 256 MiB.
pub const WORK: u8 = 18;
/// The most work that a file may ask for: 2^20, 1 GiB.
const WORK_MAX: u8 = 20;

/// Why a sealed secret does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The header is whole, the key does not fit.
    #[error("the passphrase does not open it; type it again, or the file is damaged")]
    WrongPassphrase,
    /// age authenticates everything.
    #[error("the file is damaged or cut; use another copy of it")]
    Damaged,
    /// The file asks for more than this program is willing to do.
    #[error("opening it would take more work than this program ever puts into a file; it is refused")]
    TooMuchWork,
    /// age could not read its header.
    #[error("it is not a file that this program wrote ({0})")]
    NotSealed(String),
}

/// The byte-order mark: some editors begin a file with it, and nobody sees or types it.
const MARK: char = '\u{feff}';

/// The passphrase however it was typed.
pub fn normal(passphrase: &SecretString) -> SecretString {
    let decomposed: Zeroizing<String> = Zeroizing::new(passphrase.expose_secret().nfkd().collect());
    let words: Vec<&str> = decomposed.trim_start_matches(MARK).split_whitespace().collect();
    SecretString::from(words.join(" "))
}

/// Is it long enough?
///
/// # Errors
/// Its length, when it is shorter than [`SHORTEST`].
pub fn check_length(passphrase: &SecretString) -> Result<(), usize> {
    match normal(passphrase).expose_secret().chars().count() {
        found if found < SHORTEST => Err(found),
        _ => Ok(()),
    }
}

/// Encrypts. Takes about a second; blocks.
///
/// # Errors
/// What age says.
pub fn seal(plain: &[u8], passphrase: &SecretString) -> Result<Vec<u8>, String> {
    seal_with(WORK, plain, passphrase)
}

/// The same with 2^`work` of work, for tests: whatever must last takes [`WORK`].
///
/// # Errors
/// What age says.
pub fn seal_with(work: u8, plain: &[u8], passphrase: &SecretString) -> Result<Vec<u8>, String> {
    let mut recipient = age::scrypt::Recipient::new(normal(passphrase));
    recipient.set_work_factor(work);
    age::encrypt(&recipient, plain).map_err(|error| error.to_string())
}

/// Decrypts. Takes about a second; blocks.
///
/// # Errors
/// When it is no such file, is damaged, or the passphrase does not fit.
pub fn open(sealed: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let normal = normal(passphrase);
    let typed = passphrase.expose_secret();
    // What earlier programs sealed with: as it was typed, or with the mark in front of the words.
    let marked = typed.starts_with(MARK).then(|| SecretString::from(format!("{MARK}{}", normal.expose_secret())));
    let as_typed = (typed != normal.expose_secret()).then(|| passphrase.clone());
    let mut opened = open_exactly(sealed, normal);
    for earlier in [as_typed, marked].into_iter().flatten() {
        if !matches!(opened, Err(OpenError::WrongPassphrase)) {
            break;
        }
        opened = open_exactly(sealed, earlier);
    }
    opened
}

fn open_exactly(sealed: &[u8], passphrase: SecretString) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let mut identity = age::scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(WORK_MAX);
    let plain = age::decrypt(&identity, sealed).map_err(|error| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => OpenError::WrongPassphrase,
        DecryptError::InvalidMac | DecryptError::Io(_) => OpenError::Damaged,
        DecryptError::ExcessiveWork { .. } => OpenError::TooMuchWork,
        other => OpenError::NotSealed(other.to_string()),
    })?;
    Ok(Zeroizing::new(plain))
}

/// Encrypts to a secret key instead of a passphrase: quick, and whoever has the key opens it.
///
/// # Errors
/// What age says.
pub fn seal_to_key(plain: &[u8], secret: &[u8; 32]) -> Result<Vec<u8>, String> {
    age::encrypt(&identity(secret)?.to_public(), plain).map_err(|error| error.to_string())
}

/// Decrypts what [`seal_to_key`] made.
///
/// # Errors
/// When it is no such file, is damaged, or is another key's; [`OpenError::WrongPassphrase`] then.
pub fn open_with_key(sealed: &[u8], secret: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let identity = identity(secret).map_err(OpenError::NotSealed)?;
    let plain = age::decrypt(&identity, sealed).map_err(|error| match error {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            OpenError::WrongPassphrase
        }
        DecryptError::InvalidMac | DecryptError::Io(_) => OpenError::Damaged,
        other => OpenError::NotSealed(other.to_string()),
    })?;
    Ok(Zeroizing::new(plain))
}

/// Is it encrypted to a key, and not with a passphrase? Only its beginning is looked at.
pub fn is_for_key(sealed: &[u8]) -> bool {
    sealed.starts_with(b"age-encryption.org/v1\n-> X25519 ")
}

fn identity(secret: &[u8; 32]) -> Result<age::x25519::Identity, String> {
    let hrp = Hrp::parse("age-secret-key-").map_err(|error| error.to_string())?;
    let text = Zeroizing::new(bech32::encode::<Bech32>(hrp, secret).map_err(|error| error.to_string())?);
    text.parse().map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[test]
    fn a_passphrase_opens_however_it_is_typed() {
        let sealed = seal_with(2, b"secret", &typed("stra\u{df}e caf\u{e9} \u{fb01}n")).unwrap();
        for same in [
            "  stra\u{df}e  cafe\u{301}\u{a0}fin\n",
            "stra\u{df}e\u{3000}caf\u{e9} \u{fb01}n",
            "\u{feff}stra\u{df}e caf\u{e9} fin",
        ] {
            assert_eq!(open(&sealed, &typed(same)).unwrap().as_slice(), b"secret", "{same:?}");
        }
        assert_eq!(open(&sealed, &typed("STRA\u{df}E caf\u{e9} fin")).unwrap_err(), OpenError::WrongPassphrase);
    }

    #[test]
    fn what_was_sealed_with_a_passphrase_as_it_was_typed_still_opens() {
        let mut recipient = age::scrypt::Recipient::new(typed(" caf\u{e9}  au lait"));
        recipient.set_work_factor(2);
        let sealed = age::encrypt(&recipient, b"secret").unwrap();
        assert_eq!(open(&sealed, &typed(" caf\u{e9}  au lait")).unwrap().as_slice(), b"secret");
        assert!(open(&sealed, &typed("caf\u{e9} au lait")).is_err());
        let mut recipient = age::scrypt::Recipient::new(typed("\u{feff}cafe\u{301} au lait"));
        recipient.set_work_factor(2);
        let sealed = age::encrypt(&recipient, b"secret").unwrap();
        assert_eq!(open(&sealed, &typed("\u{feff} caf\u{e9}  au lait")).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn what_is_sealed_to_a_key_opens_with_that_key_only() {
        let sealed = seal_to_key(b"secret", &[7; 32]).unwrap();
        assert!(is_for_key(&sealed) && !is_for_key(&seal_with(2, b"secret", &typed("correct horse")).unwrap()));
        assert_eq!(open_with_key(&sealed, &[7; 32]).unwrap().as_slice(), b"secret");
        assert_eq!(open_with_key(&sealed, &[8; 32]).unwrap_err(), OpenError::WrongPassphrase);
        assert!(open(&sealed, &typed("correct horse")).is_err());
        for at in 0..sealed.len() {
            assert!(open_with_key(&sealed[..at], &[7; 32]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn white_space_makes_no_passphrase_longer() {
        assert_eq!((check_length(&typed("  12345678   ")), check_length(&typed("1234567890"))), (Err(8), Ok(())));
    }

    #[test]
    fn what_is_no_sealed_file_or_a_damaged_one_is_told_apart_and_never_panics() {
        let sealed = seal_with(2, b"secret", &typed("correct horse")).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&changed, &typed("correct horse")).is_err(), "byte {at}");
            assert!(open(&sealed[..at], &typed("correct horse")).is_err(), "cut at {at}");
        }
        assert!(matches!(open(b"words words", &typed("correct horse")), Err(OpenError::NotSealed(_))));
    }
}
