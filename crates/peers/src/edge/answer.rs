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
