//! What a node wrote to its console.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::turn::{self, wire_time};
use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// EC2 keeps the last 64 KB.
const KEPT: usize = 64 * 1024;

/// What it accepts, `Latest` without any use of it.
pub(super) const PARAMETERS: [&str; 5] = ["InstanceId", "Latest", "Action", "Version", "DryRun"];

/// What it ignores: action, parameter, reason.
pub(super) const IGNORED: [(&str, &str, &str); 1] =
    [("GetConsoleOutput", "Latest", "the answer is always what the node has written by now")];

/// `GetConsoleOutput`.
pub(super) async fn get_output(cloud: &Arc<Cloud>, query: &Query) -> Result<Xml, ApiError> {
    query.only(&PARAMETERS)?;
    let id = query.required("InstanceId")?.to_owned();
    let has_root = turn::INSTANCE.find(&cloud.state().ec2.instances, &id)?.has_root;
    if query.boolean("DryRun")?.unwrap_or(false) {
        return Err(ApiError::dry_run());
    }
    let output = match has_root {
        false => Vec::new(),
        true => {
            let answer = cloud.driver.console(&id, KEPT).await;
            answer.map_err(|error| ApiError::internal(crate::store::chain(&error)))?
        }
    };
    let mut body = Xml::new();
    body.put("instanceId", &id).put("timestamp", wire_time(Timestamp::now())).put("output", STANDARD.encode(output));
    Ok(body)
}
