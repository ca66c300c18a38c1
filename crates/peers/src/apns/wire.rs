//! The bytes between TLS and h2, where a fake can do what no HTTP/2 library allows: say a GOAWAY of its own making,
//! change SETTINGS at any time, and fall silent.
//!
//! Not an HTTP/2 implementation: it knows where frames begin and end, their types and flags, nothing of their content.

use std::collections::HashSet;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that passes HTTP/2 through to `inner` frame by frame.
pub(crate) struct Wire<S> {
    inner: S,
    control: Arc<WireControl>,
    incoming: Frames,
    /// Where the next octets are read into.
    space: Vec<u8>,
    /// Bytes that h2 may read.
    inbox: Bytes,
    outgoing: Frames,
    /// Bytes on their way out.
    outbox: Bytes,
    /// Streams that the peer has opened and that are not over.
    open: HashSet<u32>,
    /// What each SETTINGS frame that the peer has yet to acknowledge says: ours or h2's own.
    unacknowledged: VecDeque<Settings>,
    /// MAX_CONCURRENT_STREAMS as the peer has acknowledged it, or a higher one that it has yet to see.
    limit: u32,
    /// MAX_CONCURRENT_STREAMS in the first SETTINGS.
    first_limit: u32,
    first_settings: bool,
    closing: Option<u32>,
    closed: bool,
}

enum Settings {
    OfH2,
    Limit(u32),
}

/// The handle by which others act on a [`Wire`].
#[derive(Default)]
pub(crate) struct WireControl {
    pings: AtomicU64,
    dirty: AtomicBool,
    state: Mutex<WireState>,
}

#[derive(Default)]
struct WireState {
    inject: VecDeque<Injection>,
    frozen: bool,
    closing: Option<u32>,
    wakers: Vec<Waker>,
    breaches: Vec<&'static str>,
}

enum Injection {
    Limit(u32),
    Bytes(Vec<u8>),
}

impl WireControl {
    /// Sends SETTINGS with this MAX_CONCURRENT_STREAMS; the acknowledgement is kept from h2.
    pub(crate) fn limit_streams(&self, limit: u32) {
        self.act(|state| state.inject.push_back(Injection::Limit(limit)));
    }

    /// Sends GOAWAY (RFC 9113 6.8).
    pub(crate) fn go_away(&self, last_stream: u32, code: u32, debug: &[u8]) {
        let mut frame = head(8 + debug.len(), GOAWAY, 0, 0).to_vec();
        frame.extend_from_slice(&last_stream.to_be_bytes());
        frame.extend_from_slice(&code.to_be_bytes());
        frame.extend_from_slice(debug);
        self.act(|state| state.inject.push_back(Injection::Bytes(frame)));
    }

