//! The house rules, kept by reading the sources: who may import whom, which crate is named where, what no room does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room of the node and the rooms it may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("loan", &[]),
    ("contract", &["loan"]),
    ("settlement", &["loan", "contract"]),
    ("protocol", &["loan", "contract", "settlement"]),
    ("chain", &["loan"]),
    ("wallet", &["loan", "chain"]),
    ("peer", &[]),
    ("store", &["crash"]),
    ("oracle_client", &["contract"]),
    ("hook", &[]),
    ("crash", &[]),
    (
        "node",
        &[
            "loan",
            "contract",
            "settlement",
            "protocol",
            "chain",
            "wallet",
            "peer",
            "store",
            "oracle_client",
            "hook",
            "crash",
            "tlv_struct",
        ],
    ),
    ("api", &["loan", "node"]),
    ("cli", &["api", "loan", "node", "demo", "contract", "peer", "protocol"]),
    ("demo", &["api", "chain", "loan", "node", "protocol", "contract", "cli"]),
];

/// Crates that only some rooms name.
const ALONE: &[(&str, &[&str])] = &[
    ("ddk", &["contract"]),
    ("ddk_trie", &["contract"]),
    ("ddk_manager", &[]),
    ("dlc", &["contract"]),
    ("dlc_messages", &["contract"]),
    ("lightning", &["contract", "peer"]),
    ("sled", &["store"]),
    ("bdk_wallet", &["wallet"]),
    ("bdk_chain", &["wallet"]),
    ("bdk_bitcoind_rpc", &["chain"]),
    ("axum", &["api"]),
    ("hyper", &["api"]),
    ("hyper_util", &["api"]),
    ("clap", &["cli", "demo", "main.rs"]),
    ("clap_complete", &["cli"]),
    // The oracle makes the pages of the manual, for both programs.
    ("clap_mangen", &[]),
    ("reqwest", &["oracle_client", "hook", "cli", "demo"]),
    ("indicatif", &["demo", "cli"]),
    ("comfy_table", &["cli", "demo"]),
    // A secret under a passphrase: the oracle's library does it, for both.
    ("age", &[]),
    ("base64", &["hook"]),
    // The oracle's relay room speaks Nostr for both sides.
    ("nostr", &[]),
    ("tokio_tungstenite", &[]),
];

/// Crates that only one place of the oracle names, under `oracle/src`.
const ORACLE_ALONE: &[(&str, &str)] =
    &[("nostr", "relay"), ("tokio_tungstenite", "relay"), ("base64", "relay"), ("age", "sealed.rs")];

/// Rooms that only compute: no clock, no disk, no socket, no waiting.
const PURE: &[&str] = &["loan", "contract", "settlement", "protocol"];
/// What a pure room never says.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "std::fs",
    "std::net",
    "std::env",
    "tokio::",
    "async fn",
    ".await",
    "std::thread",
    "std::process",
];
/// What no file says.
const NEVER: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "unsafe {", "unsafe fn", "#[ignore"];
/// Rust's own way to write a value, which no person is shown: what follows in braces may end so where it is a text, which
/// is then in quotes with whatever is odd in it escaped.
const QUOTED: &[&str] = &[
    "text",
    "url",
    "key",
    "host",
    "port",
    "name",
    "corner",
    "user",
    "found",
    "right",
    "outcome",
    "first",
    "second",
    "began",
    "column",
    "at",
    "line",
    "reference",
    "tag",
    "asked",
    "other",
    "0",
];
/// And lines that write a value so, each with the reason.
const DEBUGGED: &[(&str, &str, &str)] = &[
    ("src/node/pay.rs", "address {:?} is none: ", "a text, in quotes"),
    ("src/node/config.rs", "format!(\"{:?}\", text.chars()", "a text, in quotes"),
    ("src/chain/config.rs", "fmt::Debug::fmt(self, f)", "written by hand, for people"),
    ("src/demo/party.rs", "cookie = {:?}", "a path in a file of TOML"),
    ("oracle/src/price/bars.rs", "{:?} is not dollars", "a text, in quotes"),
    ("oracle/src/price/bars.rs", "{:?} is too large", "a text, in quotes"),
    ("oracle/src/daemon/journal.rs", "begins with {:?}, not with", "a text, in quotes"),
    ("oracle/src/daemon/http/bundles.rs", "format!(\"{parts:?}\").as_bytes()", "hashed, never shown"),
    ("oracle/src/daemon/commands/audit.rs", "the oracle's feed is {:?}", "a text, in quotes"),
];
/// Above this a file holds two things.
const LINES: usize = 650;

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// The room of a file under `src`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    match inside.components().count() {
        1 if first != "main.rs" && first != "lib.rs" => first.trim_end_matches(".rs").to_owned(),
        _ => first,
    }
}

