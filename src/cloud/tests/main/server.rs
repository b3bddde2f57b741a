//! The server process: files, limits, restart.

use std::os::unix::fs::PermissionsExt;

use ewulf_cloud::server::{ServeError, Server};
use ewulf_cloud::store::StoreError;
use serde_json::json;

use crate::client::{Bench, FORM, config};

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_readable_by_their_owner_alone() {
    let bench = Bench::start().await;
    bench.ssm("PutParameter", json!({ "Name": "/secret", "Value": "s", "Type": "SecureString" })).await;
    let folder = bench.stop().await;
    for file in ["credentials", "state.json", "log"] {
        let mode = std::fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let secret = std::fs::read_to_string(folder.path().join("credentials")).unwrap();
    let secret = secret.lines().last().and_then(|line| line.split_once(" = ")).unwrap().1.to_owned();
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("is ready") && !log.contains(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_answer_names_the_process_and_nothing_else() {
    let bench = Bench::start().await;
    let answer = bench.raw("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body), (200, format!("ewulf local cloud {}\n", std::process::id())));
    for request in ["GET /state.json", "GET /?x", "DELETE /", "GET /latest/meta-data/"] {
        let answer = bench.raw(&format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "AuthFailure"), "{request}");
    }
    let endpoint = std::fs::read_to_string(bench.folder.path().join("endpoint")).unwrap();
    assert_eq!(endpoint.trim(), format!("http://{}", bench.address));
    assert!(bench.address.ip().is_loopback());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_requests_are_refused() {
    let bench = Bench::start().await;
    let body = vec![b'x'; (1 << 20) + 1];
    let answer = bench.send(bench.signer("ec2").post(bench.address, &[("content-type", FORM)], &body)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "RequestEntityTooLarge"));
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\nconnection: close\r\n\r\n", "x".repeat(64 << 10));
    assert_eq!(bench.raw(&head).await.status, 431);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_actions_are_refused_by_name() {
    let bench = Bench::start().await;
    let answer = bench.ec2("Action=MakeCoffee&Version=2016-11-15").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidAction"));
    assert!(answer.body.contains("MakeCoffee"));
    let answer = bench.ssm("MakeCoffee", json!({})).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "UnknownOperationException"));
    let answer = bench.ssm("GetParameter", json!({ "Name": "/x", "Sugar": 2 })).await;
    assert_eq!(answer.code(), "ValidationException");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_state_port_and_credentials() {
    let bench = Bench::start().await;
    let put = json!({ "Name": "/kept", "Value": "v", "Type": "String", "Tags": [{ "Key": "k", "Value": "t" }] });
    assert_eq!(bench.ssm("PutParameter", put).await.status, 200);
    let (address, before) = (bench.address, bench.signer("ssm").secret);
    let folder = bench.stop().await;
    assert!(!folder.path().join("endpoint").exists() && !folder.path().join("pid").exists());

    let bench = Bench::start_in(folder).await;
    assert_eq!((bench.address, bench.signer("ssm").secret), (address, before));
    let answer = bench.ssm("GetParameter", json!({ "Name": "/kept" })).await;
    assert_eq!(answer.json()["Parameter"]["Value"], "v");
    let answer = bench.ssm("ListTagsForResource", json!({ "ResourceType": "Parameter", "ResourceId": "/kept" })).await;
    assert_eq!(answer.json()["TagList"], json!([{ "Key": "k", "Value": "t" }]));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_of_the_same_folder_is_refused() {
    let bench = Bench::start().await;
    let second = Server::start(config(bench.folder.path())).await;
    assert!(matches!(second.err(), Some(ServeError::Store(StoreError::Locked(_)))));
    // The first one is unharmed.
    assert_eq!(bench.ssm("DescribeParameters", json!({})).await.status, 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clouds_run_side_by_side() {
    let (one, other) = (Bench::start().await, Bench::start().await);
    assert_ne!(one.address, other.address);
    one.ssm("PutParameter", json!({ "Name": "/x", "Value": "v", "Type": "String" })).await;
    assert_eq!(other.ssm("GetParameter", json!({ "Name": "/x" })).await.code(), "ParameterNotFound");
    // Each has a key of its own.
    let foreign = one.signer("sts").post(other.address, &[("content-type", FORM)], b"Action=GetCallerIdentity");
    assert_eq!(other.send(foreign).await.code(), "InvalidClientTokenId");
    one.stop().await;
    other.stop().await;
}
