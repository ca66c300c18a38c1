//! Holds the shape of the workspace: which crate may use which, what stands at the top level, how long a file may be.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Where each package stands.
const HOUSE: &[(&str, Place)] = &[
    ("pushrelay-sip", Place::Floor(0)),
    ("pushrelay-push", Place::Floor(0)),
    ("pushrelay-providers", Place::Floor(1)),
    ("pushrelay-spool", Place::Floor(1)),
    ("pushrelay", Place::Floor(2)),
    ("pushrelay-peers", Place::Yard),
    ("pushrelay-benches", Place::Yard),
    ("pushrelay-fuzz", Place::Yard),
    ("xtask", Place::Yard),
];

/// Floor 0 has no IO and no async: nothing of these by its own list of dependencies, not even for tests.
const NOT_ON_FLOOR_0: &[&str] = &["tokio", "mio", "async-std", "smol", "futures", "rand"];

/// What the top level consists of, next to files whose names begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "config",
    "crates",
    "deploy",
    "target",
];

/// The folders whose README.md is their manual.
const MANUALS: &[&str] = &["benches", "config", "crates", "deploy"];

/// Past this a file has probably two subjects.
const FILE_LINES: usize = 800;

#[test]
fn every_arrow_runs_downward() {
    assert_eq!(wrong_arrows(&arrows(&metadata())), NOTHING);
}

#[test]
fn every_package_stands_somewhere() {
    let homeless: Vec<String> = metadata()
        .workspace_packages()
        .iter()
        .filter(|package| place(&package.name).is_none())
        .map(|package| package.name.to_string())
        .collect();
    assert_eq!(homeless, NOTHING);
}

#[test]
fn floor_0_lists_no_async_and_no_randomness() {
    assert_eq!(forbidden_on_floor_0(&arrows(&metadata())), NOTHING);
}

#[test]
fn floor_0_forbids_clock_and_randomness_to_clippy() {
    for package in metadata().workspace_packages() {
        if place(&package.name) == Some(Place::Floor(0)) {
            let rules = folder(package).join("clippy.toml");
            let text = fs::read_to_string(&rules)
                .unwrap_or_else(|error| panic!("{}: {error}", rules.display()));
            for banned in ["SystemTime::now", "Instant::now"] {
                assert!(text.contains(banned), "{}: {banned}", rules.display());
            }
        }
    }
}

#[test]
fn every_manifest_takes_the_lints_of_the_workspace() {
    for package in metadata().workspace_packages() {
        let text = fs::read_to_string(&package.manifest_path).unwrap();
        assert!(takes_workspace_lints(&text), "{}", package.manifest_path);
    }
}

#[test]
fn the_top_level_has_only_what_the_design_lists() {
    let names = entries(&root());
    assert_eq!(strangers(names.iter().map(String::as_str)), NOTHING);
}

#[test]
fn every_main_folder_has_its_manual() {
    let missing: Vec<&str> = MANUALS
        .iter()
        .copied()
        .filter(|folder| !root().join(folder).join("README.md").is_file())
        .collect();
    assert_eq!(missing, NOTHING);
}

#[test]
fn no_source_file_has_two_subjects() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|file| fs::read_to_string(file).unwrap().lines().count() > FILE_LINES)
        .map(|file| file.display().to_string())
        .collect();
    assert_eq!(long, NOTHING);
}

/// The checks themselves, held against a house that is wrong.
mod can_fail {
    use super::*;
    use DependencyKind::{Build, Development, Normal};

    fn arrow(from: &str, to: &str, kind: DependencyKind) -> Arrow {
        Arrow {
            from: from.into(),
            to: to.into(),
            kind,
        }
    }

    fn is_wrong(from: &str, to: &str, kind: DependencyKind) -> bool {
        !wrong_arrows(&[arrow(from, to, kind)]).is_empty()
    }

    #[test]
    fn an_arrow_up_is_wrong() {
        assert!(is_wrong("pushrelay-sip", "pushrelay", Normal));
        assert!(is_wrong("pushrelay-push", "pushrelay-providers", Build));
        assert!(is_wrong(
            "pushrelay-push",
            "pushrelay-providers",
            Development
        ));
    }

    #[test]
    fn an_arrow_sideways_is_wrong() {
        assert!(is_wrong("pushrelay-sip", "pushrelay-push", Normal));
        assert!(is_wrong("pushrelay-spool", "pushrelay-providers", Normal));
    }

    #[test]
    fn an_arrow_from_a_floor_into_the_yard_is_wrong_except_for_tests() {
        assert!(is_wrong("pushrelay", "pushrelay-peers", Normal));
        assert!(is_wrong("pushrelay", "pushrelay-peers", Build));
        assert!(!is_wrong("pushrelay", "pushrelay-peers", Development));
    }

