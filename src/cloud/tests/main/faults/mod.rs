//! Faults on request, each as a caller meets it.

mod calls;
mod control;
mod ec2;
mod instances;
mod ssm;

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

use ewulf_cloud::model::ec2::PUBLIC_IMAGES;
use serde_json::{Value, json};

use crate::client::{Answer, Api, PATIENCE, SSM};

impl Api {
    /// One of the cloud's own actions.
    pub async fn local(&self, action: &str, input: Value) -> Answer {
        let target = format!("LocalCloud.{action}");
        let headers = [("content-type", SSM), ("x-amz-target", target.as_str())];
        self.send(self.signer("local").post(self.address, &headers, input.to_string().as_bytes())).await
    }

    /// Replaces all rules by these.
    pub async fn rules(&self, rules: Value) {
        let answer = self.local("SetFaults", json!({ "rules": rules })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// One EC2 action that is expected to succeed; answers with the text of an element.
    async fn made(&self, form: &str, element: &str) -> String {
        let answer = self.ec2(&format!("{form}&Version=2016-11-15")).await;
        assert_eq!(answer.status, 200, "{form}: {answer:?}");
        text(&answer, element).unwrap_or_default()
    }

    /// Launches instances without waiting for anything.
    async fn run_instances(&self, least: usize, most: usize, parameters: &str) -> Answer {
        let image = PUBLIC_IMAGES[0].id;
        self.ec2(&format!(
            "Action=RunInstances&Version=2016-11-15&ImageId={image}&InstanceType=t3.micro&MinCount={least}&MaxCount={most}{parameters}"
        ))
        .await
    }

    async fn describe(&self, id: &str) -> String {
        self.ec2(&format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}")).await.body
    }

    /// Waits until an instance is in this state and answers with its description.
    async fn wait_state(&self, id: &str, state: &str) -> String {
        eventually(async || {
            let body = self.describe(id).await;
            body.contains(&format!("<name>{state}</name></instanceState>")).then_some(body)
        })
        .await
    }

    async fn count(&self, action: &str, element: &str) -> usize {
        self.ec2(&format!("Action={action}&Version=2016-11-15")).await.body.matches(&format!("<{element}>")).count()
    }
}

/// The first text of an element.
fn text(answer: &Answer, element: &str) -> Option<String> {
    let (_, rest) = answer.body.split_once(&format!("<{element}>"))?;
    rest.split('<').next().map(str::to_owned)
}

fn ids(answer: &Answer) -> Vec<String> {
    let ids = answer.body.split("<instanceId>").skip(1).filter_map(|rest| rest.split('<').next());
    ids.map(str::to_owned).collect()
}

/// Asks again and again until there is something.
#[track_caller]
fn eventually<T, F: Future<Output = Option<T>>>(mut ask: impl FnMut() -> F) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "what {place} waits for never happened");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
