//! The one model behind every format: what a member may hold, and how the members become a [`Notification`].
//!
//! Not here: how a document is read. JSON comes straight from its reader, XML and mappings as a tree of the same shape.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::BodyError;
use super::member::{Integer, List, Map, Member, Object, Text};
use super::place::{
    Place, ROOT, broken, expected, integer, length, malformed, moment, not_understood, optional,
    plain, required, text, uuid,
};
use crate::channel::{ChannelPolicy, ChannelUri};
use crate::device::{Device, DeviceToken, Environment};
use crate::event::Event;
use crate::notification::{
    Alert, Delay, MpnsKind, Notification, Sender, Target, Tile, WindowsPhone,
};

/// The document as its reader gives it.
pub(super) type Document<'a> = Member<Object<Root<'a>>>;

/// What a null in the list of targets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    /// A mistake.
    Refused,
    /// A target that this document does not have.
    LeftOut,
}

/// Holds every member to its rules.
pub(super) fn notification(
    document: Document<'_>,
    channels: &ChannelPolicy,
    nulls: Nulls,
) -> Result<Notification, BodyError> {
    let Object(root) = required(ROOT, document)?;
    root.notification(channels, nulls)
}

/// The same for a tree that was made, not read.
pub(super) fn notification_of(
    tree: &Value,
    channels: &ChannelPolicy,
    nulls: Nulls,
) -> Result<Notification, BodyError> {
    // A tree holds no member twice, and that is all that this reader complains of.
    let document = Document::deserialize(tree).map_err(|_| malformed("expected an object"))?;
    notification(document, channels, nulls)
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Root<'a> {
    v: Member<Integer>,
    id: Member<Text<'a>>,
    created: Member<Text<'a>>,
    ttl: Member<Integer>,
    event: Member<Text<'a>>,
    targets: Member<List<Object<TargetMembers<'a>>, TARGETS>>,
    from: Member<Object<FromMembers<'a>>>,
    alert: Member<Object<AlertMembers<'a>>>,
    badge: Member<Integer>,
    sound: Member<Text<'a>>,
    thread: Member<Text<'a>>,
    collapse: Member<Text<'a>>,
    mpns: Member<Object<MpnsMembers<'a>>>,
    data: Member<Map>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct TargetMembers<'a> {
    service: Member<Text<'a>>,
    token: Member<Text<'a>>,
    uri: Member<Text<'a>>,
    app: Member<Text<'a>>,
    env: Member<Text<'a>>,
    registered: Member<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct FromMembers<'a> {
    uri: Member<Text<'a>>,
    name: Member<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct AlertMembers<'a> {
    title: Member<Text<'a>>,
    subtitle: Member<Text<'a>>,
    body: Member<Text<'a>>,
    loc_key: Member<Text<'a>>,
    loc_args: Member<List<Text<'a>, LOC_ARGS>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct MpnsMembers<'a> {
    kind: Member<Text<'a>>,
    param: Member<Text<'a>>,
    delay: Member<Text<'a>>,
    tile: Member<Object<TileMembers<'a>>>,
    raw: Member<Text<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct TileMembers<'a> {
    id: Member<Text<'a>>,
    background: Member<Text<'a>>,
    count: Member<Integer>,
    title: Member<Text<'a>>,
    back_background: Member<Text<'a>>,
    back_title: Member<Text<'a>>,
    back_content: Member<Text<'a>>,
}

/// The most devices of one notification (protocol notes 1.5).
const TARGETS: usize = 16;
/// The most arguments of a translation; Apple names no limit, 4096 bytes of payload hold no more that make sense.
const LOC_ARGS: usize = 32;
/// Apple: "the value of this key must not exceed 64 bytes".
const COLLAPSE_BYTES: usize = 64;
const APP_BYTES: usize = 256;
/// Well below the 128 of the JSON reader: the record of a waiting push and Apple's payload nest it deeper.
const DATA_LEVELS: usize = 32;
/// `wp:Param`, protocol notes 5.2.
const PARAM_CHARACTERS: usize = 256;
/// Protocol notes 5.5.
const RAW_BYTES: usize = 1024;
/// What a badge's 32-bit signed integer holds.
const BADGE_MAX: i128 = i32::MAX as i128;
/// `wp:Count`
const TILE_COUNT_MAX: i128 = 99;

impl<'a> Root<'a> {
    fn notification(
        self,
        channels: &ChannelPolicy,
        nulls: Nulls,
    ) -> Result<Notification, BodyError> {
        let at = |name| Place { name, ..ROOT };
        match required(at("v"), self.v)?.0 {
            1 => {}
            _ => return Err(not_understood("v: 1", "another version")),
        }
        let event = required(at("event"), self.event)?;
        Ok(Notification {
            id: optional(at("id"), self.id)?
                .map(|id| uuid(at("id"), &id))
                .transpose()?,
            created: optional(at("created"), self.created)?
                .map(|text| moment(at("created"), &text))
                .transpose()?,
            ttl: integer(at("ttl"), self.ttl, 0, u32::MAX.into())?
                .map(|seconds| Duration::from_secs(seconds.into())),
            event: Event::parse(&event)
                .ok_or_else(|| expected(at("event"), "a known event or x-..., got another"))?,
            targets: targets(self.targets, channels, nulls)?,
            from: match optional(at("from"), self.from)? {
                Some(Object(from)) => Some(from.sender()?),
                None => None,
            },
            alert: match optional(at("alert"), self.alert)? {
                Some(Object(alert)) => Some(alert.alert()?),
                None => None,
            },
            badge: integer(at("badge"), self.badge, 0, BADGE_MAX)?,
            sound: plain(at("sound"), self.sound)?,
            thread: plain(at("thread"), self.thread)?,
            collapse: match plain(at("collapse"), self.collapse)? {
                Some(text) if text.is_empty() || text.len() > COLLAPSE_BYTES => {
                    return Err(length(at("collapse"), COLLAPSE_BYTES, "bytes", text.len()));
                }
                collapse => collapse,
            },
            windows_phone: match optional(at("mpns"), self.mpns)? {
                Some(Object(mpns)) => mpns.windows_phone()?,
                None => WindowsPhone::default(),
            },
            data: data(at("data"), self.data)?,
        })
    }
}

fn data(place: Place, member: Member<Map>) -> Result<Map, BodyError> {
    let data = optional(place, member)?.unwrap_or_default();
    if data.values().any(|value| depth(value) >= DATA_LEVELS) {
        return Err(expected(
            place,
            format_args!("at most {DATA_LEVELS} levels, got more"),
        ));
    }
    Ok(data)
}

/// 0 for a value without members. The recursion ends because the reader takes 128 levels at most.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn targets(
    list: Member<List<Object<TargetMembers<'_>>, TARGETS>>,
    channels: &ChannelPolicy,
    nulls: Nulls,
) -> Result<Vec<Target>, BodyError> {
    let place = Place {
        name: "targets",
        ..ROOT
    };
    let list = required(place, list)?;
    if list.count == 0 || list.count > TARGETS {
        return Err(expected(
            place,
            format_args!("1 to {TARGETS} elements, got {}", list.count),
        ));
    }
    let mut targets = Vec::with_capacity(list.count);
    for (index, element) in list.first.into_iter().enumerate() {
        let place = Place {
            parent: "targets",
            index: Some(index),
            name: "",
        };
        if nulls == Nulls::LeftOut && matches!(element, Member::Null) {
            continue;
        }
        let Object(members) = required(place, element)?;
        targets.push(members.target(index, channels)?);
    }
    Ok(targets)
}

