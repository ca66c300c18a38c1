//! The page at `/`: the state of the relay at a glance, for a person.

use std::fmt::Write;

use pushrelay_push::Service as Provider;

use crate::domain::DomainName;
use crate::metrics::Ending;
use crate::partners::KnownBy;
use crate::service::Service;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>pushrelay</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:56rem;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:1.8rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#0a6b2d}.bad{color:#a11}
@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}td,th{border-color:#333}.ok{color:#6cd38f}.bad{color:#ff8a80}}
</style></head><body>
"#;

/// The whole page.
pub(crate) fn render(service: &Service) -> String {
    let mut page = String::with_capacity(4096);
    page.push_str(HEAD);
    // Writing to a String cannot fail.
    let _ = write_body(&mut page, service);
    page.push_str("</body></html>\n");
    page
}

fn write_body(page: &mut String, service: &Service) -> std::fmt::Result {
    let metrics = &service.metrics;
    let rules = service.rules.load();
    let (class, word) = if metrics.ready.get() == 1 {
        ("ok", "ready")
    } else {
        ("bad", "not ready")
    };
    writeln!(
        page,
        "<h1>pushrelay {} <span class=\"{class}\">{word}</span></h1>",
        env!("CARGO_PKG_VERSION")
    )?;
    writeln!(
        page,
        "<p>{} SIP connections, {} MESSAGEs received, {} in flight.</p>",
        metrics.connections.get(),
        metrics.messages_received(),
        metrics.messages_in_flight.get()
    )?;

    page.push_str("<h2>Answers</h2><table><tr><th>SIP status</th><th>MESSAGEs</th></tr>\n");
    for (status, count) in metrics.messages_answered() {
        let class = if status < 300 { "ok" } else { "bad" };
        writeln!(
            page,
            "<tr><td class=\"{class}\">{status}</td><td class=\"n\">{count}</td></tr>"
        )?;
    }

    page.push_str("</table><h2>Targets</h2><table><tr><th>service</th><th>state</th><th>named</th><th>accepted</th><th>gone</th><th>refused</th><th>expired</th><th>unsettled</th><th>waiting</th><th>in flight</th></tr>\n");
    for provider in Provider::ALL {
        let counts = metrics.service(provider);
        let on = match provider {
            Provider::Apns => rules.apple.is_some(),
            Provider::Mpns => rules.windows_phone.is_some(),
        };
        let [accepted, gone, refused, expired, unsettled] = [
            Ending::Accepted,
            Ending::Gone,
            Ending::Refused,
            Ending::Expired,
            Ending::Unsettled,
        ]
        .map(|ending| counts.ended(ending));
        let state = if on { "on" } else { "switched off" };
        writeln!(
            page,
            "<tr><td>{}</td><td>{state}</td><td class=\"n\">{}</td><td class=\"n\">{accepted}</td><td class=\"n\">{gone}</td><td class=\"n\">{refused}</td><td class=\"n\">{expired}</td><td class=\"n\">{unsettled}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            provider.display_name(),
            counts.targets.get(),
            counts.waiting.get(),
            counts.in_flight.get(),
        )?;
    }

    page.push_str("</table><h2>Apps at Apple</h2><table><tr><th>app</th><th>connections</th><th>streams in flight</th><th>streams allowed</th></tr>\n");
    for app in rules.apple_apps() {
        let stats = app.client.stats();
        writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Escaped(&app.id),
            stats.connections,
            stats.streams_in_flight,
            stats.stream_limit,
        )?;
    }

    page.push_str("</table><h2>Partners</h2><table><tr><th>partner</th><th>known by</th><th>SIP domains</th></tr>\n");
    for partner in rules.partners.iter() {
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&partner.name),
            match &partner.known_by {
                KnownBy::Edge(edges) => names(edges),
                KnownBy::Domain => "its domains".to_owned(),
                KnownBy::Srv => "its domains' SRV records".to_owned(),
            },
            names(&partner.domains),
        )?;
    }
    page.push_str("</table><p><a href=\"/metrics\">metrics</a> · <a href=\"/livez\">livez</a> · <a href=\"/readyz\">readyz</a></p>\n");
    Ok(())
}

fn names(names: &[DomainName]) -> String {
    let names: Vec<&str> = names.iter().map(DomainName::as_str).collect();
    names.join(", ")
}

/// Text inside HTML. On this page, where nothing comes from the wire, the operator's own names are escaped all the same.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
