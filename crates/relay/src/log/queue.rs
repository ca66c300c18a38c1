//! What is logged and not yet written: a bounded buffer between those who log and the thread that writes.

use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So much may wait. Past it, a line that must not be lost waits for room; any other is dropped.
const WAITING_BYTES: usize = 1024 * 1024;

/// With so much at hand nothing more is waited for.
const BATCH_BYTES: usize = 32 * 1024;

/// How long a line waits for others, so that many are written at once.
const LINGER: Duration = Duration::from_millis(5);

/// Between who logs and who writes.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Told when the writer has something to do.
    work: Condvar,
    /// Told when the writer has taken everything.
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// The writer sleeps until it is woken.
    idle: bool,
    /// Somebody wants it written now.
    urgent: bool,
    closed: bool,
}

impl Queue {
    /// Takes a line if there is room.
    pub(super) fn offer(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        if state.closed || !state.has_room(line) {
            return false;
        }
        state.waiting.extend_from_slice(line);
        if state.idle || state.waiting.len() >= BATCH_BYTES {
            state.idle = false;
            self.work.notify_one();
        }
        true
    }

    /// Takes a line, however long that takes, and has it written at once. After the end it is written here.
    pub(super) fn insist(&self, line: &[u8]) {
        let mut state = self.lock();
        while !state.closed && !state.has_room(line) {
            state.urgent = true;
            self.work.notify_one();
            state = wait(&self.room, state);
        }
        if state.closed {
            // A log that cannot be written has nowhere to say so.
            let _ = std::io::stderr().write_all(line);
            return;
        }
        state.waiting.extend_from_slice(line);
        state.idle = false;
        state.urgent = true;
        self.work.notify_one();
    }

    /// Writes what comes until the queue is closed and empty.
    pub(super) fn drain(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut state = self.lock();
            while state.waiting.is_empty() {
                if state.closed {
                    return;
                }
                state.idle = true;
                state = wait(&self.work, state);
            }
            if !state.closed && !state.urgent && state.waiting.len() < BATCH_BYTES {
                state = self
                    .work
                    .wait_timeout(state, LINGER)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            std::mem::swap(&mut state.waiting, &mut taken);
            state.urgent = false;
            drop(state);
            self.room.notify_all();
            // A log that cannot be written has nowhere to say so.
            let _ = out.write_all(&taken);
            taken.clear();
            taken.shrink_to(2 * BATCH_BYTES);
        }
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing below the lock leaves half of a line behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(told: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    told.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// A single line always has room, however long it is.
    fn has_room(&self, line: &[u8]) -> bool {
        self.waiting.is_empty() || self.waiting.len() + line.len() <= WAITING_BYTES
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Says what is written, and hangs until it is let go.
    struct Slow {
        written: mpsc::Sender<Vec<u8>>,
        gate: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.written.send(bytes.to_vec()).unwrap();
            // Without a gatekeeper everything passes.
            let _ = self.gate.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_waits_is_bounded_and_what_must_be_written_waits_for_room() {
        let queue = Queue::default();
        let line = [b'x'; 1024];
        let (open, gate) = mpsc::channel();
        let (written, writes) = mpsc::channel();
        std::thread::scope(|threads| {
            threads.spawn(|| queue.drain(Slow { written, gate }));
            queue.insist(b"first\n");
            assert_eq!(writes.recv().unwrap(), b"first\n");
            // The writer hangs: nobody makes room.
            for _ in 0..WAITING_BYTES / line.len() {
                assert!(queue.offer(&line));
            }
            assert!(!queue.offer(&line));
            let insists = threads.spawn(|| queue.insist(b"important\n"));
            drop(open);
            insists.join().unwrap();
            queue.close();
            let rest: Vec<u8> = writes.iter().flatten().collect();
            assert_eq!(rest.len(), WAITING_BYTES + b"important\n".len());
            assert!(rest.ends_with(b"important\n"));
        });
    }

    #[test]
    fn closing_writes_what_waits_and_ends_the_writer() {
        let queue = Queue::default();
        assert!(queue.offer(b"one\n"));
        queue.insist(b"two\n");
        queue.close();
        assert!(!queue.offer(b"late\n"));
        let mut written = Vec::new();
        queue.drain(&mut written);
        assert_eq!(written, b"one\ntwo\n");
    }
}
