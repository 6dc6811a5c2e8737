//! One connection to a relay: a websocket that carries JSON, bounded in time and size.

use super::note::{Note, NoteId, ANNOUNCEMENT, ATTESTATION};
use crate::foreign::clean;
use crate::units::Time;
use bitcoin::key::XOnlyPublicKey;
use futures_util::{SinkExt, StreamExt};
use nostr::{ClientMessage, Filter, JsonUtil, Kind, PublicKey, RelayMessage, SubscriptionId, Timestamp};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{connect_async_tls_with_config, MaybeTlsStream, WebSocketStream};

/// Real time for a connection to come about, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Real time for a message to leave.
const SEND: Duration = Duration::from_secs(20);
/// Longest message of a relay, in bytes: the longest note of an oracle has some 5,000.
const LONGEST: usize = 64 * 1_024;

/// What is wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not reached, closed, or too slow.
    #[error("{0}")]
    Away(String),
    /// A message of more than 64 kB.
    #[error("a message longer than {LONGEST} bytes")]
    TooLong,
    /// No message of a relay.
    #[error("what is no message of a relay: {0}")]
    Unreadable(String),
}

/// What came in. Texts are a stranger's, [`clean`]ed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A note, for the subscription of this name. Nothing of it is verified.
    Note(String, Box<Note>),
    /// All stored notes of this subscription have come; what follows is new.
    Stored(String),
    /// The relay has ended this subscription, and why.
    Ended(String, String),
    /// Whether it took a note, and what it says about it.
    Taken(NoteId, bool, String),
    /// Something for people.
    Notice(String),
    /// It wants to know who is asking. Nobody here tells.
    Login,
    /// A sign of life that says nothing, or a message of a kind that this program does not know.
    Pulse,
    /// Nothing, for as long as was waited.
    Nothing,
}

/// A relay's URL as it is written everywhere: `ws://` or `wss://`, no slash at its end.
///
/// # Errors
/// Why it is none, with what it should look like.
pub fn check_url(url: &str) -> Result<String, String> {
    let refuse = |reason: &str| Err(format!("{reason}; a relay's URL looks like wss://relay.example"));
    let Ok(parsed) = nostr::Url::parse(url) else { return refuse("it is not a URL") };
    if !matches!(parsed.scheme(), "ws" | "wss") {
        return refuse("its scheme must be ws or wss");
    }
    let plain = parsed.username().is_empty() && parsed.password().is_none();
    if !plain || parsed.query().is_some() || parsed.fragment().is_some() || parsed.host_str().is_none() {
        return refuse("it must have a host, and no user, query or fragment");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// An open connection. It closes when it is dropped.
#[derive(Debug)]
pub struct Line {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Line {
    /// Connects. Asks and says nothing yet.
    ///
    /// # Errors
    /// When the relay is not reached in time.
    pub async fn open(url: &str) -> Result<Line, LineError> {
        let bounds = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
        let connecting = connect_async_tls_with_config(url, Some(bounds), true, None);
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok((socket, _))) => Ok(Line { socket }),
            Ok(Err(error)) => Err(LineError::Away(clean(&error.to_string()))),
            Err(_) => Err(LineError::Away(format!("no connection within {} s", CONNECT.as_secs()))),
        }
    }

    /// Subscribes to all words of an oracle from `since` to `until`, under a name: at most `limit` stored ones, the newest
    /// first, and then the new ones. There is no way to ask for a single event.
    ///
    /// # Errors
    /// When the request does not leave in time.
    pub async fn subscribe(
        &mut self,
        name: &str,
        oracle: &XOnlyPublicKey,
        (since, until): (Time, Option<Time>),
        limit: usize,
    ) -> Result<(), LineError> {
        let filter = Filter::new()
            .author(PublicKey::from_byte_array(oracle.serialize()))
            .kinds([Kind::from(ANNOUNCEMENT), Kind::from(ATTESTATION)])
            .since(Timestamp::from(u64::from(since.0)))
            .limit(limit);
        let filter = match until {
            Some(until) => filter.until(Timestamp::from(u64::from(until.0))),
            None => filter,
        };
        self.say(&ClientMessage::req(SubscriptionId::new(name), filter)).await
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As [`Line::subscribe`].
    pub async fn unsubscribe(&mut self, name: &str) -> Result<(), LineError> {
        self.say(&ClientMessage::close(SubscriptionId::new(name))).await
    }

    /// Gives the relay a note.
    ///
    /// # Errors
    /// As [`Line::subscribe`].
    pub async fn give(&mut self, note: Note) -> Result<(), LineError> {
        self.say(&ClientMessage::event(note)).await
    }

    async fn say(&mut self, message: &ClientMessage<'_>) -> Result<(), LineError> {
        let text = message.try_as_json().map_err(|error| LineError::Away(error.to_string()))?;
        self.send(Message::text(text)).await
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When it does not leave in time.
    pub async fn ping(&mut self) -> Result<(), LineError> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), LineError> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(broken),
            Err(_) => Err(LineError::Away(format!("it took no message for {} s", SEND.as_secs()))),
        }
    }

    /// The next thing that comes in; waits for so long. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the connection is gone, or what came is no message.
    pub async fn hear(&mut self, patience: Duration) -> Result<Heard, LineError> {
        let Ok(next) = tokio::time::timeout(patience, self.socket.next()).await else { return Ok(Heard::Nothing) };
        match next {
            None | Some(Ok(Message::Close(_))) => Err(LineError::Away("it closed the connection".into())),
            Some(Err(error)) => Err(broken(error)),
            Some(Ok(Message::Text(text))) => read(&text),
            Some(Ok(Message::Binary(_))) => Err(LineError::Unreadable("bytes, and not text".into())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Heard::Pulse),
        }
    }
}

