//! The processes of the play: one oracle, and nodes. Each has its own data folder and keeps it over restarts.

use super::bitcoind::BitcoindProcess;
use super::client::Client;
use super::conductor::Watched;
use super::port::free_port;
use super::program::{Program, Start};
use super::wait::{until, PATIENCE};
use anyhow::Context;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// An oracle: where it lives and, while it runs, its process.
#[derive(Debug)]
pub struct Oracle {
    program: PathBuf,
    data: PathBuf,
    prices: PathBuf,
    clock: PathBuf,
    log: PathBuf,
    listen: String,
    running: Option<Program>,
}

impl Oracle {
    /// Makes its key and starts it on the price file `prices`. Ready when this returns.
    ///
    /// # Errors
    /// With the end of its log when it does not start.
    pub async fn start(program: &Path, folder: &Path, prices: PathBuf, clock: &Path) -> anyhow::Result<Oracle> {
        let mut oracle = Oracle {
            program: program.to_path_buf(),
            data: folder.join("oracle"),
            prices,
            clock: clock.to_path_buf(),
            log: folder.join("oracle.log"),
            listen: format!("127.0.0.1:{}", free_port()?),
            running: None,
        };
        Program::run(&oracle.command(&["init", "--insecure-plain"], &[])).await?;
        oracle.resume().await?;
        Ok(oracle)
    }

    /// Starts it again, at the same address, with everything it has ever said.
    ///
    /// # Errors
    /// With the end of its log when it does not start.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let (prices, clock) = (self.prices.as_os_str().to_owned(), self.clock.as_os_str().to_owned());
        let listen = OsString::from(&self.listen);
        let options: [(&str, OsString); 4] =
            [("--listen", listen), ("--network", "regtest".into()), ("--replay", prices), ("--regtest-clock", clock)];
        let program = Program::start(&self.command(&["run"], &options))?;
        answers("the oracle", &program, &format!("{}/v1/status", self.url())).await?;
        self.running = Some(program);
        Ok(())
    }

    /// Stops it; nothing is said any more.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some(program) => program.stop().await,
            None => Ok(()),
        }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(Program::id)
    }

    /// For the conductor, while it runs.
    pub fn watched(&self) -> Option<Watched> {
        self.running.as_ref().map(|_| Watched::Oracle(self.url()))
    }

    /// Lets it run on when this process ends.
    pub fn leave(mut self) {
        if let Some(program) = self.running.take() {
            program.leave();
        }
    }

    fn command(&self, words: &[&str], options: &[(&str, OsString)]) -> Start {
        let mut args: Vec<OsString> = vec!["oracle-daemon".into()];
        args.extend(words.iter().map(Into::into));
        args.extend(["--data".into(), self.data.clone().into()]);
        args.extend(options.iter().flat_map(|(name, value)| [OsString::from(name), value.clone()]));
        let (program, log) = (self.program.clone(), self.log.clone());
        Start { name: "the oracle".into(), program, args, env: Vec::new(), log }
    }
}

/// A node: where it lives and, while it runs, its process.
#[derive(Debug)]
pub struct Node {
    name: String,
    program: PathBuf,
    data: PathBuf,
    clock: PathBuf,
    log: PathBuf,
    running: Option<(Program, Client)>,
}

impl Node {
    /// Makes its words and its configuration. It does not run yet.
    ///
    /// # Errors
    /// When `init` fails, with what it said.
    pub async fn new(
        name: &str,
        program: &Path,
        folder: &Path,
        bitcoind: &BitcoindProcess,
        clock: &Path,
    ) -> anyhow::Result<Node> {
        let node = Node {
            name: name.to_string(),
            program: program.to_path_buf(),
            data: folder.join(name),
            clock: clock.to_path_buf(),
            log: folder.join(format!("{name}.log")),
            running: None,
        };
        Program::run(&node.command(&["init".into(), "--no-passphrase".into()], &[])).await?;
        let config = node.data.join("hypothec.toml");
        let (url, cookie) = (bitcoind.rpc_url(), bitcoind.cookie_file());
        // Every sat of the story is a loan's: no coin is set apart for fees. The port for peers stays over a restart, since the other side dials it again.
        let text = format!(
            "network = \"regtest\"\n\n[bitcoind]\nurl = {url:?}\ncookie = {:?}\n\n[peers]\nlisten = \"127.0.0.1:{}\"\n\n\
             [api]\nlisten = \"127.0.0.1:0\"\n\n[fees]\nreserve = 0\n",
            cookie.display().to_string(),
            free_port()?
        );
        std::fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        Ok(node)
    }

