//! What the protocols owe every call: one request id, a version, an envelope of the service's own.

use crate::client::{Bench, FORM};

/// The whole answer to a signed form, head included.
async fn whole(bench: &Bench, service: &'static str, form: &str) -> (String, String) {
    let request = bench.signer(service).post(bench.address, &[("content-type", FORM)], form.as_bytes());
    let mut text = String::from("POST / HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{form}", form.len()));
    let address = bench.address;
    let answer = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn header_and_document_name_one_request_id() {
    let bench = Bench::start().await;
    for (service, form, before, after) in [
        ("ec2", "Action=DescribeVpcs&Version=2016-11-15", "<requestId>", "</requestId>"),
        ("ec2", "Action=DescribeVpcs&Version=2016-11-15&VpcId.1=vpc-1", "<RequestID>", "</RequestID>"),
        ("sts", "Action=GetCallerIdentity&Version=2011-06-15", "<RequestId>", "</RequestId>"),
        ("sts", "Action=GetSessionToken&Version=2011-06-15", "<RequestId>", "</RequestId>"),
    ] {
        let (head, body) = whole(&bench, service, form).await;
        assert_eq!(between(&head, "x-amzn-requestid: ", "\r\n"), between(&body, before, after), "{form}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sts_refuses_in_its_own_envelope() {
    let bench = Bench::start().await;
    for (form, code) in [
        ("Action=GetCallerIdentity&Version=2011-06-15&Foo=x", "UnknownParameter"),
        ("Action=GetCallerIdentity", "InvalidAction"),
        ("Action=GetCallerIdentity&Version=2010-01-01", "InvalidAction"),
        ("Action=MakeCoffee&Version=2011-06-15", "InvalidAction"),
        ("Action=GetSessionToken&Version=2011-06-15", "UnsupportedOperation"),
        ("Action=DecodeAuthorizationMessage&Version=2011-06-15", "MissingParameter"),
        ("Action=DecodeAuthorizationMessage&Version=2011-06-15&EncodedMessage=x", "InvalidAuthorizationMessageException"),
    ] {
        let (head, body) = whole(&bench, "sts", form).await;
        assert!(head.starts_with("http/1.1 400") && body.starts_with("<ErrorResponse xmlns="), "{form}: {head} {body}");
        assert_eq!(between(&body, "<Code>", "</Code>"), code, "{form}");
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_api_is_refused() {
    let bench = Bench::start().await;
    assert_eq!(bench.ec2("Action=DescribeVpcs&Version=2014-10-01").await.code(), "NoSuchVersion");
    bench.stop().await;
}
