//! Requests kept for the operator as they came, so that an unknown body can become a mapping.
//!
//! A thread of its own writes them; whoever hands one over never waits, and what does not fit into its queue is counted and
//! dropped. Each is one file of mode 0600 that `pushrelay decode` reads; the oldest go when a bound is reached.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use pushrelay_sip::Request;
use tokio::sync::oneshot;
use tracing::warn;

use crate::config::CaptureConfig;
use crate::metrics::{CaptureResult, Metrics};
use crate::redaction;

/// The way to the thread that writes.
pub(crate) struct Captures {
    queue: SyncSender<Job>,
    metrics: Arc<Metrics>,
}

enum Job {
    Keep(Keep),
    /// What is too old goes, although nothing new comes.
    Prune(Arc<CaptureConfig>),
}

struct Keep {
    config: Arc<CaptureConfig>,
    /// It holds on to some 16 KiB of the stream until it is written.
    request: Request,
    kind: &'static str,
    now: SystemTime,
    /// Learns whether it is on disk.
    kept: Option<oneshot::Sender<bool>>,
}

/// How many may wait to be written.
const QUEUE: usize = 64;
/// How often the age of what is kept is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// What the files end in; nothing else in the folder is touched.
const SUFFIX: &str = "sip";

impl Captures {
    /// Starts the thread; it ends with this value.
    pub(crate) fn start(metrics: Arc<Metrics>) -> io::Result<Captures> {
        let (queue, jobs) = sync_channel(QUEUE);
        let counts = metrics.clone();
        std::thread::Builder::new()
            .name("captures".into())
            .spawn(move || work(&jobs, &counts))?;
        Ok(Captures { queue, metrics })
    }

    /// Keeps a request; `kind` says in the file's name what became of its body.
    pub(crate) fn keep(&self, config: &Arc<CaptureConfig>, request: &Request, kind: &'static str) {
        self.hand_over(config, request, kind, None);
    }

    /// The same; what comes back learns whether it is on disk. `None` where the queue is full.
    pub(crate) fn keep_and_tell(
        &self,
        config: &Arc<CaptureConfig>,
        request: &Request,
        kind: &'static str,
    ) -> Option<oneshot::Receiver<bool>> {
        let (kept, told) = oneshot::channel();
        self.hand_over(config, request, kind, Some(kept))
            .then_some(told)
    }

    /// Begins with what earlier lives have left.
    pub(crate) fn prune(&self, config: &Arc<CaptureConfig>) {
        let _ = self.queue.try_send(Job::Prune(config.clone())); // the next capture prunes too
    }

    fn hand_over(
        &self,
        config: &Arc<CaptureConfig>,
        request: &Request,
        kind: &'static str,
        kept: Option<oneshot::Sender<bool>>,
    ) -> bool {
        let job = Job::Keep(Keep {
            config: config.clone(),
            request: request.clone(),
            kind,
            now: SystemTime::now(),
            kept,
        });
        let taken = self.queue.try_send(job).is_ok();
        if !taken {
            self.metrics.capture(CaptureResult::Dropped);
        }
        taken
    }
}

