//! The fake Apple in a process of its own, so that its work is not counted as anybody else's.

use std::io::stdin;
use std::path::Path;

use anyhow::Context;
use pushrelay_peers::apns::Recording;
use pushrelay_peers::{ApnsOptions, FakeApns};

use crate::site::Site;

/// Says its address, and for each line of input how many pushes it has accepted; ends with its input.
pub(crate) async fn serve(site: &Path) -> anyhow::Result<()> {
    let apple = FakeApns::start(ApnsOptions {
        recording: Recording::Nothing,
        ..Site::open(site)?.apple()
    })
    .await?;
    println!("{}", apple.address());
    let questions = move || {
        for line in stdin().lines() {
            line.context("input")?;
            println!("{}", apple.counts().accepted);
        }
        Ok(())
    };
    tokio::task::spawn_blocking(questions).await?
}
