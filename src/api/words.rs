//! What is wrong with a body or a query, in the words of who wrote it: the field, the value, what would be right. The readers'
//! own words for programs' types are for nobody.

/// What a reader of JSON, or of what follows the `?`, complains of.
pub(super) fn in_words(complaint: &str) -> String {
    let text = ["Failed to deserialize the JSON body into the target type: ", "Failed to deserialize query string: "]
        .iter()
        .fold(complaint, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    if let Some(why) = text.strip_prefix("Failed to parse the request body as JSON: ") {
        return format!("the body is not JSON{}", place(why));
    }
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let wholes = [("missing field ", "there must be a field "), ("unknown field ", "there is no field ")];
    let text = wholes.iter().fold(text.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
    let text = values(&text);
    let types = [
        ("expected u8", "write a whole number from 0 to 255"),
        ("expected u16", "write a whole number from 0 to 65535"),
        ("expected u32", "write a whole number from 0 to 4294967295"),
        ("expected u64", "write a whole number, 0 or more"),
        ("expected i32", "write a whole number"),
        ("expected i64", "write a whole number"),
        ("expected a string", "write a text in quotes"),
        ("expected a borrowed string", "write a text in quotes"),
        ("expected a boolean", "write true or false"),
        ("expected a sequence", "write a list"),
        ("expected a map", "write an object"),
        ("expected a tuple", "write a list"),
        ("expected unit", "write nothing"),
        ("invalid digit found in string", "write a whole number"),
        ("cannot parse integer from empty string", "write a whole number"),
        ("number too large to fit in target type", "the number is too large"),
        ("expected one of ", "it is one of "),
        ("expected ", "write "),
        ("unknown variant ", "nobody knows "),
        ("malformed public key", "write a public key as hex digits"),
    ];
    types.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// Where in the body it stops being JSON.
fn place(why: &str) -> String {
    why.rsplit_once(" at line ").map_or(String::new(), |(_, at)| format!(": see line {at}"))
}

/// `invalid type: string "x", …` said as `"x" is not right; …`.
fn values(text: &str) -> String {
    let Some((before, rest)) =
        ["invalid type: ", "invalid value: ", "invalid length "].iter().find_map(|begin| text.split_once(begin))
    else {
        return text.to_owned();
    };
    let Some((found, right)) = rest.rsplit_once(", expected ") else { return text.to_owned() };
    let kinds = ["string ", "integer ", "floating point ", "boolean ", "character "];
    let found = kinds.iter().fold(found, |found, kind| found.strip_prefix(kind).unwrap_or(found)).replace('`', "");
    let found = match found.as_str() {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "null".to_owned(),
        _ => found,
    };
    // The names of a program's types are for nobody.
    let right = match right {
        right if right.starts_with("struct ") || right.starts_with("internally tagged") => "a map",
        right if right.starts_with("enum ") || right.contains("variant") || right.contains("string or map") => {
            "one of its words"
        }
        right if right.starts_with("tuple ") => "a sequence",
        right => right,
    };
    format!("{before}{found} is not right; expected {right}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::BackupRequest;
    use crate::api::views;
    use axum::Json;
    use hypothec_oracle::daemon::usage::library_words;
    use serde::de::DeserializeOwned;
    use serde_json::{json, Value};

    const KEY: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    /// What is said of it, where it is not taken.
    fn said<T: DeserializeOwned>(body: &str) -> Option<String> {
        Json::<T>::from_bytes(body.as_bytes()).err().map(|error| in_words(&error.body_text()))
    }

    /// Each field left out and spoiled in every way, one more, and bodies that are none.
    fn spoil<T: DeserializeOwned>(good: Value) {
        assert_eq!(said::<T>(&good.to_string()), None, "{good}");
        let fields: Vec<String> = good.as_object().unwrap().keys().cloned().collect();
        let mut bodies: Vec<String> =
            ["", "{", "[]", "null", "7", "\"x\"", "{\"a\":}", "{} {}"].map(str::to_owned).to_vec();
        for field in &fields {
            let wrong = [json!(null), json!("x"), json!(-1), json!(1.5), json!([]), json!([1]), json!({}), json!(true)];
            for wrong in wrong.into_iter().chain([json!(u64::MAX), json!(""), json!({ "x": 1 })]) {
                let mut body = good.clone();
                body[field] = wrong;
                bodies.push(body.to_string());
            }
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            bodies.push(body.to_string());
        }
        let mut body = good.clone();
        body["no_such_field"] = json!(1);
        bodies.push(body.to_string());
        for body in bodies {
            let Some(said) = said::<T>(&body) else { continue };
            assert_eq!(library_words(&said), None, "{body}: {said}");
            for word in ["struct", "enum", "variant", "u64", "u32", "i32", "tuple", "Failed", "invalid type"] {
                assert!(!said.contains(word), "{body}: {said}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_each_field_of_each_body_is_said_in_plain_words() {
        let address = format!("02{KEY}@127.0.0.1:1");
        spoil::<views::QuoteRequest>(
            json!({ "lender": address, "principal_cents": 1, "collateral_sats": 1, "days": 7 }),
        );
        spoil::<views::ConnectRequest>(json!({ "address": address }));
        spoil::<views::OracleRequest>(json!({ "url": "http://h", "mirrors": ["http://m"], "pubkey": KEY }));
        spoil::<views::SendRequest>(json!({ "address": "a", "sats": 1 }));
        spoil::<views::SendRequest>(json!({ "address": "a", "all": true, "with_fee_coin": true }));
        spoil::<views::RepayRequest>(json!({ "from": "wallet" }));
        let loan = "1a".repeat(32);
        spoil::<views::BorrowRequest>(json!({ "quote": loan }));
        spoil::<views::DeclineRequest>(json!({ "reason": "no" }));
        spoil::<views::ConsolidateRequest>(json!({ "with_fee_coin": true }));
        spoil::<views::ProofRequest>(json!({ "proof": "00" }));
        spoil::<BackupRequest>(json!({ "passphrase": "a passphrase" }));
        for would in [
            json!({ "what": "send", "address": "a", "sats": 1, "with_fee_coin": true }),
            json!({ "what": "send", "address": "a", "all": true, "with_fee_coin": true }),
            json!({ "what": "consolidate", "with_fee_coin": true }),
            json!({ "what": "borrow", "quote": loan }),
            json!({ "what": "approve", "loan_id": loan }),
            json!({ "what": "cancel", "loan_id": loan }),
            json!({ "what": "repay", "loan_id": loan, "from": "wallet" }),
            json!({ "what": "withdraw", "loan_id": loan }),
            json!({ "what": "receipt", "loan_id": loan }),
        ] {
            spoil::<views::PreviewRequest>(would);
        }
        spoil::<views::PolicyView>(serde_json::to_value(crate::loan::policy::Policy::default()).unwrap());
        let number = said::<views::SendRequest>("{\"address\":\"a\",\"sats\":\"x\"}").unwrap();
        assert_eq!(number, "sats: \"x\" is not right; write a whole number, 0 or more");
        let missing = said::<views::ConnectRequest>("{}").unwrap();
        assert_eq!(missing, "there must be a field `address`");
    }
}
