//! A node's words: how they are made and read, and how a data folder keeps them.
//!
//! `words.age` holds them encrypted with a passphrase, `words` as they are. An encrypted file wins: the plain one beside
//! it is then what an interrupted encryption left, and goes when the folder is opened next.

use super::data::{read_private, sync_folder, write_private, DataFolder};
use anyhow::{bail, Context};
use bip39::{Language, Mnemonic};
use hypothec_oracle::sealed::{self, SecretString};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Words that `init` makes: 12, which are 128 bits, as many as the curve's keys are worth.
const WORDS: usize = 12;
/// What copying a text from a page or a chat leaves in it unseen.
const UNSEEN: [char; 6] = ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// How a data folder is to keep its words.
#[derive(Clone)]
pub enum Keep {
    /// As they are: whoever reads the disk has the coins.
    Plain,
    /// Encrypted with this passphrase.
    Sealed(SecretString),
}

/// How a data folder keeps its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Encrypted.
    Sealed,
    /// As they are.
    Plain,
    /// Not at all.
    Nowhere,
}

/// New words, from the system's randomness.
///
/// # Errors
/// When the system has none.
pub fn new_words() -> anyhow::Result<Mnemonic> {
    Mnemonic::generate(WORDS).context("draw random words")
}

/// Reads words as a person typed or copied them: any white space, upper or lower case, any form of Unicode, in the
/// numbered list that `init` prints or without numbers. Words that all have numbers may stand in any order.
///
/// # Errors
/// When they are not 12, 15, 18, 21 or 24 English BIP-39 words, or their checksum is wrong. The message tells the
/// position of a wrong word and never the word.
pub fn parse_words(text: &str) -> anyhow::Result<Mnemonic> {
    let text: Zeroizing<String> =
        Zeroizing::new(text.nfkd().filter(|c| !UNSEEN.contains(c)).flat_map(char::to_lowercase).collect());
    let words = Zeroizing::new(in_order(&text).join(" "));
    Mnemonic::parse_in_normalized(Language::English, &words).map_err(|error| match error {
        bip39::Error::BadWordCount(count) => {
            anyhow::anyhow!("words: {count} of them were given; 12, 15, 18, 21 or 24 are right")
        }
        bip39::Error::UnknownWord(index) => {
            anyhow::anyhow!("words: number {} is not in the BIP-39 list; compare its spelling", index.saturating_add(1))
        }
        _ => anyhow::anyhow!("words: the checksum is wrong; compare each word and their order"),
    })
}

/// The words without numbers and punctuation, by their numbers where those are 1, 2, 3, … in some order.
fn in_order(text: &str) -> Vec<&str> {
    let mut words: Vec<(Option<usize>, &str)> = Vec::new();
    let mut number = None;
    for token in text.split_whitespace() {
        let rest = token.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = token.strip_suffix(rest).unwrap_or_default();
        let word = rest.trim_matches(|c: char| !c.is_alphanumeric());
        number = digits.parse().ok().or(number);
        if !word.is_empty() {
            words.push((number.take(), word));
        }
    }
    let mut sorted = words.clone();
    sorted.sort_by_key(|(number, _)| *number);
    let numbered = sorted.iter().zip(1..).all(|((number, _), place)| *number == Some(place));
    let chosen = if numbered { sorted } else { words };
    chosen.into_iter().map(|(_, word)| word).collect()
}

impl DataFolder {
    fn plain(&self) -> PathBuf {
        self.path().join("words")
    }

    fn sealed(&self) -> PathBuf {
        self.path().join("words.age")
    }

    /// How it keeps its words.
    pub fn held(&self) -> Held {
        match (self.sealed().exists(), self.plain().exists()) {
            (true, _) => Held::Sealed,
            (false, true) => Held::Plain,
            (false, false) => Held::Nowhere,
        }
    }

    /// Puts words into a folder that has none.
    pub(super) fn write_words(&self, words: &Mnemonic, keep: &Keep) -> anyhow::Result<()> {
        let text = Zeroizing::new(format!("{words}\n"));
        match keep {
            Keep::Plain => write_private(&self.plain(), text.as_bytes()),
            Keep::Sealed(passphrase) => write_private(&self.sealed(), &seal(&text, passphrase)?),
        }
    }

    /// The words of a folder that keeps them as they are.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or does not hold words.
    pub fn words(&self) -> anyhow::Result<Mnemonic> {
        self.words_with(|| Ok(None))
    }

