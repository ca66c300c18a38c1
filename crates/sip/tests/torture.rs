//! Our own messages for the rules of RFC 4475, section by section, as a server of MESSAGE and OPTIONS meets them.
//!
//! Each is a whole stream. What is well framed is answered and the connection goes on.
#![allow(clippy::unwrap_used)]

mod peer;

use peer::{Peer, Response};
use pushrelay_sip::Answer;

/// Plays a stream; a request without fault is answered 200.
fn play(stream: &[u8]) -> (Vec<Response>, Peer) {
    let mut peer = Peer::new();
    peer.send(stream).answer_all(&Answer::ok());
    (peer.take_answers(), peer)
}

/// The stream is one request, answered with this status, and the connection stays.
#[track_caller]
fn answered(stream: impl AsRef<[u8]>, status: u16) -> Response {
    let (mut answers, peer) = play(stream.as_ref());
    assert_eq!(answers.len(), 1);
    assert_eq!(peer.closed, None);
    assert_eq!(answers[0].status, status, "{}", answers[0].text);
    answers.remove(0)
}

/// The stream loses its framing: answered with this status, then closed.
#[track_caller]
fn refused(stream: &str, status: u16) {
    let (answers, peer) = play(stream.as_bytes());
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>(),
        [status]
    );
    assert!(peer.closed.is_some() && peer.requests.is_empty());
}

/// The stream is dropped without a word, and the connection stays.
#[track_caller]
fn dropped(stream: impl AsRef<[u8]>) {
    let (answers, peer) = play(stream.as_ref());
    assert!(answers.is_empty() && peer.closed.is_none());
    assert_eq!(peer.connection.counts().responses_dropped, 1);
}

/// A head of the usual headers behind this start line; `more` lines, each with its end, come last.
fn head(start: &str, more: &str) -> String {
    let method = start.split(' ').next().unwrap();
    format!(
        "{start}\r\nVia: SIP/2.0/TLS edge.contoso.example:5061;branch=z9hG4bKw1\r\nMax-Forwards: 66\r\n\
         From: <sip:ada@contoso.example>;tag=a1\r\nTo: <sip:push@push.example.org>\r\nCall-ID: w1\r\n\
         CSeq: 17 {method}\r\n{more}\r\n"
    )
}

fn options(more: &str) -> String {
    head("OPTIONS sip:push.example.org SIP/2.0", more)
}

#[test]
fn s3_1_1_1_a_valid_request_in_its_most_tortuous_form() {
    let answer = answered(
        "OPTIONS sip:push@push.example.org;unknownparam SIP/2.0\r\nTO :\r\n sip:push@push.example.org ;   tagless   = 18\r\n\
         from   : \"A Lovelace \\\\\\\"\"       <sip:ada@contoso.example>\r\n  ;\r\n  tag = 98a\r\nMaX-fOrWaRdS: 0068\r\n\
         Call-ID: w@192.0.2.1\r\nContent-Length   : 5\r\ncseq: 0009\r\n  OPTIONS\r\nVia  : SIP  /   2.0\r\n /TLS\r\n    \
         192.0.2.2;branch=390skdjuw\r\ns :\r\nNewFangled:   value\r\n continued value\r\nStrange: ;;,,;;,;\r\n\
         Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n\
         v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n \
         SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
         m:\"Quoted string \\\"\\\"\" <sip:ada@contoso.example> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\
         \r\nhello",
        200,
    );
    assert_eq!(answer.one("CSeq"), "0009  OPTIONS");
    assert_eq!(answer.all("Via").len(), 2);
    assert_eq!(
        answer.all("Via")[0],
        "SIP  /   2.0 /TLS    192.0.2.2;branch=390skdjuw;received=192.0.2.10"
    );
}

