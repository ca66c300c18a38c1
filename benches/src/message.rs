//! The MESSAGE that the generator sends, as prepared bytes, and as much of an answer as it has to read.
//!
//! Not a SIP parser: it knows the answers of the relay and of the floor, and takes everything else for a fault.

use std::ops::Range;

use memchr::memmem::Finder;
use pushrelay_peers::world::{EDGE_DOMAIN, TOPIC};

/// A MESSAGE as a Lync site would send it through its Edge, with one Apple target. Only its number changes.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    /// Where the number stands, as [`DIGITS`] hexadecimal digits.
    numbers: Vec<usize>,
    /// How the Call-IDs begin.
    run: Finder<'static>,
}

/// A number of 64 bits.
const DIGITS: usize = 16;

/// What stands for the number while the template is made: no other part of it has these characters.
const PLACE: &str = "@@@@@@@@@@@@@@@@";

/// The Request-URI, which the relay's configuration has as its own.
const ADDRESS: &str = "sip:push@push.example.org";

impl Template {
    /// A MESSAGE whose body has this many octets. `run` keeps the Call-IDs of two generators apart.
    ///
    /// # Panics
    /// When `body_octets` is less than a push needs, some 400.
    pub fn new(body_octets: usize, run: u64) -> Template {
        Template::of_domain(EDGE_DOMAIN, body_octets, run)
    }

    /// The same from a user of another domain.
    ///
    /// # Panics
    /// As [`Template::new`].
    pub fn of_domain(domain: &str, body_octets: usize, run: u64) -> Template {
        let token = "5ca1ab1e".repeat(6);
        let phone = format!(r#"{{"service":"apns","token":"{token}{PLACE}","app":"{TOPIC}"}}"#);
        Template::to(&phone, domain, body_octets, run)
    }

    /// The same to a Windows Phone whose channel URI begins so.
    ///
    /// # Panics
    /// As [`Template::new`].
    pub fn to_windows_phone(channel: &str, body_octets: usize, run: u64) -> Template {
        let phone = format!(r#"{{"service":"mpns","uri":"{channel}{PLACE}"}}"#);
        Template::to(&phone, EDGE_DOMAIN, body_octets, run)
    }

    fn to(target: &str, domain: &str, body_octets: usize, run: u64) -> Template {
        let body = body(target, domain, body_octets);
        let head = format!(
            "MESSAGE {ADDRESS} SIP/2.0\r\n\
             Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK{PLACE};branched=FALSE\r\n\
             Record-Route: <sip:sip.{domain}:5061;transport=tls;lr;ms-route-sig=aaUR7Gh3pQfTz0yXw9k1>\r\n\
             Max-Forwards: 68\r\n\
             Via: SIP/2.0/TLS 10.0.0.21:50321;branch=z9hG4bKC45BE092.1A435385;branched=FALSE;ms-received-port=50321;ms-received-cid=200\r\n\
             Via: SIP/2.0/TLS 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00\r\n\
             From: \"Kim Akers\"<sip:kima@{domain}>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
             To: <{ADDRESS}>\r\n\
             Call-ID: {run:016x}{PLACE}\r\n\
             CSeq: 1 MESSAGE\r\n\
             User-Agent: RTCC/5.0.0.0 McxService/5.0.0.0\r\n\
             P-Asserted-Identity: \"Kim Akers\"<sip:kima@{domain}>\r\n\
             Content-Type: application/vnd.pushrelay+json; v=1\r\n\
             Content-Length: {body_octets}\r\n\r\n"
        );
        let bytes = format!("{head}{body}").into_bytes();
        let numbers = Finder::new(PLACE).find_iter(&bytes).collect();
        let run = Finder::new(&format!("{run:016x}")).into_owned();
        Template {
            bytes,
            numbers,
            run,
        }
    }

    /// The numbers of those of its MESSAGEs whose Call-IDs stand in `bytes`, wherever.
    pub fn numbers_in<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
        let call_ids = self.run.find_iter(bytes);
        call_ids.filter_map(|at| number(&bytes[at..], DIGITS..2 * DIGITS, 16))
    }

    /// The MESSAGE with this number.
    pub fn message(&self, number: u64) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.bytes.len());
        self.write(number, &mut message);
        message
    }

    /// Appends the MESSAGE with this number.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let digits = hexadecimal(number);
        for at in &self.numbers {
            out[start + at..][..DIGITS].copy_from_slice(&digits);
        }
    }
}

