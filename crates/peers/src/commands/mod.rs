//! One module a command.

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::print::line(format_args!($($text)*)) };
}

pub(crate) mod apns;
pub(crate) mod certificates;
pub(crate) mod demo;
pub(crate) mod edge;
pub(crate) mod mpns;
mod print;
mod scenes;
mod script_file;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `look` ten times a second until Ctrl-C or SIGTERM.
async fn until_interrupted(mut look: impl FnMut()) -> io::Result<()> {
    let interrupted = interrupted()?;
    tokio::pin!(interrupted);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            _ = tick.tick() => look(),
        }
    }
    look();
    Ok(())
}

/// Ends with Ctrl-C or SIGTERM; neither ends the process any more.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
