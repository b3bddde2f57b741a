//! Labels on versions of parameters.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::invalid;
use super::parameters::unknown;
use crate::cloud::Cloud;
use crate::wire::error::ApiError;
use crate::wire::json::input;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Call {
    name: String,
    parameter_version: Option<u64>,
    labels: Vec<String>,
}

impl Call {
    fn read(body: &[u8]) -> Result<Self, ApiError> {
        let call: Self = input(body)?;
        if call.labels.is_empty() || call.labels.len() > 10 {
            return Err(invalid("labels must have 1 to 10 members"));
        }
        Ok(call)
    }
}

pub(super) fn label(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = Call::read(body)?;
    let (number, refused) = {
        let mut state = cloud.state();
        let parameter = state.ssm.parameters.get_mut(&call.name).ok_or_else(|| unknown(&call.name))?;
        parameter.label(&call.name, call.parameter_version, &call.labels)?
    };
    cloud.changed();
    Ok(json!({ "InvalidLabels": refused, "ParameterVersion": number }))
}

pub(super) fn unlabel(cloud: &Arc<Cloud>, body: &[u8]) -> Result<Value, ApiError> {
    let call = Call::read(body)?;
    let number = call.parameter_version.ok_or_else(|| invalid("missing field `ParameterVersion`"))?;
    let (removed, absent) = {
        let mut state = cloud.state();
        let parameter = state.ssm.parameters.get_mut(&call.name).ok_or_else(|| unknown(&call.name))?;
        parameter.unlabel(&call.name, number, call.labels)?
    };
    cloud.changed();
    Ok(json!({ "RemovedLabels": removed, "InvalidLabels": absent }))
}
