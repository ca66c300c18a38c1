//! The header of PROXY protocol version 2: what a TLS terminator on this machine says of the client behind a connection.
//!
//! Pure: bytes in, a value out. Not here: the socket that they come from (`listener`), and whose name it is (`partners`).
//! `deploy/haproxy/README.md` has what HAProxy sends for which certificate, measured.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What every header begins with: signature, version and command, family, length of the rest.
pub(crate) const FIXED_BYTES: usize = 16;

/// The most that may follow. HAProxy makes a header in one buffer, which has 16 KiB as it comes; a certificate has some two.
const REST_BYTES: usize = 16 * 1024;

/// What the operator lets a terminator say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Whether verify result 26, *unsuitable certificate purpose*, is good: OpenSSL wants clientAuth of a client, and most
    /// Access Edges have a certificate for serverAuth only.
    pub(crate) any_purpose: bool,
    /// The type in which the terminator sends the whole certificate as base64, where it cannot send
    /// PP2_SUBTYPE_SSL_CLIENT_CERT. HAProxy cuts a value of its own making at the first zero byte, so it can send no DER.
    pub(crate) certificate_type: Option<u8>,
}

/// A client whose certificate the terminator has verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client<'a> {
    /// Where it connects from.
    pub(crate) address: SocketAddr,
    /// The common name, as its bytes stand in the certificate; `None` where the subject has none.
    pub(crate) common_name: Option<&'a [u8]>,
    /// The certificate, DER, where the terminator sends it.
    pub(crate) certificate: Option<Cow<'a, [u8]>>,
}

/// Why nothing is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    /// Somebody else is at the other end, or the terminator is set up otherwise.
    #[error("no PROXY protocol version 2 header: {0}")]
    Malformed(&'static str),
    /// The terminator speaks for itself.
    #[error(
        "a health check of the terminator (command LOCAL), which means nothing here: take `check` from its server line"
    )]
    HealthCheck,
    /// The client is nobody.
    #[error("{client} has shown no certificate: flags {flags:#04x} of PP2_TYPE_SSL, expected 0x07")]
    NoCertificate {
        /// Where it connects from.
        client: SocketAddr,
        /// The flags of PP2_TYPE_SSL; 0 where there is none.
        flags: u8,
    },
    /// The certificate is not good.
    #[error(
        "the certificate of {client} was verified with result {result}, expected 0, or 26 where accept_any_purpose is set"
    )]
    Unverified {
        /// Where it connects from.
        client: SocketAddr,
        /// OpenSSL's number.
        result: u32,
    },
}

/// How many bytes follow these.
pub(crate) fn rest(fixed: &[u8; FIXED_BYTES]) -> Result<usize, Distrust> {
    if !fixed.starts_with(SIGNATURE) {
        return Err(Distrust::Malformed("it begins otherwise"));
    }
    if fixed[12] >> 4 != 2 {
        return Err(Distrust::Malformed("another version"));
    }
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > REST_BYTES {
        return Err(Distrust::Malformed("longer than 16 KiB"));
    }
    Ok(length)
}

impl Trust {
    /// Reads a header: its beginning, and as much as [`rest`] said.
    pub(crate) fn read<'a>(
        &self,
        fixed: &[u8; FIXED_BYTES],
        rest: &'a [u8],
    ) -> Result<Client<'a>, Distrust> {
        match fixed[12] & 0x0f {
            COMMAND_PROXY => {}
            COMMAND_LOCAL => return Err(Distrust::HealthCheck),
            _ => return Err(Distrust::Malformed("an unknown command")),
        }
        let (client, tlvs) = client_address(fixed[13], rest)?;
        let tls = only(tlvs, TYPE_SSL)?.ok_or(Distrust::NoCertificate { client, flags: 0 })?;
        let Some(([flags, verify @ ..], inner)) = tls.split_first_chunk::<5>() else {
            return Err(Distrust::Malformed("PP2_TYPE_SSL is too short"));
        };
        // The result alone means nothing: HAProxy writes 0 where there is no certificate, too.
        if flags & FLAGS != FLAGS {
            return Err(Distrust::NoCertificate {
                client,
                flags: *flags,
            });
        }
        match u32::from_be_bytes(*verify) {
            0 => {}
            PURPOSE if self.any_purpose => {}
            result => return Err(Distrust::Unverified { client, result }),
        }
        Ok(Client {
            address: client,
            common_name: only(inner, SUBTYPE_CN)?,
            certificate: match only(inner, SUBTYPE_CLIENT_CERT)? {
                Some(der) => Some(der.into()),
                None => self.own_certificate(tlvs)?,
            },
        })
    }

    fn own_certificate<'a>(&self, tlvs: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, Distrust> {
        let Some(kind) = self.certificate_type else {
            return Ok(None);
        };
        // HAProxy sends an empty element where its expression has no value.
        let Some(text) = only(tlvs, kind)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let der = STANDARD.decode(text);
        let der = der.map_err(|_| Distrust::Malformed("the certificate is not base64"))?;
        Ok(Some(der.into()))
    }
}

