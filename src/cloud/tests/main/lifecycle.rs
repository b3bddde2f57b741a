//! Up, status, down and reset, with a server process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use ewulf_cloud::Config;
use ewulf_cloud::lifecycle::{self, LifecycleError, Running};
use rustix::process::{Pid, Signal, kill_process};

use crate::client::config;

const CONFIG: &str = "LOCAL_CLOUD_TEST_CONFIG";

/// Not a test: the program that [`start`] starts, which is this binary again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the server process of the tests in this file"]
async fn serve() {
    let Some(config) = std::env::var(CONFIG).ok() else { return };
    if let Err(error) = ewulf_cloud::serve(serde_json::from_str(&config).unwrap()).await {
        // A panic would fill the log with its trace.
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn up(state_dir: &Path) -> Result<Running, LifecycleError> {
    start(&config(state_dir)).await
}

/// Starts a server as a process of its own.
pub async fn start(config: &Config) -> Result<Running, LifecycleError> {
    let exe = std::env::current_exe().unwrap();
    let args = [
        format!("{CONFIG}={}", serde_json::to_string(config).unwrap()),
        exe.display().to_string(),
        "--exact".to_owned(),
        "lifecycle::serve".to_owned(),
        "--ignored".to_owned(),
    ];
    lifecycle::up(config, Path::new("/usr/bin/env"), &args, |sentence| eprintln!("{sentence}")).await
}

pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn up_down_and_reset_do_what_they_say_and_may_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("cloud");
    assert_eq!(lifecycle::status(&state_dir).await.unwrap().running, None);

    let running = up(&state_dir).await.unwrap();
    assert_eq!(up(&state_dir).await.unwrap(), running);
    assert_eq!(lifecycle::status(&state_dir).await.unwrap().running, Some(running.clone()));

    lifecycle::down(&state_dir).await.unwrap();
    lifecycle::down(&state_dir).await.unwrap();
    assert_eq!(lifecycle::status(&state_dir).await.unwrap().running, None);
    let again = up(&state_dir).await.unwrap();
    assert_eq!(again.endpoint, running.endpoint);

    lifecycle::reset(&state_dir).await.unwrap();
    lifecycle::reset(&state_dir).await.unwrap();
    assert!(!state_dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let running = up(folder.path()).await.unwrap();
    kill(running.pid);
    // Its files are still there, but nobody answers.
    let again = loop {
        match lifecycle::status(folder.path()).await.unwrap().running {
            Some(_) => tokio::task::yield_now().await,
            None => break up(folder.path()).await.unwrap(),
        }
    };
    assert_ne!(again.pid, running.pid);
    kill(again.pid);
    lifecycle::down(folder.path()).await.unwrap();
    assert!(!folder.path().join("endpoint").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_starts_at_once_end_in_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = tokio::join!(up(folder.path()), up(folder.path()));
    assert_eq!(one.unwrap(), other.unwrap());
    let started = Instant::now();
    lifecycle::reset(folder.path()).await.unwrap();
    // No second server was waiting for its turn.
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_start_shows_what_the_log_says() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{").unwrap();
    let error = up(folder.path()).await.unwrap_err();
    let LifecycleError::Ended { last_lines, .. } = error else { panic!("{error}") };
    assert!(last_lines.contains("did not start") && last_lines.contains("state.json"), "{last_lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_no_cloud_is_not_erased() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    assert!(matches!(lifecycle::reset(folder.path()).await, Err(LifecycleError::NotAState(_))));
    assert!(folder.path().join("thesis.tex").exists());
}