fn work(jobs: &Receiver<Job>, metrics: &Metrics) {
    let mut last: Option<Arc<CaptureConfig>> = None;
    let mut number = 0;
    let mut failing = false;
    loop {
        let config = match jobs.recv_timeout(LOOK_AGAIN) {
            Ok(Job::Keep(keep)) => {
                number += 1;
                let result = write(&keep, number);
                metrics.capture(match result {
                    Ok(()) => CaptureResult::Kept,
                    Err(_) => CaptureResult::Failed,
                });
                if let Some(kept) = keep.kept {
                    let _ = kept.send(result.is_ok()); // whoever asked may have gone
                }
                // One line for each row of failures: the disk may stay full for hours.
                if let (Err(error), false) = (&result, failing) {
                    warn!(folder = %keep.config.folder.display(), %error, "a capture cannot be written");
                }
                failing = result.is_err();
                keep.config
            }
            Ok(Job::Prune(config)) => config,
            Err(RecvTimeoutError::Timeout) => match &last {
                Some(config) => config.clone(),
                None => continue,
            },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        prune(&config, SystemTime::now());
        last = Some(config);
    }
}

fn write(keep: &Keep, number: u64) -> io::Result<()> {
    let mut bytes = keep.request.head().to_vec();
    let head = bytes.len();
    bytes.extend_from_slice(keep.request.body());
    if keep.config.redact {
        let (head, body) = bytes.split_at_mut(head);
        redaction::redact_head(head);
        redaction::redact(body);
    }
    let folder = &keep.config.folder;
    if !folder.is_dir() {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    let time = humantime::format_rfc3339_micros(keep.now).to_string();
    let name = format!("{}-{number}-{}.{SUFFIX}", time.replace(':', "."), keep.kind);
    let path = folder.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let written = file.write_all(&bytes).and_then(|()| match keep.kept {
        Some(_) => file.sync_all(),
        None => Ok(()),
    });
    if written.is_err() {
        let _ = fs::remove_file(&path); // half a capture is worse than none
    }
    written
}

/// Removes what is too old, and the oldest of what is too much.
fn prune(config: &CaptureConfig, now: SystemTime) {
    let mut kept = captures(&config.folder);
    // The names begin with the time.
    kept.sort_unstable_by(|a, b| b.path.cmp(&a.path));
    let mut bytes = 0;
    for (index, capture) in kept.iter().enumerate() {
        bytes += capture.bytes;
        let age = now.duration_since(capture.written).unwrap_or_default();
        if index >= config.files || bytes > config.bytes || age > config.age {
            let _ = fs::remove_file(&capture.path); // an operator may have been faster
        }
    }
}

struct Capture {
    path: PathBuf,
    bytes: u64,
    written: SystemTime,
}

fn captures(folder: &Path) -> Vec<Capture> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            if path.extension()? != SUFFIX {
                return None;
            }
            let metadata = fs::symlink_metadata(&path).ok()?;
            Some(Capture {
                bytes: metadata.len(),
                written: metadata.modified().ok()?,
                path,
            })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use pushrelay_sip::{Connection, Limits, Output};

    use super::*;

    fn config(folder: &Path) -> CaptureConfig {
        CaptureConfig {
            all: true,
            folder: folder.to_owned(),
            files: 100,
            bytes: 1000,
            age: Duration::from_secs(60),
            redact: true,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_at_each_bound_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, bytes) in [
            ("1.sip", 10),
            ("2.sip", 20),
            ("3.sip", 30),
            ("notes.txt", 9999),
        ] {
            fs::write(folder.path().join(name), vec![b'x'; bytes]).unwrap();
        }
        let config = config(folder.path());
        prune(&config, now);
        assert_eq!(
            names(folder.path()),
            ["1.sip", "2.sip", "3.sip", "notes.txt"]
        );
        prune(
            &CaptureConfig {
                bytes: 55,
                ..config.clone()
            },
            now,
        );
        assert_eq!(names(folder.path()), ["2.sip", "3.sip", "notes.txt"]);
        prune(
            &CaptureConfig {
                files: 1,
                ..config.clone()
            },
            now,
        );
        assert_eq!(names(folder.path()), ["3.sip", "notes.txt"]);
        prune(&config, now + Duration::from_secs(3600));
        assert_eq!(names(folder.path()), ["notes.txt"]);
    }

    fn request(number: usize) -> Request {
        let bytes = format!(
            "MESSAGE sip:push@push.example.org SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK{number}\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>\r\nCall-ID: {number}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        let mut connection = Connection::new(Limits::default(), ([127, 0, 0, 1], 1).into(), 0);
        connection.receive(bytes.as_bytes(), Instant::now());
        match connection.poll_output() {
            Some(Output::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    /// How many were kept, dropped and failed.
    fn counted(metrics: &Metrics) -> [u64; 3] {
        [
            CaptureResult::Kept,
            CaptureResult::Dropped,
            CaptureResult::Failed,
        ]
        .map(|result| metrics.captured(result))
    }

    /// The writer comes too late: what fits waits for it, the rest is dropped, counted and told at once.
    #[test]
    fn what_does_not_fit_into_the_queue_is_dropped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let config = Arc::new(CaptureConfig {
            bytes: 1 << 20,
            ..config(folder.path())
        });
        let metrics = Arc::new(Metrics::new());
        let (queue, jobs) = sync_channel(QUEUE);
        let captures = Captures {
            queue,
            metrics: metrics.clone(),
        };
        for number in 1..QUEUE {
            captures.keep(&config, &request(number), "decoded");
        }
        let last = captures.keep_and_tell(&config, &request(QUEUE), "decoded");
        let told = captures.keep_and_tell(&config, &request(QUEUE + 1), "decoded");
        assert!(told.is_none(), "there is no room for one more");
        captures.keep(&config, &request(QUEUE + 2), "decoded");
        assert_eq!(counted(&metrics), [0, 2, 0]);
        drop(captures);
        work(&jobs, &metrics);
        assert!(last.unwrap().blocking_recv().unwrap());
        assert_eq!(counted(&metrics), [QUEUE as u64, 2, 0]);
        let kept = names(folder.path());
        assert_eq!(kept.len(), QUEUE);
        let first = fs::read_to_string(folder.path().join(&kept[0])).unwrap();
        assert!(first.contains("Call-ID: 1\r\n"), "{first}");
    }
}
