//! What can be wrong, what it means, and what to do: one row a fault.

use super::dialogue::Answered;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Our own files or arguments.
    OwnFiles(String),
    /// The target has no address.
    NoAddress,
    /// Nobody listens there.
    PortClosed,
    /// Nothing comes back from there.
    PortSilent,
    /// It listens, but speaks no TLS.
    NotTls(String),
    /// TLS took too long.
    TlsSilent,
    /// Not one cipher suite in common.
    NoCommonSuite,
    /// The same, with what old Windows offers.
    RsaOnly,
    /// The relay does not take our certificate, for this alert.
    CertificateRefused(String),
    /// The relay's certificate has expired.
    Expired,
    /// The relay's certificate is not valid yet.
    NotYetValid,
    /// The relay's certificate is from nobody we trust.
    UnknownIssuer,
    /// The relay's certificate cannot be used for another reason.
    Unusable(String),
    /// The relay's certificate has other names.
    WrongName(String),
    /// The relay's certificate has the name only by a wildcard.
    Wildcard(String),
    /// The connection ended instead of an answer.
    Closed,
    /// No answer came.
    NoAnswer,
    /// What came is no SIP.
    NotSip,
    /// Our certificate names none of the relay's partners.
    Stranger,
    /// This partner may not send for the domain of From.
    ForeignFrom,
    /// The relay is not responsible for the domain.
    ForeignDomain,
    /// The platform is switched off at the relay.
    PlatformOff,
    /// The relay has no such app.
    UnknownApp,
    /// The provider does not take the relay's credential.
    ProviderCredential,
    /// The device is gone.
    Gone,
    /// The relay sends this partner away for now.
    Busy,
    /// The provider refuses this push, or cannot be asked.
    Provider,
    /// Another answer than success.
    Other(u16),
}