    /// The words; `ask` is asked for the passphrase where they are encrypted. Takes about a second then; blocks.
    ///
    /// # Errors
    /// When there are none, others can read them, there is no passphrase or it does not fit.
    pub fn words_with(&self, ask: impl FnOnce() -> anyhow::Result<Option<SecretString>>) -> anyhow::Result<Mnemonic> {
        let read = |path: PathBuf| {
            let bytes = read_private(&path)?;
            parse_bytes(&bytes).with_context(|| path.display().to_string())
        };
        match self.held() {
            Held::Nowhere => bail!(
                "data {}: there is neither `words.age` nor `words` in it; restore the folder from a backup, or make \
                 another one from the words on paper with `hypothec init --restore`",
                self.path().display()
            ),
            Held::Plain => read(self.plain()),
            Held::Sealed => {
                let path = self.sealed();
                let sealed = read_private(&path)?;
                let passphrase = ask()?.with_context(|| {
                    format!(
                        "{}: it is encrypted and there is no passphrase; say --passphrase-file FILE, give the service \
                         the credential hypothec-passphrase, or start it at a terminal and it asks",
                        path.display()
                    )
                })?;
                let words = unseal(&sealed, &passphrase).with_context(|| path.display().to_string())?;
                self.finish_encrypting(&words)?;
                Ok(words)
            }
        }
    }

    /// Encrypts the folder's words, which were read from it, or encrypts them anew with another passphrase. No node may
    /// run on it. The plain words go only when the encrypted ones were read back.
    ///
    /// # Errors
    /// When the disk fails. The words are then as they were.
    pub fn encrypt_words(&self, words: &Mnemonic, new: &SecretString) -> anyhow::Result<()> {
        let (path, beside) = (self.sealed(), self.path().join("words.age.next"));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).context("write the words anew"),
            _ => (),
        }
        let text = Zeroizing::new(format!("{words}\n"));
        write_private(&beside, &seal(&text, new)?)?;
        let back = unseal(&read_private(&beside)?, new).context("read the encrypted words back")?;
        if back != *words {
            bail!("{}: the encrypted words do not read back; nothing was changed", beside.display());
        }
        fs::rename(&beside, &path).with_context(|| format!("write {}", path.display()))?;
        sync_folder(self.path())?;
        self.finish_encrypting(words)
    }

    /// Takes the plain words away that lie beside the same words encrypted. What an SSD has kept of the old file stays
    /// readable to whoever takes the disk: the manual says so.
    fn finish_encrypting(&self, words: &Mnemonic) -> anyhow::Result<()> {
        let path = self.plain();
        if !path.exists() {
            return Ok(());
        }
        if parse_bytes(&read_private(&path)?).is_ok_and(|plain| plain != *words) {
            bail!(
                "{}: these are other words than those in words.age beside them; find out which are this node's, and \
                 move the other file away",
                path.display()
            );
        }
        fs::remove_file(&path).with_context(|| format!("take {} away", path.display()))?;
        sync_folder(self.path())
    }
}

fn parse_bytes(bytes: &[u8]) -> anyhow::Result<Mnemonic> {
    parse_words(std::str::from_utf8(bytes).map_err(|_| anyhow::anyhow!("words: this is no text"))?)
}

fn seal(text: &str, passphrase: &SecretString) -> anyhow::Result<Vec<u8>> {
    sealed::seal(text.as_bytes(), passphrase).map_err(anyhow::Error::msg).context("encrypt the words")
}

