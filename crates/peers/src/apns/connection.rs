//! One connection of the fake Apple: requests in, answers and faults out, all on one task.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Shared;
use super::record::{ApnsReceived, Recording, add};
use super::rules::{self, Credential};
use super::script::{ApnsAnswer, ApnsFault, ApnsSeen, GoAway, LastStream, Then};
use super::wire::{Wire, WireControl};

/// What the fake's owner tells a connection to do.
pub(crate) enum Command {
    GoAway(GoAway),
    Drop,
}

/// Serves `socket` until it ends.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    number: u64,
    control: Arc<WireControl>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let delay = shared.handshake_delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let tls = shared.acceptor.accept(socket).await?;
    if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
        shared.violation("", "the client did not ask for h2 by ALPN");
        return Ok(());
    }
    add(&shared.counters.handshakes);
    let wire = Wire::new(tls, Arc::clone(&control), shared.first_limit());
    let mut h2 = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_concurrent_reset_streams(1 << 16)
        .max_pending_accept_reset_streams(1 << 16)
        .max_local_error_reset_streams(None)
        .data_frame_budget(usize::MAX >> 1)
        .handshake::<_, Bytes>(wire)
        .await
        .map_err(io::Error::other)?;

    let mut connection = Connection {
        shared,
        number,
        control,
        carried: 0,
        newest: 0,
        last: None,
        finishing: false,
        limit_raised: false,
        unprocessed: Vec::new(),
    };
    let mut exchanges = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = h2.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    if let Some(exchange) = connection.take(request, respond) {
                        exchanges.push(exchange.run());
                    }
                }
                Some(Err(_)) | None => return Ok(()), // the peer ended it, or broke HTTP/2
            },
            Some(after) = exchanges.next() => match after {
                After::Answered { authenticated } => {
                    if authenticated {
                        connection.raise_limit();
                    }
                }
                After::Drop => return Ok(()),
                After::Close => connection.control.close_after(0),
                After::Freeze => connection.control.freeze(true),
            },
            Some(command) = commands.recv() => match command {
                Command::Drop => return Ok(()),
                Command::GoAway(go_away) => {
                    connection.go_away(&go_away, connection.newest, connection.newest);
                    if go_away.then == Then::Close {
                        connection.control.close_after(0);
                    }
                }
            },
        }
        connection.report_frames();
        if connection.finishing && exchanges.is_empty() {
            connection.control.close_after(connection.last.unwrap_or(0));
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    number: u64,
    control: Arc<WireControl>,
    carried: u64,
    /// The highest stream that was taken for processing.
    newest: u32,
    /// The last-stream-id that was said.
    last: Option<u32>,
    finishing: bool,
    limit_raised: bool,
    /// Streams above the last-stream-id, held so that h2 says nothing on them.
    unprocessed: Vec<(Request<RecvStream>, SendResponse<Bytes>)>,
}

