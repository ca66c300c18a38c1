//! What the process takes up only when it starts, so that a reload can say what it leaves as it is.

use std::collections::BTreeMap;

use toml::Value;

use super::file::File;

/// Keys and values that a reload does not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    values: BTreeMap<String, String>,
}

impl Fixed {
    /// Those of a file, defaults filled in.
    pub(super) fn of(file: &File) -> Fixed {
        let mut values = BTreeMap::new();
        for (key, value) in [
            ("sip.listen", Value::try_from(&file.sip.listen)),
            ("sip.offload", Value::try_from(&file.sip.offload)),
            ("spool", Value::try_from(&file.spool)),
            ("admin", Value::try_from(&file.admin)),
            ("log.format", Value::try_from(file.log.format)),
            ("limits", Value::try_from(&file.limits)),
        ] {
            // A number that TOML cannot write came from no file.
            if let Ok(value) = value {
                collect(key.to_owned(), &value, &mut values);
            }
        }
        Fixed { values }
    }

    /// Every key that is different in `file`: its name, what runs, what the file says.
    pub(crate) fn differences<'a>(
        &'a self,
        file: &'a Fixed,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
        let mut keys: Vec<&String> = self.values.keys().chain(file.values.keys()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter().filter_map(move |key| {
            let [runs, says] =
                [self, file].map(|fixed| fixed.values.get(key).map_or("nothing", String::as_str));
            (runs != says).then_some((key.as_str(), runs, says))
        })
    }
}

fn collect(key: String, value: &Value, values: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                collect(format!("{key}.{name}"), value, values);
            }
        }
        value => {
            values.insert(key, value.to_string());
        }
    }
}
