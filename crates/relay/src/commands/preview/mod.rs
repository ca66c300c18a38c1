//! `pushrelay preview`: the requests that a body would become, without sending any. It shows what the body says in clear.
//!
//! Everything is decided by the code that the running relay decides with. Not here: what only a running relay knows (whether a device
//! is gone or a provider is down), and what a peer's certificate says: it is taken for the partner's.

mod page;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use pushrelay_providers::Push;
use pushrelay_push::body::Damage;
use pushrelay_push::mpns::StatusHeaders;
use pushrelay_push::present::PhoneLook;
use pushrelay_push::{Local, Outcome, Service as Provider, Target, Verdict, apns, mpns, push_id};
use pushrelay_sip::{Answer, Limits, Request};
use serde_json::{Value, json};

use super::print::{harmless, say_json};
use super::saved::{self, Saved};
use super::{complain, report, say};
use crate::clock;
use crate::compose::{self, Way};
use crate::config;
use crate::delivery;
use crate::intake;
use crate::partners::Partner;
use crate::rules::Rules;
use crate::validity;
use crate::verdicts::{self, Verdicts};
use wire::Wire;

/// What the command takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A capture, or a body alone; "-" is standard input.
    file: PathBuf,
    /// The configuration whose decoders, apps and templates are used.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What a body alone is.
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/vnd.pushrelay+json; v=1"
    )]
    content_type: String,
    /// The partner that sends it; without it the one that may send for the domain in From, or the only one.
    #[arg(long, value_name = "NAME")]
    partner: Option<String>,
    /// When it comes, such as 2026-11-26T14:20:00Z; without it now.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339)]
    at: Option<SystemTime>,
    /// Print a page that draws roughly what the phones show.
    #[arg(long, conflicts_with = "json")]
    html: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Shows them; the exit code is 0 where every target would be pushed to, 1 where something is refused, 2 where nothing can be said.
pub(crate) fn preview(arguments: &Arguments) -> ExitCode {
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(REFUSED),
        Err(error) => {
            complain(format_args!("{error}"));
            ExitCode::from(UNKNOWN)
        }
    }
}

/// Exit code: the sender would be told that something is wrong.
const REFUSED: u8 = 1;
/// Exit code: the file, the configuration or an argument is of no use.
const UNKNOWN: u8 = 2;

fn run(arguments: &Arguments) -> Result<bool, String> {
    // The clients want a runtime; none of them connects anywhere before it has something to send.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let _inside = runtime.enter();
    let (rules, limits) = rules(&arguments.config)?;
    let file = arguments.file.display();
    let bytes = saved::read(&arguments.file).map_err(|error| format!("{file}: {error}"))?;
    let saved = Saved::new(&bytes, &arguments.content_type);
    let now = arguments.at.unwrap_or_else(clock::wall);
    let request = match saved.request(limits) {
        Ok(Some(request)) if request.is_message() => request,
        Ok(_) => return Err(format!("{file}: expected a MESSAGE, got something else")),
        Err(answer) => return Ok(tell(arguments, &Judged::refused(answer, None))),
    };
    let domain = request.from().sip_uri().map(|uri| uri.host());
    let domain = domain.ok().filter(|_| saved.has_head());
    let partner = partner(&rules, arguments.partner.as_deref(), domain)?;
    let told = match pushes(&rules, &request, now) {
        Ok((pushes, damage)) => tell(
            arguments,
            &Judged::of(&rules, partner, &pushes, damage, now),
        ),
        Err(refused) => {
            let partner = Some(&*partner.name);
            tell(
                arguments,
                &Judged {
                    partner,
                    ..*refused
                },
            )
        }
    };
    Ok(told)
}

/// The apps and templates, as the daemon would have them, and the bounds of its connections.
fn rules(path: &Path) -> Result<(Rules, Limits), String> {
    let loaded = config::load(path, SystemTime::now());
    report(path, &loaded.problems, &[]);
    let config = loaded.config.ok_or_else(|| {
        let path = path.display();
        format!("{path}: nothing can be previewed before it is mended (pushrelay check)")
    })?;
    let limits = config.limits.sip();
    let rules =
        Rules::new(config, None).map_err(|error| format!("{}: {error:#}", path.display()))?;
    Ok((rules, limits))
}

