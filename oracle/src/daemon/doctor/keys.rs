//! The key: where it is, who can read it, whether it is encrypted, whether the signer answers.

use super::finding::Finding;
use crate::daemon::config::Network;
use crate::daemon::keyfile::{held, Held};
use crate::daemon::signer::SignerClient;
use crate::daemon::statements::wrong;
use crate::passphrase::check_private;
use bitcoin::key::XOnlyPublicKey;
use std::path::Path;

const WHY: &str = "whoever has the key can attest anything, and every loan that names it is settled by that";

/// Looks at the key of a data folder. `signer`: is a signer named, so that no key should lie here?
pub fn look_at_key_file(data: &Path, network: Network, signer: bool) -> Finding {
    match held(data) {
        Held::Nowhere if signer => Finding::fine("key", "no key lies in the daemon's folder: the signer has it"),
        Held::Nowhere => Finding::trouble(
            "key",
            format!("{} holds no key", data.display()),
            "without it nothing can be said",
            "restore it from its copy, or make one with `hypothec-oracle init`",
        ),
        Held::Sealed(path) | Held::Plain(path) if signer => Finding::trouble(
            "key",
            format!("{} holds a key although a signer is named", path.display()),
            "the daemon faces the network; the signer is there to keep the key away from it",
            "move it to the signer's folder",
        ),
        Held::Sealed(path) | Held::Plain(path) if check_private(&path).is_err() => Finding::trouble(
            "key",
            format!("{} can be read by others", path.display()),
            WHY,
            &format!("chmod go= {}; if others use this machine, rotate", path.display()),
        ),
        Held::Plain(path) if network == Network::Regtest => {
            Finding::fine("key", format!("{} is not encrypted, as regtest may", path.display()))
        }
        Held::Plain(path) => Finding::trouble(
            "key",
            format!("{} is not encrypted, which {network} refuses", path.display()),
            WHY,
            "hypothec-oracle encrypt-key",
        ),
        Held::Sealed(path) if path.with_extension("").exists() => Finding::trouble(
            "key",
            format!("{} lies unencrypted beside its encrypted self", path.with_extension("").display()),
            WHY,
            "see that the encrypted one opens, then delete the other",
        ),
        Held::Sealed(path) => Finding::fine("key", format!("{} is encrypted and closed to others", path.display())),
    }
}

/// Asks the signer for its key. Blocks.
pub fn look_at_signer(socket: &Path) -> (Finding, Option<XOnlyPublicKey>) {
    match SignerClient::connect(socket) {
        Ok(signer) => {
            let key = signer.public_key();
            (Finding::fine("key", format!("the signer answers, key {key}")), Some(key))
        }
        Err(error) => {
            let finding = Finding::trouble(
                "key",
                format!("the signer at {} does not answer: {error:#}", socket.display()),
                "without it nothing can be signed",
                "systemctl status hypothec-oracle-signer; run the doctor as the daemon's user",
            );
            (finding, None)
        }
    }
}

/// What is wrong with the statements of a key's operator.
pub fn look_at_statements(data: &Path, key: &XOnlyPublicKey) -> Vec<Finding> {
    let trouble = |wrong: String| {
        Finding::trouble(
            "key",
            wrong,
            "what is not served reaches no node; the oracle itself goes on attesting",
            "take it out of the file, or put the right file there; a key that is to hand over needs a new one, made with \
             `hypothec-oracle init`",
        )
    };
    wrong(data, key).into_iter().map(trouble).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::daemon::keyfile::init;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_that_is_missing_open_or_unencrypted_is_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("oracle");
        let level = |network, signer| look_at_key_file(&data, network, signer).level;
        assert_eq!(level(Network::Regtest, false), Level::Trouble);
        assert_eq!(level(Network::Signet, true), Level::Fine);
        init(&data).unwrap();
        assert_eq!(level(Network::Regtest, false), Level::Fine);
        assert_eq!(level(Network::Signet, false), Level::Trouble);
        assert_eq!(level(Network::Signet, true), Level::Trouble);
        std::fs::set_permissions(data.join("secret"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(look_at_key_file(&data, Network::Regtest, false).what.contains("read by others"));
        assert_eq!(look_at_signer(&folder.path().join("nobody")).0.level, Level::Trouble);
    }
}
