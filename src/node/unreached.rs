//! Why a peer is not reached, as programs and people are told: a code each, and a sentence that says what would help.

use super::tools::{error, Trouble};
use super::view::ErrorView;
use crate::peer::{PeerAddress, Standing, Unreached};
use crate::protocol::messages::Refused;
use crate::protocol::ErrorCode;
use bitcoin::Network;

/// How long a borrower waits for a lender's answer, in seconds.
pub const PATIENCE: u64 = 20;

/// The code of a reason.
pub fn code(why: &Unreached) -> ErrorCode {
    match why {
        Unreached::UnknownHost => ErrorCode::UnknownHost,
        Unreached::NotListening => ErrorCode::NotListening,
        Unreached::Silent => ErrorCode::Silent,
        Unreached::NoWay(_) => ErrorCode::NoWay,
        Unreached::WrongKey => ErrorCode::WrongKey,
        Unreached::OtherProtocol => ErrorCode::OtherProtocol,
        Unreached::OtherNetwork(_) => ErrorCode::OtherNetwork,
        Unreached::TurnedAway => ErrorCode::TurnedAway,
        Unreached::Ended(_) => ErrorCode::Unavailable,
    }
}

/// The reason in words; where the two networks may differ, with this node's.
pub fn text(why: &Unreached, network: Network) -> String {
    match why {
        Unreached::OtherNetwork(_) | Unreached::TurnedAway => format!("{why}; this node is on `{network}`"),
        _ => why.to_string(),
    }
}

/// Why a peer that is dialled is not there.
pub fn view(why: &Unreached, network: Network) -> ErrorView {
    error(code(why), text(why, network))
}

/// Does a second try at once lead nowhere else?
pub fn is_final(why: &Unreached) -> bool {
    matches!(why, Unreached::UnknownHost | Unreached::WrongKey | Unreached::OtherNetwork(_) | Unreached::OtherProtocol)
}

/// A lender that was not reached.
pub fn lender(address: &PeerAddress, why: &Unreached, network: Network) -> Trouble {
    let text = text(why, network);
    Trouble::refuse(code(why), format!("the lender at {} is not reached: {text}", address.place()))
}

/// That a lender was asked over the connection there was, and not at the place that was named.
pub fn not_tried(address: &PeerAddress, standing: &Standing) -> String {
    let (at, way) = (&standing.remote, if standing.inbound { "it opened from" } else { "this node opened to" });
    format!(
        "the lender was connected already, and the quote came over the connection that {way} {at}; {} was not tried, and is \
         not kept as its address",
        address.place()
    )
}

/// A lender that did not answer in time: since when nothing of it is known, or what it said last.
pub fn late(
    address: &PeerAddress,
    network: Network,
    why: Option<&Unreached>,
    is_there: bool,
    was_busy: bool,
) -> Trouble {
    match (why, is_there, was_busy) {
        (_, _, true) => {
            let text = format!("the lender answers that it is busy, for {PATIENCE} s now: ask again in a minute");
            Trouble::refuse(ErrorCode::Busy, text)
        }
        (_, true, _) => {
            let text = format!(
                "the lender is connected and did not answer the request within {PATIENCE} s: its node may stand still, wait \
                 for a bitcoind that hangs, be busy, or be of an older version; ask its operator, or ask again"
            );
            Trouble::refuse(ErrorCode::NoAnswer, text)
        }
        (Some(why), ..) => lender(address, why, network),
        (None, ..) => lender(address, &Unreached::Silent, network),
    }
}

/// A lender that said no to a request for a quote.
pub fn refused(refused: &Refused) -> Trouble {
    let speaks_other = refused.code == ErrorCode::Unreadable.word()
        || (refused.code == ErrorCode::Terms.word() && refused.message.contains("terms version"));
    match speaks_other {
        true => Trouble::refuse(
            ErrorCode::Version,
            format!(
                "the lender's node and this one, {}, do not understand each other ({}): the older of the two needs an update",
                env!("CARGO_PKG_VERSION"),
                refused.message
            ),
        ),
        false => Trouble::refuse(ErrorCode::Refused, format!("the lender refuses: {}", refused.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_code_of_its_own_that_reaches_the_asker() {
        let reasons = [
            Unreached::UnknownHost,
            Unreached::NotListening,
            Unreached::Silent,
            Unreached::NoWay("no route to host".into()),
            Unreached::WrongKey,
            Unreached::OtherProtocol,
            Unreached::OtherNetwork("signet".into()),
            Unreached::TurnedAway,
        ];
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let address: PeerAddress = format!("{key}@127.0.0.1:9").parse().unwrap();
        let said: Vec<ErrorView> = reasons.iter().map(|why| lender(&address, why, Network::Regtest).view()).collect();
        let codes: BTreeSet<&str> = said.iter().map(|view| view.code.as_str()).collect();
        assert_eq!(codes.len(), reasons.len(), "{codes:?}");
        for view in &said {
            assert!(ErrorCode::of(&view.code).is_some_and(|code| ErrorCode::REACHING.contains(&code)), "{view:?}");
            // What is wrong, and after the colon what to do.
            assert!(view.message.starts_with("the lender at 127.0.0.1:9 is not reached: "), "{view:?}");
            assert!(view.message.matches(": ").count() >= 2, "{view:?}");
            let names_network = view.message.ends_with("; this node is on `regtest`");
            assert_eq!(names_network, ["other_network", "turned_away"].contains(&view.code.as_str()), "{view:?}");
        }
    }

    #[test]
    fn a_lender_that_is_late_is_busy_silent_or_not_there() {
        let key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let address: PeerAddress = format!("{key}@127.0.0.1:9").parse().unwrap();
        let code =
            |why: Option<&Unreached>, there, busy| late(&address, Network::Regtest, why, there, busy).view().code;
        assert_eq!(code(None, true, true), "busy");
        assert_eq!(code(None, true, false), "no_answer");
        assert_eq!(code(Some(&Unreached::NotListening), false, false), "not_listening");
        assert_eq!(code(None, false, false), "silent");
    }

    #[test]
    fn a_lender_of_another_version_is_told_from_one_that_refuses() {
        let of = |code: &str, message: &str| {
            let view = refused(&Refused { about: [0; 32], code: code.into(), message: message.into() }).view();
            (view.code, view.message)
        };
        let (code, text) = of("terms", "the request speaks terms version 3; this lender's new loans are of 2");
        assert!(code == "version" && text.contains("needs an update"), "{text}");
        assert_eq!(of("unreadable", "field 20 is unknown").0, "version");
        assert_eq!(of("terms", "the term is too long").0, "refused");
        assert_eq!(of("policy", "at most $100"), ("refused".into(), "the lender refuses: at most $100".into()));
    }
}