/// Whose switches count.
fn partner<'a>(
    rules: &'a Rules,
    named: Option<&str>,
    domain: Option<&[u8]>,
) -> Result<&'a Arc<Partner>, String> {
    let names = || {
        let names: Vec<&str> = rules
            .partners
            .iter()
            .map(|partner| &*partner.name)
            .collect();
        names.join(", ")
    };
    if let Some(named) = named {
        let found = rules.partners.named(named);
        return found
            .ok_or_else(|| format!("--partner: expected one of {}, got {named:?}", names()));
    }
    let may_send = |partner: &&Arc<Partner>| {
        domain.is_none_or(|domain| partner.domains.iter().any(|ours| ours.is(domain)))
    };
    let mut fitting = rules.partners.iter().filter(may_send);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(format!(
            "whose MESSAGE it is cannot be told, and its switches count: expected --partner with one of {}",
            names()
        )),
    }
}

/// A push for each target, or what is said of a body that becomes none.
fn pushes(
    rules: &Rules,
    request: &Request,
    now: SystemTime,
) -> Result<(Vec<Push>, Damage), Box<Judged<'static>>> {
    let refused = |answer, once_kept| Box::new(Judged::refused(answer, once_kept));
    let (notification, damage) = intake::read(rules, request)
        .map_err(|unread| refused(unread.answer(rules), unread.answer_once_kept(rules)))?;
    let until = validity::valid_until(request, now);
    if let Some(answer) = until.and_then(|until| validity::expired(until, now)) {
        return Err(refused(answer, None));
    }
    let expiry = validity::expiry(rules, &notification, until, now);
    let notification = Arc::new(notification);
    let push = |target| Push {
        id: push_id(&notification, target, delivery::identity(request)),
        notification: notification.clone(),
        target,
        expiry: Some(expiry),
    };
    let pushes = (0..notification.targets.len()).map(push).collect();
    Ok((pushes, damage))
}

/// What would become of a MESSAGE.
struct Judged<'a> {
    /// Whose it is taken for; `None` where that was not asked.
    partner: Option<&'a str>,
    /// What it is answered with when every provider accepts what it is sent.
    answer: Answer,
    /// What it is answered with instead, once it is kept.
    once_kept: Option<Answer>,
    targets: Vec<Preview<'a>>,
}

/// What one target becomes.
struct Preview<'a> {
    push: &'a Push,
    /// The app as the body names it, or the configured one that is meant by naming none; not where that one has no name either.
    app: Option<&'a str>,
    becomes: Result<Becomes<'a>, Local>,
}

/// The requests for a target, in the order in which they are sent.
enum Becomes<'a> {
    /// One to Apple.
    Apple(Wire),
    /// One or two to a channel, and what they look like.
    WindowsPhone(Vec<Wire>, Box<PhoneLook<'a>>),
}

impl<'a> Judged<'a> {
    fn refused(answer: Answer, once_kept: Option<Answer>) -> Judged<'a> {
        Judged {
            partner: None,
            answer,
            once_kept,
            targets: Vec::new(),
        }
    }

    fn of(
        rules: &'a Rules,
        partner: &'a Arc<Partner>,
        pushes: &'a [Push],
        damage: Damage,
        now: SystemTime,
    ) -> Judged<'a> {
        let mut verdicts = Verdicts::new(pushes.len());
        let targets = pushes.iter().map(|push| {
            let becomes = becomes(rules, partner, push, now);
            let target = &push.notification.targets[push.target];
            let outcome = match &becomes {
                Ok(_) => accepted(target.device.service()),
                Err(local) => local.outcome(),
            };
            verdicts.hear(push.target, target, outcome);
            verdicts.close(push.target);
            let app = target
                .app
                .as_deref()
                .or_else(|| default_app(rules, partner, target));
            Preview { push, app, becomes }
        });
        let targets = targets.collect();
        let host = rules.addresses.first_host();
        let answer = verdicts::answer(&verdicts, rules.accepted_status, host, 0);
        Judged {
            partner: Some(&partner.name),
            answer: intake::name_damage(answer, damage),
            once_kept: None,
            targets,
        }
    }

    /// Whether nothing of it is refused.
    fn is_good(&self) -> bool {
        self.answer.status() < 300 && self.targets.iter().all(|target| !target.is_refused())
    }

    fn json(&self) -> Value {
        json!({
            "partner": self.partner,
            "answer": json_of_answer(&self.answer),
            "answer_once_kept": self.once_kept.as_ref().map(json_of_answer),
            "targets": self.targets.iter().map(Preview::json).collect::<Vec<_>>(),
        })
    }

    /// What the sender is told, line by line.
    fn answer_text(&self) -> String {
        let condition = if self.targets.iter().any(|target| target.becomes.is_ok()) {
            " when every provider accepts"
        } else {
            ""
        };
        let mut text = format!("It is answered{condition}:\n{}", self.answer);
        if let Some(kept) = &self.once_kept {
            text.push_str(&format!("\nor, once it is kept:\n{kept}"));
        }
        text
    }
}

