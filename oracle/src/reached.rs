//! Why a place on the web gave no answer, in plain words: for the oracle and for nodes.

use crate::room;
use std::error::Error;
use std::io::ErrorKind;

/// Without the URL, which may hold a password.
pub fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut chain: Vec<&(dyn Error + 'static)> = vec![error];
    while let Some(cause) = chain.last().copied().and_then(|last| last.source()) {
        chain.push(cause);
    }
    if let Some(io) = chain.iter().rev().find_map(|one| one.downcast_ref::<std::io::Error>()) {
        return of_io(io);
    }
    let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
    in_words(&texts)
}

/// What a connection's end was.
fn of_io(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused, nothing listens there".to_owned(),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => "it broke off the connection".to_owned(),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            "the system knows no way there".to_owned()
        }
        ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        _ => in_words(&[room::why(error, std::path::Path::new(""))]),
    }
}

/// What the innermost of several texts means.
fn in_words(texts: &[String]) -> String {
    let all = texts.join(" ");
    let known = [
        ("failed to lookup address", "the host name leads nowhere"),
        ("dns error", "the host name leads nowhere"),
        ("ertificate", "its certificate is not accepted"),
        ("HandshakeFailure", "it does not speak TLS as we do"),
        ("InvalidContentType", "it does not speak TLS"),
        ("invalid HTTP version", "it does not speak HTTP"),
        ("connection closed before message completed", "it broke off the connection"),
        ("operation was canceled", "it broke off the connection"),
        ("redirect", "it sends elsewhere, which is not followed"),
        ("builder error", "its address cannot be used"),
        ("decoding response body", "its answer broke off"),
    ];
    let found = known.iter().find(|(library, _)| all.contains(library));
    found.map_or_else(|| texts.last().cloned().unwrap_or_default(), |(_, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::usage::library_words;
    use tokio::io::AsyncWriteExt;

    async fn asked(url: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(10)).build().unwrap();
        let sent = async { client.get(url).send().await?.bytes().await };
        why(&sent.await.unwrap_err())
    }

    #[tokio::test]
    async fn a_place_that_does_not_answer_is_told_in_plain_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}/", listener.local_addr().unwrap());
        let closed = {
            let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            format!("http://{}/", other.local_addr().unwrap())
        };
        tokio::spawn(async move {
            for answer in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let mut said = vec![asked(&closed).await, asked("http://no-such-host.invalid/").await];
        assert_eq!(said, ["connection refused, nothing listens there", "the host name leads nowhere"]);
        for _ in 0..3 {
            said.push(asked(&there).await);
        }
        for said in said {
            println!("{said}");
            assert_eq!(library_words(&said), None, "{said}");
        }
    }
}
