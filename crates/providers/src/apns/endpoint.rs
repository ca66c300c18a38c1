//! Where Apple is: host, port and the roots that its certificate is held to.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::ApnsError;

/// Host, port and trusted roots of an APNs service: Apple's production or sandbox, or any URL that speaks the same.
#[derive(Clone)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
    roots: Arc<RootCertStore>,
}

impl Endpoint {
    /// `api.push.apple.com:443`
    pub fn production(roots: Arc<RootCertStore>) -> Endpoint {
        Endpoint {
            host: "api.push.apple.com".into(),
            port: 443,
            roots,
        }
    }

    /// `api.sandbox.push.apple.com:443`: where the tokens of development builds live.
    pub fn sandbox(roots: Arc<RootCertStore>) -> Endpoint {
        Endpoint {
            host: "api.sandbox.push.apple.com".into(),
            port: 443,
            roots,
        }
    }

    /// The same host at another port: Apple listens at 2197 too, for firewalls that want to tell pushes from web traffic.
    pub fn with_port(self, port: u16) -> Endpoint {
        Endpoint { port, ..self }
    }

    /// `https://host` or `https://host:port`, without path, query or userinfo.
    pub fn parse(url: &str, roots: Arc<RootCertStore>) -> Result<Endpoint, ApnsError> {
        let error = |why| ApnsError::Url {
            got: url.to_owned(),
            why,
        };
        let uri: Uri = url.parse().map_err(|_| error("not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(error("the scheme is not https"));
        }
        let authority = uri.authority().ok_or_else(|| error("no host"))?;
        if authority.as_str().contains('@') {
            return Err(error("userinfo has no meaning here"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(error(
                "the path is always /3/device/…, leave path and query out",
            ));
        }
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(error("the host is neither a DNS name nor an IP address"));
        }
        // What stands behind the host; `Authority::port` keeps silent about a port that is none.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => 443,
            Some(_) => authority
                .port_u16()
                .filter(|port| *port != 0)
                .ok_or_else(|| error("the port is not 1 to 65535"))?,
            None => return Err(error("the host cannot be told")),
        };
        Ok(Endpoint {
            host: host.into(),
            port,
            roots,
        })
    }

    /// The DNS name, or the address literal without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }

    /// What `:authority` says: without the port where it is the scheme's own.
    pub(crate) fn authority(&self) -> Result<Authority, ApnsError> {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_string()
        };
        let text = match self.port {
            443 => host,
            port => format!("{host}:{port}"),
        };
        Authority::try_from(text.as_str()).map_err(|_| ApnsError::Url {
            got: text,
            why: "the host cannot stand in :authority",
        })
    }

    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, ApnsError> {
        ServerName::try_from(self.host.to_string()).map_err(|_| ApnsError::Url {
            got: self.host.to_string(),
            why: "the host is neither a DNS name nor an IP address",
        })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Endpoint({}:{}, {} roots)",
            self.host,
            self.port,
            self.roots.len()
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, ApnsError> {
        Endpoint::parse(url, Arc::new(RootCertStore::empty()))
    }

    #[test]
    fn a_url_gives_host_port_and_authority() {
        for (url, host, port, authority) in [
            (
                "https://api.push.apple.com",
                "api.push.apple.com",
                443,
                "api.push.apple.com",
            ),
            (
                "https://API.push.apple.com:2197/",
                "api.push.apple.com",
                2197,
                "api.push.apple.com:2197",
            ),
            ("https://[::1]:8443", "::1", 8443, "[::1]:8443"),
            ("https://127.0.0.1", "127.0.0.1", 443, "127.0.0.1"),
        ] {
            let endpoint = parse(url).unwrap();
            assert_eq!((endpoint.host(), endpoint.port()), (host, port));
            assert_eq!(endpoint.authority().unwrap().as_str(), authority);
            endpoint.server_name().unwrap();
        }
    }

    #[test]
    fn a_url_that_is_no_endpoint_is_refused_by_name() {
        for (url, why) in [
            ("http://api.push.apple.com", "scheme"),
            ("api.push.apple.com", "scheme"),
            ("https://user@host", "userinfo"),
            ("https://host/3/device", "path"),
            ("https://host/?a", "path"),
            ("https://host:0", "port"),
            ("https://host:70000", "port"),
            ("https://a_b..c", "host"),
            ("", "URL"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn apples_two_worlds_and_the_other_port() {
        let roots = Arc::new(RootCertStore::empty());
        assert_eq!(
            Endpoint::production(roots.clone())
                .authority()
                .unwrap()
                .as_str(),
            "api.push.apple.com"
        );
        assert_eq!(
            Endpoint::sandbox(roots)
                .with_port(2197)
                .authority()
                .unwrap()
                .as_str(),
            "api.sandbox.push.apple.com:2197"
        );
    }
}
