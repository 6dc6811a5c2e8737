//! Hooks as stories: who is told, when again, and never twice.

use super::*;
use crate::hook::{Exec, Webhook};
use crate::store::Memory;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn node() -> PublicKey {
    crate::loan::fixtures::key(2)
}

fn view(severity: Severity, event: &str) -> EventView {
    EventView { at: 7, event: event.into(), severity, text: format!("{event} happened"), ..EventView::default() }
}

/// Appends the event's number and name to a file.
fn writer(file: &Path) -> Vec<Hook> {
    let script = format!("echo \"$HYPOTHEC_NUMBER $HYPOTHEC_EVENT $HYPOTHEC_SEVERITY\" >>'{}'", file.display());
    vec![Hook::Exec(Exec::new(&["sh".into(), "-c".into(), script]).unwrap())]
}

async fn lines(file: &Path, count: usize) -> Vec<String> {
    let lines = || async {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            Ok(lines)
        } else {
            Err(format!("{lines:?}"))
        }
    };
    crate::demo::wait::until("the hook to be told", crate::demo::wait::PATIENCE, lines).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_told_once_of_each_event_that_matters_also_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("told");
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let book = Book::open(store.clone(), 1).unwrap();
    book.add(view(Severity::Urgent, "before"), None).unwrap();
    let notifier = Notifier::start(writer(&file), &book, &store, node()).unwrap();
    book.add(view(Severity::Info, "offered"), None).unwrap();
    book.add(view(Severity::Warning, "margin"), None).unwrap();
    assert_eq!(lines(&file, 1).await, ["3 margin warning"]);
    noted(&store, "notify/exec", "{\"seen\":3,\"waiting\":{}}").await;
    drop(notifier);
    // While nobody told it, one more; and after the restart another.
    book.add(view(Severity::Notice, "closed"), None).unwrap();
    let book = Book::open(store.clone(), 9).unwrap();
    let _notifier = Notifier::start(writer(&file), &book, &store, node()).unwrap();
    book.add(view(Severity::Urgent, "liquidation"), None).unwrap();
    assert_eq!(lines(&file, 3).await, ["3 margin warning", "4 closed notice", "5 liquidation urgent"]);
}

/// Waits until what a hook was told is on disk.
async fn noted(store: &Arc<dyn Store>, document: &str, wanted: &str) {
    let kept = || async {
        let kept = String::from_utf8(store.get(document).unwrap().unwrap()).unwrap();
        (kept == wanted).then_some(()).ok_or(kept)
    };
    crate::demo::wait::until("nothing to wait", crate::demo::wait::PATIENCE, kept).await.unwrap();
}

/// Takes one request and answers it with a status.
async fn take(listener: &TcpListener, status: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4_096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
        if body.len() >= length {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return (head.to_owned(), body.to_owned());
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_failed_is_told_again_after_a_restart_under_the_same_name_and_signed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let hook = || vec![Hook::Webhook(Webhook::new(&url, SECRET.parse().unwrap()).unwrap())];
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let book = Book::open(store.clone(), 1).unwrap();
    let notifier = Notifier::start(hook(), &book, &store, node()).unwrap();
    book.add(view(Severity::Urgent, "margin"), None).unwrap();
    let (first, body) = take(&listener, "500 Oh").await;
    let id = header(&first, "webhook-id").to_owned();
    let trouble = || async { notifier.troubles().pop().ok_or_else(|| "no trouble".to_owned()) };
    let trouble = crate::demo::wait::until("the failure", crate::demo::wait::PATIENCE, trouble).await.unwrap();
    assert!(
        trouble.contains("notify.webhook") && trouble.contains("500") && trouble.contains("told again: 1"),
        "{trouble}"
    );
    drop(notifier);
    let notifier = Notifier::start(hook(), &book, &store, node()).unwrap();
    let (second, again) = take(&listener, "204 Fine").await;
    assert_eq!((header(&second, "webhook-id"), &again), (id.as_str(), &body));
    let secret: crate::hook::Secret = SECRET.parse().unwrap();
    let at = header(&second, "webhook-timestamp").parse().unwrap();
    assert_eq!(header(&second, "webhook-signature"), secret.sign(&id, at, &again));
    let said: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&said["type"], &said["data"]["number"]), (&"margin".into(), &1.into()));
    noted(&store, "notify/webhook", "{\"seen\":1,\"waiting\":{}}").await;
    assert_eq!(notifier.troubles(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_hook_is_bounded_and_given_up_after_three_days() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let mut queue = Queue::open(store, "exec", 0).unwrap();
    (1..=queue::MOST as u64 + 5).for_each(|number| queue.look_at(number, true));
    assert_eq!((queue.len(), queue.due(Instant::now())), (queue::MOST, Some(6)));
    let now = Instant::now();
    (0..WAITS.len()).for_each(|_| queue.failed(6, now).unwrap());
    assert_eq!(queue.len(), queue::MOST);
    queue.failed(6, now).unwrap();
    assert_eq!(queue.len(), queue::MOST - 1);
    let all: Duration = WAITS.iter().sum();
    assert!(all > Duration::from_secs(71 * 3_600) && all < Duration::from_secs(73 * 3_600), "{all:?}");
    println!("bound hook-waiting {} events", queue::MOST);
}
