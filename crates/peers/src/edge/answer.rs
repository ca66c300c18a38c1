//! Answers as the Access Edge reads them.

use bytes::{Bytes, BytesMut};

/// One SIP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipAnswer {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub phrase: String,
    /// Names and values in their order, as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl SipAnswer {
    /// The value of the first field of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// The values of all fields of this name.
    pub fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = move |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        let values: Vec<&str> = (self.headers.iter().filter(named))
            .map(|(_, value)| value.as_str())
            .collect();
        values.into_iter()
    }

    /// The reason in `ms-diagnostics-public`, unescaped.
    pub fn reason(&self) -> Option<String> {
        let value = self.header("ms-diagnostics-public")?;
        let (_, quoted) = value.split_once("reason=\"")?;
        let mut reason = String::new();
        let mut characters = quoted.chars();
        loop {
            match characters.next()? {
                '"' => return Some(reason),
                '\\' => reason.push(characters.next()?),
                other => reason.push(other),
            }
        }
    }

    /// The number in CSeq.
    pub fn cseq(&self) -> Option<u32> {
        self.header("CSeq")?.split_whitespace().next()?.parse().ok()
    }

    /// The tag in To.
    pub fn to_tag(&self) -> Option<&str> {
        let (_, rest) = self.header("To")?.split_once(";tag=")?;
        rest.split(';').next()
    }

    /// Takes one answer off the front of `buffer`; `None` while it is not complete.
    pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<SipAnswer>, String> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&buffer[..end]).map_err(|_| "a head that is not UTF-8")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default();
        let rest = (start.strip_prefix("SIP/2.0 ")).ok_or("a start line that is no response's")?;
        let (status, phrase) = rest
            .split_once(' ')
            .ok_or("a status line without a phrase")?;
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line
                .split_once(':')
                .ok_or("a header line without a colon")?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let mut answer = SipAnswer {
            status: status.parse().map_err(|_| "a status that is no number")?,
            phrase: phrase.to_owned(),
            headers,
            body: Bytes::new(),
        };
        let length = answer
            .header("Content-Length")
            .ok_or("an answer without Content-Length")?;
        let length: usize = length
            .parse()
            .map_err(|_| "a Content-Length that is no number")?;
        if buffer.len() < end + 4 + length {
            return Ok(None);
        }
        let mut whole = buffer.split_to(end + 4 + length).freeze();
        answer.body = whole.split_off(end + 4);
        Ok(Some(answer))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GONE: &str = "SIP/2.0 410 Gone\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nVIA: SIP/2.0/TLS b\r\n\
        To: <sip:push@push.example.org>;tag=77;x=y\r\nCSeq: 4 MESSAGE\r\n\
        ms-diagnostics-public: 2;reason=\"Apple: \\\"Unregistered\\\"\"\r\nContent-Length: 2\r\n\r\nhi";

    #[test]
    fn an_answer_is_taken_when_it_is_complete() {
        for cut in 0..GONE.len() {
            let mut buffer = BytesMut::from(&GONE[..cut]);
            assert_eq!(SipAnswer::take(&mut buffer), Ok(None));
        }
        let mut buffer = BytesMut::from(format!("{GONE}{GONE}SIP").as_str());
        for _ in 0..2 {
            let answer = SipAnswer::take(&mut buffer).unwrap().unwrap();
            assert_eq!((answer.status, &*answer.phrase), (410, "Gone"));
            assert_eq!(answer.headers("via").count(), 2);
            assert_eq!(answer.to_tag(), Some("77"));
            assert_eq!(answer.cseq(), Some(4));
            assert_eq!(answer.reason().as_deref(), Some("Apple: \"Unregistered\""));
            assert_eq!(answer.body, "hi");
        }
        assert_eq!(buffer, "SIP");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            "MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 0\r\n\r\n",
            "SIP/2.0 200 OK\r\nCSeq: 1 MESSAGE\r\n\r\n",
            "SIP/2.0 two OK\r\nContent-Length: 0\r\n\r\n",
            "SIP/2.0 200 OK\r\nContent-Length: none\r\n\r\n",
            "SIP/2.0 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(
                SipAnswer::take(&mut BytesMut::from(wrong)).is_err(),
                "{wrong}"
            );
        }
    }
}
