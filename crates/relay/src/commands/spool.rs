//! `pushrelay spool`: what waits on disk, seen and changed.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::print::{Table, moment, say_json, say_pair, span};
use super::reach::{self, Reach, Where, not_there};
use super::story;
use super::{complain, say};
use crate::operator::ask::{
    Ask, Changes, Choice, EntryLine, EntryPage, EntryStory, ProviderName, Standing, Stock, Which,
};

/// The exit code for arguments that cannot be read, as the reader of arguments has it.
const USAGE: u8 = 2;

/// Arguments of `spool`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List entries in the order of their coming
    List {
        #[command(flatten)]
        filter: Filter,
        /// At most so many entries
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Go on behind a listing that has said so
        #[arg(long, value_name = "PLACE", default_value_t = 0)]
        after: u64,
    },
    /// Tell all that is known of one entry
    Show {
        /// Its id: the apns-id
        id: Uuid,
    },
    /// Make entries due at once, also those that were given up
    Retry(Selected),
    /// Remove entries for good
    Drop(Selected),
    /// Count what lies in the spool
    Stats,
}

/// Which entries.
#[derive(Args)]
struct Filter {
    /// Only of this provider
    #[arg(long)]
    service: Option<ProviderName>,
    /// Only of this partner
    #[arg(long, value_name = "NAME")]
    partner: Option<String>,
    /// Only in this state
    #[arg(long)]
    state: Option<Standing>,
    /// Only what has been on disk for longer, such as "2h"
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only what has not been on disk for longer, such as "10m"
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    newer_than: Option<Duration>,
}

impl Filter {
    fn which(&self) -> Which {
        Which {
            service: self.service,
            partner: self.partner.clone(),
            state: self.state,
            older_than: self.older_than.map(|time| time.as_secs()),
            newer_than: self.newer_than.map(|time| time.as_secs()),
        }
    }
}

/// Entries that are to be changed: named, or matching, or all of them in as many words.
#[derive(Args)]
struct Selected {
    /// Their ids
    ids: Vec<Uuid>,
    #[command(flatten)]
    filter: Filter,
    /// All there are
    #[arg(long, conflicts_with_all = ["ids", "service", "partner", "state", "older_than", "newer_than"])]
    all: bool,
}

impl Selected {
    /// Nobody changes everything by leaving something out.
    fn means_something(&self) -> bool {
        self.all || !self.ids.is_empty() || self.filter.which() != Which::default()
    }
}

/// `pushrelay spool …`
pub(crate) fn spool(arguments: Arguments) -> ExitCode {
    let Arguments { place, verb } = arguments;
    let json = place.json;
    if let Verb::Retry(selected) | Verb::Drop(selected) = &verb
        && !selected.means_something()
    {
        complain(format_args!(
            "pushrelay: expected ids, a filter such as --service, --partner, --state, --older-than, --newer-than, or --all"
        ));
        return ExitCode::from(USAGE);
    }
    reach::run(&place, async |reach| match &verb {
        Verb::List {
            filter,
            limit,
            after,
        } => list(reach, &filter.which(), *limit as usize, *after, json).await,
        Verb::Show { id } => show(reach, *id, json).await,
        Verb::Retry(selected) => {
            let changes = change(reach, selected, Ask::SpoolRetry).await?;
            tell(&changes, "due now", json);
            Ok(())
        }
        Verb::Drop(selected) => {
            let changes = change(reach, selected, Ask::SpoolDrop).await?;
            tell(&changes, "dropped", json);
            Ok(())
        }
        Verb::Stats => stats(reach, json).await,
    })
}

async fn list(
    reach: &Reach,
    which: &Which,
    limit: usize,
    after: u64,
    json: bool,
) -> anyhow::Result<()> {
    let mut list = EntryPage::default();
    let mut next = Some(after);
    while let Some(after) = next
        && list.entries.len() < limit
    {
        let ask = Ask::SpoolList {
            which: which.clone(),
            after,
            limit: limit - list.entries.len(),
        };
        let page: EntryPage = reach.ask(ask).await?;
        list.entries.extend(page.entries);
        next = page.next;
    }
    list.next = next;
    if json {
        say_json(&list);
        return Ok(());
    }
    let now = SystemTime::now();
    let mut table = Table::new(&[
        "ID", "SERVICE", "STATE", "PARTNER", "AGE", "NEXT", "TRIES", "EXPIRES", "SAID",
    ]);
    for entry in &list.entries {
        table.row(vec![
            entry.id.to_string(),
            service(entry),
            entry.state.label().to_owned(),
            entry.partner.clone(),
            span(now.duration_since(entry.appended.0).unwrap_or_default()),
            next_try(entry, now),
            entry.deferred.to_string(),
            entry
                .expires
                .map_or_else(String::new, |moment| ahead(moment.0, now)),
            entry.said.clone().unwrap_or_default(),
        ]);
    }
    table.say();
    match list.next {
        Some(next) => complain(format_args!(
            "{} entries, perhaps more: go on with --after {next}",
            list.entries.len()
        )),
        None => complain(format_args!("{} entries", list.entries.len())),
    }
    Ok(())
}

