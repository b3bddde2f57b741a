//! Agents for clouds whose instances have no inside: every one is online, and commands end at once with the output that
//! a node of ewulf's images would give. The same words as in tests/moto/server.py.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::http::Message;

/// The commands that were sent.
#[derive(Debug, Default)]
pub(super) struct Agents {
    commands: BTreeMap<String, Command>,
}

#[derive(Debug, Clone)]
struct Command {
    comment: String,
    instances: Vec<String>,
}

impl Agents {
    /// The answer to an action that agents have a part in; None leaves it to the cloud.
    pub fn answer(&mut self, action: &str, request: &Message) -> Option<String> {
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let body = match action {
            "DescribeInstanceInformation" => online(&asked),
            "SendCommand" => self.send(&asked),
            "ListCommandInvocations" => self.list(&asked),
            "GetCommandInvocation" => self.get(&asked),
            _ => return None,
        };
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length";
        Some(format!("{head}: {}\r\n\r\n{body}", body.len()))
    }

    fn send(&mut self, asked: &Value) -> Value {
        let id = format!("00000000-0000-4000-9000-{:012}", self.commands.len() + 1);
        let command = Command { comment: text(&asked["Comment"]), instances: texts(&asked["InstanceIds"]) };
        self.commands.insert(id.clone(), command.clone());
        json!({ "Command": {
            "CommandId": id,
            "Comment": command.comment,
            "DocumentName": "AWS-RunShellScript",
            "InstanceIds": command.instances,
            "Status": "Pending",
            "StatusDetails": "Pending",
        }})
    }

    fn list(&self, asked: &Value) -> Value {
        let id = text(&asked["CommandId"]);
        let Some(command) = self.commands.get(&id) else { return json!({ "CommandInvocations": [] }) };
        let invocation = |instance: &String| {
            json!({
                "CommandId": id,
                "InstanceId": instance,
                "Comment": command.comment,
                "Status": "Success",
                "StatusDetails": "Success",
                "CommandPlugins": [{
                    "Name": "aws:runShellScript",
                    "Status": "Success",
                    "StatusDetails": "Success",
                    "ResponseCode": 0,
                    "Output": output(&command.comment, instance),
                }],
            })
        };
        json!({ "CommandInvocations": command.instances.iter().map(invocation).collect::<Vec<_>>() })
    }

    fn get(&self, asked: &Value) -> Value {
        let (id, instance) = (text(&asked["CommandId"]), text(&asked["InstanceId"]));
        let comment = self.commands.get(&id).map(|command| command.comment.clone()).unwrap_or_default();
        json!({
            "CommandId": id,
            "InstanceId": instance,
            "Status": "Success",
            "StatusDetails": "Success",
            "ResponseCode": 0,
            "StandardOutputContent": output(&comment, &instance),
            "StandardErrorContent": "",
        })
    }
}

fn online(asked: &Value) -> Value {
    let filters = asked["Filters"].as_array().cloned().unwrap_or_default();
    let ids = filters.iter().flat_map(|filter| texts(&filter["Values"]));
    let online = |id: String| json!({ "InstanceId": id, "PingStatus": "Online", "PlatformType": "Linux" });
    json!({ "InstanceInformationList": ids.map(online).collect::<Vec<_>>() })
}

/// What a node says to a command, as far as a caller reads it.
fn output(comment: &str, instance: &str) -> String {
    if comment.contains("show public keys") {
        return format!("hostname {instance}\nhostkey {}\nuserkey {}\n", public_key(instance), public_key("ewulf"));
    }
    if comment.contains(": follow ") { "0 no\n".to_owned() } else { String::new() }
}

/// A public key in OpenSSH's form, always the same for the same words.
fn public_key(words: &str) -> String {
    let mut wire = Vec::new();
    for part in [b"ssh-ed25519".as_slice(), &Sha256::digest(words)] {
        // Parts are 11 and 32 bytes long.
        wire.extend([0, 0, 0, part.len() as u8]);
        wire.extend(part);
    }
    format!("ssh-ed25519 {}", STANDARD.encode(wire))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