/// The client's address, and what follows the addresses.
fn client_address(family: u8, rest: &[u8]) -> Result<(SocketAddr, &[u8]), Distrust> {
    let split = |length| rest.split_at_checked(length);
    let (ip, port, tlvs): (IpAddr, _, _) = match family {
        TCP_OVER_IPV4 => match split(12) {
            Some((&[a, b, c, d, _, _, _, _, high, low, ..], tlvs)) => {
                (Ipv4Addr::new(a, b, c, d).into(), [high, low], tlvs)
            }
            _ => return Err(Distrust::Malformed("the addresses are cut off")),
        },
        TCP_OVER_IPV6 => {
            match split(36).and_then(|(all, tlvs)| Some((all.first_chunk::<16>()?, all, tlvs))) {
                Some((ip, all, tlvs)) => (Ipv6Addr::from(*ip).into(), [all[32], all[33]], tlvs),
                None => return Err(Distrust::Malformed("the addresses are cut off")),
            }
        }
        _ => {
            return Err(Distrust::Malformed(
                "expected a client over TCP and IPv4 or IPv6",
            ));
        }
    };
    Ok((SocketAddr::new(ip, u16::from_be_bytes(port)), tlvs))
}

/// The value of the one element of this type. All elements are looked at: what is cut off is not believed at all.
fn only(mut tlvs: &[u8], wanted: u8) -> Result<Option<&[u8]>, Distrust> {
    let mut found = None;
    while !tlvs.is_empty() {
        let element = tlvs
            .split_first_chunk::<3>()
            .and_then(|([kind, length @ ..], rest)| {
                let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
                Some((*kind, value, rest))
            });
        let Some((kind, value, rest)) = element else {
            return Err(Distrust::Malformed("an element is cut off"));
        };
        if kind == wanted && found.replace(value).is_some() {
            return Err(Distrust::Malformed("an element stands twice"));
        }
        tlvs = rest;
    }
    Ok(found)
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;

const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

const TYPE_SSL: u8 = 0x20;
const SUBTYPE_CN: u8 = 0x22;
const SUBTYPE_CLIENT_CERT: u8 = 0x28;

/// TLS, a certificate on this connection, a certificate in this session. A resumed session has no certificate of its own,
/// and nobody has looked at its expiry again.
const FLAGS: u8 = 0x07;

/// X509_V_ERR_INVALID_PURPOSE of OpenSSL.
const PURPOSE: u32 = 26;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// As HAProxy 2.6.12 sent them (`deploy/haproxy/README.md`).
    const BOTH_PURPOSES: &str = "0d0a0d0a000d0a515549540a211100757f0000017f000001d27280290500403132373046424541324638383132353037443438353831413542394330443337333231454641443531343237333131303043383641303231344637333938353820\
        00230700000000210005544c5376312200137369702e636f6e746f736f2e6578616d706c65";
    const SERVER_AUTH_IPV6: &str = "0d0a0d0a000d0a515549540a2121004a000000000000000000000000000000010000000000000000000000000000000198a2962d200023070000001a210005544c5376312200137369702e636f6e746f736f2e6578616d706c65";
    const NO_COMMON_NAME: &str =
        "0d0a0d0a000d0a515549540a2111001c7f0000017f00000192b0aa9520000d0700000000210005544c537631";
    const NO_CERTIFICATE: &str =
        "0d0a0d0a000d0a515549540a2111001c7f0000017f000001e092916320000d0100000000210005544c537631";
    const NO_TLS: &str = "0d0a0d0a000d0a515549540a211100147f0000017f000001a30e813b2000050000000000";
    const HEALTH_CHECK: &str = "0d0a0d0a000d0a515549540a200000082000050000000000";

    const ANY_PURPOSE: Trust = Trust {
        any_purpose: true,
        certificate_type: None,
    };

    /// Who stands in [`header`].
    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 50_000);

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn read<'a>(trust: &Trust, header: &'a [u8]) -> Result<Client<'a>, Distrust> {
        let (fixed, all) = header.split_first_chunk().unwrap();
        trust.read(fixed, &all[..rest(fixed)?])
    }

    /// A header around this PP2_TYPE_SSL and further elements.
    fn header(flags: u8, verify: u32, inner: &[(u8, &[u8])], outer: &[(u8, &[u8])]) -> Vec<u8> {
        let element = |(kind, value): &(u8, &[u8])| {
            let length = u16::try_from(value.len()).unwrap().to_be_bytes();
            [&[*kind][..], &length, value].concat()
        };
        let mut tls = vec![flags];
        tls.extend(verify.to_be_bytes());
        tls.extend(inner.iter().flat_map(element));
        let mut rest = vec![192, 0, 2, 7, 127, 0, 0, 1, 0xc3, 0x50, 0x13, 0xc6];
        rest.extend(element(&(TYPE_SSL, &tls)));
        rest.extend(outer.iter().flat_map(element));
        let mut header = SIGNATURE.to_vec();
        header.extend([0x21, TCP_OVER_IPV4]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    #[test]
    fn the_client_is_who_haproxy_says() {
        let header = bytes(BOTH_PURPOSES);
        let client = read(&Trust::default(), &header).unwrap();
        assert_eq!(client.address, "127.0.0.1:53874".parse().unwrap());
        assert_eq!(client.common_name, Some(&b"sip.contoso.example"[..]));
        assert_eq!(client.certificate, None);

        let header = bytes(NO_COMMON_NAME);
        assert_eq!(read(&ANY_PURPOSE, &header).unwrap().common_name, None);
    }

    #[test]
    fn an_unsuitable_purpose_is_let_pass_by_the_switch_only() {
        let header = bytes(SERVER_AUTH_IPV6);
        let client = read(&ANY_PURPOSE, &header).unwrap();
        assert_eq!(client.address, "[::1]:39074".parse().unwrap());
        assert_eq!(client.common_name, Some(&b"sip.contoso.example"[..]));
        let refused = read(&Trust::default(), &header).unwrap_err();
        assert!(matches!(refused, Distrust::Unverified { result: 26, .. }));
        assert!(
            refused.to_string().contains("accept_any_purpose"),
            "{refused}"
        );
        for result in [1, 10, 20, 25, 27, 0x1a00_0000, u32::MAX] {
            let header = super::tests::header(7, result, &[(SUBTYPE_CN, b"a.example")], &[]);
            assert_eq!(
                read(&ANY_PURPOSE, &header),
                Err(Distrust::Unverified {
                    client: CLIENT,
                    result
                })
            );
        }
    }

    #[test]
    fn result_0_without_a_certificate_is_not_believed() {
        for (text, expected) in [(NO_CERTIFICATE, 1), (NO_TLS, 0)] {
            let header = bytes(text);
            let refused = read(&ANY_PURPOSE, &header).unwrap_err();
            assert!(matches!(refused, Distrust::NoCertificate { flags, .. } if flags == expected));
        }
        // 5: a resumed session.
        for flags in [0, 1, 2, 3, 4, 5, 6, 0xf8] {
            let header = header(flags, 0, &[(SUBTYPE_CN, b"a.example")], &[]);
            assert_eq!(
                read(&ANY_PURPOSE, &header),
                Err(Distrust::NoCertificate {
                    client: CLIENT,
                    flags
                })
            );
        }
        let mut without = header(7, 0, &[], &[]);
        without.truncate(FIXED_BYTES + 12);
        without[15] = 12;
        assert_eq!(
            read(&ANY_PURPOSE, &without),
            Err(Distrust::NoCertificate {
                client: CLIENT,
                flags: 0
            })
        );
    }

    #[test]
    fn a_health_check_is_told_from_a_client() {
        assert_eq!(
            read(&ANY_PURPOSE, &bytes(HEALTH_CHECK)),
            Err(Distrust::HealthCheck)
        );
    }

    #[test]
    fn the_whole_certificate_comes_as_one_of_two_elements() {
        let configured = Trust {
            certificate_type: Some(0xe0),
            ..ANY_PURPOSE
        };
        let by_standard = header(7, 0, &[(SUBTYPE_CLIENT_CERT, b"der")], &[(0xe0, b"other")]);
        let by_choice = header(7, 0, &[], &[(0xe0, b"ZGVy")]);
        for header in [&by_standard, &by_choice] {
            let client = read(&configured, header).unwrap();
            assert_eq!(client.certificate.as_deref(), Some(&b"der"[..]));
        }
        assert_eq!(read(&ANY_PURPOSE, &by_choice).unwrap().certificate, None);
        let none = header(7, 0, &[(SUBTYPE_CN, b"a.example")], &[(0xe0, b"")]);
        assert_eq!(read(&configured, &none).unwrap().certificate, None);
        // DER, as HAProxy would cut it off.
        let cut = header(7, 0, &[(SUBTYPE_CN, b"a.example")], &[(0xe0, b"0\x82\x03")]);
        assert!(matches!(
            read(&configured, &cut),
            Err(Distrust::Malformed(_))
        ));
    }

    #[test]
    fn what_stands_twice_or_elsewhere_is_refused() {
        let (one, two): (&[u8], &[u8]) = (b"a.example", b"b.example");
        for (inner, outer) in [
            (vec![(SUBTYPE_CN, one), (SUBTYPE_CN, two)], vec![]),
            (vec![(SUBTYPE_CN, one)], vec![(TYPE_SSL, two)]),
            (
                vec![(SUBTYPE_CLIENT_CERT, one), (SUBTYPE_CLIENT_CERT, two)],
                vec![],
            ),
        ] {
            let header = header(7, 0, &inner, &outer);
            assert!(matches!(
                read(&ANY_PURPOSE, &header),
                Err(Distrust::Malformed(_))
            ));
        }
        let good = header(7, 0, &[(SUBTYPE_CN, one)], &[]);
        // Signature, version, command, family: UDP, UNIX, unspecified.
        for (at, value) in [
            (0, 0x16),
            (11, 0),
            (12, 0x11),
            (12, 0x22),
            (13, 0x12),
            (13, 0x31),
            (13, 0),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(
                matches!(read(&ANY_PURPOSE, &bad), Err(Distrust::Malformed(_))),
                "{at} {value:#x}"
            );
        }
    }

    #[test]
    fn a_header_that_is_cut_off_anywhere_is_refused() {
        for text in [BOTH_PURPOSES, SERVER_AUTH_IPV6] {
            let good = bytes(text);
            for length in FIXED_BYTES..good.len() {
                let mut cut = good[..length].to_vec();
                let rest = u16::try_from(length - FIXED_BYTES).unwrap().to_be_bytes();
                cut[14..16].copy_from_slice(&rest);
                assert!(read(&ANY_PURPOSE, &cut).is_err(), "{length}");
            }
        }
        let mut long = *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x40\x00";
        assert_eq!(rest(&long), Ok(REST_BYTES));
        long[15] = 1;
        assert!(matches!(rest(&long), Err(Distrust::Malformed(_))));
    }

    #[test]
    fn no_byte_makes_the_reader_fall_over() {
        let good = bytes(SERVER_AUTH_IPV6);
        for at in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut bad = good.clone();
                bad[at] = value;
                let (fixed, all) = bad.split_first_chunk().unwrap();
                let length = rest(fixed).unwrap_or(0).min(all.len());
                // What comes of it does not matter here.
                let _ = ANY_PURPOSE.read(fixed, &all[..length]);
            }
        }
    }
}
