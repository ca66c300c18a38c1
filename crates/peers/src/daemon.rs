//! The real `pushrelay` as a process.
//!
//! Not here: how to build it, and what is in its configuration.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::books;
use crate::samples::Samples;

/// A running daemon. The process is killed when this value is dropped.
///
/// Its books must balance whenever it is told to end: [`terminate`](Daemon::terminate) and SIGTERM fail where they do not, and
/// dropping a daemon that still runs panics. Only [`kill`](Daemon::kill) asks nothing.
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    config: PathBuf,
}

/// How the process is to be started.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Environment variables beside our own.
    pub environment: Vec<(String, String)>,
    /// Whether the process leaves our process group, so that Ctrl-C in a terminal reaches us alone.
    pub own_process_group: bool,
    /// A program with its arguments that becomes the daemon, such as `strace -D`: signals go to this process.
    pub behind: Vec<OsString>,
}

impl Daemon {
    /// Writes `config` (TOML, `[log] format = "json"`, every port 0) to `dir`, runs `BINARY serve --config FILE` and waits
    /// up to 20 s until both listeners are there and `/readyz` says 200.
    pub async fn start(binary: &Path, config: &str, dir: &Path) -> io::Result<Daemon> {
        Daemon::start_with(binary, config, dir, DaemonOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(
        binary: &Path,
        config: &str,
        dir: &Path,
        options: DaemonOptions,
    ) -> io::Result<Daemon> {
        let mut daemon = Daemon::launch(binary, config, dir, options)?;
        daemon.ready().await?;
        Ok(daemon)
    }

    /// The same without waiting for [`ready`](Daemon::ready).
    pub fn launch(
        binary: &Path,
        config: &str,
        dir: &Path,
        options: DaemonOptions,
    ) -> io::Result<Daemon> {
        let path = dir.join("pushrelay.toml");
        std::fs::write(&path, config)?;
        let mut words = options.behind.iter().map(OsString::as_os_str);
        let mut command = Command::new(words.next().unwrap_or(binary.as_os_str()));
        if !options.behind.is_empty() {
            command.args(words).arg(binary);
        }
        if options.own_process_group {
            command.process_group(0);
        }
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .envs(options.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", binary.display())))?;
        let log = Arc::new(Log::default());
        let mut readers = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(read_lines(stderr, Arc::clone(&log))));
        }
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(read_lines(stdout, Arc::clone(&log))));
        }
        Ok(Daemon {
            child,
            log,
            readers,
            config: path,
        })
    }

    /// Where it listens for SIP over TLS.
    pub fn sip_addr(&self) -> SocketAddr {
        self.listener("sip")
            .expect("a daemon that is ready listens")
    }

    /// Where its admin endpoint is.
    pub fn admin_addr(&self) -> SocketAddr {
        self.listener("admin")
            .expect("a daemon that is ready listens")
    }

    /// The address that the log names for a listener.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.log.lock().listeners.get(name).copied()
    }

    /// The process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The file that it was started with: rewrite it and send SIGHUP to reload.
    pub fn config_path(&self) -> &Path {
        &self.config
    }

    /// What it counts now.
    pub async fn metrics(&self) -> io::Result<Samples> {
        let (status, body) = self.get("/metrics").await?;
        if status != 200 {
            return Err(io::Error::other(format!("/metrics answered {status}")));
        }
        Samples::parse(&body).map_err(io::Error::other)
    }

    /// Waits until the metrics satisfy `condition`; the error holds the last ones.
    pub async fn wait_metrics(
        &self,
        within: Duration,
        condition: impl Fn(&Samples) -> bool,
    ) -> io::Result<Samples> {
        let deadline = Instant::now() + within;
        loop {
            let samples = self.metrics().await?;
            if condition(&samples) {
                return Ok(samples);
            }
            if Instant::now() >= deadline {
                let what = format!("metrics not as expected within {within:?}:\n{samples}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// GET on the admin endpoint: status and body.
    pub async fn get(&self, path: &str) -> io::Result<(u16, String)> {
        http_get(self.admin_addr(), path).await
    }

    /// Every line it has written so far.
    pub fn logs(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// Waits for a log line that satisfies `condition`, from the beginning on.
    pub async fn wait_log(
        &self,
        within: Duration,
        condition: impl Fn(&str) -> bool,
    ) -> io::Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let mut news = std::pin::pin!(self.log.news.notified());
            news.as_mut().enable(); // before looking, so that nothing slips in between
            if let Some(line) = self.log.lock().lines.iter().find(|line| condition(line)) {
                return Ok(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, news).await.is_err() {
                let what = format!(
                    "no such log line within {within:?}; the log:\n{}",
                    self.tail()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    }

    /// Sends a signal, such as `Signal::HUP`. Before SIGTERM the books must balance.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if signal == Signal::TERM {
            self.balance()?;
        }
        let pid = (self.child.id())
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("the daemon has already ended"))?;
        kill_process(pid, signal)?;
        Ok(())
    }

    /// SIGTERM, then waits up to 30 s for the end.
    pub async fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(Duration::from_secs(30)).await
    }

    /// SIGKILL, and waits for the end.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.wait(Duration::from_secs(30)).await
    }

    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the books balance, a few seconds at most: a relay that works counts on while it is read. Blocks, so that a
    /// drop can do it too.
    fn balance(&self) -> io::Result<()> {
        let deadline = Instant::now() + BOOKS_TIME;
        loop {
            let samples = Samples::parse(&http_get_blocking(self.admin_addr(), "/metrics")?);
            let samples = samples.map_err(io::Error::other)?;
            let troubled = samples.sum("pushrelay_spool_trouble", &[]) > 0.0;
            let books = books::conservation(&samples).and_then(|()| {
                if troubled {
                    Ok(()) // a disk that does not answer says nothing of what is on it
                } else {
                    books::waiting_is_on_disk(&samples)
                }
            });
            match books {
                Ok(()) => return Ok(()),
                Err(imbalance) if Instant::now() >= deadline => {
                    let what = format!("{imbalance}\n{samples}\nthe log:\n{}", self.tail());
                    return Err(io::Error::other(what));
                }
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Waits for the process to end by itself; every line of its log has been read then.
    pub async fn wait(&mut self, within: Duration) -> io::Result<ExitStatus> {
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => {
                for reader in self.readers.drain(..) {
                    let _ = reader.await; // it ends with the pipe
                }
                status
            }
            Err(_) => {
                let what = format!(
                    "the daemon did not end within {within:?}; the log:\n{}",
                    self.tail()
                );
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            }
        }
    }

    /// Waits up to 20 s until both listeners are there and `/readyz` says 200.
    pub async fn ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Some(status) = self.child.try_wait()? {
                for reader in self.readers.drain(..) {
                    let _ = reader.await; // it ends with the pipe
                }
                let what = format!("the daemon ended with {status}; the log:\n{}", self.tail());
                return Err(io::Error::other(what));
            }
            if let (Some(_), Some(admin)) = (self.listener("sip"), self.listener("admin"))
                && let Ok((200, _)) = http_get(admin, "/readyz").await
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!(
                    "the daemon is not ready within {START_TIME:?}; the log:\n{}",
                    self.tail()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn tail(&self) -> String {
        let state = self.log.lock();
        let from = state.lines.len().saturating_sub(50);
        state.lines[from..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.runs() || self.listener("admin").is_none() {
            return;
        }
        if let Err(error) = self.balance() {
            // One that somebody else has killed meanwhile owes nothing.
            std::thread::sleep(LOOK_AGAIN);
            assert!(!self.runs(), "at the end of a daemon: {error}");
        }
    }
}

/// GET over HTTP/1.1 on the thread that calls: the body of a 200.
fn http_get_blocking(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut socket = std::net::TcpStream::connect_timeout(&address, HTTP_TIME)?;
    socket.set_read_timeout(Some(HTTP_TIME))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if head.starts_with("HTTP/1.1 200 ") {
        Ok(body.to_owned())
    } else {
        Err(io::Error::other(format!("GET {path}: {answer}")))
    }
}

/// GET over HTTP/1.1: status and body.
pub async fn http_get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let exchange = async {
        let socket = TcpStream::connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", address.to_string())
            .header("connection", "close")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(io::Error::other)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?;
        connection.abort();
        Ok((
            status,
            String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        ))
    };
    match tokio::time::timeout(HTTP_TIME, exchange).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("GET {path}: no answer"),
        )),
    }
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    news: Notify,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    listeners: HashMap<String, SocketAddr>,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, line: String) {
        let mut state = self.lock();
        if let Some((name, address)) = listening(&line) {
            state.listeners.insert(name, address);
        }
        state.lines.push(line);
        drop(state);
        self.news.notify_waiters();
    }
}

/// Reads `{"fields":{"message":"listening","listener":"sip","address":"127.0.0.1:43211"},…}`.
fn listening(line: &str) -> Option<(String, SocketAddr)> {
    if !line.contains("\"listening\"") {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    if fields["message"] != "listening" {
        return None;
    }
    let name = fields["listener"].as_str()?.to_owned();
    let address = fields["address"].as_str()?.parse().ok()?;
    Some((name, address))
}

async fn read_lines(pipe: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.take(line);
    }
}

const START_TIME: Duration = Duration::from_secs(20);
const HTTP_TIME: Duration = Duration::from_secs(5);
const BOOKS_TIME: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
