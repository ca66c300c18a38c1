//! A fake Microsoft Push Notification Service: HTTP/1.1 with or without TLS, every rule asserted, every fault scriptable.
//!
//! Not here: phones. An accepted push goes nowhere but into the record.

mod rules;
mod script;
mod xml;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use script::{MpnsAnswer, MpnsFault};
pub use xml::Element;

use crate::pki::Issued;
use crate::tls;
use script::Scripts;

/// How a fake Windows Phone service is to be.
#[derive(Clone)]
pub struct MpnsOptions {
    /// Where to listen; `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// With a certificate it speaks HTTPS.
    pub identity: Option<Issued>,
    /// Roots of client certificates, PEM: with them a client certificate is demanded (HTTPS only).
    pub client_roots_pem: Option<String>,
    /// Whether each request is kept, or only counted and held to the rules.
    pub keep_requests: bool,
}

impl Default for MpnsOptions {
    fn default() -> MpnsOptions {
        MpnsOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            identity: None,
            client_roots_pem: None,
            keep_requests: true,
        }
    }
}

/// A running fake Windows Phone service. It ends when this value is dropped.
pub struct FakeMpns {
    shared: Arc<Shared>,
    address: SocketAddr,
    https: bool,
    listener: Mutex<Option<JoinHandle<()>>>,
}

/// One request that reached the fake, whatever became of it.
#[derive(Clone)]
pub struct MpnsReceived {
    /// The last segment of the path: what stands for the device.
    pub token: String,
    /// The whole path and query.
    pub path: String,
    /// `X-WindowsPhone-Target`; `None` for a raw notification.
    pub target: Option<String>,
    /// `X-NotificationClass`
    pub class: Option<String>,
    /// `X-MessageID`
    pub message_id: Option<String>,
    /// All header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The body as XML, where it is well-formed.
    pub xml: Option<Element>,
    /// The status that was answered; `None` where a fault came in the way.
    pub status: Option<u16>,
}

impl MpnsReceived {
    /// The text of the first element of this name, such as `wp:Text1`.
    pub fn text(&self, element: &str) -> Option<&str> {
        let element = self.xml.as_ref()?.find(element)?;
        Some(&element.text)
    }
}

/// Exact counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MpnsCounts {
    /// TCP connections accepted.
    pub connections: u64,
    /// TLS handshakes completed.
    pub handshakes: u64,
    /// Requests that were read.
    pub requests: u64,
    /// Requests with the status 200 and `Received`.
    pub accepted: u64,
    /// All others.
    pub refused: u64,
    /// Breaches of Microsoft's rules.
    pub violations: u64,
}