impl Fault {
    /// Its name in the output.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Fault::OwnFiles(_) => "own_files",
            Fault::NoAddress => "no_address",
            Fault::PortClosed => "port_closed",
            Fault::PortSilent => "port_silent",
            Fault::NotTls(_) => "not_tls",
            Fault::TlsSilent => "tls_silent",
            Fault::NoCommonSuite => "no_common_suite",
            Fault::RsaOnly => "rsa_only",
            Fault::CertificateRefused(_) => "certificate_refused",
            Fault::Expired => "certificate_expired",
            Fault::NotYetValid => "certificate_not_yet_valid",
            Fault::UnknownIssuer => "unknown_issuer",
            Fault::Unusable(_) => "certificate_unusable",
            Fault::WrongName(_) => "wrong_name",
            Fault::Wildcard(_) => "wildcard_name",
            Fault::Closed => "closed",
            Fault::NoAnswer => "no_answer",
            Fault::NotSip => "not_sip",
            Fault::Stranger => "no_partner",
            Fault::ForeignFrom => "foreign_from",
            Fault::ForeignDomain => "foreign_domain",
            Fault::PlatformOff => "platform_off",
            Fault::UnknownApp => "unknown_app",
            Fault::ProviderCredential => "provider_credential",
            Fault::Gone => "device_gone",
            Fault::Busy => "busy",
            Fault::Provider => "provider",
            Fault::Other(_) => "refused",
        }
    }

    /// 2: our files. 3: not reached. 4: TLS or certificates. 5: SIP. 6: the push.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Fault::OwnFiles(_) => 2,
            Fault::NoAddress | Fault::PortClosed | Fault::PortSilent => 3,
            Fault::NotTls(_)
            | Fault::TlsSilent
            | Fault::NoCommonSuite
            | Fault::RsaOnly
            | Fault::CertificateRefused(_)
            | Fault::Expired
            | Fault::NotYetValid
            | Fault::UnknownIssuer
            | Fault::Unusable(_)
            | Fault::WrongName(_)
            | Fault::Wildcard(_) => 4,
            Fault::Closed
            | Fault::NoAnswer
            | Fault::NotSip
            | Fault::Stranger
            | Fault::ForeignFrom
            | Fault::ForeignDomain
            | Fault::Busy
            | Fault::Other(_) => 5,
            Fault::PlatformOff
            | Fault::UnknownApp
            | Fault::ProviderCredential
            | Fault::Gone
            | Fault::Provider => 6,
        }
    }

    /// What it means.
    pub(super) fn means(&self) -> String {
        match self {
            Fault::OwnFiles(what) => what.clone(),
            Fault::NoAddress => "the name of the target has no address in DNS".to_owned(),
            Fault::PortClosed => "the machine is there, but nobody listens on that port".to_owned(),
            Fault::PortSilent => "nothing comes back: a firewall drops the packets, or the address is wrong".to_owned(),
            Fault::NotTls(what) => format!("something listens there, but it does not speak TLS as the relay does: {what}"),
            Fault::TlsSilent => "something listens there, but it does not answer the handshake".to_owned(),
            Fault::NoCommonSuite => "the relay and this client have no TLS version, cipher suite or kind of signature in common".to_owned(),
            Fault::RsaOnly => "the relay shows old Windows no certificate that it can use: Windows Server 2012 R2 and older need an ECDSA one".to_owned(),
            Fault::CertificateRefused(alert) => format!("the relay does not take this Edge's certificate (TLS alert {alert})"),
            Fault::Expired => "the relay's certificate has expired; an Edge refuses it".to_owned(),
            Fault::NotYetValid => "the relay's certificate is not valid yet, or a clock is wrong; an Edge refuses it".to_owned(),
            Fault::UnknownIssuer => "the relay's certificate is not issued by an authority that is trusted here; an Edge that trusts the same refuses it (event 1010)".to_owned(),
            Fault::Unusable(why) => format!("the relay's certificate cannot be used: {why}"),
            Fault::WrongName(names) => format!("the relay's certificate is for other names ({names}); an Edge refuses it"),
            Fault::Wildcard(name) => format!("the relay's certificate has the name only by the wildcard {name}; an Edge does not take wildcards"),
            Fault::Closed => "the relay closed the connection instead of answering".to_owned(),
            Fault::NoAnswer => "the relay took the request and did not answer in time".to_owned(),
            Fault::NotSip => "what came back is no SIP".to_owned(),
            Fault::Stranger => "the relay takes the certificate, but it names none of its partners".to_owned(),
            Fault::ForeignFrom => "the relay knows this Edge, but it may not send for the domain of --from".to_owned(),
            Fault::ForeignDomain => "the relay is not responsible for this domain or address".to_owned(),
            Fault::PlatformOff => "the platform of this device is switched off at the relay".to_owned(),
            Fault::UnknownApp => "the relay has no app of this id and environment".to_owned(),
            Fault::ProviderCredential => "the provider does not take the relay's key or certificate for this app".to_owned(),
            Fault::Gone => "the provider says that this device is no longer there".to_owned(),
            Fault::Busy => "the relay sends this partner away for now: its rate, its queue, or a drain".to_owned(),
            Fault::Provider => "the provider refused this push or could not be asked; the reason above is its own".to_owned(),
            Fault::Other(status) => format!("the relay answered {status}"),
        }
    }

    /// What to do.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Fault::OwnFiles(_) => "mend the argument or the file",
            Fault::NoAddress => {
                "publish an A or AAAA record for the relay, or give --target an address and --name the name"
            }
            Fault::PortClosed => {
                "start the relay (systemctl status pushrelay), and compare [sip] listen with --target"
            }
            Fault::PortSilent => "open TCP 5061 to the relay in every firewall on the way",
            Fault::NotTls(_) => {
                "compare --target with [sip] listen: the admin endpoint and an offload listener speak no TLS"
            }
            Fault::TlsSilent => {
                "look at the load of the relay and at middle boxes; pushrelay_connections_total by result"
            }
            Fault::NoCommonSuite => {
                "give the relay an ECDSA P-256 certificate beside the RSA one; TLS 1.0 and 1.1 need the terminator of deploy/haproxy"
            }
            Fault::RsaOnly => {
                "add an ECDSA P-256 certificate to [sip] certificates; pushrelay check warns as long as there is none"
            }
            Fault::CertificateRefused(_) => {
                "add the authority that issued this Edge's certificate to [sip] client_roots, and look at its end and at [sip] crls; the relay's log says which it was"
            }
            Fault::Expired => {
                "renew the relay's certificate and reload it (systemctl reload pushrelay)"
            }
            Fault::NotYetValid => "set the clocks (timedatectl), or wait",
            Fault::UnknownIssuer => {
                "send the whole chain in [sip] certificates, and have the Edge trust its root; here: --roots"
            }
            Fault::Unusable(_) => {
                "have a certificate issued for TLS servers (extended key usage serverAuth)"
            }
            Fault::WrongName(_) => {
                "have the name that Edges connect to (ProxyFqdn) put into the subjectAltName, or give --name"
            }
            Fault::Wildcard(_) => {
                "have a certificate issued with the full name in its subjectAltName"
            }
            Fault::Closed => "look at the relay's log at this moment",
            Fault::NoAnswer => "look at pushrelay_messages_in_flight and at reply_within",
            Fault::NotSip => "compare --target with [sip] listen",
            Fault::Stranger => {
                "add a name of this certificate to edges of a [[partners]] at the relay"
            }
            Fault::ForeignFrom => {
                "add the domain to domains of this partner at the relay, or give --from a user of a domain that is there"
            }
            Fault::ForeignDomain => {
                "compare --domain and --to with [sip] addresses, and with Set-CsMcxConfiguration -PushNotificationProxyUri"
            }
            Fault::PlatformOff => {
                "set apple.enabled or windows_phone.enabled, or the partner's own switch, at the relay"
            }
            Fault::UnknownApp => {
                "compare --app with id in [[apple.apps]] or [[windows_phone.apps]] at the relay"
            }
            Fault::ProviderCredential => {
                "compare key_id, team_id, topic and environment of the app with what Apple's developer site says, and the clock"
            }
            Fault::Gone => "have the device register again and use its new token or channel",
            Fault::Busy => {
                "wait as long as Retry-After says; pushrelay_refusals_total and pushrelay_spool_trouble say which it was"
            }
            Fault::Provider => {
                "look the reason up in deploy/README.md under 'When something is wrong'"
            }
            Fault::Other(_) => {
                "the reason above is the relay's own; deploy/README.md has a row for each status"
            }
        }
    }
}

