//! An oracle that lies: it stands before the honest one, has its secret, and changes what it answers.

use super::World;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::Router;
use bitcoin::secp256k1::SecretKey;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::sync::{Arc, Mutex};

/// What becomes of an answer.
pub enum Lie {
    /// It goes out as it is.
    Truth,
    /// This instead.
    Json(serde_json::Value),
    /// These bytes instead, with this status.
    Raw(u16, String),
    /// Nothing, ever; the connection stays open.
    Silence,
}

/// Makes a lie of a path with its query and the honest answer.
type Twist = Arc<dyn Fn(&str, serde_json::Value, &SecretKey) -> Lie + Send + Sync>;

/// The liar's door.
#[derive(Clone)]
pub struct Liar {
    pub url: String,
    behind: String,
    twist: Arc<Mutex<Twist>>,
    secret: SecretKey,
    http: reqwest::Client,
}

impl Liar {
    /// Before the oracle at `behind`, whose data folder is `data`. Honest at first.
    pub async fn before(behind: &str, data: &std::path::Path) -> Liar {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let secret = std::fs::read_to_string(data.join("secret")).unwrap();
        let secret = secret.trim().parse().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let truth: Twist = Arc::new(|_, _, _| Lie::Truth);
        let twist = Arc::new(Mutex::new(truth));
        let liar = Liar { url, behind: behind.to_owned(), twist, secret, http };
        let router = Router::new().fallback(answer).with_state(liar.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        liar
    }

    /// Lies like this from now on.
    pub fn lies(&self, twist: impl Fn(&str, serde_json::Value, &SecretKey) -> Lie + Send + Sync + 'static) {
        *self.twist.lock().unwrap() = Arc::new(twist);
    }

    /// Tells the truth from now on.
    pub fn repents(&self) {
        self.lies(|_, _, _| Lie::Truth);
    }
}

async fn answer(State(liar): State<Liar>, uri: Uri) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let Ok(honest) = liar.http.get(format!("{}{path}", liar.behind)).send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = honest.status().as_u16();
    let honest: serde_json::Value = honest.json().await.unwrap();
    let twist = liar.twist.lock().unwrap().clone();
    let lie = match status {
        200 => twist(&path, honest.clone(), &liar.secret),
        _ => Lie::Truth,
    };
    let said = |status: u16, body: String| (StatusCode::from_u16(status).unwrap(), body).into_response();
    match lie {
        Lie::Truth => said(status, honest.to_string()),
        Lie::Json(value) => said(200, value.to_string()),
        Lie::Raw(status, body) => said(status, body),
        Lie::Silence => std::future::pending().await,
    }
}

/// An answer read, changed and written again.
pub fn changed<T: DeserializeOwned + Serialize>(honest: serde_json::Value, change: impl FnOnce(&mut T)) -> Lie {
    let mut value: T = serde_json::from_value(honest).unwrap();
    change(&mut value);
    Lie::Json(serde_json::to_value(value).unwrap())
}

impl World {
    /// A world whose borrower hears its oracle through a liar, and, where `both`, its lender too.
    pub async fn with_liar(both: bool) -> (World, Liar) {
        let mut liar = None;
        let world = World::hearing(async |role, oracle, data| {
            if role == "lender" && !both {
                return oracle.url();
            }
            if liar.is_none() {
                liar = Some(Liar::before(&oracle.url(), data).await);
            }
            liar.as_ref().map(|liar| liar.url.clone()).unwrap_or_default()
        })
        .await;
        (world, liar.unwrap())
    }
}
