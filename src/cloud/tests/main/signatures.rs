//! Who is let in.

use std::time::Duration;

use serde_json::json;

use crate::client::{Bench, FORM, SSM};

const IDENTITY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_signed_by_aws_own_signer_is_admitted() {
    let bench = Bench::start().await;
    let answer = bench.send(bench.signer("sts").post(bench.address, &[("content-type", FORM)], IDENTITY)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("<Account>000000000000</Account>"));
    let answer = bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = bench.ssm("DescribeParameters", json!({})).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "Parameters": [] })));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_and_foreign_requests_are_refused() {
    let bench = Bench::start().await;
    let good = bench.signer("ec2");
    let skewed = Duration::from_secs(16 * 60);
    let wrong_key = crate::client::Signer { key: "LOCALAAAAAAAAAAAAAAA".to_owned(), ..good.clone() };
    let wrong_secret = crate::client::Signer { secret: "x".repeat(40), ..good.clone() };
    let old = crate::client::Signer { time: good.time - skewed, ..good.clone() };
    let early = crate::client::Signer { time: good.time + skewed, ..good.clone() };
    let region = crate::client::Signer { region: "eu-central-1", ..good.clone() };
    let service = crate::client::Signer { service: "s3", ..good.clone() };
    let session = crate::client::Signer { session_token: Some("token".to_owned()), ..good.clone() };
    for (signer, status, query_code, json_code) in [
        (wrong_key, 401, "AuthFailure", "UnrecognizedClientException"),
        (wrong_secret, 403, "SignatureDoesNotMatch", "InvalidSignatureException"),
        (old, 400, "RequestExpired", "InvalidSignatureException"),
        (early, 400, "RequestExpired", "InvalidSignatureException"),
        (region, 403, "SignatureDoesNotMatch", "InvalidSignatureException"),
        (service, 403, "SignatureDoesNotMatch", "InvalidSignatureException"),
        (session, 401, "AuthFailure", "UnrecognizedClientException"),
    ] {
        let answer = bench.send(signer.post(bench.address, &[("content-type", FORM)], IDENTITY)).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, query_code), "{signer:?}");
        let headers = [("content-type", SSM), ("x-amz-target", "AmazonSSM.DescribeParameters")];
        let answer = bench.send(signer.post(bench.address, &headers, b"{}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, json_code), "{signer:?}");
    }
    let mut unsigned = good.post(bench.address, &[("content-type", FORM)], IDENTITY);
    unsigned.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    assert_eq!(bench.send(unsigned).await.code(), "AuthFailure");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_changed_after_signing_is_refused() {
    let bench = Bench::start().await;
    let good = bench.signer("sts").post(bench.address, &[("content-type", FORM)], IDENTITY);
    let mut body = good.clone();
    body.body = b"Action=GetCallerIdentity&Version=2011-06-16".to_vec();
    assert_eq!(bench.send(body).await.code(), "SignatureDoesNotMatch");

    let mut header = good.clone();
    header.headers.iter_mut().filter(|(name, _)| name == "content-type").for_each(|(_, value)| value.push_str("; x"));
    assert_eq!(bench.send(header).await.code(), "SignatureDoesNotMatch");

    // A header that decides what is done must have been signed.
    let mut added = good.clone();
    added.headers.push(("x-amz-target".to_owned(), "AmazonSSM.DescribeParameters".to_owned()));
    assert_eq!(bench.send(added).await.code(), "InvalidSignatureException");

    let mut doubled = good;
    let date = doubled.headers.iter().find(|(name, _)| name == "x-amz-date").cloned().unwrap();
    doubled.headers.push(date);
    assert_eq!(bench.send(doubled).await.code(), "IncompleteSignature");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_write_is_good_for_one_use() {
    let bench = Bench::start().await;
    let form = b"Action=CreateVpc&Version=2016-11-15&CidrBlock=10.79.0.0/16";
    let write = bench.signer("ec2").post(bench.address, &[("content-type", FORM)], form);
    assert_eq!(bench.send(write.clone()).await.status, 200);
    let repeated = bench.send(write).await;
    assert_eq!((repeated.status, repeated.code().as_str()), (403, "SignatureDoesNotMatch"), "{repeated:?}");
    let vpcs = bench.ec2("Action=DescribeVpcs&Version=2016-11-15").await;
    assert_eq!(
        vpcs.body.matches("<cidrBlock>10.79.0.0/16</cidrBlock>").count(),
        2,
        "one VPC, with its one association: {vpcs:?}"
    );

    let headers = [("content-type", SSM), ("x-amz-target", "AmazonSSM.PutParameter")];
    let body = json!({ "Name": "/once", "Value": "v", "Type": "String", "Overwrite": true }).to_string();
    let write = bench.signer("ssm").post(bench.address, &headers, body.as_bytes());
    assert_eq!(bench.send(write.clone()).await.status, 200);
    let repeated = bench.send(write).await;
    assert_eq!((repeated.status, repeated.code().as_str()), (400, "InvalidSignatureException"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_may_be_asked_again_at_once_and_not_later() {
    let bench = Bench::start().await;
    let headers = [("content-type", SSM), ("x-amz-target", "AmazonSSM.DescribeParameters")];
    let now = bench.signer("ssm").post(bench.address, &headers, b"{}");
    for _ in 0..2 {
        assert_eq!(bench.send(now.clone()).await.status, 200);
    }
    // The date of a request that was captured: one that a client with a fast clock signed is as far from now.
    let signer = bench.signer("ssm");
    let signer = crate::client::Signer { time: signer.time + Duration::from_secs(60), ..signer };
    let captured = signer.post(bench.address, &headers, b"{}");
    assert_eq!(bench.send(captured.clone()).await.status, 200);
    assert_eq!(bench.send(captured).await.code(), "InvalidSignatureException");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_before_the_server_started_is_refused() {
    let bench = Bench::start().await;
    let signer = bench.signer("sts");
    let before = crate::client::Signer { time: signer.time - Duration::from_secs(60), ..signer };
    let answer = bench.send(before.post(bench.address, &[("content-type", FORM)], IDENTITY)).await;
    // In the words of STS, which has one code for all that is wrong with a signature.
    assert_eq!((answer.status, answer.code().as_str()), (403, "SignatureDoesNotMatch"), "{answer:?}");
    assert!(answer.body.contains("is before the start of this server"), "{answer:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_say_how_to_read_the_body_must_be_signed() {
    let bench = Bench::start().await;
    for header in ["content-type", "content-encoding"] {
        let mut request = bench.signer("sts").post(bench.address, &[], IDENTITY);
        request.headers.push((header.to_owned(), FORM.to_owned()));
        let answer = bench.send(request).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "SignatureDoesNotMatch"), "{header}: {answer:?}");
        assert!(answer.body.contains(header), "{answer:?}");
    }
    bench.stop().await;
}