    /// Starts it, with these environment variables. Ready when this returns.
    ///
    /// # Errors
    /// With the end of its log when it does not start.
    pub async fn start(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        self.spawn(env)?;
        self.ready().await
    }

    /// Starts it without waiting for it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn spawn(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        self.running = None;
        // The file of an earlier run names a port that is gone.
        let api = self.data.join("api");
        match std::fs::remove_file(&api) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", api.display()))
            }
            _ => {}
        }
        let args: [OsString; 3] = ["node".into(), "--regtest-clock".into(), self.clock.clone().into()];
        let program = Program::start(&self.command(&args, env))?;
        // A line that leads nowhere until it is ready.
        self.running = Some((program, Client::nowhere()?));
        Ok(())
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// With the end of its log when it ends or does not answer in time.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let what = format!("the {} to answer", self.name);
        let data = self.data.clone();
        let (program, client) = self.running.as_mut().with_context(|| format!("the {} was not started", self.name))?;
        let found = until(&what, PATIENCE, || {
            let exit = program.exit();
            let data = &data;
            async move {
                if let Some(status) = exit {
                    return Ok(Err(status));
                }
                let client = Client::of(data).map_err(|error| format!("{error:#}"))?;
                client.status().await.map_err(|error| format!("{error:#}"))?;
                Ok(Ok(client))
            }
        })
        .await?;
        match found {
            Ok(found) => *client = found,
            Err(status) => anyhow::bail!("the {} ended with {status}: {}", self.name, program.last_words()),
        }
        Ok(())
    }

    /// Stops it in good order.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.running.take() {
            Some((program, _)) => program.stop().await,
            None => Ok(()),
        }
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// A line to it, while it runs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn client(&self) -> anyhow::Result<&Client> {
        let (_, client) = self.running.as_ref().with_context(|| format!("the {} does not run", self.name))?;
        Ok(client)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|(program, _)| program.id())
    }

    /// Its process, while it runs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> anyhow::Result<&Program> {
        let (program, _) = self.running.as_ref().with_context(|| format!("the {} does not run", self.name))?;
        Ok(program)
    }

    /// For the conductor, while it runs.
    pub fn watched(&self) -> Option<Watched> {
        let (_, client) = self.running.as_ref()?;
        Some(Watched::Node { name: self.name.clone(), client: client.clone() })
    }

    /// Lets it run on when this process ends.
    pub fn leave(mut self) {
        if let Some((program, _)) = self.running.take() {
            program.leave();
        }
    }

    fn command(&self, words: &[OsString], env: &[(&str, &str)]) -> Start {
        let mut args: Vec<OsString> = vec!["--data".into(), self.data.clone().into()];
        args.extend(words.iter().cloned());
        let env = env.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
        let name = format!("the {}", self.name);
        Start { name, program: self.program.clone(), args, env, log: self.log.clone() }
    }
}

/// Waits until a program answers at `url`.
async fn answers(name: &str, program: &Program, url: &str) -> anyhow::Result<()> {
    let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
    let ended = until(&format!("{name} to answer"), PATIENCE, || {
        let exit = program.exit();
        let request = http.get(url).send();
        async move {
            match (exit, request.await) {
                (Some(status), _) => Ok(Some(status)),
                (None, Ok(response)) if response.status().is_success() => Ok(None),
                (None, Ok(response)) => Err(format!("it answers {}", response.status())),
                (None, Err(error)) => Err(error.to_string()),
            }
        }
    })
    .await?;
    match ended {
        Some(status) => anyhow::bail!("{name} ended with {status}: {}", program.last_words()),
        None => Ok(()),
    }
}
