//! For tests: five venues on a local server that answer as recorded, or with every fault there is, and an oracle with a
//! live feed whose time is moved by hand.

use super::desk::{Desk, Window};
use super::feed::fetch::{Fetcher, Table};
use super::feed::live::{Health, Live};
use super::http::{info_of, router, Counter, Guard, Limits};
use super::ledger::Ledger;
use super::log::{LogReader, TickLog};
use super::log_routes::Published;
use super::peers::Peers;
use super::press::Press;
use super::store::{Book, Log, Memory, Sled};
use crate::announce::OracleKeys;
use crate::clock::Clock;
use crate::event::Event;
use crate::ladder::Level;
use crate::price::policy::{Policies, Policy};
use crate::price::venue::Venue;
use crate::ticklog::entry::Head;
use crate::units::{Cents, Day, Time};
use crate::wire::Info;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use secp256k1_zkp::SecretKey;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// 11 March 2020, 23:00.
pub const START: Time = Time(1_583_967_600);

pub fn keys() -> OracleKeys {
    OracleKeys::from_secret(SecretKey::from_slice(&[7; 32]).unwrap())
}

/// In memory where there is such a place: thousands of ticks are synced one by one.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What a venue's server does.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A quote at these cents, ten cents wide, stamped with the server's time.
    Quote(u64),
    /// The same, stamped with this time.
    At(u64, Time),
    /// A status, and a body of HTML.
    Status(u16),
    /// These bytes.
    Body(String),
    /// Never.
    Silence,
    /// A status of redirection to another venue's good answer.
    Redirect,
}

/// The answer of a venue's path as it was recorded.
fn recorded(path: &str, cents: u64, at: Time) -> String {
    let text = |cents: u64| format!("{}.{:02}", cents / 100, cents % 100);
    let (last, bid, ask) = (text(cents), text(cents - 5), text(cents + 5));
    match path {
        "/0/public/Ticker" => format!(
            r#"{{"error":[],"result":{{"XXBTZUSD":{{"a":["{ask}000","1","1.000"],"b":["{bid}000","1","1.000"],"c":["{last}","0.1"],"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":"1"}}}}}}"#
        ),
        "/0/public/Trades" => format!(
            r#"{{"error":[],"result":{{"XXBTZUSD":[["1.0","0.1",1.5,"b","m","",1],["{last}000","0.1",{}.2804112,"s","l","",2]],"last":"1"}}}}"#,
            at.0
        ),
        "/products/BTC-USD/ticker" => format!(
            r#"{{"ask":"{ask}","bid":"{bid}","volume":"1","trade_id":1,"price":"{last}","size":"0.1","time":"{}"}}"#,
            at.to_string().replace('Z', ".123456Z")
        ),
        "/api/v2/ticker/btcusd/" => format!(
            r#"{{"timestamp":"{}","open":"1","high":"2","low":"1","last":"{last}","volume":"1","vwap":"1","bid":"{bid}","ask":"{ask}","side":"0"}}"#,
            at.0
        ),
        "/v2/ticker/tBTCUSD" => format!("[{bid},1.5,{ask},2.5,-12,-0.001,{last},1234.5,65000,1,1358182043000]"),
        // The end of the volume window, on a whole five minutes.
        _ => format!(
            r#"{{"bid":"{bid}","ask":"{ask}","volume":{{"BTC":"1","USD":"2","timestamp":{}000}},"last":"1"}}"#,
            at.0 - at.0 % 300
        ),
    }
}

fn venue_of(path: &str) -> Venue {
    let asks = |venue: &Venue| venue.paths().iter().any(|asked| asked.split('?').next() == Some(path));
    Venue::ALL.into_iter().find(asks).unwrap()
}

/// The bytes that are logged for a quote.
pub fn raw(venue: Venue, cents: u64, at: Time) -> String {
    let answer = |path: &&str| recorded(path.split('?').next().unwrap(), cents, at).into_bytes();
    venue.excerpt(&venue.paths().iter().map(answer).collect::<Vec<_>>()).unwrap()
}

/// The venues' server.
#[derive(Clone, Default)]
pub struct Venues(Arc<Mutex<Street>>);

/// What each venue does, the time it is there, and how often each was asked.
type Street = (BTreeMap<Venue, Answer>, Time, BTreeMap<Venue, u32>);

impl Venues {
    pub fn set(&self, venue: Venue, answer: Answer) {
        self.0.lock().unwrap().0.insert(venue, answer);
    }

