//! What a daemon that does not come up looks like to its tests.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use pushrelay_peers::Daemon;

#[tokio::test]
async fn one_that_ends_at_once_is_an_error_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    // `env serve --config …` finds no program `serve` and says so.
    let started = Daemon::start(Path::new("/usr/bin/env"), "", dir.path()).await;
    let error = started.err().unwrap().to_string();
    assert!(error.contains("exit status: 127"), "{error}");
    assert!(error.contains("serve"), "{error}");
    assert!(dir.path().join("pushrelay.toml").exists());
}

#[tokio::test]
async fn one_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Path::new("/nonexistent/pushrelay");
    let error = Daemon::start(nowhere, "", dir.path()).await.err().unwrap();
    assert!(
        error.to_string().starts_with("/nonexistent/pushrelay: "),
        "{error}"
    );
}