impl TargetMembers<'_> {
    fn target(self, index: usize, channels: &ChannelPolicy) -> Result<Target, BodyError> {
        let at = |name| Place {
            parent: "targets",
            index: Some(index),
            name,
        };
        let (device, environment) = match &*required(at("service"), self.service)? {
            "apns" => {
                let token = required(at("token"), self.token)?;
                let token =
                    DeviceToken::parse(&token).map_err(|error| broken(at("token"), error))?;
                let environment = match optional(at("env"), self.env)?.as_deref() {
                    None => None,
                    Some("production") => Some(Environment::Production),
                    Some("sandbox") => Some(Environment::Sandbox),
                    Some(_) => {
                        return Err(expected(at("env"), "production or sandbox, got another"));
                    }
                };
                (Device::Apple(token), environment)
            }
            "mpns" => {
                let uri = required(at("uri"), self.uri)?;
                let uri =
                    ChannelUri::parse(&uri, channels).map_err(|error| broken(at("uri"), error))?;
                (Device::WindowsPhone(uri), None)
            }
            _ => return Err(expected(at("service"), "apns or mpns, got another")),
        };
        let app = match plain(at("app"), self.app)? {
            Some(app) if app.is_empty() || app.len() > APP_BYTES => {
                return Err(length(at("app"), APP_BYTES, "bytes", app.len()));
            }
            app => app,
        };
        let registered = optional(at("registered"), self.registered)?
            .map(|text| moment(at("registered"), &text))
            .transpose()?;
        Ok(Target {
            device,
            app,
            environment,
            registered,
        })
    }
}

