//! A door before bitcoind: it lets questions through, or breaks off, swallows, holds, refuses or does not understand those of one kind.

use hypothec::demo::bitcoind::BitcoindProcess;
use serde_json::{json, Value};
use std::collections::HashMap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is asked, and its answer told.
    Pass,
    /// It is asked, and the connection breaks before the answer.
    Break,
    /// It is not asked, and the connection breaks.
    Swallow,
    /// It is not asked before the door is set otherwise.
    Hold,
    /// It is not asked; the answer is that a transaction is none that it relays.
    Refuse,
    /// It is not asked; the answer is that there is no such transaction, as of an index that has not read the block.
    Unknown,
    /// It is asked, and answers as if it was on signet.
    Signet,
    /// It is asked, and answers as if its index was behind.
    Behind,
    /// It is not asked; the answer is that its coins are not there, as of a bitcoind that is some blocks behind.
    Missing,
    /// It is not asked: the answer is what a bitcoind says that has too many questions before it.
    Busy,
    /// It is not asked: the answer is that of a bitcoind that does not know the version of a transaction.
    OldVersion,
}

impl Way {
    /// What is answered in bitcoind's place: the status and the body.
    fn answer(self, id: &Value) -> Option<(&'static str, String)> {
        let said = |result: Value, error: Value| json!({ "result": result, "error": error, "id": id }).to_string();
        let refusal =
            |code: i32, message: &str| ("500 No", said(Value::Null, json!({ "code": code, "message": message })));
        match self {
            Way::Refuse => Some(refusal(-26, "scriptpubkey")),
            Way::Unknown => Some(refusal(-5, "No such mempool transaction")),
            Way::Missing => Some(refusal(-25, "bad-txns-inputs-missingorspent")),
            Way::Busy => Some(("503 Service Unavailable", "Work queue depth exceeded".to_owned())),
            Way::OldVersion => {
                Some(("200 OK", said(json!([{ "allowed": false, "reject-reason": "version" }]), Value::Null)))
            }
            Way::Pass | Way::Break | Way::Swallow | Way::Hold | Way::Signet | Way::Behind => None,
        }
    }
}

/// Where a node asks in bitcoind's place.
pub struct Door {
    pub url: String,
    ways: watch::Sender<HashMap<String, Way>>,
    /// Of each kind, how many questions were not let through.
    held: watch::Sender<HashMap<String, usize>>,
}

impl Door {
    pub async fn before(bitcoind: &BitcoindProcess) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behind = bitcoind.rpc_url().trim_start_matches("http://").to_owned();
        let (ways, held) = (watch::Sender::default(), watch::Sender::default());
        let both = (ways.clone(), held.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behind.clone(), both.0.subscribe(), both.1.clone()));
            }
        });
        Door { url, ways, held }
    }

    pub fn set(&self, method: &str, way: Way) {
        self.ways.send_modify(|ways| {
            ways.insert(method.to_owned(), way);
        });
    }

    /// Waits until a question of this kind is held.
    pub async fn until_held(&self, method: &str) {
        self.until_met(method, 1).await;
    }

    /// Waits until so many questions of this kind were not let through.
    pub async fn until_met(&self, method: &str, count: usize) {
        let is_met = |held: &HashMap<String, usize>| held.get(method).is_some_and(|met| *met >= count);
        self.held.subscribe().wait_for(is_met).await.unwrap();
    }
}

/// A head and a body; `None` where the other side has gone.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&line).to_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.extend_from_slice(&line);
        if line.len() <= 2 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

async fn serve(
    stream: TcpStream,
    behind: String,
    mut ways: watch::Receiver<HashMap<String, Way>>,
    held: watch::Sender<HashMap<String, usize>>,
) -> Option<()> {
    let mut asker = BufReader::new(stream);
    let mut node = BufReader::new(TcpStream::connect(&behind).await.ok()?);
    loop {
        let (head, body) = read(&mut asker).await?;
        let asked: Value = serde_json::from_slice(&body).unwrap();
        // Several of one kind may come together.
        let method = asked.get(0).unwrap_or(&asked)["method"].as_str().unwrap().to_owned();
        let of = |ways: &HashMap<String, Way>| ways.get(&method).copied().unwrap_or(Way::Pass);
        if of(&ways.borrow()) != Way::Pass {
            held.send_modify(|held| *held.entry(method.clone()).or_default() += 1);
        }
        let way = of(&*ways.wait_for(|ways| of(ways) != Way::Hold).await.ok()?);
        if way == Way::Swallow {
            return None;
        }
        if let Some((status, body)) = way.answer(&asked["id"]) {
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            asker.get_mut().write_all(format!("{head}{body}").as_bytes()).await.ok()?;
            continue;
        }
        node.get_mut().write_all(&[head, body].concat()).await.ok()?;
        let (mut head, mut body) = read(&mut node).await?;
        if way == Way::Break {
            return None;
        }
        let other = match way {
            Way::Signet => Some(("\"regtest\"", "\"signet\"")),
            Way::Behind => Some(("\"synced\":true", "\"synced\":false")),
            _ => None,
        };
        if let Some((from, to)) = other {
            body = String::from_utf8_lossy(&body).replacen(from, to, 1).into_bytes();
            head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
        }
        asker.get_mut().write_all(&[head, body].concat()).await.ok()?;
    }
}