    pub fn set_all(&self, cents: u64) {
        Venue::ALL.into_iter().for_each(|venue| self.set(venue, Answer::Quote(cents)));
    }

    /// How often a venue was asked.
    pub fn asked(&self, venue: Venue) -> u32 {
        self.0.lock().unwrap().2.get(&venue).copied().unwrap_or(0)
    }

    async fn answer(self, uri: Uri) -> Response {
        let venue = venue_of(uri.path());
        let (answer, now) = {
            let mut state = self.0.lock().unwrap();
            *state.2.entry(venue).or_default() += 1;
            (state.0[&venue].clone(), state.1)
        };
        match answer {
            Answer::Quote(cents) => recorded(uri.path(), cents, now).into_response(),
            Answer::At(cents, at) => recorded(uri.path(), cents, at).into_response(),
            Answer::Status(status) => {
                (StatusCode::from_u16(status).unwrap(), "<html>sorry</html>".to_string()).into_response()
            }
            Answer::Body(body) => body.into_response(),
            Answer::Silence => std::future::pending().await,
            Answer::Redirect => axum::response::Redirect::temporary("/v2/ticker/tBTCUSD").into_response(),
        }
    }

    async fn serve(&self) -> String {
        let venues = self.clone();
        let app = axum::Router::new().fallback(move |uri: Uri| venues.clone().answer(uri));
        listen(app).await
    }
}

