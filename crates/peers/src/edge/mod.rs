//! A fake Access Edge: a client that sends SIP requests and matches the answers, over mutual TLS or as it comes out of a
//! TLS terminator.
//!
//! Not here: retransmission, routing, trust. It says what it is told to say, raw octets too.

mod answer;
mod body;
mod proxy;
mod request;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

pub use answer::SipAnswer;
pub use body::{PUSH_JSON, Push};
pub use proxy::ProxyHeader;
pub use request::SipRequest;

use crate::pki::Issued;
use crate::tls;

/// One connection of a fake Access Edge. Methods take `&self`, so that many requests can be under way.
pub struct FakeEdge {
    /// Whom requests are addressed to; `sip:push@push.example.org`.
    pub request_uri: String,
    /// Whom they are from: `sip:kima@DOMAIN`.
    pub from: String,
    writer: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    inbox: Arc<Inbox>,
    reader: JoinHandle<()>,
    local: SocketAddr,
    /// The socket under TLS.
    wire: std::net::TcpStream,
}

impl FakeEdge {
    /// Connects with a client certificate. `roots_pem` are the authorities of the relay's certificate, `server_name` the
    /// name that it must have, `domain` the SIP domain of the users.
    pub async fn connect(
        address: SocketAddr,
        server_name: &str,
        identity: &Issued,
        roots_pem: &str,
        domain: &str,
    ) -> io::Result<FakeEdge> {
        FakeEdge::connect_as(address, server_name, Some(identity), roots_pem, domain).await
    }

    /// The same, without a certificate where `identity` is `None`.
    pub async fn connect_as(
        address: SocketAddr,
        server_name: &str,
        identity: Option<&Issued>,
        roots_pem: &str,
        domain: &str,
    ) -> io::Result<FakeEdge> {
        let config = tls::client(identity, tls::roots(roots_pem)?)?;
        let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
        let (socket, wire) = dial(address).await?;
        let stream = TlsConnector::from(config).connect(name, socket).await?;
        FakeEdge::over(stream, wire, domain)
    }

    /// Connects as a TLS terminator on the relay's machine does for an Access Edge: without TLS, this header first.
    pub async fn connect_behind(
        address: SocketAddr,
        header: &ProxyHeader,
        domain: &str,
    ) -> io::Result<FakeEdge> {
        let (mut socket, wire) = dial(address).await?;
        socket.write_all(&header.encode()).await?;
        FakeEdge::over(socket, wire, domain)
    }