    /// Neither reads nor writes from now on, until it is let go: not even a PING is answered.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.act(|state| state.frozen = frozen);
    }

    /// Ends the connection with TLS' close_notify once every stream up to `last_stream` is over and everything is written.
    pub(crate) fn close_after(&self, last_stream: u32) {
        self.act(|state| state.closing = Some(last_stream));
    }

    /// How many PINGs the peer has sent since the last call.
    pub(crate) fn take_pings(&self) -> u64 {
        self.pings.swap(0, Ordering::Relaxed)
    }

    /// What the peer did wrong on the level of frames, since the last call.
    pub(crate) fn take_breaches(&self) -> Vec<&'static str> {
        if !self.dirty.load(Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.lock().breaches)
    }

    fn act(&self, change: impl FnOnce(&mut WireState)) {
        let wakers = {
            let mut state = self.lock();
            change(&mut state);
            self.dirty.store(true, Ordering::Release);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Wire<S> {
    /// A wire whose first SETTINGS allow `limit` streams at once.
    pub(crate) fn new(inner: S, control: Arc<WireControl>, limit: u32) -> Wire<S> {
        Wire {
            inner,
            control,
            incoming: Frames::after_preface(),
            space: Vec::new(),
            inbox: Bytes::default(),
            outgoing: Frames::default(),
            outbox: Bytes::default(),
            open: HashSet::new(),
            unacknowledged: VecDeque::new(),
            limit: u32::MAX, // nothing binds the peer before it has seen our SETTINGS
            first_limit: limit,
            first_settings: true,
            closing: None,
            closed: false,
        }
    }

    /// Takes what was injected; `true` while the wire is frozen.
    fn obey(&mut self, cx: &mut Context<'_>) -> bool {
        let control = Arc::clone(&self.control);
        let mut state = control.lock();
        if !state.wakers.iter().any(|w| w.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        if state.frozen {
            return true;
        }
        self.closing = state.closing;
        if self.outgoing.at_boundary() && !self.first_settings {
            for injection in state.inject.drain(..) {
                match injection {
                    Injection::Limit(limit) => {
                        let mut frame = head(6, SETTINGS, 0, 0).to_vec();
                        frame.extend_from_slice(&limit_parameter(limit));
                        self.outbox.push(&frame);
                        self.unacknowledged.push_back(Settings::Limit(limit));
                        self.limit = self.limit.max(limit);
                    }
                    Injection::Bytes(bytes) => self.outbox.push(&bytes),
                }
            }
        }
        false
    }

    /// Follows what h2 writes; adds MAX_CONCURRENT_STREAMS to its first SETTINGS.
    fn take_outgoing(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.outgoing.step(bytes) {
                Step::Head { taken, frame } => {
                    bytes = &bytes[taken..];
                    if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                        self.unacknowledged.push_back(Settings::OfH2);
                        if std::mem::take(&mut self.first_settings) {
                            let length = frame.length + 6;
                            self.outbox.push(&head(length, SETTINGS, 0, 0));
                            self.outbox.push(&limit_parameter(self.first_limit));
                            continue;
                        }
                    }
                    if frame.ends_stream() {
                        self.open.remove(&frame.stream);
                    }
                    self.outbox.push(&frame.raw);
                }
                Step::Payload { taken } => {
                    self.outbox.push(&bytes[..taken]);
                    bytes = &bytes[taken..];
                }
                Step::Partial => return,
            }
        }
    }

    /// Follows what the peer sends; keeps acknowledgements from h2 that are not meant for it.
    fn take_incoming(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.incoming.step(bytes) {
                Step::Head { taken, frame } => {
                    bytes = &bytes[taken..];
                    if self.concerns_h2(&frame) {
                        self.inbox.push(&frame.raw);
                    }
                }
                Step::Payload { taken } => {
                    self.inbox.push(&bytes[..taken]);
                    bytes = &bytes[taken..];
                }
                Step::Partial => return,
            }
        }
    }

    fn concerns_h2(&mut self, frame: &Frame) -> bool {
        match frame.kind {
            SETTINGS if frame.flags & ACK != 0 => match self.unacknowledged.pop_front() {
                Some(Settings::Limit(limit)) => {
                    self.limit = limit;
                    return false;
                }
                Some(Settings::OfH2) => self.limit = self.first_limit,
                None => {}
            },
            HEADERS => {
                if frame.flags & PRIORITY_FLAG != 0 {
                    self.breach("HEADERS with a priority: Apple wants no HTTP/2 PRIORITY");
                }
                if self.open.len() >= self.limit as usize && !self.open.contains(&frame.stream) {
                    self.breach("a stream above SETTINGS_MAX_CONCURRENT_STREAMS");
                }
                self.open.insert(frame.stream);
            }
            PRIORITY => self.breach("a PRIORITY frame: Apple wants none"),
            RST_STREAM => {
                self.open.remove(&frame.stream);
            }
            PING if frame.flags & ACK == 0 => {
                self.control.pings.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        true
    }

    fn breach(&self, what: &'static str) {
        self.control.act(|state| {
            if state.breaches.len() < BREACHES_KEPT {
                state.breaches.push(what);
            }
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.obey(cx) {
                return Poll::Pending;
            }
            if this.closed {
                return Poll::Ready(Ok(()));
            }
            if !this.inbox.is_empty() {
                this.inbox.pop_into(buffer);
                return Poll::Ready(Ok(()));
            }
            let mut space = std::mem::take(&mut this.space);
            space.resize(READ_SIZE, 0);
            let mut read = ReadBuf::new(&mut space);
            let result = Pin::new(&mut this.inner).poll_read(cx, &mut read);
            let ended = read.filled().is_empty();
            this.take_incoming(read.filled());
            this.space = space;
            if ended || !matches!(result, Poll::Ready(Ok(()))) {
                return result;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbox.len() >= OUTBOX_LIMIT {
            match Pin::new(&mut *this).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        this.take_outgoing(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.obey(cx) {
            return Poll::Pending;
        }
        while !this.outbox.is_empty() {
            match Pin::new(&mut this.inner).poll_write(cx, this.outbox.unread()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => this.outbox.advance(written),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let over = |last: u32| this.open.iter().all(|stream| *stream > last);
        if this.closing.is_some_and(over) && !this.closed {
            match Pin::new(&mut this.inner).poll_shutdown(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => result?,
            }
            this.closed = true;
            cx.waker().wake_by_ref(); // reading now finds the end
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut *this).poll_flush(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_shutdown(cx),
            other => other,
        }
    }
}

/// Where one direction stands among its frames.
#[derive(Default)]
struct Frames {
    head: [u8; 9],
    have: usize,
    /// Octets of the frame's payload (or of the preface) that are still to come.
    remaining: usize,
}

enum Step {
    /// A frame's head is complete, `taken` bytes further on.
    Head { taken: usize, frame: Frame },
    /// The next `taken` bytes are payload.
    Payload { taken: usize },
    /// Everything was taken, and the head is not complete.
    Partial,
}

struct Frame {
    raw: [u8; 9],
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frames {
    fn after_preface() -> Frames {
        Frames {
            remaining: PREFACE_LENGTH,
            ..Frames::default()
        }
    }

    fn at_boundary(&self) -> bool {
        self.have == 0 && self.remaining == 0
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        if self.remaining > 0 {
            let taken = self.remaining.min(bytes.len());
            self.remaining -= taken;
            return Step::Payload { taken };
        }
        let taken = (9 - self.have).min(bytes.len());
        self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
        self.have += taken;
        if self.have < 9 {
            return Step::Partial;
        }
        self.have = 0;
        let [a, b, c, kind, flags, s0, s1, s2, s3] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.remaining = length;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        let frame = Frame {
            raw: self.head,
            length,
            kind,
            flags,
            stream,
        };
        Step::Head { taken, frame }
    }
}

impl Frame {
    fn ends_stream(&self) -> bool {
        self.kind == RST_STREAM
            || (matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0)
    }
}

/// A queue of octets.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    read: usize,
}

impl Bytes {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.read
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    fn advance(&mut self, count: usize) {
        self.read += count;
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
    }

    fn pop_into(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.len().min(buffer.remaining());
        buffer.put_slice(&self.unread()[..count]);
        self.advance(count);
    }
}

fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; 9] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [a, b, c, kind, flags, s0, s1, s2, s3]
}

fn limit_parameter(limit: u32) -> [u8; 6] {
    let [a, b, c, d] = limit.to_be_bytes();
    [0, 3, a, b, c, d] // SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 6.5.2
}

/// `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, RFC 9113 3.4.
const PREFACE_LENGTH: usize = 24;
const READ_SIZE: usize = 16 * 1024;
const OUTBOX_LIMIT: usize = 64 * 1024;
const BREACHES_KEPT: usize = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const PRIORITY_FLAG: u8 = 0x20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    struct Setting {
        wire: Wire<DuplexStream>,
        peer: DuplexStream,
        control: Arc<WireControl>,
    }

    /// A wire whose h2 has said SETTINGS without parameters, and a peer that has read them.
    async fn setting(limit: u32) -> Setting {
        let (inner, mut peer) = duplex(1 << 16);
        let control = Arc::new(WireControl::default());
        let mut wire = Wire::new(inner, Arc::clone(&control), limit);
        wire.write_all(&head(0, SETTINGS, 0, 0)).await.unwrap();
        wire.flush().await.unwrap();
        let mut first = [0; 15];
        peer.read_exact(&mut first).await.unwrap();
        assert_eq!(first[..9], head(6, SETTINGS, 0, 0));
        assert_eq!(first[9..], limit_parameter(limit));
        let preface = [b' '; PREFACE_LENGTH];
        peer.write_all(&preface).await.unwrap();
        wire.read_exact(&mut [0; PREFACE_LENGTH]).await.unwrap();
        Setting {
            wire,
            peer,
            control,
        }
    }

    async fn sees(wire: &mut Wire<DuplexStream>, frame: [u8; 9]) {
        let mut seen = [0; 9];
        wire.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, frame);
    }

    #[tokio::test]
    async fn an_acknowledgement_of_our_own_settings_is_kept_from_h2() {
        let mut s = setting(1000).await;
        s.control.limit_streams(1);
        s.wire.flush().await.unwrap();
        let mut ours = [0; 15];
        s.peer.read_exact(&mut ours).await.unwrap();
        assert_eq!(ours[9..], limit_parameter(1));

        let ack = head(0, SETTINGS, ACK, 0);
        s.peer.write_all(&ack).await.unwrap(); // of h2's
        s.peer.write_all(&ack).await.unwrap(); // of ours
        s.peer.write_all(&head(0, HEADERS, 0, 1)).await.unwrap();
        sees(&mut s.wire, ack).await;
        sees(&mut s.wire, head(0, HEADERS, 0, 1)).await;
    }

    #[tokio::test]
    async fn a_stream_above_the_acknowledged_limit_is_a_breach() {
        let mut s = setting(2).await;
        s.control.limit_streams(1);
        s.wire.flush().await.unwrap();
        s.peer.write_all(&head(0, HEADERS, 0, 1)).await.unwrap();
        s.peer.write_all(&head(0, HEADERS, 0, 3)).await.unwrap();
        sees(&mut s.wire, head(0, HEADERS, 0, 1)).await;
        sees(&mut s.wire, head(0, HEADERS, 0, 3)).await;
        assert_eq!(s.control.take_breaches(), [""; 0]); // it has not acknowledged yet

        for _ in 0..2 {
            s.peer.write_all(&head(0, SETTINGS, ACK, 0)).await.unwrap();
        }
        let answered = head(0, HEADERS, END_STREAM, 1);
        s.wire.write_all(&answered).await.unwrap();
        s.peer.write_all(&head(0, HEADERS, 0, 5)).await.unwrap();
        sees(&mut s.wire, head(0, SETTINGS, ACK, 0)).await;
        sees(&mut s.wire, head(0, HEADERS, 0, 5)).await;
        assert_eq!(
            s.control.take_breaches(),
            ["a stream above SETTINGS_MAX_CONCURRENT_STREAMS"]
        );
    }

    #[tokio::test]
    async fn an_injected_frame_never_stands_inside_another() {
        let mut s = setting(1000).await;
        let data = head(4, DATA, 0, 1);
        s.wire.write_all(&data).await.unwrap();
        s.wire.write_all(b"ab").await.unwrap();
        s.control.go_away(7, 2, b"why");
        s.wire.flush().await.unwrap();
        s.wire.write_all(b"cd").await.unwrap();
        s.wire.flush().await.unwrap();
        let mut written = [0; 13 + 9 + 8 + 3];
        s.peer.read_exact(&mut written).await.unwrap();
        assert_eq!(written[..9], data);
        assert_eq!(&written[9..13], b"abcd");
        assert_eq!(written[13..22], head(11, GOAWAY, 0, 0));
        assert_eq!(&written[22..], b"\0\0\0\x07\0\0\0\x02why");
    }

    #[tokio::test]
    async fn a_frame_head_in_pieces_is_put_together() {
        let mut s = setting(1000).await;
        for octet in head(3, DATA, 0, 1).into_iter().chain(*b"abc") {
            s.peer.write_all(&[octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        sees(&mut s.wire, head(3, DATA, 0, 1)).await;
        let mut payload = [0; 3];
        s.wire.read_exact(&mut payload).await.unwrap();
        assert_eq!(&payload, b"abc");
    }

    #[tokio::test]
    async fn closing_waits_for_the_streams_that_were_processed() {
        let mut s = setting(1000).await;
        s.peer.write_all(&head(0, HEADERS, 0, 1)).await.unwrap();
        s.peer.write_all(&head(0, HEADERS, 0, 3)).await.unwrap();
        sees(&mut s.wire, head(0, HEADERS, 0, 1)).await;
        sees(&mut s.wire, head(0, HEADERS, 0, 3)).await;
        s.control.close_after(1);
        s.wire.flush().await.unwrap();
        assert!(!s.wire.closed);
        let answered = head(0, HEADERS, END_STREAM, 1);
        s.wire.write_all(&answered).await.unwrap();
        s.wire.flush().await.unwrap();
        assert!(s.wire.closed);
        assert_eq!(s.wire.read(&mut [0]).await.unwrap(), 0);
    }
}
