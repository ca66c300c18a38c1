//! What a push becomes before anybody is asked: which way it goes, and the exact requests.
//!
//! Nothing here waits, counts or sends: an attempt and `pushrelay preview` come to the same bytes.

use std::sync::Arc;
use std::time::SystemTime;

use pushrelay_providers::apns::ApnsRequest;
use pushrelay_providers::mpns::MpnsRequest;
use pushrelay_providers::{Push, apns, mpns};
use pushrelay_push::present::{AppleLook, Fields, PhoneLook, Shown};
use pushrelay_push::{Device, Event, Local, Target};
use uuid::Uuid;

use crate::apple::AppleApp;
use crate::attempt;
use crate::partners::Partner;
use crate::rules::Rules;
use crate::windows_phone::WindowsPhoneApp;

/// Where a target's pushes go.
pub(crate) enum Way<'a> {
    /// To an app on Apple's devices.
    Apple(&'a Arc<AppleApp>),
    /// To an app on Windows Phones.
    WindowsPhone(&'a Arc<WindowsPhoneApp>),
}

/// What a Windows Phone gets: a tile perhaps, which may come twice without harm, then what counts.
pub(crate) struct PhoneRequests {
    /// The tile.
    pub(crate) before: Option<MpnsRequest>,
    /// What counts.
    pub(crate) last: MpnsRequest,
}

/// Whether a provider is to be asked at all: not of a test, nor of what is too late.
pub(crate) fn is_due(push: &Push, now: SystemTime) -> Result<(), Local> {
    if push.notification.event == Event::Test {
        return Err(Local::Test);
    }
    match push.expiry {
        Some(expiry) if expiry != attempt::ONCE && expiry.is_past(now) => Err(Local::Expired),
        _ => Ok(()),
    }
}

/// The way for a target of this partner's; of one that is no longer there, where nobody knows which it was.
pub(crate) fn way<'a>(
    rules: &'a Rules,
    partner: Option<&Arc<Partner>>,
    target: &Target,
) -> Result<Way<'a>, Local> {
    let app = target.app.as_deref();
    match &target.device {
        Device::Apple(_) => {
            let on = partner.is_none_or(|partner| partner.apple);
            let apps = rules.apple.as_ref().filter(|_| on);
            let apps = apps.ok_or(Local::PlatformOff)?;
            let found = apps.find(app, target.environment);
            found.map(Way::Apple).ok_or(Local::UnknownApp)
        }
        Device::WindowsPhone(_) => {
            let on = partner.is_none_or(|partner| partner.windows_phone);
            let apps = rules.windows_phone.as_ref().filter(|_| on);
            let found = apps.ok_or(Local::PlatformOff)?.find(app);
            found.map(Way::WindowsPhone).ok_or(Local::UnknownApp)
        }
    }
}

/// The request to Apple.
pub(crate) fn for_apple(
    rules: &Rules,
    partner: Option<&Arc<Partner>>,
    app: &AppleApp,
    push: &Push,
) -> Result<ApnsRequest, Local> {
    let fields = fields(rules, partner, app.hide_content, push)?;
    let named = fields.target.app.as_deref().unwrap_or(&app.id);
    let template = rules
        .presentation
        .apple
        .find(named, &push.notification.event);
    let look = AppleLook::of(&fields, template, app.app.is_voip(fields.target));
    apns::compose(push, &app.app, &look)
}

/// What a Windows Phone shows.
pub(crate) fn phone_look<'a>(
    rules: &'a Rules,
    partner: Option<&Arc<Partner>>,
    app: &WindowsPhoneApp,
    push: &'a Push,
) -> Result<PhoneLook<'a>, Local> {
    let fields = fields(rules, partner, app.hide_content, push)?;
    let named = fields.target.app.as_deref().unwrap_or_default();
    let template = rules
        .presentation
        .phone
        .find(named, &push.notification.event);
    Ok(PhoneLook::of(&fields, template))
}

/// The requests to a channel.
pub(crate) fn for_phone(look: PhoneLook<'_>, push: &Push) -> Result<PhoneRequests, Local> {
    let before = match look.before {
        Some(tile) => {
            let push = Push {
                id: Uuid::new_v5(&push.id, b"tile"),
                ..push.clone()
            };
            Some(mpns::compose(&push, &Shown::Tile(tile), look.delay)?)
        }
        None => None,
    };
    let last = mpns::compose(push, &look.shown, look.delay)?;
    Ok(PhoneRequests { before, last })
}

/// What fills the templates; one switch is enough to hide what people write.
fn fields<'a>(
    rules: &Rules,
    partner: Option<&Arc<Partner>>,
    app_hides: bool,
    push: &'a Push,
) -> Result<Fields<'a>, Local> {
    let hides = app_hides
        || rules.presentation.hide_content
        || partner.is_some_and(|partner| partner.hide_content);
    push.fields(hides).ok_or(Local::UnknownApp)
}