impl Connection {
    /// Decides what becomes of a request; `None` when it is not processed.
    fn take(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Option<Exchange> {
        let stream = respond.stream_id().as_u32();
        let before = add(&self.shared.counters.requests);
        let before_on_connection = self.carried;
        self.carried += 1;
        if self.last.is_some_and(|last| stream > last) {
            self.not_processed(request, respond);
            return None;
        }
        let path = request.uri().path();
        let token = path.strip_prefix("/3/device/").unwrap_or_default();
        let answer = self.shared.answer(ApnsSeen {
            token,
            headers: request.headers(),
            before,
            connection: self.number,
            before_on_connection,
        });
        if let Some(ApnsFault::GoAway(go_away)) = &answer.fault {
            self.go_away(go_away, stream, self.newest);
            if go_away.last_stream == LastStream::Before {
                if go_away.then == Then::Close {
                    self.control.close_after(0);
                }
                self.not_processed(request, respond);
                return None;
            }
        }
        self.newest = stream;
        Some(Exchange {
            shared: Arc::clone(&self.shared),
            connection: self.number,
            answer,
            request,
            respond,
        })
    }

    fn go_away(&mut self, go_away: &GoAway, this: u32, before: u32) {
        let last = match go_away.last_stream {
            LastStream::This => this,
            LastStream::Before => before,
            LastStream::Unlimited => (1 << 31) - 1,
        };
        let last = self.last.map_or(last, |earlier| earlier.min(last)); // RFC 9113 6.8: it never grows
        self.last = Some(last);
        self.finishing |= go_away.then == Then::Finish;
        add(&self.shared.counters.goaways);
        (self.control).go_away(last, go_away.code, go_away.debug.as_bytes());
    }

    fn not_processed(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        add(&self.shared.counters.unprocessed);
        self.shared.count_received(request.headers());
        self.unprocessed.push((request, respond));
    }

    fn raise_limit(&mut self) {
        if !std::mem::replace(&mut self.limit_raised, true) {
            let limit = self.shared.limit();
            if limit != self.shared.first_limit() {
                self.control.limit_streams(limit);
            }
        }
    }

    fn report_frames(&self) {
        let pings = self.control.take_pings();
        self.shared
            .counters
            .pings
            .fetch_add(pings, Ordering::SeqCst);
        for breach in self.control.take_breaches() {
            self.shared.violation("", breach);
        }
    }
}

/// One request on its way to its answer.
struct Exchange {
    shared: Arc<Shared>,
    connection: u64,
    answer: ApnsAnswer,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// What the connection has to do when an exchange is over.
enum After {
    Answered {
        authenticated: bool,
    },
    /// Close with what has been written, the GOAWAY among it.
    Close,
    /// Close as if the machine had gone.
    Drop,
    Freeze,
}

impl Exchange {
    async fn run(mut self) -> After {
        let shared = Arc::clone(&self.shared);
        let Some(body) = read_body(self.request.body_mut()).await else {
            add(&shared.counters.cancelled);
            return After::Answered {
                authenticated: false,
            };
        };
        let authenticated = self.hold_to_rules(&body);
        let accepted = self.answer.status == 200;
        self.record(body, accepted);
        // Counted now: a device has it, whatever becomes of the answer.
        let unheard = accepted.then(|| Unheard::new(Arc::clone(&shared)));
        if !self.answer.delay.is_zero() {
            let delay = tokio::time::sleep(self.answer.delay);
            tokio::select! {
                () = delay => {}
                () = reset_by_peer(&mut self.respond) => {
                    add(&shared.counters.cancelled);
                    return After::Answered { authenticated: false };
                }
            }
        }
        match self.answer.fault.take() {
            Some(ApnsFault::GoAway(go_away)) if go_away.then == Then::Close => {
                return After::Close;
            }
            None | Some(ApnsFault::GoAway(_)) => {}
            Some(ApnsFault::Drop) => return After::Drop,
            Some(ApnsFault::StallConnection) => return After::Freeze,
            Some(ApnsFault::Reset(code)) => {
                add(&shared.counters.resets);
                self.respond.send_reset(Reason::from(code));
                return After::Answered { authenticated };
            }
            Some(ApnsFault::Stall) => {
                reset_by_peer(&mut self.respond).await;
                add(&shared.counters.cancelled);
                return After::Answered { authenticated };
            }
            Some(fault) => {
                self.answer_badly(&fault).await;
                return After::Answered { authenticated };
            }
        }
        if self.answer_well() {
            if let Some(unheard) = unheard {
                unheard.heard();
            }
        } else {
            add(&shared.counters.cancelled);
        }
        After::Answered { authenticated }
    }

    /// Checks Apple's rules; where Apple would refuse, that becomes the answer. `true` for a good credential.
    fn hold_to_rules(&mut self, body: &Bytes) -> bool {
        if self.shared.recording == Recording::Nothing {
            return true;
        }
        let mut breaches = Vec::new();
        let headers = self.request.headers();
        let path = self.request.uri().path();
        let rules = &self.shared.rules;
        rules.check_head(self.request.method(), path, headers, &mut breaches);
        rules.check_body(headers, body, &mut breaches);
        let credential = self.shared.check_bearer(headers, &mut breaches);
        for breach in breaches {
            let id = headers.get("apns-id").map(HeaderValue::as_bytes);
            let id = String::from_utf8_lossy(id.unwrap_or_default());
            self.shared.violation(&id, &breach);
        }
        let push_type = headers.get("apns-push-type").map(HeaderValue::as_bytes);
        if let Credential::Bad(status, reason) = credential {
            self.answer = ApnsAnswer::error(status, reason);
        } else if body.len() > rules::size_limit(push_type) {
            self.answer = ApnsAnswer::error(413, "PayloadTooLarge");
        }
        credential == Credential::Good
    }

    fn record(&self, body: Bytes, accepted: bool) {
        let headers = self.request.headers();
        match self.shared.recording {
            Recording::Nothing | Recording::Counts => {}
            Recording::Ids => self.shared.count_id(headers, accepted),
            Recording::Everything => {
                self.shared.count_id(headers, accepted);
                let path = self.request.uri().path();
                let token = path.strip_prefix("/3/device/").unwrap_or(path);
                let mut received = ApnsReceived::new(token, headers.clone(), body);
                received.connection = self.connection;
                received.stream = self.respond.stream_id().as_u32();
                let answered = match self.answer.fault {
                    None => true,
                    Some(ApnsFault::GoAway(ref go_away)) => go_away.then != Then::Close,
                    Some(_) => false,
                };
                received.status = answered.then_some(self.answer.status);
                received.accepted = accepted;
                self.shared.keep(received);
            }
        }
        let counters = &self.shared.counters;
        add(if accepted {
            &counters.accepted
        } else if self.answer.fault.is_some() {
            &counters.faulted
        } else {
            &counters.refused
        });
        self.shared.news.notify_waiters();
    }

    /// The answer as Apple would give it; `false` when the stream is gone.
    fn answer_well(&mut self) -> bool {
        let body = self.error_body();
        let head = self.head();
        match self.respond.send_response(head, body.is_empty()) {
            Err(_) => false,
            Ok(_) if body.is_empty() => true,
            Ok(mut stream) => stream.send_data(body, true).is_ok(),
        }
    }

