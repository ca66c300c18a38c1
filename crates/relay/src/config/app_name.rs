//! How senders name an app, and which of the configured ones they mean.

use pushrelay_push::present::Glob;

/// The name of a configured app.
#[derive(Clone, Debug)]
pub(crate) struct AppName {
    id: Glob,
    default: bool,
}

impl AppName {
    /// An id, or a pattern with `*`; `default` for what names no app.
    pub(crate) fn new(id: &str, default: bool) -> AppName {
        AppName {
            id: Glob::new(id),
            default,
        }
    }

    /// The one of a service that knows no apps.
    pub(super) fn everybody() -> AppName {
        AppName::new("*", true)
    }

    /// What metrics call it.
    pub(crate) fn label(&self) -> &str {
        match self.id.as_str() {
            "*" => "",
            id => id,
        }
    }

    /// The app that a sender means: of those that fit otherwise, the one of that very id, else the first whose pattern fits. Where it
    /// names none, the default one, or the only one.
    pub(crate) fn find<'a, A>(
        apps: &'a [A],
        name: impl Fn(&A) -> &AppName,
        fits: impl Fn(&A) -> bool,
        id: Option<&str>,
    ) -> Option<&'a A> {
        let find =
            |is: &dyn Fn(&AppName) -> bool| apps.iter().find(|app| is(name(app)) && fits(app));
        match id {
            Some(id) => {
                find(&|name| name.id.as_str() == id).or_else(|| find(&|name| name.id.fits(id)))
            }
            None if apps.len() == 1 => find(&|_| true),
            None => find(&|name| name.default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_very_id_counts_more_than_a_pattern_and_none_is_the_default() {
        let apps = [
            ("com.example.*", false),
            ("com.example.chat", false),
            ("*.lab", true),
        ]
        .map(|(id, default)| AppName::new(id, default));
        let find = |id| AppName::find(&apps, |app| app, |_| true, id).map(|app| app.label());
        assert_eq!(find(Some("com.example.chat")), Some("com.example.chat"));
        assert_eq!(find(Some("com.example.lab")), Some("com.example.*"));
        assert_eq!(find(Some("org.lab")), Some("*.lab"));
        assert_eq!(find(Some("org.example")), None);
        assert_eq!(find(None), Some("*.lab"));
        let only = &apps[..1];
        assert!(AppName::find(only, |app| app, |_| true, None).is_some());
        assert!(AppName::find(&apps[..2], |app| app, |_| true, None).is_none());
        assert!(AppName::find(&apps, |app| app, |_| false, None).is_none());
    }
}
