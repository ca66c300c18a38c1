//! The server side of SIP over a stream: framing, header reading and the transactions of one peer, as plain values.
//!
//! Not here: sockets, clocks, randomness, async, dialogs, a client side, and what a MESSAGE means. Bytes, the time and a
//! seed are arguments; what is to be done comes out of [`Connection::poll_output`].
//!
//! ```
//! use std::time::Instant;
//! use pushrelay_sip::{Answer, Connection, Limits, Output};
//!
//! let peer = ([192, 0, 2, 10], 49812).into();
//! let now = Instant::now();
//! let mut connection = Connection::new(Limits::default(), peer, 7);
//! connection.receive(
//!     b"OPTIONS sip:push.example.org SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.10;branch=z9hG4bK1\r\n\
//!       From: <sip:a@contoso.example>;tag=1\r\nTo: <sip:push.example.org>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
//!       Content-Length: 0\r\n\r\n",
//!     now,
//! );
//! while let Some(output) = connection.poll_output() {
//!     match output {
//!         Output::Request(request) => connection.respond(request.key(), &Answer::options(), now),
//!         Output::Transmit(bytes) => assert!(bytes.starts_with(b"SIP/2.0 200 OK\r\n")),
//!         Output::Refused { .. } | Output::Close(_) => unreachable!("the request is well framed"),
//!     }
//! }
//! ```

mod answer;
mod connection;
mod decoder;
mod fault;
mod field;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod lex;
mod limits;
mod message;
mod name_addr;
mod params;
mod request;
mod transactions;
mod uri;
mod via;

pub use answer::Answer;
pub use connection::{CloseReason, Connection, Counts, Output};
pub use decoder::{Decoder, Frame, FramingError, Refusal};
pub use fault::Fault;
pub use limits::Limits;
pub use message::Message;
pub use name_addr::{NameAddr, NameAddrs};
pub use params::{Param, Params};
pub use request::Request;
pub use transactions::TransactionKey;
pub use uri::{SipUri, SipUriError};
pub use via::Via;