impl FakeMpns {
    /// Begins to listen.
    pub async fn start(options: MpnsOptions) -> io::Result<FakeMpns> {
        let acceptor = match &options.identity {
            None => None,
            Some(identity) => {
                let roots = match &options.client_roots_pem {
                    Some(pem) => Some(tls::roots(pem)?),
                    None => None,
                };
                let config = tls::server(identity, roots, &[b"http/1.1"])?;
                Some(TlsAcceptor::from(config))
            }
        };
        let https = acceptor.is_some();
        let shared = Arc::new(Shared {
            acceptor,
            keep_requests: options.keep_requests,
            counters: Counters::default(),
            news: Notify::new(),
            state: Mutex::default(),
        });
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(Arc::clone(&shared), listener));
        Ok(FakeMpns {
            shared,
            address,
            https,
            listener: Mutex::new(Some(task)),
        })
    }

    /// The channel URI of a device, by a token of the caller's choice.
    pub fn url_for(&self, token: &str) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{PATH}{token}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The answers to requests for this token, in turn; the last one stays. An empty list falls back to the default.
    pub fn script(&self, token: &str, answers: impl IntoIterator<Item = MpnsAnswer>) {
        let answers = answers.into_iter().collect();
        self.shared.state().scripts.set_token(token, answers);
    }

    /// The answers to all other requests, in turn; the last one stays. Without any: 200 Received.
    pub fn script_default(&self, answers: impl IntoIterator<Item = MpnsAnswer>) {
        let answers = answers.into_iter().collect();
        self.shared.state().scripts.set_default(answers);
    }

    /// Forgets every script: 200 Received for all.
    pub fn script_nothing(&self) {
        self.shared.state().scripts = Scripts::default();
    }

    /// Ends every open connection at once.
    pub fn drop_connections(&self) {
        let tasks: Vec<_> = self.shared.state().connections.values().cloned().collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }

    /// Waits this long before each TLS handshake, or before reading where there is no TLS.
    pub fn set_handshake_delay(&self, delay: Duration) {
        self.shared.state().handshake_delay = delay;
    }

    /// Closes the listening socket: connects are refused by the kernel. Open connections stay.
    pub async fn refuse_connects(&self) {
        let task = lock(&self.listener).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await; // cancelled, as was asked
        }
    }

    /// Listens again on the same port.
    pub async fn accept_connects(&self) -> io::Result<()> {
        if lock(&self.listener).is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(self.address).await?;
        let task = tokio::spawn(accept(Arc::clone(&self.shared), listener));
        *lock(&self.listener) = Some(task);
        Ok(())
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<MpnsReceived> {
        self.shared.state().received.clone()
    }

    /// The same, and forgets them: the next call gives only what is newer.
    pub fn take_received(&self) -> Vec<MpnsReceived> {
        std::mem::take(&mut self.shared.state().received)
    }

    /// Exact counts since the start.
    pub fn counts(&self) -> MpnsCounts {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        MpnsCounts {
            connections: load(&counters.connections),
            handshakes: load(&counters.handshakes),
            requests: load(&counters.requests),
            accepted: load(&counters.accepted),
            refused: load(&counters.refused),
            violations: load(&counters.violations),
        }
    }

    /// Which of Microsoft's rules were broken, one sentence each, at most 1000.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Waits until `count` requests were read.
    pub async fn wait_for(&self, count: usize, within: Duration) -> io::Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let news = self.shared.news.notified();
            let requests = self.shared.counters.requests.load(Ordering::SeqCst);
            if requests >= count as u64 {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let what = format!(
                    "fake Windows Phone service: {requests} of {count} requests within {within:?}"
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            let _ = tokio::time::timeout(left.min(LOOK_AGAIN), news).await; // the loop looks again
        }
    }
}

impl Drop for FakeMpns {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listener).take() {
            task.abort();
        }
        self.drop_connections();
    }
}

struct Shared {
    acceptor: Option<TlsAcceptor>,
    keep_requests: bool,
    counters: Counters,
    news: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicU64,
    handshakes: AtomicU64,
    requests: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    violations: AtomicU64,
}

#[derive(Default)]
struct State {
    scripts: Scripts,
    received: Vec<MpnsReceived>,
    violations: Vec<String>,
    handshake_delay: Duration,
    connections: HashMap<u64, tokio::task::AbortHandle>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn serve(self: Arc<Self>, socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let delay = self.state().handshake_delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match &self.acceptor {
            None => self.http(socket).await,
            Some(acceptor) => {
                let tls = acceptor.accept(socket).await?;
                self.counters.handshakes.fetch_add(1, Ordering::SeqCst);
                self.http(tls).await
            }
        }
    }