/// Lines that are code: neither comment nor documentation, and not the unit tests at a file's end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// Names that follow `prefix` in a line: `crate::loan` gives `loan` for `crate::`.
fn names_after<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    line.match_indices(prefix)
        .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$'))
        .map(|(at, _)| {
            let rest = &line[at + prefix.len()..];
            &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn every_room_imports_only_the_rooms_below_it() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let room = room(&path);
        if room == "main.rs" || room == "lib.rs" {
            continue;
        }
        let allowed = rooms.get(room.as_str()).unwrap_or_else(|| panic!("room {room} is not in the table"));
        for (number, line) in code(&text) {
            for name in names_after(line, "crate::") {
                if rooms.contains_key(name) && name != room && !allowed.contains(&name) {
                    wrong.push(format!("{}:{number}: {room} imports {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_library_is_named_only_in_the_room_that_owns_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let room = room(&path);
        for (number, line) in code(&text) {
            for (library, rooms) in ALONE {
                let named =
                    line.contains(&format!("{library}::")) && !names_after(line, &format!("{library}::")).is_empty();
                if named && !rooms.contains(&room.as_str()) {
                    wrong.push(format!("{}:{number}: {room} names {library}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_library_is_named_only_in_the_place_of_the_oracle_that_owns_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources("oracle/src") {
        let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/src")).unwrap();
        for (number, line) in code(&text) {
            for (library, place) in ORACLE_ALONE {
                if !inside.starts_with(place) && !names_after(line, &format!("{library}::")).is_empty() {
                    wrong.push(format!("{}:{number}: names {library}, which only {place} may", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_only_compute() {
    let mut wrong = Vec::new();
    // Of the oracle, what a stranger makes again must not depend on clock, disk or network.
    let oracle = ["price", "ticklog"].into_iter().flat_map(|room| {
        let name = format!("oracle {room}");
        sources(&format!("oracle/src/{room}")).into_iter().map(move |(path, text)| (name.clone(), path, text))
    });
    let ours = sources("src").into_iter().map(|(path, text)| (room(&path), path, text));
    for (room, path, text) in ours.filter(|(room, ..)| PURE.contains(&room.as_str())).chain(oracle) {
        for (number, line) in code(&text) {
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number}: {room} says {word}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_left_unfinished_and_no_file_holds_two_things() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("oracle/src")) {
        for (number, line) in code(&text) {
            wrong.extend(
                NEVER
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{}:{number}: {word}", path.display())),
            );
        }
        if text.lines().count() > LINES {
            wrong.push(format!("{}: {} lines, {LINES} at most", path.display(), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_a_door_sign() {
    for (room, _) in ROOMS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
        let door = if folder.is_dir() { folder.join("mod.rs") } else { folder.with_extension("rs") };
        if room == &"cli" && !door.exists() {
            continue;
        }
        let text = fs::read_to_string(&door).unwrap();
        assert!(text.starts_with("//!"), "{} says nothing at the door", door.display());
    }
}

/// What stands before `:?}` or `:#?}` in a line: the name in each pair of braces.
fn debugged(line: &str) -> Vec<&str> {
    let ends = line.match_indices(":?}").chain(line.match_indices(":#?}"));
    ends.map(|(end, _)| line[..end].rsplit('{').next().unwrap_or_default()).collect()
}

#[test]
fn no_person_is_shown_a_value_as_rust_writes_it() {
    let for_tests = ["tests", "conformance.rs", "kill.rs", "postgres_tests.rs", "fixtures.rs"];
    let (mut wrong, mut used) = (Vec::new(), vec![false; DEBUGGED.len()]);
    for (path, text) in sources("src").into_iter().chain(sources("oracle/src")) {
        let inside = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        if inside.iter().any(|part| for_tests.iter().any(|name| part == *name)) {
            continue;
        }
        for (number, line) in code(&text) {
            let told = line.contains("Debug::fmt(self") || !debugged(line).iter().all(|name| QUOTED.contains(name));
            let allowed = |(file, part, _): &(&str, &str, &str)| inside.ends_with(file) && line.contains(part);
            match DEBUGGED.iter().position(allowed) {
                Some(row) => used[row] = true,
                None if told => wrong.push(format!("{}:{number}: {}", inside.display(), line.trim())),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "a `Display` is missing, or a reason in DEBUGGED:\n{}", wrong.join("\n"));
    let unused: Vec<_> = DEBUGGED.iter().zip(used).filter(|(_, used)| !used).map(|(row, _)| row).collect();
    assert!(unused.is_empty(), "nothing is written so any more: {unused:?}");
}

/// The programs of `.ci/programs`, each with who starts it.
fn listed_programs() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/programs")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| match row.split(' ').collect::<Vec<_>>()[..] {
        [program, _, who] => (program.to_owned(), who.split(',').map(str::to_owned).collect()),
        _ => panic!("not a program, its packages and who starts it: {row}"),
    })
    .collect()
}

#[test]
fn every_program_that_is_started_is_listed_with_its_package() {
    let listed = listed_programs();
    let mut started = 0;
    for (path, text) in ["src", "tests", "oracle/src", "oracle/tests", "oracle/compat"].into_iter().flat_map(sources) {
        if path.ends_with("tests/tidy.rs") {
            continue;
        }
        for (at, opening) in text.match_indices("Command::new(\"") {
            let program = text[at + opening.len()..].split('"').next().unwrap();
            assert!(listed.contains_key(program), "{}: {program} is not in .ci/programs", path.display());
            started += 1;
        }
    }
    assert!(started > 3, "the sources are read");
    // A process is told what to do by the system's call, not by a program that a minimal machine has not.
    assert!(!listed.contains_key("kill"));
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/fetch-bitcoind.sh")).unwrap();
    let tools = script.split("<<TOOLS\n").nth(1).unwrap().split("TOOLS\n").next().unwrap();
    for tool in tools.lines().map(|line| line.split(' ').next().unwrap()) {
        assert!(listed[tool].iter().any(|who| who == "fetch"), "{tool} is not in .ci/programs for fetch");
    }
}