/// What this relay decides before anybody is asked, and what it would ask.
fn becomes<'a>(
    rules: &'a Rules,
    partner: &Arc<Partner>,
    push: &'a Push,
    now: SystemTime,
) -> Result<Becomes<'a>, Local> {
    let target = &push.notification.targets[push.target];
    let partner = Some(partner);
    compose::is_due(push, now)?;
    match compose::way(rules, partner, target)? {
        Way::Apple(app) => {
            let request = compose::for_apple(rules, partner, app, push)?;
            Ok(Becomes::Apple(Wire::to_apple(&app.client, &request)))
        }
        Way::WindowsPhone(app) => {
            let look = compose::phone_look(rules, partner, app, push)?;
            let requests = compose::for_phone(look.clone(), push)?;
            let requests = requests.before.iter().chain([&requests.last]);
            let requests = requests.map(Wire::to_windows_phone).collect();
            Ok(Becomes::WindowsPhone(requests, Box::new(look)))
        }
    }
}

/// The app that is meant by a target that names none.
fn default_app<'a>(rules: &'a Rules, partner: &Arc<Partner>, target: &Target) -> Option<&'a str> {
    let id = match compose::way(rules, Some(partner), target).ok()? {
        Way::Apple(app) => &*app.id,
        Way::WindowsPhone(app) => &*app.id,
    };
    Some(id).filter(|id| !id.is_empty())
}

/// A provider's good word.
fn accepted(provider: Provider) -> Outcome {
    match provider {
        Provider::Apns => apns::outcome(200, None, None),
        Provider::Mpns => {
            let headers = StatusHeaders {
                notification: Some("Received"),
                ..StatusHeaders::default()
            };
            mpns::outcome(200, headers)
        }
    }
}

impl Preview<'_> {
    fn is_refused(&self) -> bool {
        let decided = self.becomes.as_ref().err();
        decided.is_some_and(|local| local.outcome().verdict != Verdict::Accepted)
    }

    fn requests(&self) -> &[Wire] {
        match &self.becomes {
            Ok(Becomes::Apple(request)) => std::slice::from_ref(request),
            Ok(Becomes::WindowsPhone(requests, _)) => requests,
            Err(_) => &[],
        }
    }

    fn provider(&self) -> Provider {
        self.push.notification.targets[self.push.target]
            .device
            .service()
    }

    /// Which target it is, and what was decided here.
    fn headline(&self) -> String {
        let name = self.provider().display_name();
        let app = match self.app {
            Some(app) => format!("app {app}"),
            None => "the default app".to_owned(),
        };
        let decided = match &self.becomes {
            Ok(_) => String::new(),
            Err(local) if self.is_refused() => format!(": refused: {}", verdicts::say(*local)),
            Err(local) => format!(": {}", verdicts::say(*local)),
        };
        format!("targets[{}]: {name}, {app}{decided}", self.push.target)
    }

    fn json(&self) -> Value {
        let decided = self.becomes.as_ref().err().map(|local| {
            json!({
                "verdict": local.outcome().verdict.label(),
                "cause": local.label(),
                "text": verdicts::say(*local),
            })
        });
        json!({
            "target": self.push.target,
            "service": self.provider().label(),
            "app": self.app,
            "event": self.push.notification.event.name(),
            "decided": decided,
            "requests": self.requests().iter().map(Wire::json).collect::<Vec<_>>(),
        })
    }
}

fn json_of_answer(answer: &Answer) -> Value {
    let text = answer.to_string();
    let fields = text.lines().skip(1);
    let fields = fields.filter_map(|line| line.split_once(": "));
    let fields: serde_json::Map<String, Value> = fields
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({"status": answer.status(), "headers": fields})
}

/// Lines without what a terminal would obey.
fn readable(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(harmless).collect();
    lines.join("\n")
}

/// Prints it; says whether it is good.
fn tell(arguments: &Arguments, judged: &Judged<'_>) -> bool {
    if arguments.json {
        say_json(&judged.json());
    } else if arguments.html {
        say(format_args!("{}", page::draw(judged).trim_end()));
    } else {
        if let Some(partner) = judged.partner {
            say(format_args!("From partner {partner}.\n"));
        }
        for target in &judged.targets {
            say(format_args!("{}", readable(&target.headline())));
            for request in target.requests() {
                say(format_args!("{}", readable(&request.to_string())));
            }
            say(format_args!(""));
        }
        say(format_args!("{}", readable(&judged.answer_text())));
    }
    judged.is_good()
}