    async fn http(self: &Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let service = service_fn(|request| Arc::clone(self).answer(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .without_shutdown();
        match connection.await {
            Ok(mut parts) => parts.io.inner_mut().shutdown().await,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The answer, or an error that ends the connection without one.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnswerBody>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let path = head.uri.path();
        let token = token_of(path).unwrap_or_default();
        let answer = self.state().scripts.answer(token);
        let mut breaches = Vec::new();
        rules::check(&head.method, path, &head.headers, &body, &mut breaches);
        self.record(&head, &body, token, &answer, breaches);
        if !answer.delay.is_zero() {
            tokio::time::sleep(answer.delay).await;
        }
        let body = match &answer.fault {
            None | Some(MpnsFault::HeaderFlood(_)) => AnswerBody::Empty,
            Some(MpnsFault::Stall) => std::future::pending().await,
            Some(MpnsFault::Drop) => {
                return Err(io::Error::other("dropped by script"));
            }
            Some(MpnsFault::StallBody) => AnswerBody::Stalled { begun: false },
            Some(MpnsFault::EndlessBody) => AnswerBody::Endless,
        };
        Ok(response(&answer, &head.headers, body))
    }

    fn record(
        &self,
        head: &http::request::Parts,
        body: &Bytes,
        token: &str,
        answer: &MpnsAnswer,
        breaches: Vec<String>,
    ) {
        let accepted = answer.status == 200 && answer.notification.as_deref() == Some("Received");
        let counters = &self.counters;
        let verdict = if accepted {
            &counters.accepted
        } else {
            &counters.refused
        };
        verdict.fetch_add(1, Ordering::SeqCst);
        let broken = breaches.len() as u64;
        counters.violations.fetch_add(broken, Ordering::SeqCst);
        if self.keep_requests || broken > 0 {
            let mut state = self.state();
            let room = VIOLATIONS_KEPT.saturating_sub(state.violations.len());
            state.violations.extend(breaches.into_iter().take(room));
            if self.keep_requests {
                state.received.push(received(head, body, token, answer));
            }
        }
        counters.requests.fetch_add(1, Ordering::SeqCst);
        self.news.notify_waiters();
    }
}

fn received(
    head: &http::request::Parts,
    body: &Bytes,
    token: &str,
    answer: &MpnsAnswer,
) -> MpnsReceived {
    let text = |name: &str| {
        let value = head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    MpnsReceived {
        token: token.to_owned(),
        path: head.uri.to_string(),
        target: text("x-windowsphone-target"),
        class: text("x-notificationclass"),
        message_id: text("x-messageid"),
        xml: Element::parse(body).ok(),
        headers: head.headers.clone(),
        body: body.clone(),
        status: answer.fault.is_none().then_some(answer.status),
    }
}

fn response(answer: &MpnsAnswer, asked: &HeaderMap, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let rows = [
        ("x-notificationstatus", &answer.notification),
        ("x-deviceconnectionstatus", &answer.device),
        ("x-subscriptionstatus", &answer.subscription),
    ];
    for (name, value) in rows {
        if let Some(Ok(value)) = value.as_deref().map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    if let Some(id) = asked.get("x-messageid") {
        headers.insert("x-messageid", id.clone());
    }
    if let Some(location) = (answer.location.as_deref()).and_then(|l| l.parse().ok()) {
        headers.insert("location", location);
    }
    if let Some(seconds) = answer.retry_after {
        headers.insert("retry-after", seconds.into());
    }
    if let Some(MpnsFault::HeaderFlood(fields)) = answer.fault {
        let value = HeaderValue::from_static(FLOOD_VALUE);
        for _ in 0..fields {
            headers.append("x-flood", value.clone());
        }
    }
    response
}

/// The body of an answer.
enum AnswerBody {
    Empty,
    Stalled { begun: bool },
    Endless,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: &[u8] = &[b' '; 16 * 1024];
        match &mut *self {
            AnswerBody::Empty => Poll::Ready(None),
            AnswerBody::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE))))),
            // Nobody wakes this again: the connection ends when the peer closes it.
            AnswerBody::Stalled { begun: true } => Poll::Pending,
            AnswerBody::Stalled { begun } => {
                *begun = true;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"<")))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, AnswerBody::Empty)
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(LOOK_AGAIN).await; // out of descriptors: give others time to close some
            continue;
        };
        let number = shared.counters.connections.fetch_add(1, Ordering::SeqCst);
        let mut state = shared.state();
        let closing = Closing(Arc::clone(&shared), number);
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                let _closing = closing;
                if let Err(error) = shared.serve(socket).await {
                    tracing::debug!(connection = number, %error, "fake MPNS: connection ended");
                }
            }
        });
        state.connections.insert(number, task.abort_handle());
    }
}

/// Strikes a connection off the list when its task ends, however it ends.
struct Closing(Arc<Shared>, u64);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.state().connections.remove(&self.1);
    }
}

/// The device's token in a channel's path.
fn token_of(path: &str) -> Option<&str> {
    let token =
        (path.strip_prefix(PATH)).or_else(|| path.strip_prefix("/unthrottledthirdparty/01.00/"))?;
    (!token.is_empty()).then_some(token)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PATH: &str = "/throttledthirdparty/01.00/";
const VIOLATIONS_KEPT: usize = 1000;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// 89 octets, which with name, colon, space and line end make 100.
const FLOOD_VALUE: &str =
    "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
