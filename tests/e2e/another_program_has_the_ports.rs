//! Another program takes the ports of a node that is off, as any user of the machine can.

use crate::harness::{after, Theatre};
use hypothec::demo::client::Client;
use hypothec::demo::port::free_port;
use hypothec::demo::stories::BEGIN;
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::protocol::Exit;
use std::net::TcpListener;

fn hold(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_ports_another_program_has_settles_its_loan_tells_of_it_and_takes_them_once_they_are_free() {
    // 12 March, 20:00; between 02:00 and 03:00 the level is touched.
    let mut theatre = Theatre::of_march(after(BEGIN, 3 * 24 + 20)).await;
    let id = theatre.lent(3_000, 3).await;
    theatre.walk_to(after(BEGIN, 4 * 24 + 2), 3_600).await.unwrap();
    theatre.lender.stop().await.unwrap();
    let config = theatre.lender.data().join("hypothec.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (api, any) = (free_port().unwrap(), "listen = \"127.0.0.1:0\"");
    let text = text.replace(any, &format!("listen = \"127.0.0.1:{api}\""));
    let peers = text.split("listen = \"127.0.0.1:").nth(1).unwrap().split('"').next().unwrap().parse::<u16>().unwrap();
    std::fs::write(&config, text).unwrap();
    let held = [api, peers].map(hold);
    theatre.lender.start(&[]).await.unwrap();
    let status = theatre.lender.client().unwrap().status().await.unwrap();
    let told = status.troubles.join("\n");
    let words = [
        format!("port of the API: api.listen = 127.0.0.1:{api}: Address already in use"),
        format!("port for peers: peer listen address 127.0.0.1:{peers} cannot be used: Address already in use"),
    ];
    assert!(words.iter().all(|words| told.contains(words)) && told.matches("`ss -ltnp`").count() == 2, "{told}");
    assert_eq!(status.listen, None);
    let log = std::fs::read_to_string(theatre.lender.log()).unwrap();
    assert!(words.iter().all(|words| log.contains(words.split_once(": ").unwrap().1)), "{log}");
    // The loan ends while both are held.
    theatre.hours(1).await.unwrap();
    theatre.settled(id, Exit::Liquidated).await;
    drop(held);
    let address = format!("127.0.0.1:{api}");
    let free = until("the ports to be taken", PATIENCE, || async {
        let client = Client::of(theatre.lender.data()).map_err(|error| error.to_string())?;
        let status = client.status().await.map_err(|error| error.to_string())?;
        let told = status.troubles.join("; ");
        let is_there = client.base().contains(&address) && status.listen.is_some() && !told.contains("port ");
        is_there.then_some(status).ok_or(told)
    });
    assert_eq!(free.await.unwrap().listen, Some(format!("127.0.0.1:{peers}")));
    println!("bound held-port 0 loans unsettled");
    // With no open loan there is nothing to lose: it says what is wrong, and ends.
    theatre.lender.stop().await.unwrap();
    for (port, words) in [(api, &words[0]), (peers, &words[1])] {
        let _held = hold(port);
        let error = theatre.lender.start(&[]).await.unwrap_err().to_string();
        // Where it was broken for the screen does not matter.
        let error = error.split_whitespace().filter(|word| *word != "|").collect::<Vec<_>>().join(" ");
        assert!(error.contains(words.split_once(": ").unwrap().1), "{error}");
    }
}