async fn show(reach: &Reach, id: Uuid, json: bool) -> anyhow::Result<()> {
    let told: EntryStory = reach.ask(Ask::SpoolShow(id)).await?;
    if json {
        say_json(&told);
        return Ok(());
    }
    let now = SystemTime::now();
    let entry = &told.entry;
    say_pair("id", &entry.id.to_string());
    say_pair("service", &service(entry));
    say_pair("state", entry.state.label());
    say_pair("partner", &entry.partner);
    if let Some(push) = &told.push {
        say_pair("call-id", &push.call_id);
        say_pair("received", &moment(push.received.0, now));
        say_pair("event", &push.event);
        say_pair(
            "target",
            &format!("number {} of its MESSAGE", push.target + 1),
        );
        say_pair("device", &push.device);
        if let Some(app) = &push.app {
            say_pair("app", app);
        }
        if let Some(digest) = push.digest {
            say_pair("digest", &digest.to_string());
        }
        say_pair("collapses", if push.collapses { "yes" } else { "no" });
    }
    if let Some(why) = &told.unreadable {
        say_pair("unreadable", why);
    }
    say_pair("on disk since", &moment(entry.appended.0, now));
    say_pair("size", &format!("{} bytes", entry.bytes));
    say_pair(
        "deferred",
        &format!(
            "{} times, {} by its own device",
            entry.deferred, entry.deferred_by_device
        ),
    );
    say_pair("said last", entry.said.as_deref().unwrap_or("nothing yet"));
    if let Some(due) = entry.due {
        say_pair("next try", &moment(due.0, now));
    }
    if let Some(buried) = entry.buried {
        say_pair("given up", &moment(buried.0, now));
    }
    if let Some(expires) = entry.expires {
        say_pair("expires", &moment(expires.0, now));
    }
    story::say_steps(&told.story);
    Ok(())
}

/// Asks for a change, again and again until the last entry that is meant was looked at.
async fn change(
    reach: &Reach,
    selected: &Selected,
    ask: fn(Choice) -> Ask,
) -> anyhow::Result<Changes> {
    let mut all = Changes::default();
    for id in &selected.ids {
        let changes: Changes = reach.ask(ask(Choice::Id(*id))).await?;
        if changes.changed.is_empty() && changes.under_way == 0 {
            return Err(not_there(format!(
                "no entry {id} in the spool; {} were changed before",
                all.changed.len()
            )));
        }
        all.changed.extend(changes.changed);
        all.under_way += changes.under_way;
    }
    if !selected.ids.is_empty() {
        return Ok(all);
    }
    let mut next = Some(0);
    while let Some(after) = next {
        let which = selected.filter.which();
        let changes: Changes = reach.ask(ask(Choice::Matching { which, after })).await?;
        all.changed.extend(changes.changed);
        all.under_way += changes.under_way;
        next = changes.next;
    }
    Ok(all)
}

fn tell(changes: &Changes, how: &str, json: bool) {
    if json {
        say_json(changes);
        return;
    }
    for id in &changes.changed {
        say(format_args!("{id}  {how}"));
    }
    complain(format_args!("{} entries {how}", changes.changed.len()));
    if changes.under_way > 0 {
        complain(format_args!(
            "{} left alone: they are being tried just now",
            changes.under_way
        ));
    }
}

async fn stats(reach: &Reach, json: bool) -> anyhow::Result<()> {
    let stock: Stock = reach.ask(Ask::SpoolStats).await?;
    if json {
        say_json(&stock);
        return Ok(());
    }
    let mut table = Table::new(&["SERVICE", "STATE", "PARTNER", "ENTRIES", "BYTES"]);
    for heap in &stock.heaps {
        table.row(vec![
            heap.service
                .map_or_else(String::new, |name| name.label().to_owned()),
            heap.state.label().to_owned(),
            heap.partner.clone(),
            heap.entries.to_string(),
            heap.bytes.to_string(),
        ]);
    }
    table.say();
    for of in &stock.under_way {
        say_pair(
            "being tried",
            &format!("{} {}", of.entries, of.service.label()),
        );
    }
    say_pair("gone devices", &stock.gone_devices.to_string());
    say_pair("ids remembered", &stock.remembered_ids.to_string());
    say_pair("trouble", stock.trouble.as_deref().unwrap_or("none"));
    Ok(())
}

fn service(entry: &EntryLine) -> String {
    entry
        .service
        .map_or_else(String::new, |name| name.label().to_owned())
}

fn next_try(entry: &EntryLine, now: SystemTime) -> String {
    if entry.under_way {
        return "trying".to_owned();
    }
    entry.due.map_or_else(String::new, |due| ahead(due.0, now))
}

/// A time from now on, in one word.
fn ahead(moment: SystemTime, now: SystemTime) -> String {
    match moment.duration_since(now) {
        Ok(left) => span(left),
        Err(_) => "now".to_owned(),
    }
}
