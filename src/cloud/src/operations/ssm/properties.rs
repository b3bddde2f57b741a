//! Whatever document comes, the answer is one of SSM's: no call ends the server or is the server's fault.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use crate::cloud::{Cloud, State};
use crate::config::Config;
use crate::node::records::Records;
use crate::store::Log;

const ACTIONS: [&str; 18] = [
    "SendCommand",
    "CancelCommand",
    "ListCommands",
    "ListCommandInvocations",
    "GetCommandInvocation",
    "DescribeInstanceInformation",
    "PutParameter",
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "GetParameterHistory",
    "DescribeParameters",
    "DeleteParameter",
    "DeleteParameters",
    "AddTagsToResource",
    "RemoveTagsFromResource",
    "ListTagsForResource",
    "NoSuchAction",
];

/// Members of SSM's inputs.
const MEMBERS: [&str; 36] = [
    "Name",
    "Names",
    "Value",
    "Values",
    "Type",
    "Key",
    "Option",
    "Path",
    "Recursive",
    "WithDecryption",
    "MaxResults",
    "NextToken",
    "Filters",
    "ParameterFilters",
    "InstanceIds",
    "InstanceId",
    "Targets",
    "DocumentName",
    "Parameters",
    "commands",
    "executionTimeout",
    "workingDirectory",
    "TimeoutSeconds",
    "CommandId",
    "Details",
    "Overwrite",
    "Tags",
    "TagKeys",
    "ResourceType",
    "ResourceId",
    "Comment",
    "MaxConcurrency",
    "MaxErrors",
    "Description",
    "key",
    "value",
];

const WORDS: [&str; 24] = [
    "",
    "/",
    "/a",
    "/a/b/",
    "//",
    "/aws/service",
    "/aws/service/debian/release/13/latest/amd64",
    "String",
    "SecureString",
    "StringList",
    "Parameter",
    "AWS-RunShellScript",
    "i-0123456789abcdef0",
    "tag:Name",
    "InstanceIds",
    "BeginsWith",
    "Recursive",
    "100%",
    "0",
    "-1",
    "1e9",
    "\u{0}",
    "\u{1f409}",
    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..60i64).prop_map(Value::from),
        select(&WORDS[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((select(&MEMBERS[..]), inner), 0..4).prop_map(object),
        ]
    })
}

fn object(members: Vec<(&str, Value)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

/// A member with a value of the kind it has most often, so that inputs get past their first check.
fn member() -> impl Strategy<Value = (&'static str, Value)> {
    let likely = (select(&MEMBERS[..]), select(&WORDS[..]), 0..60i64).prop_map(|(name, word, number)| {
        let value = match name {
            "Names" | "Values" | "InstanceIds" | "TagKeys" | "commands" => Value::from(vec![word]),
            "MaxResults" | "TimeoutSeconds" => number.into(),
            "Recursive" | "WithDecryption" | "Overwrite" | "Details" => (number % 2 == 0).into(),
            "Tags" => Value::from(vec![object(vec![("Key", word.into()), ("Value", word.into())])]),
            "Filters" | "Targets" | "ParameterFilters" => {
                Value::from(vec![object(vec![("Key", word.into()), ("Values", Value::from(vec![word]))])])
            }
            "Parameters" => object(vec![("commands", Value::from(vec![word])), ("executionTimeout", Value::from(vec![word]))]),
            _ => word.into(),
        };
        (name, value)
    });
    prop_oneof![3 => likely, 1 => (select(&MEMBERS[..]), value())]
}

#[test]
fn no_document_panics_or_is_the_servers_fault() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = Config { records: true, ..Config::new(folder.path(), folder.path()) };
    let log = Log::open(config.files(), config.owner_uid).unwrap();
    let (driver, _events) = Records::new(folder.path());
    let cloud = Cloud::new(config, Arc::new(driver), State::default(), log);
    let inputs = prop_oneof![6 => prop::collection::vec(member(), 0..7).prop_map(object), 1 => value()];
    let calls = (select(&ACTIONS[..]), inputs, any::<prop::sample::Index>(), 0..12u32);
    proptest!(ProptestConfig::with_cases(4000), |((action, input, at, damage) in calls)| {
        let mut body = input.to_string().into_bytes();
        if damage == 0 {
            body.truncate(at.index(body.len() + 1));
        }
        if let Err(error) = runtime.block_on(super::call(&cloud, action, &body)) {
            prop_assert!(error.status < 500, "{} {}: {}", action, input, error);
        }
    });
    serde_json::to_string(&*cloud.state()).unwrap();
}