    fn over<S>(stream: S, wire: std::net::TcpStream, domain: &str) -> io::Result<FakeEdge>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let inbox = Arc::new(Inbox::default());
        let reader = tokio::spawn(read_answers(read, Arc::clone(&inbox)));
        Ok(FakeEdge {
            request_uri: "sip:push@push.example.org".to_owned(),
            from: format!("sip:kima@{domain}"),
            writer: tokio::sync::Mutex::new(Box::new(write)),
            inbox,
            reader,
            local: wire.local_addr()?,
            wire,
        })
    }

    /// Our end of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A MESSAGE in the shape of an Access Edge, not yet sent.
    pub fn request(&self, content_type: &str, body: impl Into<Bytes>) -> SipRequest {
        SipRequest::message(&self.request_uri, &self.from, content_type, body)
    }

    /// Sends a MESSAGE and waits up to 10 s for its answer.
    pub async fn message(
        &self,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> io::Result<SipAnswer> {
        self.exchange(&self.request(content_type, body)).await
    }

    /// Sends a push and waits up to 10 s for its answer.
    pub async fn push(&self, push: Push) -> io::Result<SipAnswer> {
        self.message(PUSH_JSON, push).await
    }

    /// Sends an OPTIONS and waits up to 10 s for its answer.
    pub async fn options(&self) -> io::Result<SipAnswer> {
        let request = SipRequest::bare("OPTIONS", &self.request_uri, &self.from);
        self.exchange(&request).await
    }

    /// Sends a request and waits up to 10 s for its answer.
    pub async fn exchange(&self, request: &SipRequest) -> io::Result<SipAnswer> {
        self.send(request).await?;
        self.answer_to(request, PATIENCE).await
    }

    /// Sends a request; the answer is fetched later by [`answer_to`](FakeEdge::answer_to).
    pub async fn send(&self, request: &SipRequest) -> io::Result<()> {
        self.send_raw(&request.encode()).await
    }

    /// Sends several requests in one write.
    pub async fn send_all(&self, requests: &[SipRequest]) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        for request in requests {
            bytes.extend_from_slice(&request.encode());
        }
        self.send_raw(&bytes).await
    }

    /// Sends octets as they are.
    pub async fn send_raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        writer.write_all(bytes).await?;
        writer.flush().await
    }

    /// Says that no more will come (with TLS: close_notify), and goes on reading.
    pub async fn half_close(&self) -> io::Result<()> {
        self.writer.lock().await.shutdown().await
    }

    /// Ends TCP's direction to the relay, without close_notify, and goes on reading.
    pub fn cut_off(&self) -> io::Result<()> {
        self.wire.shutdown(Shutdown::Write)
    }

    /// Takes the answer to this request (by Call-ID and CSeq), wherever it stands among the others.
    pub async fn answer_to(&self, request: &SipRequest, within: Duration) -> io::Result<SipAnswer> {
        let matches = |answer: &SipAnswer| {
            answer.header("Call-ID") == Some(&request.call_id)
                && answer.cseq() == Some(request.cseq)
        };
        self.take(within, |state| {
            let at = state.answers.iter().position(matches)?;
            state.answers.remove(at)
        })
        .await
    }

    /// Takes the oldest answer.
    pub async fn read_answer(&self, within: Duration) -> io::Result<SipAnswer> {
        self.take(within, |state| state.answers.pop_front()).await
    }

    /// Waits for the end of the connection: `Ok` for a clean one with close_notify, else the error.
    /// Answers that came before can still be read.
    pub async fn closed(&self, within: Duration) -> io::Result<()> {
        self.inbox
            .wait(within, "the end of the connection", |state| {
                state.ended.as_ref().map(|end| match end {
                    Ok(()) => Ok(()),
                    Err((kind, what)) => Err(io::Error::new(*kind, what.clone())),
                })
            })
            .await
            .and_then(|end| end)
    }

    /// Waits until this many CRLF pongs have come.
    pub async fn pongs(&self, count: usize, within: Duration) -> io::Result<()> {
        (self.inbox)
            .wait(within, "a pong", |state| {
                (state.pongs >= count).then_some(())
            })
            .await
    }

    /// How many answers have come that nobody has taken.
    pub fn answers_waiting(&self) -> usize {
        self.inbox.lock().answers.len()
    }

    async fn take(
        &self,
        within: Duration,
        mut find: impl FnMut(&mut State) -> Option<SipAnswer>,
    ) -> io::Result<SipAnswer> {
        let found = self.inbox.wait(within, "an answer", |state| {
            if let Some(answer) = find(state) {
                return Some(Ok(answer));
            }
            let end = state.ended.as_ref()?;
            Some(Err(match end {
                Ok(()) => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the relay closed the connection before the answer",
                ),
                Err((kind, what)) => io::Error::new(*kind, what.clone()),
            }))
        });
        found.await.and_then(|answer| answer)
    }
}

impl Drop for FakeEdge {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    answers: VecDeque<SipAnswer>,
    pongs: usize,
    ended: Option<Result<(), (io::ErrorKind, String)>>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.notify_waiters();
    }

    async fn wait<T>(
        &self,
        within: Duration,
        what: &str,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable(); // before looking, so that nothing slips in between
            if let Some(found) = find(&mut self.lock()) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, news).await.is_err() {
                let what = format!("fake Edge: {what} did not come within {within:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
        }
    }
}

/// A connection, and a second handle to its socket.
async fn dial(address: SocketAddr) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    let wire = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, wire))
}

async fn read_answers(mut stream: impl AsyncRead + Unpin, inbox: Arc<Inbox>) {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    let end = loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err((error.kind(), error.to_string())),
        }
        loop {
            while buffer.starts_with(b"\r\n") {
                let _ = buffer.split_to(2); // a pong
                inbox.change(|state| state.pongs += 1);
            }
            match SipAnswer::take(&mut buffer) {
                Ok(Some(answer)) => inbox.change(|state| state.answers.push_back(answer)),
                Ok(None) => break,
                Err(what) => {
                    let end = Err((io::ErrorKind::InvalidData, format!("the relay sent {what}")));
                    inbox.change(|state| state.ended = Some(end));
                    return;
                }
            }
        }
    };
    inbox.change(|state| state.ended = Some(end));
}

/// How long to wait for an answer: long past every deadline of the relay.
const PATIENCE: Duration = Duration::from_secs(10);
