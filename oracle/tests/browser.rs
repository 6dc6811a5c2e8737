//! The page as a browser shows it: headless Chromium, light and dark, wide and narrow. Needs `chromium` on PATH.
#![cfg(feature = "browser")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use common::{hour, Running, World, CSV};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Pictures are left here for a person to look at.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn chromium(url: &str, more: &[&str]) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.args(["--enable-logging=stderr", "--hide-scrollbars", "--timeout=30000"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(more).arg(url);
    command.stdin(Stdio::null()).output().expect("chromium is on PATH")
}

/// Width and height of a PNG, from its header.
fn size(png: &Path) -> (u32, u32) {
    let bytes = std::fs::read(png).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

/// What does not fit into a page of so many pixels across, as a browser lays it out. A headless window has its own least
/// width, so the page is laid out in a frame; letters of the chart are held against the chart itself.
fn cut_at(running: &Running, width: u32) -> String {
    let style = format!("<style>{}</style>", running.get("/style.css"));
    let page = running.get("/").replace("<link rel=\"stylesheet\" href=\"/style.css\">", &style);
    assert!(page.contains("<style>"), "the page's link to its style is spelled otherwise");
    let held = page.replace('&', "&amp;").replace('"', "&quot;");
    let measure = "onload=\"let page = this.contentDocument, cut = [];\
        let name = one => one.tagName + ' ' + one.textContent.trim().slice(0, 40);\
        for (let chart of page.querySelectorAll('svg')) { let room = chart.getBoundingClientRect();\
            for (let one of chart.querySelectorAll('text')) { let box = one.getBoundingClientRect();\
                if (box.left < room.left - 1 || box.right > room.right + 1) cut.push(name(one)); } }\
        let across = page.documentElement.scrollWidth;\
        if (across > this.clientWidth) cut.push('the page is ' + across + ' wide');\
        document.body.textContent = 'cut[' + cut.join('; ') + ']';\"";
    let wrapper = pictures().join(format!("wrapper-{width}.html"));
    let frame = format!("<iframe width={width} height=4000 style=\"border:0\" srcdoc=\"{held}\" {measure}></iframe>");
    std::fs::write(&wrapper, format!("<!doctype html><body>{frame}</body>")).unwrap();
    let dom = String::from_utf8(chromium(&format!("file://{}", wrapper.display()), &["--dump-dom"]).stdout).unwrap();
    let found = dom.rsplit_once("cut[").and_then(|(_, rest)| rest.split_once(']')).map(|(found, _)| found.to_owned());
    found.unwrap_or_else(|| panic!("nothing was measured: {}", dom.chars().take(2_000).collect::<String>()))
}

#[test]
fn a_browser_shows_the_page_and_has_nothing_to_complain_about() {
    let world = World::new();
    world.set(hour(12));
    let running = world.start(&["--replay", CSV]);
    let url = format!("http://{}/", running.address);
    let read = chromium(&url, &["--dump-dom"]);
    let dom = String::from_utf8(read.stdout).unwrap();
    for words in ["The price now", "The ladder around the price", "Coming fixings", "class=\"qr\"", "class=\"chart\""] {
        assert!(dom.contains(words), "{words} is not in {dom}");
    }
    let mut taken = Vec::new();
    for (name, window, dark) in
        [("wide", "1100,1700", false), ("dark", "1100,1700", true), ("narrow", "500,3000", false)]
    {
        let picture = pictures().join(format!("{name}.png"));
        drop(std::fs::remove_file(&picture));
        let mut more = vec![format!("--screenshot={}", picture.display()), format!("--window-size={window}")];
        if dark {
            more.push("--blink-settings=preferredColorScheme=0".to_string());
        }
        let said = chromium(&url, &more.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        // What the page may not load or apply, a browser says on its console.
        assert!(!said.contains("CONSOLE"), "{name}: {said}");
        let (width, height) = size(&picture);
        assert_eq!(format!("{width},{height}"), window);
        taken.push(std::fs::read(&picture).unwrap());
        println!("{}", picture.display());
    }
    let telephone = cut_at(&running, 390);
    assert_eq!(telephone, "", "what a telephone of 390 pixels cuts off");
    assert!(!cut_at(&running, 60).is_empty(), "and at 60 something is, so the measure measures");
    assert!(taken.iter().all(|picture| picture.len() > 20_000), "an empty page makes a small picture");
    assert_ne!(taken[0], taken[1], "dark is not light");
}
