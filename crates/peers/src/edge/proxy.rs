//! The header that a TLS terminator puts before a connection: PROXY protocol version 2, as HAProxy composes it.

use std::net::SocketAddr;

/// What a terminator says of a client. Every field may be changed; [`ProxyHeader::of`] is a client that all is well with.
#[derive(Clone, Debug)]
pub struct ProxyHeader {
    /// PROXY (1), or LOCAL (0): a health check.
    pub command: u8,
    /// Where the client connects from.
    pub client: SocketAddr,
    /// 1: TLS, 2: a certificate on this connection, 4: in this session.
    pub flags: u8,
    /// 0, or OpenSSL's number of what is wrong with the certificate.
    pub verify: u32,
    /// PP2_SUBTYPE_SSL_CN.
    pub common_name: Option<Vec<u8>>,
    /// Further elements inside PP2_TYPE_SSL.
    pub inner: Vec<(u8, Vec<u8>)>,
    /// Further elements beside it.
    pub outer: Vec<(u8, Vec<u8>)>,
}

impl ProxyHeader {
    /// A client with a verified certificate of this common name.
    pub fn of(common_name: &str) -> ProxyHeader {
        ProxyHeader {
            command: 1,
            client: SocketAddr::from(([198, 51, 100, 7], 50112)),
            flags: 7,
            verify: 0,
            common_name: Some(common_name.as_bytes().to_vec()),
            inner: Vec::new(),
            outer: Vec::new(),
        }
    }

    /// The octets.
    ///
    /// # Panics
    /// When the elements are longer than 64 KiB.
    pub fn encode(&self) -> Vec<u8> {
        let (family, mut rest) = self.addresses();
        let mut tls = vec![self.flags];
        tls.extend(self.verify.to_be_bytes());
        element(&mut tls, 0x21, b"TLSv1");
        if let Some(name) = &self.common_name {
            element(&mut tls, 0x22, name);
        }
        for (kind, value) in &self.inner {
            element(&mut tls, *kind, value);
        }
        element(&mut rest, 0x20, &tls);
        for (kind, value) in &self.outer {
            element(&mut rest, *kind, value);
        }
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | self.command, family]);
        header.extend(length(&rest));
        header.extend(rest);
        header
    }

    /// Family and addresses; the destination does not matter here.
    fn addresses(&self) -> (u8, Vec<u8>) {
        let port = self.client.port().to_be_bytes();
        match (self.command, self.client) {
            (0, _) => (0, Vec::new()),
            (_, SocketAddr::V4(client)) => {
                let ip = client.ip().octets();
                (
                    0x11,
                    [&ip[..], &[127, 0, 0, 1], &port, &[0x13, 0xc6]].concat(),
                )
            }
            (_, SocketAddr::V6(client)) => {
                let ip = client.ip().octets();
                (0x21, [&ip[..], &[0; 16], &port, &[0x13, 0xc6]].concat())
            }
        }
    }
}

fn element(into: &mut Vec<u8>, kind: u8, value: &[u8]) {
    into.push(kind);
    into.extend(length(value));
    into.extend(value);
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len())
        .expect("an element has 64 KiB at most")
        .to_be_bytes()
}
