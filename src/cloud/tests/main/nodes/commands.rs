//! Programs run in nodes.

use std::time::{Duration, Instant};

use ewulf_cloud::node::{Driver, NodeCommand};
use tokio::sync::oneshot;

use super::ground::{Ground, node, shell, vpc, wanted};

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_as_root_with_their_own_streams_limits_and_ends() {
    if !wanted("commands") {
        return;
    }
    let ground = Ground::new().await;
    let vpc = vpc("run", "10.3.0.0/24", &["10.3.0.0/24"]);
    let node = node("run", &vpc, 0, [10, 3, 0, 4]);
    ground.open_network(&vpc, &[node.address]).await;
    ground.boot(&node).await;
    ground.wait_up(&node).await;
    // Arguments are data; environment, folder and input arrive.
    let quoted = "a b'c\"$(id)`id`\n-x";
    let command = NodeCommand {
        argv: vec![
            "sh".into(),
            "-c".into(),
            "printf '%s|%s|%s|%s|' \"$1\" \"$KEY\" \"$PWD\" \"$HOME$USER$EDITOR\"; cat; id -u".into(),
            "sh".into(),
            quoted.into(),
        ],
        stdin: b"input ".to_vec(),
        environment: [("KEY".to_owned(), "value".to_owned())].into(),
        working_directory: "/var/tmp".into(),
        timeout: Duration::from_secs(30),
    };
    let result = ground.run(&node, command).await;
    assert_eq!(String::from_utf8(result.stdout.0).unwrap(), format!("{quoted}|value|/var/tmp|/root|input 0\n"));
    // Statuses and signals.
    assert_eq!(ground.run(&node, shell("echo no >&2; exit 3")).await.status, 3);
    assert_eq!(ground.run(&node, shell("kill -TERM $$")).await.status, 143);
    assert_eq!(ground.run(&node, NodeCommand { argv: vec!["no-such-program".into()], ..shell("") }).await.status, 127);
    // Output beyond the limits is dropped, and the command does not wait for a reader.
    let result = ground.run(&node, shell("head -c 1000000 /dev/zero; head -c 10 /dev/zero >&2")).await;
    assert_eq!((result.stdout.0.len(), result.stdout.1, result.stderr.0.len(), result.stderr.1), (24_000, true, 10, false));
    // A background process that keeps the streams does not keep the answer.
    let started = Instant::now();
    assert_eq!(ground.run(&node, shell("sleep 60 & echo started")).await.stdout.0, b"started\n");
    assert!(started.elapsed() < Duration::from_secs(20));
    // systemd is reached, and its services see one system.
    assert_eq!(ground.shell(&node, "systemd-run --quiet --wait --pipe hostname").await, node.hostname);
    // The time limit ends the group; what has left the group lives on.
    let script = "setsid sleep 601 & systemd-run --quiet sleep 602; sleep 603 & sleep 604";
    let result = ground.run(&node, NodeCommand { timeout: Duration::from_secs(3), ..shell(script) }).await;
    assert!(result.timed_out && !result.cancelled && result.status == 137, "{result:?}");
    assert_eq!(ground.shell(&node, "pgrep -a sleep | grep -o '60[1-4]' | sort | tr '\\n' ' '").await, "601 602");
    // Cancellation likewise.
    let (cancel, cancelled) = oneshot::channel();
    let command = shell("sleep 605");
    let limits = (100, 100);
    let run = ground.driver.run(&node.instance_id, &command, limits, cancelled);
    let (result, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.send(()).unwrap();
    });
    let result = result.unwrap();
    assert!(result.cancelled && !result.timed_out && result.status == 137, "{result:?}");
    assert!(!ground.succeeds(&node, "pgrep -a sleep | grep 605").await);
    // Latency of the smallest command.
    let started = Instant::now();
    for _ in 0..20 {
        ground.shell(&node, "true").await;
    }
    eprintln!("a command takes {:?}", started.elapsed() / 20);
    // A command does not outlive its node.
    let command = shell("sleep 606");
    let (_keep, never) = oneshot::channel();
    let run = ground.driver.run(&node.instance_id, &command, limits, never);
    let (result, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ground.driver.stop(&node.instance_id, true).await.unwrap();
    });
    assert_eq!(result.unwrap().status, 137);
    let (_keep, never) = oneshot::channel();
    assert!(ground.driver.run(&node.instance_id, &command, limits, never).await.is_err());
    ground.finish().await;
}