fn broken(error: Error) -> LineError {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => LineError::TooLong,
        Error::Utf8 => LineError::Unreadable("bytes that are no text".into()),
        other => LineError::Away(clean(&other.to_string())),
    }
}

fn read(text: &str) -> Result<Heard, LineError> {
    if let Ok(message) = RelayMessage::from_json(text) {
        return Ok(match message {
            RelayMessage::Event { subscription_id, event } => {
                Heard::Note(clean(subscription_id.as_str()), Box::new(event.into_owned()))
            }
            RelayMessage::EndOfStoredEvents(id) => Heard::Stored(clean(id.as_str())),
            RelayMessage::Closed { subscription_id, message } => {
                Heard::Ended(clean(subscription_id.as_str()), clean(&message))
            }
            RelayMessage::Ok { event_id, status, message } => Heard::Taken(event_id, status, clean(&message)),
            RelayMessage::Notice(text) => Heard::Notice(clean(&text)),
            RelayMessage::Auth { .. } => Heard::Login,
            _ => Heard::Pulse,
        });
    }
    // Relays may say more than this program knows; what it knows must be well said.
    let known = ["EVENT", "OK", "EOSE", "CLOSED", "NOTICE"];
    match serde_json::from_str::<Vec<serde_json::Value>>(text).ok().as_deref() {
        Some([serde_json::Value::String(verb), ..]) if !known.contains(&verb.as_str()) => Ok(Heard::Pulse),
        _ => Err(LineError::Unreadable(clean(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relays_url_is_one_or_is_refused_with_what_it_should_look_like() {
        for (url, written) in [
            ("ws://127.0.0.1:7777", "ws://127.0.0.1:7777"),
            ("wss://relay.example/", "wss://relay.example"),
            ("wss://relay.example/path/", "wss://relay.example/path"),
        ] {
            assert_eq!(check_url(url).as_deref(), Ok(written));
        }
        for url in ["", "relay.example", "http://relay.example", "wss://a@b", "wss://a?b", "wss://a#b", "ws://"] {
            assert!(check_url(url).unwrap_err().contains("wss://relay.example"), "{url}");
        }
    }

    #[test]
    fn what_is_no_message_is_told_from_one_that_is_not_known() {
        assert!(matches!(read(r#"["NOTICE","hello"]"#), Ok(Heard::Notice(_))));
        assert_eq!(read(r#"["NEWS",{"a":1}]"#), Ok(Heard::Pulse));
        for text in ["", "{}", "[]", "[1]", r#"["EVENT","x",{}]"#, r#"["OK",1]"#, "<html>"] {
            assert!(matches!(read(text), Err(LineError::Unreadable(_))), "{text}");
        }
    }

    #[tokio::test]
    async fn a_relay_that_is_away_or_speaks_no_tls_is_an_error_in_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hangs_up = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        for url in [format!("wss://127.0.0.1:{port}"), format!("ws://127.0.0.1:{port}")] {
            let error = Line::open(&url).await.unwrap_err();
            assert!(matches!(&error, LineError::Away(why) if !why.is_empty()), "{error}");
        }
        hangs_up.abort();
        assert!(matches!(Line::open("ws://127.0.0.1:1").await, Err(LineError::Away(_))));
    }

    #[test]
    fn what_a_relay_says_cannot_write_to_a_terminal() {
        let Ok(Heard::Notice(text)) = read(r#"["NOTICE","a\u001b[2Jb\u202ec\nd"]"#) else { panic!("a notice") };
        assert_eq!(text, "abc d");
        let Ok(Heard::Ended(name, why)) = read(r#"["CLOSED","n\u001b[1m","no\u0007"]"#) else { panic!("an end") };
        assert_eq!((name.as_str(), why.as_str()), ("n", "no"));
        let Err(LineError::Unreadable(text)) = read("\u{1b}]0;title\u{7}<html>") else { panic!("no message") };
        assert_eq!(text, "]0;title <html>");
    }
}
