//! Whether a peer may speak for whom its request says it is from: From, and P-Asserted-Identity where it is there.
//!
//! No other header is asked. `ms-edge-proxy-message-trust` and all other `ms-*` headers are what a peer says of itself.

use pushrelay_sip::{Answer, NameAddrs, Request};

use crate::metrics::Refusal;
use crate::partners::{Standing, Voice};
use crate::session::Sender;

/// How long a sender waits before it tries again, while DNS is silent.
const DNS_RETRY_SECONDS: u32 = 5;

/// Takes a request whose From and P-Asserted-Identity all belong to its sender.
pub(crate) fn vouch(request: &Request, sender: &Sender) -> Result<(), (Answer, Refusal)> {
    let from = request.from().sip_uri();
    let standing = from.map_or(Standing::Foreign, |uri| sender.standing(uri.host()));
    allow(standing, sender, "From", Refusal::ForeignFrom)?;
    for value in request.headers("P-Asserted-Identity") {
        for address in NameAddrs::new(value) {
            let standing = match address {
                // A telephone number belongs to no domain (RFC 3325 9.1 allows one beside the SIP URI).
                Ok(address) if is_telephone(address.uri()) => continue,
                Ok(address) => address
                    .sip_uri()
                    .map_or(Standing::Foreign, |uri| sender.standing(uri.host())),
                Err(_) => Standing::Foreign,
            };
            allow(
                standing,
                sender,
                "P-Asserted-Identity",
                Refusal::ForeignIdentity,
            )?;
        }
    }
    Ok(())
}

fn is_telephone(uri: &[u8]) -> bool {
    uri.get(..4)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"tel:"))
}

fn allow(
    standing: Standing,
    sender: &Sender,
    header: &str,
    refusal: Refusal,
) -> Result<(), (Answer, Refusal)> {
    let partner = &*sender.partner.name;
    let why = match (standing, &sender.voice) {
        (Standing::Good, _) => return Ok(()),
        (Standing::Unknown, _) => {
            let reason = format!(
                "no DNS server has yet said whether partner {partner} may send for the domain of the {header} header"
            );
            let answer = Answer::new(503).reason(reason);
            return Err((answer.retry_after(DNS_RETRY_SECONDS), Refusal::Unverified));
        }
        (Standing::Foreign, Voice::Partner) => "",
        (Standing::Foreign, Voice::Asserted(_)) => ": its certificate does not assert it",
        (Standing::Foreign, Voice::Published { .. }) => {
            ": its _sipfederationtls._tcp record names other hosts"
        }
    };
    let reason =
        format!("partner {partner} may not send for the domain of the {header} header{why}");
    Err((Answer::new(403).reason(reason), refusal))
}