    async fn answer_badly(&mut self, fault: &ApnsFault) {
        let mut head = self.head();
        if let ApnsFault::HeaderFlood(fields) = fault {
            let value = HeaderValue::from_static(FLOOD_VALUE);
            for _ in 0..*fields {
                head.headers_mut().append("x-flood", value.clone());
            }
            let _ = self.respond.send_response(head, true); // a peer that cannot bear it ends the stream
            return;
        }
        let Ok(mut stream) = self.respond.send_response(head, false) else {
            return;
        };
        match fault {
            ApnsFault::MalformedBody => {
                let _ = stream.send_data(Bytes::from_static(b"<html>{\"reason\":"), true); // gone: nothing to do
            }
            ApnsFault::StallBody => {
                let _ = stream.send_data(Bytes::from_static(b"{\"reason\":"), false); // gone: nothing to do
                std::future::poll_fn(|cx| stream.poll_reset(cx).map(drop)).await;
            }
            _ => pour(&mut stream).await,
        }
    }

    fn head(&self) -> Response<()> {
        let mut head = Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(self.answer.status)
            .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = head.headers_mut();
        if let Some(id) = self.request.headers().get("apns-id") {
            headers.insert("apns-id", id.clone());
        }
        if let Some(skew) = self.answer.date_skew_seconds {
            headers.insert("date", http_date(skew));
        }
        if let Some(seconds) = self.answer.retry_after {
            headers.insert("retry-after", seconds.into());
        }
        head
    }

    fn error_body(&self) -> Bytes {
        let Some(reason) = &self.answer.reason else {
            return Bytes::new();
        };
        let mut body = serde_json::json!({ "reason": reason });
        if let Some(timestamp) = self.answer.timestamp_ms {
            body["timestamp"] = timestamp.into();
        }
        body.to_string().into()
    }
}

/// A push that was accepted and whose answer has not gone out: counted when it never does.
struct Unheard(Option<Arc<Shared>>);

impl Unheard {
    fn new(shared: Arc<Shared>) -> Unheard {
        Unheard(Some(shared))
    }

    fn heard(mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            add(&shared.counters.accepted_unanswered);
        }
    }
}

/// The whole body; `None` when the peer gave up.
async fn read_body(body: &mut RecvStream) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.ok()?;
        let _ = body.flow_control().release_capacity(chunk.len()); // fails only when the stream is gone
        if first.is_empty() && whole.is_empty() {
            first = chunk;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&chunk);
    }
    Some(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

async fn reset_by_peer(respond: &mut SendResponse<Bytes>) {
    std::future::poll_fn(|cx: &mut Context<'_>| -> Poll<()> { respond.poll_reset(cx).map(drop) })
        .await;
}

/// Sends for as long as the peer takes it.
async fn pour(stream: &mut SendStream<Bytes>) {
    let drop_in = Bytes::from_static(&[b' '; 16 * 1024]);
    loop {
        stream.reserve_capacity(drop_in.len());
        match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(0)) => {}
            Some(Ok(capacity)) => {
                let piece = drop_in.slice(..capacity.min(drop_in.len()));
                if stream.send_data(piece, false).is_err() {
                    return;
                }
            }
            Some(Err(_)) | None => return,
        }
        tokio::task::yield_now().await;
    }
}

/// Our clock plus `skew` seconds as an IMF-fixdate (RFC 9110 5.6.7).
fn http_date(skew: i64) -> HeaderValue {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = now.as_secs().saturating_add_signed(skew);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::from_str(&date).expect("a date is ASCII")
}

/// 93 octets, which with the name make 100.
const FLOOD_VALUE: &str =
    "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

impl Shared {
    /// Checks a request's bearer token, or remembers that the same one was good a moment ago.
    fn check_bearer(&self, headers: &HeaderMap, breaches: &mut Vec<String>) -> Credential {
        let authorization = headers.get("authorization").map(HeaderValue::as_bytes);
        let now = Instant::now();
        let mut bearers = self.bearers();
        if let (Some((bearer, since)), Some(given)) = (&bearers.good, authorization)
            && bearer == given
            && now.duration_since(*since) < BEARER_REMEMBERED
        {
            return Credential::Good;
        }
        if authorization.is_some_and(|given| bearers.expired.contains(given)) {
            return Credential::Bad(403, "ExpiredProviderToken");
        }
        let credential = (self.rules).check_bearer(authorization, SystemTime::now(), breaches);
        if let (Credential::Good, Some(given)) = (&credential, authorization) {
            bearers.good = Some((given.to_vec(), now));
            if bearers.seen.insert(given.to_vec()) {
                add(&self.counters.provider_tokens);
            }
        }
        credential
    }

    fn answer(&self, seen: ApnsSeen<'_>) -> ApnsAnswer {
        if !self.scripted.load(Ordering::Acquire) {
            return ApnsAnswer::ok();
        }
        self.scripts().answer(seen)
    }
}

/// A good token is looked at again after this long, so that its expiry is seen.
const BEARER_REMEMBERED: Duration = Duration::from_secs(1);