impl FromMembers<'_> {
    fn sender(self) -> Result<Sender, BodyError> {
        let at = |name| Place {
            parent: "from",
            name,
            ..ROOT
        };
        Ok(Sender {
            uri: plain(at("uri"), self.uri)?,
            name: text(at("name"), self.name)?,
        })
    }
}

impl AlertMembers<'_> {
    fn alert(self) -> Result<Alert, BodyError> {
        let at = |name| Place {
            parent: "alert",
            name,
            ..ROOT
        };
        let mut loc_args = Vec::new();
        if let Some(list) = optional(at("loc_args"), self.loc_args)? {
            if list.count > LOC_ARGS {
                return Err(expected(
                    at("loc_args"),
                    format_args!("at most {LOC_ARGS} elements, got {}", list.count),
                ));
            }
            for (index, element) in list.first.into_iter().enumerate() {
                let place = Place {
                    parent: "alert.loc_args",
                    index: Some(index),
                    name: "",
                };
                loc_args.push(required(place, element)?.into_owned());
            }
        }
        Ok(Alert {
            title: text(at("title"), self.title)?,
            subtitle: text(at("subtitle"), self.subtitle)?,
            body: text(at("body"), self.body)?,
            loc_key: plain(at("loc_key"), self.loc_key)?,
            loc_args,
        })
    }
}

impl MpnsMembers<'_> {
    fn windows_phone(self) -> Result<WindowsPhone, BodyError> {
        let at = |name| Place {
            parent: "mpns",
            name,
            ..ROOT
        };
        let kind = match optional(at("kind"), self.kind)?.as_deref() {
            None | Some("toast") => MpnsKind::Toast,
            Some("tile") => MpnsKind::Tile,
            Some("raw") => MpnsKind::Raw,
            Some(_) => return Err(expected(at("kind"), "toast, tile or raw, got another")),
        };
        let delay = match optional(at("delay"), self.delay)?.as_deref() {
            None | Some("immediate") => Delay::Immediate,
            Some("450") => Delay::Within450Seconds,
            Some("900") => Delay::Within900Seconds,
            Some(_) => return Err(expected(at("delay"), "immediate, 450 or 900, got another")),
        };
        let param = plain(at("param"), self.param)?;
        if let Some(param) = &param {
            if !param.starts_with('/') {
                return Err(expected(
                    at("param"),
                    "a page beginning with /, got another beginning",
                ));
            }
            let characters = param.chars().count();
            if characters > PARAM_CHARACTERS {
                return Err(length(
                    at("param"),
                    PARAM_CHARACTERS,
                    "characters",
                    characters,
                ));
            }
        }
        let raw = text(at("raw"), self.raw)?;
        match &raw {
            Some(raw) if raw.is_empty() || raw.len() > RAW_BYTES => {
                return Err(length(at("raw"), RAW_BYTES, "bytes", raw.len()));
            }
            None if kind == MpnsKind::Raw => {
                return Err(expected(
                    at("raw"),
                    "a string because kind is raw, got nothing",
                ));
            }
            _ => {}
        }
        Ok(WindowsPhone {
            kind,
            param,
            delay,
            tile: match optional(at("tile"), self.tile)? {
                Some(Object(tile)) => Some(tile.tile()?),
                None => None,
            },
            raw,
        })
    }
}

impl TileMembers<'_> {
    fn tile(self) -> Result<Tile, BodyError> {
        let at = |name| Place {
            parent: "mpns.tile",
            name,
            ..ROOT
        };
        Ok(Tile {
            id: plain(at("id"), self.id)?,
            background: plain(at("background"), self.background)?,
            count: integer(at("count"), self.count, 0, TILE_COUNT_MAX)?,
            title: text(at("title"), self.title)?,
            back_background: plain(at("back_background"), self.back_background)?,
            back_title: text(at("back_title"), self.back_title)?,
            back_content: text(at("back_content"), self.back_content)?,
        })
    }
}
