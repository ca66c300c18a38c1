//! Where the log goes and how it looks: standard error, plain for people or JSON for machines.
//!
//! A line is put into a queue in memory, and a thread of its own writes out what has gathered there, so that no MESSAGE waits for
//! whoever reads the log. Not here: what is logged.

mod level;
mod line;
mod queue;

use std::cell::Cell;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use anyhow::Context as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) use self::level::Level;
use self::line::Lines;
pub(crate) use self::line::printable;
use self::queue::Queue;
use crate::config::{Log, LogFormat};
use crate::metrics::LOG_LINES_DROPPED;

/// Installs the log for the life of the process. What is logged is written out at the latest when the guard is dropped; its level can
/// be changed.
pub(crate) fn install(log: &Log) -> anyhow::Result<(Guard, Level)> {
    let level = Level::new(&log.filter)?;
    let queue = Arc::new(Queue::default());
    let guard = Guard::start(queue.clone())?;
    Registry::default()
        .with(level.clone())
        .with(Writer {
            format: log.format,
            queue,
        })
        .try_init()
        .map_err(|error| anyhow::anyhow!("the log cannot be installed: {error}"))?;
    Ok((guard, level))
}

/// The thread that writes the log; dropped, it has written everything.
pub(crate) struct Guard {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    fn start(queue: Arc<Queue>) -> anyhow::Result<Guard> {
        let shared = queue.clone();
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.drain(std::io::stderr()))
            .context("the thread of the log")?;
        Ok(Guard {
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A log that could not be written has nowhere to say so.
            let _ = thread.join();
        }
    }
}

struct Writer {
    format: LogFormat,
    queue: Arc<Queue>,
}

thread_local! {
    /// Taken while a line is written: whoever logs while being logged finds an empty one.
    static LINES: Cell<Lines> = Cell::default();
}

impl<S> Layer<S> for Writer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let spans = context.event_scope(event);
        let spans = spans.into_iter().flat_map(|scope| scope.from_root());
        let names = spans.map(|span| span.name());
        // A thread that ends has none any more.
        let mut lines = LINES.try_with(Cell::take).unwrap_or_default();
        let line = lines.write(self.format, event, SystemTime::now(), names);
        self.put(event.metadata().level(), line);
        let _ = LINES.try_with(|kept| kept.set(lines));
    }
}

impl Writer {
    fn put(&self, level: &tracing::Level, line: &[u8]) {
        if *level <= tracing::Level::WARN {
            self.queue.insist(line);
        } else if !self.queue.offer(line) {
            LOG_LINES_DROPPED.inc();
        }
    }
}
