//! docs/SECURITY.md is a table of promises: every row names a test that exists and prints the bound it holds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Row, what it costs, bound, test.
fn rows() -> Vec<[String; 4]> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/SECURITY.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| row "))
        .map(|line| {
            let cells: Vec<String> =
                line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
            cells.try_into().unwrap_or_else(|_| panic!("a row has four cells: {line}"))
        })
        .collect()
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
            found.push('\n');
        }
    }
}

#[test]
fn every_promise_of_the_security_table_is_held_by_a_test_that_prints_it() {
    let mut code = String::new();
    for folder in ["src", "tests", "oracle/src", "oracle/tests"] {
        sources(&Path::new(ROOT).join(folder), &mut code);
    }
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for [row, costs, bound, test] in rows() {
        if !seen.insert(row.clone()) {
            wrong.push(format!("{row} stands twice"));
        }
        if costs.is_empty() || !bound.contains(|c: char| c.is_ascii_digit()) {
            wrong.push(format!("{row}: says what it costs, and a bound with a number"));
        }
        if !code.contains(&format!("fn {test}(")) {
            wrong.push(format!("{row}: there is no test {test}"));
        }
        if !code.contains(&format!("bound {row} ")) {
            wrong.push(format!("{row}: no test prints \"bound {row} …\""));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