fn unseal(bytes: &[u8], passphrase: &SecretString) -> anyhow::Result<Mnemonic> {
    parse_bytes(&sealed::open(bytes, passphrase)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    fn abandon() -> String {
        format!("{}about", "abandon ".repeat(11))
    }

    #[test]
    fn typed_words_are_read_generously_and_wrong_ones_are_told_apart_without_repeating_them() {
        let words = abandon();
        let typed = format!("  {}\n", words.to_uppercase().replace(' ', "  \n"));
        assert_eq!(parse_words(&typed).unwrap().to_string(), words);
        let said = |text: &str| parse_words(text).unwrap_err().to_string();
        assert!(said("abandon").contains("1 of them"));
        assert!(said(&words.replace("about", "abuot")).contains("number 12"));
        assert!(!said(&words.replace("about", "abuot")).contains("abuot"));
        assert!(said(&words.replace("about", "abandon")).contains("checksum"));
        assert!(said("1. 2. 3.").contains("0 of them"));
    }

    #[test]
    fn words_are_read_from_the_list_that_init_prints_and_from_what_pages_make_of_it() {
        let words = new_words().unwrap();
        let list: Vec<&str> = words.words().collect();
        let numbered = |write: fn(usize, &str) -> String| -> String {
            list.iter().zip(1..).map(|(word, n)| write(n, word)).collect()
        };
        for text in [
            numbered(|n, word| format!("  {n:>2}. {word}\n")),
            numbered(|n, word| format!("{n}.{} ", word.to_uppercase())),
            numbered(|n, word| format!("{n}) {word}, ")),
            numbered(|n, word| format!("{n}\u{a0}{word}\u{200b}\r\n")),
            // Two columns, as a narrow list is folded.
            (0..6).map(|i| format!("{}. {}   {}. {}\n", i + 1, list[i], i + 7, list[i + 6])).collect(),
            // Full-width letters.
            numbered(|_, word| {
                let wide = word.chars().filter_map(|c| char::from_u32(u32::from(c) - 0x20 + 0xff00));
                wide.chain([' ']).collect()
            }),
        ] {
            assert_eq!(parse_words(&text).unwrap(), words, "{text}");
        }
        // Numbers that do not count from one order nothing.
        let odd: String = list.iter().rev().map(|word| format!("7. {word}\n")).collect();
        assert!(parse_words(&odd).map_or(true, |read| read != words));
    }

    #[test]
    fn encrypted_words_open_with_their_passphrase_only_and_a_new_one_replaces_the_old() {
        let place = tempfile::tempdir().unwrap();
        let (words, first, second) = (new_words().unwrap(), secret("correct horse battery"), secret("staple staple"));
        let keep = Keep::Sealed(first.clone());
        let data = DataFolder::make_kept(&place.path().join("node"), &words, &keep, "", |_| Ok(())).unwrap();
        let file = data.path().join("words.age");
        assert_eq!((data.held(), fs::metadata(&file).unwrap().mode() & 0o777), (Held::Sealed, 0o600));
        assert!(fs::read(&file).unwrap().starts_with(b"age-encryption.org/v1"));
        let all: String = walk(&data);
        assert!(words.words().all(|word| !all.contains(&format!("{word} "))), "the words lie somewhere in plain");
        assert!(data.words().unwrap_err().to_string().contains("--passphrase-file"));
        let wrong = format!("{:#}", data.words_with(|| Ok(Some(second.clone()))).unwrap_err());
        assert!(wrong.contains("does not open it") && !wrong.contains("staple"), "{wrong}");
        assert_eq!(data.words_with(|| Ok(Some(first.clone()))).unwrap(), words);
        data.encrypt_words(&words, &second).unwrap();
        assert!(data.words_with(|| Ok(Some(first))).is_err());
        assert_eq!(data.words_with(|| Ok(Some(second.clone()))).unwrap(), words);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let open = format!("{:#}", data.words_with(|| Ok(Some(second))).unwrap_err());
        assert!(open.contains("chmod go="), "{open}");
        let header = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let work: u32 = header.lines().nth(1).and_then(|line| line.split(' ').next_back()).unwrap().parse().unwrap();
        assert_eq!(work, 18);
        println!("bound words-on-disk {} rounds of scrypt in 256 MiB for each guess", 1u32 << work);
    }

    #[test]
    fn plain_words_are_encrypted_in_place_and_a_cut_on_the_way_loses_nothing() {
        let place = tempfile::tempdir().unwrap();
        let (words, passphrase) = (new_words().unwrap(), secret("correct horse battery"));
        let data = DataFolder::make(&place.path().join("node"), &words, "", |_| Ok(())).unwrap();
        let plain = data.path().join("words");
        let text = fs::read(&plain).unwrap();
        // Cut while the encrypted file is written: a half one lies beside.
        write_private(&data.path().join("words.age.next"), b"half").unwrap();
        assert_eq!(data.words().unwrap(), words);
        data.encrypt_words(&words, &passphrase).unwrap();
        assert!(!plain.exists() && data.held() == Held::Sealed);
        // Cut before the plain file is taken away.
        write_private(&plain, &text).unwrap();
        assert_eq!(data.words_with(|| Ok(Some(passphrase.clone()))).unwrap(), words);
        assert!(!plain.exists());
        // Other words are nobody's leftover.
        write_private(&plain, abandon().as_bytes()).unwrap();
        let said = data.words_with(|| Ok(Some(passphrase))).unwrap_err().to_string();
        assert!(said.contains("other words") && plain.exists(), "{said}");
    }

    /// All text in the files of a folder.
    fn walk(data: &DataFolder) -> String {
        let files = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
            .collect()
    }
}
