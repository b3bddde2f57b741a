//! Clients that are slow, broken, many, strange, or not the owner.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Bench, FORM, Request, SSM};

/// The user id that Debian gives to `nobody`.
const STRANGER: u32 = 65534;

/// A signed request's head, with this length of a body.
fn head(request: &Request, length: usize) -> String {
    let lines: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("POST / HTTP/1.1\r\nconnection: close\r\n{lines}content-length: {length}\r\n\r\n")
}

/// Sends this much and waits for what comes back until the server closes; how long that took.
fn send_and_wait(address: SocketAddr, text: &str) -> (String, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    (answer, started.elapsed())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_or_a_head_slower_than_allowed_is_given_up() {
    let bench = Bench::start().await;
    let address = bench.address;
    let request = bench.signer("sts").post(address, &[("content-type", FORM)], b"Action=GetCallerIdentity");
    let text = format!("{}Action", head(&request, 24));
    let slow_body = blocking(move || send_and_wait(address, &text));
    let slow_head = blocking(move || send_and_wait(address, "POST / HTTP/1.1\r\nhost: here\r\nx-slow: "));
    let ((answer, body_took), (nothing, head_took)) = tokio::join!(slow_body, slow_head);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("RequestTimeout"), "{answer}");
    assert_eq!(nothing, "");
    for took in [body_took, head_took] {
        assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&took), "{took:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_does_nothing() {
    let bench = Bench::start().await;
    let form = b"Action=CreateVpc&Version=2016-11-15&CidrBlock=10.77.0.0/16";
    let request = bench.signer("ec2").post(bench.address, &[("content-type", FORM)], form);
    let text = head(&request, form.len());
    for sent in [0, 1, form.len() - 1] {
        let mut stream = TcpStream::connect(bench.address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(&form[..sent]).unwrap();
        drop(stream);
    }
    let answer = bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await;
    assert!(answer.status == 200 && !answer.body.contains("10.77.0.0/16"), "{answer:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_headers_than_allowed_are_refused() {
    let bench = Bench::start().await;
    let many = |count: usize| {
        let lines: String = (0..count).map(|number| format!("x-{number}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n")
    };
    assert_eq!(bench.raw(&many(62)).await.status, 200);
    assert_eq!(bench.raw(&many(63)).await.status, 431);
    assert_eq!(bench.raw(&many(3000)).await.status, 431);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let bench = Bench::start().await;
    for text in
        ["\r\n\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let answer = bench.raw(text).await;
        assert!([0, 400, 401, 505].contains(&answer.status), "{text:?}: {answer:?}");
    }
    for line in ["content-length: -1", "content-length: 99999999999999999999", "transfer-encoding: gzip", "host : x"] {
        let answer = bench.raw(&format!("POST / HTTP/1.1\r\n{line}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(answer.status / 100, 4, "{line}: {answer:?}");
    }
    assert_eq!(bench.ssm("DescribeParameters", json!({})).await.status, 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_alone_turns_a_stranger_away() {
    let bench = Bench::start().await;
    let address = bench.address;
    let stranger = crate::client::Signer { key: "LOCALAAAAAAAAAAAAAAA".to_owned(), ..bench.signer("ec2") };
    let request = stranger.post(address, &[("content-type", FORM)], b"Action=DescribeVpcs");
    // A body is announced and never comes.
    let text = head(&request, 1 << 20);
    let (answer, took) = blocking(move || send_and_wait(address, &text)).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("AuthFailure"), "{answer}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_keep_the_owner_out() {
    let bench = Bench::start().await;
    let address = bench.address;
    let idle: Vec<TcpStream> = blocking(move || (0..600).map(|_| TcpStream::connect(address).unwrap()).collect()).await;
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(bench.ssm("DescribeParameters", json!({})).await.status, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    // The oldest had to go.
    let mut first = &idle[0];
    first.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_of_the_machine_are_not_answered() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED other users: only root can be one");
        return;
    }
    let bench = Bench::start().await;
    let port = bench.address.port();
    let ask = move |user: u32| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n' >&3 && cat <&3"
        );
        let output = std::process::Command::new("bash").args(["-c", &script]).uid(user).gid(user).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(blocking(move || ask(0)).await.contains("ewulf local cloud"));
    for _ in 0..50 {
        assert_eq!(blocking(move || ask(STRANGER)).await, "");
    }
    // Each refusal is known, and the log is not filled with them.
    let log = std::fs::read_to_string(bench.folder.path().join("log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("connection of user 65534 refused")).count(), 1, "{log}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_refusals_are_one_line_of_the_log() {
    let bench = Bench::start().await;
    for _ in 0..50 {
        assert_eq!(bench.raw("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.status, 401);
    }
    let log = std::fs::read_to_string(bench.folder.path().join("log")).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("request refused")).count(), 1, "{log}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_documents_that_are_none_are_refused() {
    let bench = Bench::start().await;
    for form in
        [&b"Action=\xff\xfe"[..], b"Action=DescribeVpcs&X=%ff", b"Action=%", b"\0\0\0", b"", b"&&&=&=", b"Action", b"Action="]
    {
        let answer = bench.send(bench.signer("ec2").post(bench.address, &[("content-type", FORM)], form)).await;
        assert_eq!(answer.status, 400, "{form:?}: {answer:?}");
    }
    let deep = "A.".repeat(50_000) + "A=1";
    assert_eq!(bench.ec2(&format!("Action=DescribeVpcs&{deep}")).await.status, 400);
    let nested = "[".repeat(100_000);
    for document in
        [&b"{"[..], b"[]", b"null", b"{\"Name\":", b"\xff", b"{\"Name\": \"\\ud800\"}", b"{\"Name\": 1e999}", nested.as_bytes()]
    {
        let headers = [("content-type", SSM), ("x-amz-target", "AmazonSSM.GetParameter")];
        let answer = bench.send(bench.signer("ssm").post(bench.address, &headers, document)).await;
        assert_eq!(answer.status, 400, "{:?}: {answer:?}", String::from_utf8_lossy(&document[..document.len().min(40)]));
        assert!(["SerializationException", "ValidationException"].contains(&answer.code().as_str()), "{answer:?}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_xml_has_to_escape_comes_back_as_it_was() {
    let bench = Bench::start().await;
    let value = "<a href=\"x\">&amp; it's\t]]> \u{e9}\u{1f409}";
    let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let created = bench
        .ec2(&format!(
            "Action=CreateVpc&Version=2016-11-15&CidrBlock=10.78.0.0/16&TagSpecification.1.ResourceType=vpc\
             &TagSpecification.1.Tag.1.Key=odd&TagSpecification.1.Tag.1.Value={encoded}"
        ))
        .await;
    assert_eq!(created.status, 200, "{created:?}");
    let shown =
        bench.ec2(&format!("Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=tag:odd&Filter.1.Value.1={encoded}")).await;
    let text = shown.body.split("<value>").nth(1).and_then(|rest| rest.split("</value>").next()).unwrap_or_default();
    let unescaped = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    assert_eq!(unescaped, value, "{shown:?}");
    bench.stop().await;
}
