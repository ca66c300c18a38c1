//! The least possible relay on the same crates: the bound that each figure of the real one stands beside.
//!
//! Mutual TLS in, a message's end by Content-Length, one prepared push on one HTTP/2 connection, 200 out. It checks
//! nothing, knows no transaction, one device and one answer, and breaks at the first thing that it does not expect.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use memchr::memmem::Finder;
use pushrelay_peers::world::TOPIC;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::site::Site;

/// Serves until SIGTERM.
pub(crate) async fn serve(site: &Path, apple: SocketAddr) -> anyhow::Result<()> {
    let site = Site::open(site)?;
    let push = Arc::new(Push::new(apple)?);
    let apple = connect(&site, apple).await?;
    let acceptor = TlsAcceptor::from(site.server_tls()?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // As the daemon says it, so that whoever starts either reads the same.
    eprintln!(
        "{}",
        serde_json::json!({"fields": {"message": "listening", "listener": "sip", "address": address.to_string()}})
    );
    let mut end = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = end.recv() => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let session = Session {
                    acceptor: acceptor.clone(),
                    apple: apple.clone(),
                    push: Arc::clone(&push),
                };
                tokio::spawn(async move {
                    if let Err(error) = session.run(stream).await {
                        eprintln!("floor: {error:#}");
                    }
                });
            }
        }
    }
}

/// One HTTP/2 connection, driven by a task of its own.
async fn connect(site: &Site, apple: SocketAddr) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(apple).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(apple.ip());
    let connector = TlsConnector::from(site.apple_tls()?);
    let stream = connector.connect(name, stream).await?;
    let (apple, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("floor: apple: {error}");
        }
    });
    Ok(apple.ready().await?)
}

/// The one push that is ever sent.
struct Push {
    uri: Uri,
    headers: HeaderMap,
    payload: Bytes,
}

impl Push {
    fn new(apple: SocketAddr) -> anyhow::Result<Push> {
        let token = "5ca1ab1e".repeat(8);
        let bearer = format!("bearer {}", "A".repeat(190)); // as long as a provider token
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", bearer.as_str()),
            ("apns-topic", TOPIC),
            ("apns-push-type", "alert"),
            ("apns-priority", "10"),
            ("apns-expiration", "4102444800"),
            ("apns-id", "6f0c1f2e-9d0c-5f4b-8f0a-1d7c0b7f3a55"),
        ] {
            headers.insert(name, HeaderValue::from_str(value)?);
        }
        let text = "Are you there? ".repeat(40);
        Ok(Push {
            uri: format!("https://{apple}/3/device/{token}").parse()?,
            headers,
            payload: format!("{{\"aps\":{{\"alert\":\"{text}\"}}}}").into(),
        })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Sends the push and gives back what it was sent for.
    async fn send(
        self: Arc<Self>,
        apple: SendRequest<Bytes>,
        head: Bytes,
    ) -> anyhow::Result<Bytes> {
        let mut apple = apple.ready().await?;
        let (answer, mut body) = apple.send_request(self.request(), false)?;
        body.send_data(self.payload.clone(), true)?;
        let answer = answer.await?;
        anyhow::ensure!(answer.status() == 200, "Apple said {}", answer.status());
        Ok(head)
    }
}

struct Session {
    acceptor: TlsAcceptor,
    apple: SendRequest<Bytes>,
    push: Arc<Push>,
}

impl Session {
    async fn run(self, stream: TcpStream) -> anyhow::Result<()> {
        let mut stream = self.acceptor.accept(stream).await?;
        let mut input = BytesMut::new();
        let mut output = Output::default();
        let mut pushes = FuturesUnordered::new();
        let framing = Framing::new();
        poll_fn(|cx| {
            loop {
                while let Poll::Ready(Some(head)) = pushes.poll_next_unpin(cx) {
                    let head: Bytes = head?;
                    answer(&head, &mut output.bytes);
                }
                output.poll_write(&mut stream, cx)?;
                match poll_read(&mut stream, cx, &mut input)? {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(0) => return Poll::Ready(anyhow::Ok(())),
                    Poll::Ready(_) => {}
                }
                while let Some(head) = framing.take(&mut input)? {
                    let push = Arc::clone(&self.push);
                    pushes.push(push.send(self.apple.clone(), head));
                }
            }
        })
        .await
    }
}

/// Where one message ends.
struct Framing {
    end: Finder<'static>,
    length: Finder<'static>,
}

impl Framing {
    fn new() -> Framing {
        Framing {
            end: Finder::new("\r\n\r\n"),
            length: Finder::new("\r\nContent-Length: "),
        }
    }

    /// Takes a whole message off `input` and keeps its head.
    fn take(&self, input: &mut BytesMut) -> anyhow::Result<Option<Bytes>> {
        let Some(end) = self.end.find(input) else {
            return Ok(None);
        };
        let head = &input[..end + 2];
        let length = self.length.find(head).context("Content-Length")?;
        let digits = head[length + "\r\nContent-Length: ".len()..].iter();
        let length = digits
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        if input.len() < end + 4 + length {
            return Ok(None);
        }
        let head = input.split_to(end + 2).freeze();
        input.advance(2 + length);
        Ok(Some(head))
    }
}

/// 200 with the lines of the request that an answer repeats.
fn answer(head: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, next) = rest.split_at(end + 1);
        rest = next;
        if let [b'V', b'i', ..] | [b'F', b'r', ..] | [b'C', b'a', ..] | [b'C', b'S', ..] = line {
            out.extend_from_slice(line);
        } else if line.starts_with(b"To") {
            out.extend_from_slice(&line[..line.len() - 2]);
            out.extend_from_slice(b";tag=floor\r\n");
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Answers on their way out: all that are ready leave in one write.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    written: usize,
    /// Written, but perhaps still inside TLS.
    unflushed: bool,
}

impl Output {
    fn poll_write(
        &mut self,
        stream: &mut TlsStream<TcpStream>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        while self.written < self.bytes.len() {
            let rest = &self.bytes[self.written..];
            match Pin::new(&mut *stream).poll_write(cx, rest)? {
                Poll::Ready(written) => self.written += written,
                Poll::Pending => return Ok(()),
            }
            self.unflushed = true;
        }
        self.bytes.clear();
        self.written = 0;
        if self.unflushed && Pin::new(stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }
}

fn poll_read(
    stream: &mut TlsStream<TcpStream>,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    input.reserve(READ);
    pin!(stream.read_buf(input)).poll(cx)
}

/// One TLS record's worth.
const READ: usize = 16 * 1024;