#[test]
fn s3_1_1_2_every_character_that_is_allowed_somewhere() {
    let mut stream = b"!odd-Method0123456789_*+`.%indeed'~ sip:1_odd~(to-be!sure)&isn't+it$/crazy?,/;;*:&x=1,y!*z$w~_(t)@push.example.org SIP/2.0\r\n\
        Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\nTo: \"BEL:\\\x07 NUL:\\\0 DEL:\\\x7f\" <sip:1_odd@push.example.org>\r\n\
        From: token1~` token2'+_ token3*%!.- <sip:plain@contoso.example>;fromParam''~+*_!.-%=\"".to_vec();
    stream.extend("работающий".bytes());
    stream.extend(b"\";tag=_token~1'+`*%!-.\r\nCall-ID: odd.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n\
        CSeq: 139122385 !odd-Method0123456789_*+`.%indeed'~\r\nMax-Forwards: 255\r\nextensionHeader-!.%*+_`'~:\xef\xbb\xbf\r\nContent-Length: 0\r\n\r\n");
    let answer = answered(stream, 405);
    assert_eq!(
        answer.one("CSeq"),
        "139122385 !odd-Method0123456789_*+`.%indeed'~"
    );
}

#[test]
fn s3_1_1_3_and_4_escapes_are_carried_and_nothing_ends_at_an_escaped_nul() {
    answered(
        head(
            "OPTIONS sip:sips%3Auser%40example.com@push.example.org SIP/2.0",
            "l: 0\r\n",
        ),
        200,
    );
    let answer = answered(
        options("l: 0\r\n").replace("sip:push@", "sip:null-%00-null@"),
        200,
    );
    assert!(
        answer
            .one("To")
            .starts_with("<sip:null-%00-null@push.example.org>;tag=")
    );
}

#[test]
fn s3_1_1_5_a_percent_sign_in_a_method_is_itself() {
    assert_eq!(
        answered(
            head("OP%54IONS sip:push.example.org SIP/2.0", "l: 0\r\n"),
            405
        )
        .one("CSeq"),
        "17 OP%54IONS"
    );
}

#[test]
fn s3_1_1_6_no_space_between_name_and_bracket() {
    answered(options("l: 0\r\n").replace("From: <", "From: ada<"), 200);
}

#[test]
fn s3_1_1_7_long_values() {
    let long = "long".repeat(1000);
    let vias: String = (1..=34)
        .map(|n| format!("v: SIP/2.0/TCP sip{n}.example.com\r\n"))
        .collect();
    let more = format!(
        "Unknown-{long}: unknown-{long}-value; unknown-{long}-parameter-name = x\r\n{vias}l: 0\r\n"
    );
    let stream = options(&more)
        .replace("ada@", &format!("{long}@"))
        .replace("w1\r\nC", &format!("{long}\r\nC"));
    assert_eq!(answered(stream, 200).all("Via").len(), 35);
}

#[test]
fn s3_1_1_8_what_follows_a_message_is_the_next_one() {
    let next =
        head("MESSAGE sip:push@push.example.org SIP/2.0", "l: 2\r\n").replace("w1", "w2") + "hi";
    let (answers, peer) = play((options("l: 0\r\n") + "\r\n" + &next).as_bytes());
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>(),
        [200, 200]
    );
    assert_eq!(peer.closed, None);
}

#[test]
fn s3_1_1_9_semicolons_in_the_user_part() {
    answered(
        head(
            "OPTIONS sip:user;par=u%40example.net@push.example.org SIP/2.0",
            "l: 0\r\n",
        ),
        200,
    );
}

#[test]
fn s3_1_1_10_transports_of_all_kinds_come_back_in_order() {
    let more = "Via: SIP/2.0/SCTP t2\r\nVia: SIP/2.0/UDP t3\r\nVia: SIP/2.0/UNKNOWN t4\r\nVia: SIP/2.0/TCP t5\r\nl: 0\r\n";
    let answer = answered(options(more), 200);
    assert_eq!(
        answer.all("Via")[1..],
        [
            "SIP/2.0/SCTP t2",
            "SIP/2.0/UDP t3",
            "SIP/2.0/UNKNOWN t4",
            "SIP/2.0/TCP t5"
        ]
    );
}

#[test]
fn s3_1_1_11_a_multipart_body_of_any_bytes() {
    let body =
        b"--b\r\nContent-Length: 99\r\n\r\n\0\n\r\xff MESSAGE sip:x SIP/2.0\r\n\r\n--b--\r\n";
    let more = format!(
        "Content-Type: multipart/mixed;boundary=b\r\nContent-Length: {}\r\n",
        body.len()
    );
    let stream = [
        head("MESSAGE sip:push@push.example.org SIP/2.0", &more).as_bytes(),
        body,
    ]
    .concat();
    let mut peer = Peer::new();
    peer.send(&stream);
    assert_eq!(&peer.requests[0].body()[..], body);
    answered(stream, 200);
}