/// A push to one device, its text as long as it takes.
fn body(target: &str, domain: &str, octets: usize) -> String {
    let start = format!(
        "{{\"v\":1,\"event\":\"im.message\",\"ttl\":3600,\
         \"targets\":[{target}],\
         \"from\":{{\"uri\":\"sip:kima@{domain}\",\"name\":\"Kim Akers\"}},\
         \"badge\":3,\"sound\":\"default\",\"thread\":\"conv-42\",\
         \"alert\":{{\"title\":\"Kim Akers\",\"body\":\""
    );
    let end = "\"}}";
    let text = "Are you there? ";
    let room = octets.checked_sub(start.len() + end.len());
    let room = room.expect("a body has room for a push");
    let filler: String = text.chars().cycle().take(room).collect();
    format!("{start}{filler}{end}")
}

fn hexadecimal(number: u64) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (4 * (DIGITS - 1 - at))) & 0xf;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
    digits
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The number of the MESSAGE that it answers.
    pub number: u64,
}

/// Finds answers in a stream of bytes.
pub struct Answers {
    end: Finder<'static>,
    call_id: Finder<'static>,
    empty: Finder<'static>,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers {
            end: Finder::new("\r\n\r\n"),
            call_id: Finder::new("\r\nCall-ID: "),
            empty: Finder::new("\r\nContent-Length: 0\r\n"),
        }
    }
}

impl Answers {
    /// The first answer in `bytes` and its length; `None` while it is not all there.
    pub fn first(&self, bytes: &[u8]) -> anyhow::Result<Option<(Answer, usize)>> {
        let Some(end) = self.end.find(bytes) else {
            return Ok(None);
        };
        let length = end + 4;
        let head = &bytes[..length];
        let answer = self.read(head);
        let answer = answer.ok_or_else(|| {
            anyhow::anyhow!("not an answer to us: {:?}", String::from_utf8_lossy(head))
        })?;
        Ok(Some((answer, length)))
    }

    fn read(&self, head: &[u8]) -> Option<Answer> {
        self.empty.find(head)?;
        let status = number(head.strip_prefix(b"SIP/2.0 ")?, 0..3, 10)?;
        let call_id = self.call_id.find(head)? + "\r\nCall-ID: ".len();
        Some(Answer {
            status: u16::try_from(status).ok()?,
            number: number(&head[call_id..], DIGITS..2 * DIGITS, 16)?,
        })
    }
}

/// The number of the MESSAGE that names this device token.
pub fn number_of_token(token: &str) -> Option<u64> {
    let digits = token.as_bytes().get(token.len().checked_sub(DIGITS)?..)?;
    number(digits, 0..DIGITS, 16)
}

fn number(bytes: &[u8], range: Range<usize>, radix: u32) -> Option<u64> {
    let digits = std::str::from_utf8(bytes.get(range)?).ok()?;
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_body_has_the_octets_that_were_asked_for_and_is_json() {
        let message = Template::new(1024, 7).message(0xfeed);
        let text = String::from_utf8(message).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nContent-Length: 1024"));
        assert_eq!(body.len(), 1024);
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let token = body["targets"][0]["token"].as_str().unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(number_of_token(token), Some(0xfeed));
        let template = Template::new(1024, 7);
        let numbers: Vec<u64> = template.numbers_in(text.as_bytes()).collect();
        assert_eq!(numbers, [0xfeed]);
    }

    #[test]
    fn the_number_of_a_message_comes_back_from_its_answer() {
        let message = Template::new(1024, 7).message(0x0123_4567_89ab_cdef);
        let text = String::from_utf8(message).unwrap();
        let call_id = text
            .lines()
            .find(|line| line.starts_with("Call-ID"))
            .unwrap();
        let answer = format!("SIP/2.0 503 Busy\r\n{call_id}\r\nContent-Length: 0\r\n\r\nSIP/2.0");
        let expected = Answer {
            status: 503,
            number: 0x0123_4567_89ab_cdef,
        };
        let found = Answers::default().first(answer.as_bytes()).unwrap();
        assert_eq!(found, Some((expected, answer.len() - "SIP/2.0".len())));
    }

    #[test]
    fn half_an_answer_is_waited_for_and_a_foreign_one_is_a_fault() {
        let answers = Answers::default();
        assert_eq!(answers.first(b"SIP/2.0 200 OK\r\n").unwrap(), None);
        assert!(answers.first(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
