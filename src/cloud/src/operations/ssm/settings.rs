//! Service settings: what an account has when nobody changed any.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::json::{input, seconds};

/// Settings and their defaults, as the service model documents them. No default role is set (ec2.md 7.3).
const SETTINGS: [(&str, &str); 6] = [
    ("/ssm/documents/console/public-sharing-permission", "Enable"),
    ("/ssm/managed-instance/activation-tier", "standard"),
    ("/ssm/managed-instance/default-ec2-instance-management-role", "$None"),
    ("/ssm/parameter-store/default-parameter-tier", "Standard"),
    ("/ssm/parameter-store/high-throughput-enabled", "false"),
    ("/ssm/opsinsights/opscenter", "Disabled"),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Get {
    setting_id: String,
}

pub(super) fn get(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call: Get = input(body)?;
    let prefix = format!("arn:aws:ssm:{}:{}:servicesetting", cloud.config.region, cloud.config.account);
    let asked = call.setting_id.strip_prefix(&prefix).unwrap_or(&call.setting_id);
    let found = SETTINGS.iter().find(|(id, _)| *id == asked);
    let (id, value) = found.ok_or_else(|| {
        ApiError::new("ServiceSettingNotFound", format!("The service setting {} was not found.", call.setting_id))
    })?;
    Ok(json!({
        "ServiceSetting": {
            "SettingId": id,
            "SettingValue": value,
            "LastModifiedDate": seconds(jiff::Timestamp::UNIX_EPOCH),
            "LastModifiedUser": "System",
            "ARN": format!("{prefix}{id}"),
            "Status": "Default",
        }
    }))
}