pub async fn listen(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// Five venues that quote this price, and where each is asked.
pub async fn street(cents: u64) -> (Venues, BTreeMap<Venue, String>) {
    let venues = Venues::default();
    venues.set_all(cents);
    venues.0.lock().unwrap().1 = START;
    let url = venues.serve().await;
    (venues, Venue::ALL.into_iter().map(|venue| (venue, url.clone())).collect())
}

/// An oracle with a live feed and venues to ask.
pub struct World {
    pub folder: tempfile::TempDir,
    pub venues: Venues,
    pub table: Table,
    pub now: Time,
    pub policies: Policies,
    fetcher: Fetcher,
    desk: Option<Desk>,
    log: Option<LogReader>,
    wiggle: u64,
    database: Option<Memory>,
    /// Seconds on the steady clock that watches the oracle's; `None` while time may be moved.
    steady: Option<Arc<AtomicU64>>,
}

impl World {
    pub async fn new() -> World {
        World::with(vec![Policy::default()]).await
    }

    /// A replica: its ledger is in a database that it shares.
    pub async fn on(database: &Memory) -> World {
        World::made(vec![Policy::default()], Some(database.another())).await
    }

    pub async fn with(policies: Vec<Policy>) -> World {
        World::made(policies, None).await
    }

    async fn made(policies: Vec<Policy>, database: Option<Memory>) -> World {
        let venues = Venues::default();
        let url = venues.serve().await;
        let bases = Venue::ALL.into_iter().map(|venue| (venue, url.clone())).collect();
        let table = Table::default();
        let fetcher = Fetcher::new(&Venue::ALL, &bases, Duration::from_millis(500), table.clone()).unwrap();
        let (folder, policies) = (folder(), Policies::new(policies).unwrap());
        let mut world = World {
            folder,
            venues,
            table,
            now: START,
            policies,
            fetcher,
            desk: None,
            log: None,
            wiggle: 0,
            database,
            steady: None,
        };
        world.restart();
        world
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    pub fn live(&self) -> Live {
        let sign = Box::new(|end| Ok(Head::sign(&keys(), end)));
        Live::new(self.policies.clone(), self.table.clone(), TickLog::open(self.data()).unwrap(), sign)
    }

    /// Everything the process knew is gone but for its files.
    pub fn restart(&mut self) {
        self.stop();
        let store: Box<dyn Log> = match &self.database {
            Some(database) => Box::new(database.another()),
            None => Box::new(Sled::open(self.data()).unwrap()),
        };
        let book = Book::open(store, keys().public_key(), self.data(), &[]).unwrap();
        let live = self.live();
        self.log = Some(live.log());
        let clock = Clock::file(self.data().join("clock"));
        self.desk = Some(Desk::new(clock, Box::new(live), book, Peers::new(&[], Arc::new(keys().into())).unwrap()));
        if let (Some(steady), Some(desk)) = (self.steady.clone(), &mut self.desk) {
            desk.watched_by(Box::new(move || Duration::from_secs(steady.load(Ordering::SeqCst))));
        }
        if let Some(desk) = &self.desk {
            desk.recall();
        }
    }

    /// From here on the oracle's clock is watched, as the machine's is. It starts anew.
    pub fn watch(&mut self) {
        self.steady = Some(Arc::default());
        self.restart();
    }

    /// Seconds pass on every clock.
    pub fn pass(&mut self, seconds: u32) {
        self.now = Time(self.now.0 + seconds);
        if let Some(steady) = &self.steady {
            steady.fetch_add(u64::from(seconds), Ordering::SeqCst);
        }
    }

    pub fn stop(&mut self) {
        self.desk = None;
    }

    pub fn look(&mut self) {
        Clock::set_file(&self.data().join("clock"), self.now).unwrap();
        self.desk.as_mut().unwrap().look().unwrap();
    }

    /// Five seconds pass, all venues are asked over HTTP, and a tick is made.
    pub async fn ask(&mut self) -> Health {
        self.pass(5);
        self.venues.0.lock().unwrap().1 = self.now;
        self.fetcher.round(self.now).await;
        self.look();
        self.health()
    }

    /// So many ticks, all venues at these cents, without HTTP. Prices move by a cent, so that nothing is frozen.
    pub fn run(&mut self, ticks: u32, cents: u64) {
        for _ in 0..ticks {
            self.pass(5);
            self.wiggle = 1 - self.wiggle;
            for venue in Venue::ALL {
                self.table.good(venue, self.now, raw(venue, cents + self.wiggle, self.now));
            }
            self.table.round_done();
            self.look();
        }
    }

    /// So many ticks in which no venue answers.
    pub fn run_silent(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.pass(5);
            Venue::ALL
                .into_iter()
                .for_each(|venue| self.table.failed(venue, self.now, "it did not answer in time", None));
            self.look();
        }
    }

    pub fn log(&self) -> LogReader {
        self.log.clone().unwrap()
    }

    pub fn window(&self) -> Window {
        self.desk.as_ref().unwrap().window()
    }

    pub fn health(&self) -> Health {
        self.window().look().health.clone().unwrap()
    }

    pub fn spot(&self) -> Option<Cents> {
        self.window().look().spot
    }

    pub fn ledger(&self) -> Ledger {
        self.window().look().ledger.clone()
    }

    pub fn is_touched(&self, dollars: u32, day: &str, from_hour: u8) -> bool {
        let (level, day) = (Level::exactly(dollars).unwrap(), Day::from_yyyymmdd(day).unwrap());
        self.ledger().outcome(Event::Touch { level, day, from_hour }).is_some()
    }

    /// Serves what this oracle would, but by `ledger`.
    pub async fn serve(&self, ledger: Ledger) -> String {
        listen(self.router(ledger)).await
    }

    /// Serves the bands by another ledger than everything else.
    pub async fn serve_two_faced(&self, ledger: Ledger, bands: Ledger) -> String {
        let liar = self.serve(bands).await;
        let lie = move |uri: Uri| async move {
            let url = format!("{liar}{}", uri.path());
            reqwest::get(url).await.unwrap().bytes().await.unwrap()
        };
        let app = axum::Router::new().route("/v1/bands/{*rest}", axum::routing::get(lie));
        listen(app.fallback_service(self.router(ledger))).await
    }

    /// Serves what this oracle would, but the head of another replica's tick log.
    pub async fn serve_with_the_head_of(&self, other: &World) -> String {
        let elsewhere = other.serve(other.ledger()).await;
        let head = move || async move {
            reqwest::get(format!("{elsewhere}/v1/log/head")).await.unwrap().bytes().await.unwrap()
        };
        let app = axum::Router::new().route("/v1/log/head", axum::routing::get(head));
        listen(app.fallback_service(self.router(self.ledger()))).await
    }

    fn router(&self, ledger: Ledger) -> axum::Router {
        let press = Arc::new(Press::new(Arc::new(keys().into()), Window::showing(ledger)));
        let info = info_of(&press, "regtest", "live");
        let published = Some(Published { policies: self.policies.clone(), log: self.log() });
        routes(press, Clock::file(self.data().join("clock")), info, published)
    }
}

/// The public routes over a press, for nobody in particular.
pub fn routes(press: Arc<Press>, clock: Clock, info: Info, published: Option<Published>) -> axum::Router {
    // The stream of events would end at once: nothing here follows it.
    let (_, closed) = tokio::sync::watch::channel(false);
    let counter = Counter::new(press, clock, info, PathBuf::new(), published, closed);
    let guard = Guard::new(&Limits::default(), 0, Arc::clone(&counter.meters));
    router(counter, Arc::new(guard))
}
