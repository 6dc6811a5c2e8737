//! Whatever a node has a word for, it says it in words.

use crate::contract::Role;
use crate::loan::ltv::MarginLine;
use crate::loan::terms::LoanId;
use crate::loan::units::Time;
use crate::node::jobs::Key;
use crate::protocol::decide::Refusal;
use crate::protocol::state::StateError;
use crate::protocol::{Exit, Stage};
use bitcoin::hashes::Hash;
use bitcoin::Txid;

#[path = "../../../tests/common/plain.rs"]
mod plain;

/// Every variant of an enum; one that is added and not named here does not compile.
macro_rules! every {
    ($name:ident { $($variant:ident $(($($part:expr),*))? $({$($field:ident: $value:expr),*})?),* $(,)? }) => {{
        fn _all(one: &$name) {
            match one { $($name::$variant { .. } => {}),* }
        }
        [$($name::$variant $(($($part),*))? $({$($field: $value),*})?),*].map(|one| one.to_string())
    }};
}

#[test]
fn no_word_that_a_person_reads_is_rusts() {
    let (id, txid) = (LoanId([7; 32]), Txid::all_zeros());
    let (oracle, peer) = (crate::loan::fixtures::xonly(3), crate::loan::fixtures::reference().borrower);
    let (at, now) = (Time(1), Time(2));
    let mut said = Vec::new();
    said.extend(every!(Exit { Repaid, Receipt, Liquidated, Matured, FellBack, Refunded }));
    said.extend(every!(Stage {
        Agreed,
        Preparing,
        Ready,
        Offered,
        Accepted,
        Signed,
        Funded,
        Confirming,
        Active,
        Closing,
        Closed,
        Cancelled
    }));
    said.extend(every!(Role { Borrower, Lender }));
    said.extend(every!(MarginLine { Warning, Call, Urgent, Liquidation }));
    said.extend(every!(Key {
        Loan(id),
        Settle(id),
        Broadcast(txid),
        Exit(txid),
        Watch(oracle),
        Rotations(oracle),
        Move,
        Renew,
        FeeCoin,
        Recover,
        Health,
        Peer(peer),
        Ask(1)
    }));
    said.extend(every!(Refusal {
        Stage { stage: Stage::Cancelled, what: "a sign", needs: "an offer" },
        Settling { exit: Exit::FellBack },
        Expired(at),
        Proposed(txid),
        Stale { at: at, now: now },
        Side(Role::Lender)
    }));
    said.extend(every!(StateError {
        NotBegun("offered".to_owned()),
        Terms("the debt is too large".to_owned()),
        Unexpected { stage: Stage::Active, event: "offered".to_owned() }
    }));
    for text in &said {
        assert!(plain::is_plain(text), "{text}");
        let first = text.chars().next().unwrap_or_default();
        assert!(first.is_lowercase(), "a word in a sentence: {text}");
    }
    assert!(said.len() > 40);
}

#[test]
fn a_stage_is_one_word_in_json_and_an_exit_its_name() {
    let stage = |stage: Stage| serde_json::to_string(&stage).unwrap();
    assert_eq!((stage(Stage::Active), stage(Stage::Cancelled)), ("\"active\"".into(), "\"cancelled\"".into()));
    assert_eq!(serde_json::to_string(&Exit::FellBack).unwrap(), "\"FellBack\"");
}
