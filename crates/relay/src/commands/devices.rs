//! `pushrelay devices`: which devices are refused at the door, and how one is let in again.

use std::io::Read;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use clap::{Args, Subcommand};
use pushrelay_push::{ChannelPolicy, ChannelUri, Device, DeviceToken, Target};

use super::print::{Table, say_json, since};
use super::reach::{self, Reach, Where, not_there};
use super::say;
use crate::gone::fingerprint;
use crate::operator::ask::{Ask, DevicePage, Digest, Forgotten};

/// The most that is read of standard input: the longest channel URI, and then some.
const STDIN_BYTES: u64 = 4096;

/// Arguments of `devices`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Where,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the devices that a provider has called gone
    List {
        /// At most so many devices
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Go on behind this device
        #[arg(long, value_name = "DIGEST")]
        after: Option<Digest>,
    },
    /// Let a device in again: its provider will be asked the next time
    Forget(Named),
}

/// A device, by its digest or by what it is.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct Named {
    /// The digest that `devices list` and `spool show` tell
    #[arg(conflicts_with_all = ["apple", "windows_phone"])]
    digest: Option<Digest>,
    /// An APNs device token; - reads it from standard input
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "app",
        conflicts_with = "windows_phone"
    )]
    apple: Option<String>,
    /// The app of that token, by its id in the configuration
    #[arg(long, value_name = "ID", requires = "apple")]
    app: Option<String>,
    /// A channel URI; - reads it from standard input
    #[arg(long, value_name = "URI")]
    windows_phone: Option<String>,
}

/// `pushrelay devices …`
pub(crate) fn devices(arguments: Arguments) -> ExitCode {
    let Arguments { place, verb } = arguments;
    let json = place.json;
    reach::run(&place, async |reach| match &verb {
        Verb::List { limit, after } => list(reach, *limit as usize, *after, json).await,
        Verb::Forget(named) => forget(reach, named, json).await,
    })
}

async fn list(
    reach: &Reach,
    limit: usize,
    after: Option<Digest>,
    json: bool,
) -> anyhow::Result<()> {
    let mut list = DevicePage {
        devices: Vec::new(),
        next: after,
    };
    loop {
        let ask = Ask::DevicesList {
            after: list.next,
            limit: limit - list.devices.len(),
        };
        let page: DevicePage = reach.ask(ask).await?;
        list.devices.extend(page.devices);
        list.next = page.next;
        if list.next.is_none() || list.devices.len() >= limit {
            break;
        }
    }
    if json {
        say_json(&list);
        return Ok(());
    }
    let now = SystemTime::now();
    let mut table = Table::new(&["DEVICE", "SERVICE", "APP", "GONE SINCE", "NOTED"]);
    for device in &list.devices {
        table.row(vec![
            device.device.to_string(),
            device
                .service
                .map_or_else(String::new, |name| name.label().to_owned()),
            device.app.clone(),
            device
                .since
                .map_or_else(String::new, |moment| since(moment.0, now)),
            since(device.noted.0, now),
        ]);
    }
    table.say();
    match list.next {
        Some(next) => super::complain(format_args!(
            "{} devices, perhaps more: go on with --after {next}",
            list.devices.len()
        )),
        None => super::complain(format_args!("{} devices", list.devices.len())),
    }
    Ok(())
}

async fn forget(reach: &Reach, named: &Named, json: bool) -> anyhow::Result<()> {
    let digest = digest(named, &reach.channels)?;
    let answer: Forgotten = reach.ask(Ask::DevicesForget(digest)).await?;
    if json {
        say_json(&answer);
    }
    if !answer.forgotten {
        return Err(not_there(format!("no device {digest} was called gone")));
    }
    if !json {
        say(format_args!("{digest}  forgotten"));
    }
    Ok(())
}

/// Made here, so that no token goes over the socket.
fn digest(named: &Named, channels: &ChannelPolicy) -> anyhow::Result<Digest> {
    let (device, app) = match named {
        Named {
            digest: Some(digest),
            ..
        } => return Ok(*digest),
        Named {
            apple: Some(token),
            app,
            ..
        } => {
            let token = DeviceToken::parse(&secret(token)?).context("--apple")?;
            (Device::Apple(token), app.as_deref().unwrap_or_default())
        }
        Named {
            windows_phone: Some(uri),
            ..
        } => {
            let uri = ChannelUri::parse(&secret(uri)?, channels).context("--windows-phone")?;
            (Device::WindowsPhone(uri), "")
        }
        Named { .. } => {
            anyhow::bail!("expected a digest, --apple TOKEN --app ID, or --windows-phone URI")
        }
    };
    let target = Target {
        device,
        app: None,
        environment: None,
        registered: None,
    };
    Ok(Digest(fingerprint(&target, app)))
}

/// The text itself, or standard input, which no list of processes shows.
fn secret(text: &str) -> anyhow::Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    let mut read = String::new();
    let mut input = std::io::stdin().take(STDIN_BYTES);
    input.read_to_string(&mut read).context("standard input")?;
    Ok(read.trim().to_owned())
}
