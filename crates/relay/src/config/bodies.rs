//! How bodies are read, and what is kept of them: `[bodies]` and the mappings that it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pushrelay_push::ChannelPolicy;
use pushrelay_push::body::{Decoder, Decoders};

use super::file::{self, CaptureMode, DecoderName, UnknownBody};
use super::{Resolver, mapping};

/// What is done with bodies.
pub(crate) struct Bodies {
    pub(crate) decoders: Decoders,
    pub(crate) unknown: UnknownBody,
    /// `None` while nothing is kept.
    pub(crate) capture: Option<Arc<CaptureConfig>>,
}

/// What is kept of requests, where, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaptureConfig {
    /// Whether those that could be read are kept too.
    pub(crate) all: bool,
    pub(crate) folder: PathBuf,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
    pub(crate) redact: bool,
}

/// The most mappings of one folder; each is asked about every body that those before it do not know.
const MAPPINGS: usize = 64;
/// The longest mapping file.
const MAPPING_BYTES: u64 = 64 * 1024;

impl Resolver {
    pub(super) fn bodies(&mut self, file: &file::Bodies, channels: ChannelPolicy) -> Bodies {
        let decoders = self.decoders(file, channels);
        let capture = self.capture(file);
        if file.unknown_body == UnknownBody::AcceptCaptured {
            if file.capture == CaptureMode::Off {
                self.problem(
                    "bodies.unknown_body",
                    "\"accept-captured\" keeps what it accepts, expected bodies.capture = \"undecodable\" or \"all\"",
                );
            }
            self.warn(
                "bodies.unknown_body",
                "bodies that nobody reads are answered with success although nothing is pushed: for commissioning only",
            );
        }
        Bodies {
            decoders,
            unknown: file.unknown_body,
            capture,
        }
    }

    /// Only what bodies are read by.
    pub(super) fn decoders(&mut self, file: &file::Bodies, channels: ChannelPolicy) -> Decoders {
        let mut decoders = Vec::new();
        for (index, name) in file.decoders.iter().enumerate() {
            if file.decoders[..index].contains(name) {
                self.problem(
                    "bodies.decoders",
                    "the same decoder twice, expected each once",
                );
            }
            match name {
                DecoderName::Json => decoders.push(Decoder::Json),
                DecoderName::Xml => decoders.push(Decoder::Xml),
                DecoderName::Mappings => decoders.extend(
                    self.mappings(file)
                        .into_iter()
                        .map(|mapping| Decoder::Mapping(Arc::new(mapping))),
                ),
            }
        }
        if file.decoders.is_empty() {
            self.problem(
                "bodies.decoders",
                "got an empty list, expected at least one of \"json\", \"xml\" and \"mappings\"",
            );
        }
        if file.mappings.is_some() && !file.decoders.contains(&DecoderName::Mappings) {
            self.warn(
                "bodies.mappings",
                "not used: bodies.decoders does not name \"mappings\"",
            );
        }
        Decoders::ordered(channels, decoders)
    }

    fn mappings(&mut self, file: &file::Bodies) -> Vec<pushrelay_push::body::Mapping> {
        let Some(folder) = file.mappings.as_deref().map(|folder| self.path(folder)) else {
            return Vec::new();
        };
        self.files.note(&folder);
        let mut files: Vec<PathBuf> = match std::fs::read_dir(&folder) {
            Ok(entries) => entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| {
                    path.extension()
                        .is_some_and(|extension| extension == "toml")
                })
                .collect(),
            Err(error) => {
                self.problem(
                    "bodies.mappings",
                    format!(
                        "got {:?}, expected a folder that can be read: {error}",
                        folder.display()
                    ),
                );
                return Vec::new();
            }
        };
        // Their names are the order in which they are asked.
        files.sort();
        if files.len() > MAPPINGS {
            self.problem(
                "bodies.mappings",
                format!("{} files, expected at most {MAPPINGS}", files.len()),
            );
        }
        files.iter().filter_map(|path| self.mapping(path)).collect()
    }

    fn mapping(&mut self, path: &Path) -> Option<pushrelay_push::body::Mapping> {
        let shown = path.display();
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) => {
                self.problem("bodies.mappings", format!("{shown}: {error}"));
                return None;
            }
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match mapping::read(&name, &text) {
            Ok(mapping) => mapping,
            Err(problems) => {
                for problem in problems {
                    self.problem("bodies.mappings", format!("{shown}: {problem}"));
                }
                None
            }
        }
    }

    fn capture(&mut self, file: &file::Bodies) -> Option<Arc<CaptureConfig>> {
        if file.capture == CaptureMode::Off {
            return None;
        }
        let state = self.state.as_ref().map(|folder| folder.join("captures"));
        let folder = file.capture_folder.as_deref().map(|path| self.path(path));
        let Some(folder) = folder.or(state) else {
            self.warn(
                "bodies.capture_folder",
                "got none, and systemd has set no $STATE_DIRECTORY: nothing is captured",
            );
            return None;
        };
        if !folder.parent().is_some_and(Path::is_dir) {
            self.problem(
                "bodies.capture_folder",
                format!(
                    "got {:?}, expected a folder inside one that is there",
                    folder.display()
                ),
            );
        }
        Some(Arc::new(CaptureConfig {
            all: file.capture == CaptureMode::All,
            folder,
            files: file.capture_files,
            bytes: file.capture_bytes,
            age: file.capture_age,
            redact: file.capture_redact,
        }))
    }
}

fn read_bounded(path: &Path) -> Result<String, String> {
    let unread = |error: std::io::Error| format!("expected a file that can be read: {error}");
    let bytes = std::fs::metadata(path).map_err(unread)?.len();
    if bytes > MAPPING_BYTES {
        return Err(format!("{bytes} bytes, expected at most {MAPPING_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(unread)
}