/// What the answer to OPTIONS says.
pub(super) fn of_options(answer: &Answered) -> Result<(), Fault> {
    match answer.status {
        200..=299 => Ok(()),
        _ => Err(of_any(answer)),
    }
}

/// What the answer to a push says.
pub(super) fn of_push(answer: &Answered) -> Result<(), Fault> {
    let says = |words: &[&str]| {
        let reason = answer.reason.as_deref().unwrap_or_default();
        words.iter().any(|word| reason.contains(word))
    };
    match answer.status {
        200..=299 => Ok(()),
        403 if says(&["switched off"]) => Err(Fault::PlatformOff),
        410 => Err(Fault::Gone),
        488 if says(&["no app"]) => Err(Fault::UnknownApp),
        // Apple's words for a credential that it does not take, and MPNS' status for the same.
        488 | 503 if says(&CREDENTIAL) => Err(Fault::ProviderCredential),
        488 => Err(Fault::Provider),
        503 if says(&["Apple", "Windows Phone"]) => Err(Fault::Provider),
        _ => Err(of_any(answer)),
    }
}

fn of_any(answer: &Answered) -> Fault {
    let reason = answer.reason.as_deref().unwrap_or_default();
    match answer.status {
        403 if reason.contains("names no partner") => Fault::Stranger,
        403 if reason.contains("From") || reason.contains("P-Asserted-Identity") => {
            Fault::ForeignFrom
        }
        404 => Fault::ForeignDomain,
        503 => Fault::Busy,
        status => Fault::Other(status),
    }
}

const CREDENTIAL: [&str; 7] = [
    "ProviderToken",
    "BadCertificate",
    "Forbidden",
    "UnrelatedKeyIdInToken",
    "BadEnvironmentKeyIdInToken",
    "TopicDisallowed",
    "Unauthorized",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_guide_has_every_fault_beside_its_exit_code() {
        let guide = include_str!("../../../../../deploy/README.md");
        let text = String::new;
        for fault in [
            Fault::OwnFiles(text()),
            Fault::NoAddress,
            Fault::PortClosed,
            Fault::PortSilent,
            Fault::NotTls(text()),
            Fault::TlsSilent,
            Fault::NoCommonSuite,
            Fault::RsaOnly,
            Fault::CertificateRefused(text()),
            Fault::Expired,
            Fault::NotYetValid,
            Fault::UnknownIssuer,
            Fault::Unusable(text()),
            Fault::WrongName(text()),
            Fault::Wildcard(text()),
            Fault::Closed,
            Fault::NoAnswer,
            Fault::NotSip,
            Fault::Stranger,
            Fault::ForeignFrom,
            Fault::ForeignDomain,
            Fault::PlatformOff,
            Fault::UnknownApp,
            Fault::ProviderCredential,
            Fault::Gone,
            Fault::Busy,
            Fault::Provider,
            Fault::Other(500),
        ] {
            let row = format!("| {} |", fault.exit_code());
            let row = guide.lines().find(|line| line.starts_with(&row));
            let label = format!("`{}`", fault.label());
            assert!(row.is_some_and(|row| row.contains(&label)), "{label}");
        }
    }
}
