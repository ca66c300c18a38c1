//! How much of the machine something has had, by the kernel's account.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// User and system time of a process so far.
pub fn of_process(id: u32) -> anyhow::Result<Duration> {
    read(&format!("/proc/{id}/stat"))
}

/// The same of the thread that asks.
pub fn of_this_thread() -> anyhow::Result<Duration> {
    read("/proc/thread-self/stat")
}

fn read(path: &str) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(path)?;
    let time = time(&stat);
    time.with_context(|| format!("utime and stime in {path}"))
}

/// Fields 14 and 15 of proc(5)'s stat. The second may hold spaces and parentheses.
fn time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / USER_HZ))
}

/// Clock ticks in a second as the kernel counts them for us: 100 on every architecture that Linux has today.
const USER_HZ: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read_behind_a_name_with_spaces() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 3 0";
        assert_eq!(time(stat), Some(Duration::from_millis(460)));
        assert_eq!(time("7 (a"), None);
    }
}