#[test]
fn s3_1_1_12_and_13_odd_reason_phrases_are_dropped_with_their_response() {
    dropped(
        "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое\r\nVia: SIP/2.0/UDP h\r\nl: 3\r\n\r\nabc",
    );
    dropped("SIP/2.0 100 \r\nVia: SIP/2.0/UDP h\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn s3_1_2_1_extra_separators() {
    answered(
        options("l: 0\r\n").replace(";branch=z9hG4bKw1", ";;,;,,"),
        400,
    );
}

#[test]
fn s3_1_2_2_a_body_shorter_than_its_length_is_waited_for() {
    let (answers, peer) = play((options("l: 9999\r\n") + "v=0\r\n").as_bytes());
    assert!(answers.is_empty() && peer.closed.is_none());
    assert!(peer.connection.poll_timeout().is_some(), "not for ever");
}

#[test]
fn s3_1_2_3_a_negative_length() {
    refused(&options("Content-Length: -999\r\n"), 400);
}

#[test]
fn s3_1_2_4_numbers_that_overflow() {
    answered(
        options("l: 0\r\n").replace("17 ", "36893488147419103232 "),
        400,
    );
    answered(options("l: 0\r\n").replace("66", "300"), 400);
    answered(
        options(
            "l: 0\r\nExpires: 1000000000000000000000000000\r\nContact: <sip:a@b>;expires=280297596632815\r\n",
        ),
        200,
    );
}

#[test]
fn s3_1_2_5_and_19_numbers_in_responses_that_overflow() {
    dropped(
        "SIP/2.0 503 No\r\nCSeq: 9292394834772304023312 OPTIONS\r\nRetry-After: 949302838503028349304023988\r\nl: 0\r\n\r\n",
    );
    dropped("SIP/2.0 4294967301 better not break the receiver\r\nl: 0\r\n\r\n");
}

#[test]
fn s3_1_2_6_a_quote_that_is_never_closed() {
    answered(
        options("l: 0\r\n").replace("To: <", "To: \"Mr. J. User <"),
        400,
    );
}

#[test]
fn s3_1_2_7_to_11_request_lines_that_are_wrong() {
    for line in [
        "OPTIONS <sip:push.example.org> SIP/2.0",
        "OPTIONS sip:push.example.org; lr SIP/2.0",
        "OPTIONS  sip:push.example.org  SIP/2.0",
        "OPTIONS sip:push.example.org SIP/2.0  ",
        "OPTIONS sip:push.example.org?Route=%3Csip:example.com%3E SIP/2.0",
    ] {
        answered(head(line, "l: 0\r\n"), 400);
    }
}

#[test]
fn s3_1_2_12_a_date_that_is_none_is_not_our_business() {
    answered(
        options("Date: Fri, 01 Jan 2010 16:00:00 EST\r\nl: 0\r\n"),
        200,
    );
}

#[test]
fn s3_1_2_13_a_contact_that_cannot_be_read_is_not_our_business_either() {
    answered(
        options("Contact: sip:a@b?Route=%3Csip:sip.example.com%3E\r\nl: 0\r\n"),
        200,
    );
    answered(
        options("l: 0\r\n").replace(
            "From: <sip:ada@contoso.example>",
            "From: sip:ada@contoso.example?x=y",
        ),
        400,
    );
}

#[test]
fn s3_1_2_14_and_15_addresses_that_are_nearly_right() {
    answered(
        options("l: 0\r\n").replace(
            "To: <sip:push@push.example.org>",
            "To: \"T\" < sip:push@push.example.org >",
        ),
        400,
    );
    answered(
        options("l: 0\r\n").replace("From: <", "From: Lovelace, Ada <"),
        400,
    );
}

#[test]
fn s3_1_2_16_another_version() {
    answered(
        options("l: 0\r\n")
            .replace("SIP/2.0\r\n", "SIP/7.0\r\n")
            .replace("SIP/2.0/TLS", "SIP/7.0/TLS"),
        505,
    );
}

#[test]
fn s3_1_2_17_and_18_a_cseq_of_another_method() {
    answered(options("l: 0\r\n").replace("17 OPTIONS", "17 INVITE"), 400);
    answered(
        head("NEWMETHOD sip:push.example.org SIP/2.0", "l: 0\r\n")
            .replace("17 NEWMETHOD", "17 INVITE"),
        400,
    );
}

#[test]
fn s3_2_1_the_bare_cookie_is_no_transaction_id() {
    answered(options("l: 0\r\n").replace("z9hG4bKw1", "z9hG4bK"), 200);
}

#[test]
fn s3_3_1_headers_that_are_missing() {
    let answer = answered(
        "OPTIONS sip:push.example.org SIP/2.0\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP 192.0.2.95\r\nl: 0\r\n\r\n",
        400,
    );
    assert_eq!(
        answer.one("ms-diagnostics-public"),
        "2;reason=\"From: missing\""
    );
}

#[test]
fn s3_3_2_to_4_schemes() {
    answered(
        head(
            "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0",
            "l: 0\r\n",
        ),
        416,
    );
    answered(
        head("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", "l: 0\r\n"),
        416,
    );
    let odd = options("l: 0\r\nContact: <name:Ada>\r\n")
        .replace("<sip:push@push.example.org>", "isbn:2983792873");
    answered(
        odd.replace("<sip:ada@contoso.example>", "<http://www.example.com>"),
        200,
    );
}

#[test]
fn s3_3_5_extensions_that_are_required() {
    let more = "Require: nothingSupportsThis, nothingSupportsThisEither\r\nProxy-Require: noProxiesSupportThis\r\nl: 0\r\n";
    assert_eq!(
        answered(options(more), 420).one("Unsupported"),
        "nothingSupportsThis, nothingSupportsThisEither"
    );
}

#[test]
fn s3_3_6_and_7_content_types_and_authorization_are_for_whoever_reads_the_body() {
    answered(
        options("Content-Type: application/unknownformat\r\nl: 2\r\n") + "ab",
        200,
    );
    answered(
        options("Authorization: NoOneKnowsThisScheme opaque-data=here\r\nl: 0\r\n"),
        200,
    );
}

#[test]
fn s3_3_8_headers_that_may_stand_once_and_stand_twice() {
    for line in [
        "CSeq: 59 OPTIONS",
        "Call-ID: w2",
        "To: <sip:other@example.net>",
        "From: <sip:a@b>;tag=2",
        "Max-Forwards: 5",
    ] {
        answered(options(&format!("{line}\r\nl: 0\r\n")), 400);
    }
}

#[test]
fn s3_3_9_two_content_lengths() {
    refused(
        &(options("Content-Length: 13\r\nContent-Length: 5\r\n") + "There's no way to know"),
        400,
    );
}

#[test]
fn s3_3_10_a_response_to_a_broadcast_address() {
    dropped(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.198\r\nVia: SIP/2.0/UDP 255.255.255.255\r\nl: 0\r\n\r\n",
    );
}

#[test]
fn s3_3_11_max_forwards_of_zero() {
    answered(options("l: 0\r\n").replace("66", "0"), 200);
}

#[test]
fn s3_3_12_to_15_contact_parameters_and_accept_mean_nothing_here() {
    answered(
        options("Contact: sip:+19725552222@gw1.example.net;unknownparam\r\nl: 0\r\n"),
        200,
    );
    answered(
        options("m: <sip:+19725552222@gw1.example.net;unknownparam>\r\nl: 0\r\n"),
        200,
    );
    answered(
        options("M: <sip:a@b?Route=%3Csip:sip.example.com%3E>\r\nL:0\r\n"),
        200,
    );
    answered(options("Accept: text/nobodyKnowsThis\r\nl: 0\r\n"), 200);
}

#[test]
fn s3_4_1_an_rfc_2543_request_needs_a_content_length_on_a_stream() {
    let old = "MESSAGE sip:push@push.example.org SIP/2.0\r\nVia: SIP/2.0/UDP gw.example.com\r\n\
               From: <sip:+13035551111@ift.client.example.net;user=phone>\r\nTo: sip:push@push.example.org;user=phone\r\n\
               Call-ID: 1717@ift\r\nCSeq: 56 MESSAGE\r\n";
    refused(&format!("{old}\r\n"), 400);
    answered(format!("{old}l: 0\r\n\r\n"), 200);
}

#[test]
fn a_request_line_without_a_version_and_without_via() {
    answered(
        "OPTIONS sip:push.example.org\r\nTO : push@push.example.org\r\nFoobar roobar\r\nContent-Length: 2\r\n\r\nab",
        400,
    );
}
