//! One exchange with a channel: a connection, the request, the answer, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, Uri, response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use pushrelay_push::mpns::StatusHeaders;
use pushrelay_push::{ChannelUri, Outcome, Transport};
use tokio::time::timeout;

use super::pool::{Pool, Sender, Turn};
use super::stats::{Gauge, count};
use super::{MpnsError, MpnsOptions, MpnsRequest, MpnsStats, request};
use crate::retry_after::with_retry_after;

/// A client of all hosts that channels live at. Clones share their connections.
///
/// Needs a tokio runtime.
#[derive(Clone)]
pub struct MpnsClient {
    pool: Arc<Pool>,
}

impl MpnsClient {
    /// Makes a client; opens nothing.
    pub fn new(options: MpnsOptions) -> Result<MpnsClient, MpnsError> {
        Ok(MpnsClient {
            pool: Arc::new(Pool::new(options)?),
        })
    }

    /// Sends one push and says what became of it, within [`MpnsOptions::exchange_timeout`]. Redirects are not followed: they are
    /// an answer that the service does not have.
    ///
    /// Dropping the future cancels the push; whether the service took it is then unknown.
    pub async fn send(&self, request: MpnsRequest) -> Outcome {
        let counters = &self.pool.counters;
        let _in_flight = Gauge::new(&counters.in_flight);
        let mut written = false;
        let exchange = self.exchange(request, &mut written);
        let outcome = match timeout(self.pool.options().exchange_timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome {
                ambiguous: written,
                ..Transport::Timeout.into()
            },
        };
        if outcome.ambiguous {
            count(&counters.ambiguous);
        }
        outcome
    }

    /// What the client has done and holds.
    pub fn stats(&self) -> MpnsStats {
        self.pool.stats()
    }

    async fn exchange(&self, request: MpnsRequest, written: &mut bool) -> Outcome {
        let pool = &self.pool;
        let turn = pool.turn(&request.channel).await;
        let mut message = head(&request);
        loop {
            let reused = pool.reuse(&turn);
            let fresh = reused.is_none();
            let mut sender = match reused {
                Some(sender) => sender,
                None => match pool.connect(&turn, &request.channel).await {
                    Ok(sender) => sender,
                    Err(refusal) => return refusal.outcome(),
                },
            };
            *written = true;
            match sender.try_send_request(message).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let outcome = outcome(&head);
                    self.finish(&turn, sender, body).await;
                    return outcome;
                }
                Err(mut error) => match error.take_message() {
                    // The peer had closed the kept connection; nothing was written, so another one is as good. There are only so many.
                    Some(unsent) if !fresh => {
                        *written = false;
                        message = unsent;
                    }
                    unsent => {
                        return Outcome {
                            ambiguous: unsent.is_none(),
                            ..transport(error.error()).into()
                        };
                    }
                },
            }
        }
    }

    /// Reads the answer to its end, if that is near, so that the connection can be used again.
    async fn finish(&self, turn: &Turn, mut sender: Sender, body: Incoming) {
        let end = async {
            let limited = Limited::new(body, self.pool.options().response_bytes);
            limited.collect().await.is_ok() && sender.ready().await.is_ok()
        };
        if timeout(NEEDLESS_BODY, end).await == Ok(true) {
            self.pool.keep(turn, sender);
        }
    }
}

fn head(request: &MpnsRequest) -> Request<Full<Bytes>> {
    let mut message = Request::new(Full::new(request.body.clone()));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = Uri::from(request.path.clone());
    let headers = message.headers_mut();
    headers.insert(HOST, host(&request.channel));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(request::CONTENT_TYPE),
    );
    if let Some(target) = request.target {
        headers.insert(&TARGET, HeaderValue::from_static(target));
    }
    headers.insert(&CLASS, HeaderValue::from_static(request.class));
    headers.insert(&MESSAGE_ID, request.id.clone());
    message
}

/// `Host`: with brackets around an IPv6 address, without the scheme's own port.
fn host(channel: &ChannelUri) -> HeaderValue {
    let host = channel.host();
    let scheme_port = if channel.is_https() { 443 } else { 80 };
    let text = match (host.contains(':'), channel.port()) {
        (false, port) if port == scheme_port => host.to_owned(),
        (false, port) => format!("{host}:{port}"),
        (true, port) if port == scheme_port => format!("[{host}]"),
        (true, port) => format!("[{host}]:{port}"),
    };
    HeaderValue::try_from(text).expect("a host name stands in a header")
}

fn outcome(head: &response::Parts) -> Outcome {
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let status_headers = StatusHeaders {
        notification: text(&NOTIFICATION_STATUS),
        device_connection: text(&DEVICE_CONNECTION_STATUS),
        subscription: text(&SUBSCRIPTION_STATUS),
    };
    let retry_after = text(&RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
    with_retry_after(
        pushrelay_push::mpns::outcome(head.status.as_u16(), status_headers),
        retry_after.map(Duration::from_secs),
    )
}

/// What an HTTP error means for the push that it ended.
fn transport(error: &hyper::Error) -> Transport {
    if error.is_parse() {
        Transport::Protocol
    } else {
        Transport::Closed
    }
}

static TARGET: HeaderName = HeaderName::from_static("x-windowsphone-target");
static CLASS: HeaderName = HeaderName::from_static("x-notificationclass");
static MESSAGE_ID: HeaderName = HeaderName::from_static("x-messageid");
static NOTIFICATION_STATUS: HeaderName = HeaderName::from_static("x-notificationstatus");
static DEVICE_CONNECTION_STATUS: HeaderName = HeaderName::from_static("x-deviceconnectionstatus");
static SUBSCRIPTION_STATUS: HeaderName = HeaderName::from_static("x-subscriptionstatus");

/// How long the end of a body that nobody needs is waited for.
const NEEDLESS_BODY: Duration = Duration::from_millis(250);