    #[test]
    fn an_arrow_down_and_every_arrow_from_the_yard_is_right() {
        assert!(!is_wrong("pushrelay", "pushrelay-spool", Normal));
        assert!(!is_wrong("pushrelay-providers", "pushrelay-push", Normal));
        assert!(!is_wrong("pushrelay-peers", "pushrelay-sip", Normal));
        assert!(!is_wrong("pushrelay-benches", "pushrelay-peers", Normal));
        assert!(!is_wrong("pushrelay", "serde", Normal));
    }

    #[test]
    fn an_unknown_package_of_ours_is_wrong_at_either_end() {
        assert!(is_wrong("pushrelay-common", "pushrelay-sip", Normal));
        assert!(is_wrong("pushrelay", "pushrelay-common", Normal));
    }

    #[test]
    fn tokio_on_floor_0_is_wrong_even_for_tests() {
        for to in ["tokio", "tokio-util", "futures-util"] {
            for kind in [Normal, Development, Build] {
                let arrows = [arrow("pushrelay-sip", to, kind)];
                assert_eq!(forbidden_on_floor_0(&arrows).len(), 1, "{to}");
            }
        }
        assert!(forbidden_on_floor_0(&[arrow("pushrelay", "tokio", Normal)]).is_empty());
        assert!(forbidden_on_floor_0(&[arrow("pushrelay-sip", "tokiosk", Normal)]).is_empty());
    }

    #[test]
    fn a_new_name_at_the_top_level_is_wrong() {
        let names = ["crates", ".ci", "scripts", "README.md", "notes.txt"];
        assert_eq!(strangers(names.into_iter()), ["scripts", "notes.txt"]);
    }

    #[test]
    fn a_manifest_with_lints_of_its_own_is_wrong() {
        assert!(takes_workspace_lints("[lints]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[lints]\nworkspace = false\n"));
        assert!(!takes_workspace_lints("[package]\nname = \"x\"\n"));
        assert!(!takes_workspace_lints("# [lints]\n# workspace = true\n"));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Uses only what stands on lower floors.
    Floor(u8),
    /// Looks at any floor and at the rest of the yard; only tests of a floor look at it.
    Yard,
}

/// One line of one manifest's dependencies.
struct Arrow {
    from: String,
    to: String,
    kind: DependencyKind,
}

const NOTHING: [&str; 0] = [];

fn place(package: &str) -> Option<Place> {
    HOUSE
        .iter()
        .find(|(name, _)| *name == package)
        .map(|(_, place)| *place)
}

/// A dependency on a package of this workspace: known, or by its prefix meant to be.
fn is_ours(package: &str) -> bool {
    place(package).is_some() || package.starts_with("pushrelay")
}

fn wrong_arrows(arrows: &[Arrow]) -> Vec<String> {
    let allowed = |arrow: &Arrow| {
        let (Some(from), Some(to)) = (place(&arrow.from), place(&arrow.to)) else {
            return false;
        };
        match (from, to) {
            (Place::Yard, _) => true,
            (Place::Floor(from), Place::Floor(to)) => to < from,
            (Place::Floor(_), Place::Yard) => arrow.kind == DependencyKind::Development,
        }
    };
    arrows
        .iter()
        .filter(|arrow| is_ours(&arrow.to) && !allowed(arrow))
        .map(|arrow| format!("{} -> {} ({})", arrow.from, arrow.to, arrow.kind))
        .collect()
}

fn forbidden_on_floor_0(arrows: &[Arrow]) -> Vec<String> {
    let forbidden = |name: &str| {
        NOT_ON_FLOOR_0.iter().any(|no| {
            name.strip_prefix(no)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
        })
    };
    arrows
        .iter()
        .filter(|arrow| place(&arrow.from) == Some(Place::Floor(0)) && forbidden(&arrow.to))
        .map(|arrow| format!("{} -> {} ({})", arrow.from, arrow.to, arrow.kind))
        .collect()
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let manifest: toml::Table = manifest.parse().unwrap();
    let lints = manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"));
    lints.and_then(toml::Value::as_bool) == Some(true)
}

fn strangers<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    names
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name))
        .collect()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .no_deps()
        .other_options(["--offline".to_owned()])
        .exec()
        .unwrap()
}

fn arrows(metadata: &Metadata) -> Vec<Arrow> {
    metadata
        .workspace_packages()
        .iter()
        .flat_map(|package| {
            package.dependencies.iter().map(|dependency| Arrow {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                kind: dependency.kind,
            })
        })
        .collect()
}

fn root() -> PathBuf {
    metadata().workspace_root.into_std_path_buf()
}

fn folder(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.as_std_path();
    manifest.parent().unwrap().to_path_buf()
}

fn entries(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Every `.rs` file below the `src` of a package.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = metadata()
        .workspace_packages()
        .iter()
        .map(|package| folder(package).join("src"))
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for name in entries(&folder) {
            let path = folder.join(name);
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files
}
