//! `pushrelay explain`, and the story of one push as it is told everywhere.

use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;

use super::print::{harmless, moment, say_json, say_pair};
use super::reach::{self, Reach, Where};
use super::say;
use crate::operator::ask::{
    Ask, EntryPage, EntryStory, Explanation, Fault, MessageStory, PushStory, Refused,
};

/// Of the entries of one Call-ID, so many are told of.
const ENTRIES: usize = 64;

/// Arguments of `explain`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    /// The Call-ID of a MESSAGE, or the apns-id of a push
    #[arg(value_name = "CALL-ID|APNS-ID")]
    what: String,
}

/// `pushrelay explain …`
pub(crate) fn explain(arguments: Arguments) -> ExitCode {
    let Arguments { place, what } = arguments;
    reach::run(&place, async |reach| {
        let told = ask(reach, &what).await?;
        if place.json {
            say_json(&told);
        } else {
            tell(&told);
        }
        Ok(())
    })
}

async fn ask(reach: &Reach, what: &str) -> anyhow::Result<Explanation> {
    match reach.ask(Ask::Explain(what.to_owned())).await {
        Err(error) if is_not_there(&error) => {
            // What the daemon has forgotten may still wait, under another id.
            let pushes = search(reach, what).await?;
            if pushes.is_empty() {
                return Err(error);
            }
            Ok(Explanation {
                messages: Vec::new(),
                pushes,
                remembers_since: None,
            })
        }
        answered => answered,
    }
}

fn is_not_there(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refused>()
        .is_some_and(|refused| refused.kind == Fault::NotThere)
}

async fn search(reach: &Reach, call_id: &str) -> anyhow::Result<Vec<PushStory>> {
    let mut stories = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next
        && stories.len() < ENTRIES
    {
        let ask = Ask::SpoolSearch {
            call_id: call_id.to_owned(),
            after,
        };
        let page: EntryPage = match reach.ask(ask).await {
            Ok(page) => page,
            // Where there is no spool, nothing waits.
            Err(error) if error.downcast_ref::<Refused>().is_some() => return Ok(stories),
            Err(error) => return Err(error),
        };
        for entry in page.entries {
            match reach.ask::<EntryStory>(Ask::SpoolShow(entry.id)).await {
                Ok(told) => stories.push(told.story),
                // Delivered meanwhile.
                Err(error) if is_not_there(&error) => {}
                Err(error) => return Err(error),
            }
        }
        next = page.next;
    }
    Ok(stories)
}

fn tell(told: &Explanation) {
    let now = SystemTime::now();
    for message in &told.messages {
        say_message(message, now);
    }
    for push in &told.pushes {
        let service = push.service.map_or("", |name| name.label());
        say(format_args!("push {} {service}", push.id));
        if let Some(entry) = &push.entry {
            say_pair(
                "  on disk",
                &format!(
                    "{}, since {}",
                    entry.state.label(),
                    moment(entry.appended.0, now)
                ),
            );
        }
        say_steps(push);
    }
}

fn say_message(message: &MessageStory, now: SystemTime) {
    say(format_args!("MESSAGE {}", harmless(&message.call_id)));
    let partner = message.partner.as_deref().unwrap_or("a stranger");
    say_pair("  from", &format!("{partner}, CSeq {}", message.cseq));
    say_pair("  received", &moment(message.received.0, now));
    let answer = match (message.status, message.answered_after_us) {
        (Some(status), Some(us)) => format!("{status} after {} ms", us / 1000),
        _ => "not yet".to_owned(),
    };
    say_pair("  answered", &answer);
    if let Some(refusal) = &message.refusal {
        say_pair("  refused", refusal);
    }
    if let Some(advice) = &message.advice {
        say_pair("  who must act", advice);
    }
}

/// What happened to a push, where it stands, and who must act.
pub(super) fn say_steps(push: &PushStory) {
    for step in &push.steps {
        let at = humantime::format_rfc3339_millis(step.at.0);
        say(format_args!("  {at}  {}", harmless(&step.text)));
    }
    say_pair("  now", &push.now);
    say_pair("  who must act", &push.advice);
}
