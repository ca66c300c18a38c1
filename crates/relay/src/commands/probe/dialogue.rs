//! One request and its answer. Requests are composed with rsip; answers are read by our own decoder.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use pushrelay_sip::{Decoder, Frame, Limits, Message};
use rsip::Header;
use rsip::headers::{
    CSeq, CallId, ContentLength, ContentType, From, MaxForwards, To, UntypedHeader, UserAgent, Via,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use uuid::Uuid;

use super::fault::Fault;
use super::tls;

/// A connection on which requests are sent.
pub(super) struct Dialogue {
    stream: TlsStream<TcpStream>,
    own: SocketAddr,
    decoder: Decoder,
    patience: Duration,
}

/// What the relay says.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    phrase: String,
    /// The reason in `ms-diagnostics-public`.
    pub(super) reason: Option<String>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.phrase)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

impl Dialogue {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        peer: SocketAddr,
        patience: Duration,
    ) -> Dialogue {
        let own = stream.get_ref().0.local_addr().unwrap_or(peer);
        Dialogue {
            stream,
            own,
            decoder: Decoder::new(Limits::default()),
            patience,
        }
    }

    pub(super) async fn options(&mut self, to: &str, from: &str) -> Result<Answered, Fault> {
        let request = self.request("OPTIONS", to, from, None);
        self.exchange(request).await
    }

    pub(super) async fn message(
        &mut self,
        to: &str,
        from: &str,
        body: &str,
    ) -> Result<Answered, Fault> {
        let request = self.request("MESSAGE", to, from, Some(body));
        self.exchange(request).await
    }

    fn request(&self, method: &str, to: &str, from: &str, body: Option<&str>) -> Vec<u8> {
        let mut headers = rsip::Headers::default();
        headers.push(Header::Via(Via::new(format!(
            "SIP/2.0/TLS {};branch=z9hG4bK{};rport",
            self.own,
            unique()
        ))));
        headers.push(Header::MaxForwards(MaxForwards::new("70")));
        headers.push(Header::From(From::new(format!(
            "<{from}>;tag={}",
            &unique()[..10]
        ))));
        headers.push(Header::To(To::new(format!("<{to}>"))));
        headers.push(Header::CallId(CallId::new(unique())));
        headers.push(Header::CSeq(CSeq::new(format!("1 {method}"))));
        headers.push(Header::UserAgent(UserAgent::new(concat!(
            "pushrelay-probe/",
            env!("CARGO_PKG_VERSION")
        ))));
        if body.is_some() {
            headers.push(Header::ContentType(ContentType::new(
                "application/vnd.pushrelay+json; v=1",
            )));
        }
        let body = body.unwrap_or_default();
        headers.push(Header::ContentLength(ContentLength::new(
            body.len().to_string(),
        )));
        format!("{method} {to} SIP/2.0\r\n{headers}\r\n{body}").into_bytes()
    }

    async fn exchange(&mut self, request: Vec<u8>) -> Result<Answered, Fault> {
        match timeout(self.patience, self.send_and_read(&request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::NoAnswer),
        }
    }

    async fn send_and_read(&mut self, request: &[u8]) -> Result<Answered, Fault> {
        // In TLS 1.3 the relay's judgement of our certificate comes after the handshake: here.
        let lost = |error: std::io::Error| tls::fault_of(&error).unwrap_or(Fault::Closed);
        self.stream.write_all(request).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            while let Some(frame) = self.decoder.poll() {
                match frame {
                    Frame::Message(message) if message.is_response() => {
                        return Answered::read(&message).ok_or(Fault::NotSip);
                    }
                    Frame::Message(_) | Frame::Ping => {}
                    Frame::Refused(_) => return Err(Fault::NotSip),
                }
            }
            let read = self.stream.read(&mut buffer).await.map_err(lost)?;
            if read == 0 {
                return Err(Fault::Closed);
            }
            self.decoder.feed(&buffer[..read]);
        }
    }
}

/// 32 digits that nobody has used before.
fn unique() -> String {
    let mut bytes = [0; 16];
    // Without entropy the handshake would have failed; zeros are good enough for a probe.
    let _ = crate::tls::provider().secure_random.fill(&mut bytes);
    Uuid::from_bytes(bytes).simple().to_string()
}

impl Answered {
    fn read(message: &Message) -> Option<Answered> {
        let line = std::str::from_utf8(message.start_line()).ok()?;
        let mut parts = line.splitn(3, ' ').skip(1);
        let status = parts.next()?.parse().ok()?;
        let phrase = parts.next().unwrap_or_default().escape_debug().to_string();
        let diagnostics = message.header("ms-diagnostics-public");
        let reason = diagnostics.and_then(|value| reason(&String::from_utf8_lossy(value)));
        Some(Answered {
            status,
            phrase,
            reason,
        })
    }
}

/// What stands in `reason="..."`.
fn reason(diagnostics: &str) -> Option<String> {
    let (_, quoted) = diagnostics.split_once("reason=\"")?;
    let mut reason = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(reason.escape_debug().to_string()),
            '\\' => reason.push(characters.next()?),
            other => reason.push(other),
        }
    }
}
