//! The files that a configuration is made of, each with the mark that it had just before it was read.
//!
//! Whether one has changed is told from its mark alone: device, inode, length, times. Symbolic links are followed, so that a link that
//! is swapped (certbot, Kubernetes) is a file that has changed. Not here: when to look.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All files and folders that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    marks: BTreeMap<PathBuf, Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Missing,
    File(FileMark),
    /// What stands in it, by name; not what stands in folders below.
    Folder(BTreeMap<OsString, Option<FileMark>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileMark {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Takes the mark of a file or folder that is about to be read.
    pub(super) fn note(&mut self, path: &Path) {
        self.marks.insert(path.to_owned(), Mark::of(path));
    }

    /// The same files as they are now. Blocks.
    pub(crate) fn again(&self) -> Files {
        let marks = self.marks.keys();
        Files {
            marks: marks.map(|path| (path.clone(), Mark::of(path))).collect(),
        }
    }

    /// Adds what was looked at later; of a file that is in both, the later mark stays.
    pub(crate) fn extend(&mut self, later: Files) {
        self.marks.extend(later.marks);
    }
}

impl Mark {
    fn of(path: &Path) -> Mark {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
                Mark::Folder(
                    entries
                        .map(|entry| {
                            let mark = std::fs::metadata(entry.path());
                            (entry.file_name(), mark.ok().as_ref().map(FileMark::of))
                        })
                        .collect(),
                )
            }
            Ok(metadata) => Mark::File(FileMark::of(&metadata)),
            Err(_) => Mark::Missing,
        }
    }
}

impl FileMark {
    fn of(metadata: &Metadata) -> FileMark {
        FileMark {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Notes `path`, changes something, and says whether that is seen.
    fn sees(path: &Path, change: impl FnOnce()) -> bool {
        let mut files = Files::default();
        files.note(path);
        assert_eq!(files, files.again(), "nothing has changed yet");
        change();
        files != files.again()
    }

    #[test]
    fn a_file_that_is_rewritten_replaced_or_removed_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        fs::write(&path, "one").unwrap();
        assert!(sees(&path, || fs::write(&path, "three").unwrap()));
        assert!(sees(&path, || {
            fs::write(dir.path().join("new"), "three").unwrap();
            fs::rename(dir.path().join("new"), &path).unwrap();
        }));
        assert!(sees(&path, || fs::remove_file(&path).unwrap()));
        assert!(sees(&path, || fs::write(&path, "three").unwrap()));
        assert!(!sees(&path, || {
            fs::read(&path).unwrap();
        }));
    }

    #[test]
    fn a_link_that_is_swapped_has_changed_also_above_the_file() {
        // As certbot does: live/relay.pem -> archive/relay1.pem.
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let swap = |link: &str, target: &str| {
            symlink(target, at("swap")).unwrap();
            fs::rename(at("swap"), at(link)).unwrap();
        };
        fs::write(at("relay1.pem"), "same").unwrap();
        fs::write(at("relay2.pem"), "same").unwrap();
        swap("relay.pem", "relay1.pem");
        assert!(sees(&at("relay.pem"), || swap("relay.pem", "relay2.pem")));

        // As Kubernetes does: relay.key -> ..data/relay.key, ..data -> ..1.
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("relay.key"), "same").unwrap();
        }
        swap("..data", "..1");
        swap("relay.key", "..data/relay.key");
        assert!(sees(&at("relay.key"), || swap("..data", "..2")));
    }

    #[test]
    fn a_folder_has_changed_with_any_file_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a.pem"), "a").unwrap();
        assert!(sees(dir.path(), || fs::write(at("b.pem"), "b").unwrap()));
        assert!(sees(dir.path(), || fs::write(at("a.pem"), "other").unwrap()));
        assert!(sees(dir.path(), || fs::remove_file(at("b.pem")).unwrap()));
    }
}
