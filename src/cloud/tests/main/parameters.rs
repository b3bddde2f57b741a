//! Parameter Store through the API.

use serde_json::{Value, json};

use crate::client::Bench;

fn string(name: &str, value: &str) -> Value {
    json!({ "Name": name, "Value": value, "Type": "String" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_serves_as_a_lock() {
    let bench = Bench::start().await;
    let answer = bench.ssm("PutParameter", string("/c/lock", "me")).await;
    assert_eq!(answer.json(), json!({ "Version": 1, "Tier": "Standard" }));
    let answer = bench.ssm("PutParameter", string("/c/lock", "you")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "ParameterAlreadyExists"));
    let mut over = string("/c/lock", "me again");
    over["Overwrite"] = true.into();
    assert_eq!(bench.ssm("PutParameter", over).await.json()["Version"], 2);
    assert_eq!(bench.ssm("DeleteParameter", json!({ "Name": "/c/lock" })).await.status, 200);
    assert_eq!(bench.ssm("DeleteParameter", json!({ "Name": "/c/lock" })).await.code(), "ParameterNotFound");
    assert_eq!(bench.ssm("PutParameter", string("/c/lock", "you")).await.json()["Version"], 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_racing_writers_gets_the_lock() {
    let bench = Bench::start().await;
    let racing = (0..8).map(|who| bench.ssm("PutParameter", string("/lock", &who.to_string())));
    let mut won = 0;
    for answer in futures_in_order(racing).await {
        match answer.status {
            200 => won += 1,
            _ => assert_eq!(answer.code(), "ParameterAlreadyExists"),
        }
    }
    assert_eq!(won, 1);
    bench.stop().await;
}

/// Runs all at once; answers in their order.
async fn futures_in_order<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut answers: Vec<Option<T>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, answer) in pending.iter_mut().zip(&mut answers).filter(|(_, answer)| answer.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *answer = Some(value);
            }
        }
        if answers.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_listed_page_by_page() {
    let bench = Bench::start().await;
    for index in 0..12 {
        bench.ssm("PutParameter", string(&format!("/a/{index:02}"), "v")).await;
    }
    bench.ssm("PutParameter", string("/a/deep/er", "v")).await;
    bench.ssm("PutParameter", string("/ab", "v")).await;
    let mut names: Vec<String> = Vec::new();
    let mut token = Value::Null;
    loop {
        let mut call = json!({ "Path": "/a", "MaxResults": 5 });
        if !token.is_null() {
            call["NextToken"] = token;
        }
        let page = bench.ssm("GetParametersByPath", call).await.json();
        let parameters = page["Parameters"].as_array().unwrap().clone();
        assert!(parameters.len() <= 5);
        names.extend(parameters.iter().map(|it| it["Name"].as_str().unwrap().to_owned()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(names, (0..12).map(|index| format!("/a/{index:02}")).collect::<Vec<_>>());
    let deep = bench.ssm("GetParametersByPath", json!({ "Path": "/a", "Recursive": true, "MaxResults": 10 })).await;
    assert!(deep.json()["NextToken"].is_string());
    let wrong = bench.ssm("GetParametersByPath", json!({ "Path": "/a", "MaxResults": 11 })).await;
    assert_eq!(wrong.code(), "ValidationException");
    let wrong = bench.ssm("GetParametersByPath", json!({ "Path": "/a", "NextToken": "x" })).await;
    assert_eq!(wrong.code(), "InvalidNextToken");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_string_is_shown_only_when_asked_to_decrypt() {
    let bench = Bench::start().await;
    bench.ssm("PutParameter", json!({ "Name": "/s", "Value": "hidden", "Type": "SecureString" })).await;
    let closed = bench.ssm("GetParameter", json!({ "Name": "/s" })).await;
    assert!(!closed.body.contains("hidden"), "{closed:?}");
    let open = bench.ssm("GetParameter", json!({ "Name": "/s:1", "WithDecryption": true })).await.json();
    assert_eq!((&open["Parameter"]["Value"], &open["Parameter"]["Selector"]), (&json!("hidden"), &json!(":1")));
    assert_eq!(bench.ssm("GetParameter", json!({ "Name": "/s:2" })).await.code(), "ParameterVersionNotFound");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_parameter_names_the_base_image() {
    let bench = Bench::start().await;
    let name = "/aws/service/debian/release/13/latest/amd64";
    let answer = bench.ssm("GetParameters", json!({ "Names": [name, "/absent"] })).await.json();
    assert_eq!(answer["InvalidParameters"], json!(["/absent"]));
    let image = answer["Parameters"][0]["Value"].as_str().unwrap().to_owned();
    let images = bench.ec2(&format!("Action=DescribeImages&Version=2016-11-15&ImageId.1={image}")).await;
    assert!(images.body.contains(&format!("<imageId>{image}</imageId>")), "{images:?}");
    let refused = bench.ssm("PutParameter", string(name, "ami-1")).await;
    assert_eq!(refused.code(), "AccessDeniedException");
    bench.stop().await;
}
