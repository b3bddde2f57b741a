//! SSM's actions: commands really run in nodes, instance information, Parameter Store.

mod commands;
mod execute;
mod instances;
mod parameters;
#[cfg(test)]
mod properties;
mod tags;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::wire::error::ApiError;

pub use execute::{Running, recover, stop};
pub use instances::register;

/// Carries out one action; input and answer are JSON texts.
pub async fn call(cloud: &Arc<Cloud>, action: &str, body: &[u8]) -> Result<String, ApiError> {
    let answer = match action {
        "SendCommand" => commands::send(cloud, body),
        "CancelCommand" => commands::cancel(cloud, body),
        "ListCommands" => commands::list(cloud, body),
        "ListCommandInvocations" => commands::list_invocations(cloud, body),
        "GetCommandInvocation" => commands::get_invocation(cloud, body),
        "DescribeInstanceInformation" => instances::describe(cloud, body),
        "PutParameter" => parameters::put(cloud, body),
        "GetParameter" => parameters::get(cloud, body),
        "GetParameters" => parameters::get_several(cloud, body),
        "GetParametersByPath" => parameters::get_by_path(cloud, body),
        "GetParameterHistory" => parameters::history(cloud, body),
        "DescribeParameters" => parameters::describe(cloud, body),
        "DeleteParameter" => parameters::delete(cloud, body),
        "DeleteParameters" => parameters::delete_several(cloud, body),
        "AddTagsToResource" => tags::add(cloud, body),
        "RemoveTagsFromResource" => tags::remove(cloud, body),
        "ListTagsForResource" => tags::list(cloud, body),
        _ => Err(ApiError::invalid_action(action)),
    };
    answer.map(|answer| answer.to_string())
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// An object without its null members: AWS leaves out what is not set.
fn compact(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

/// What a paginated call asks for, and the bounds of its action.
struct Page<'a> {
    token: Option<&'a str>,
    asked: Option<i64>,
    bounds: std::ops::RangeInclusive<i64>,
    default: usize,
}

impl Page<'_> {
    /// Cuts one page out of a whole list. A token names the last item of the page before, so it stays right when
    /// items come or go elsewhere.
    fn cut<T>(&self, items: impl Iterator<Item = T>, key: impl Fn(&T) -> String) -> Result<(Vec<T>, Value), ApiError> {
        let size = match self.asked {
            Some(asked) if !self.bounds.contains(&asked) => {
                let (least, most) = (self.bounds.start(), self.bounds.end());
                return Err(invalid(format!("maxResults {asked} is not between {least} and {most}")));
            }
            Some(asked) => usize::try_from(asked).unwrap_or(self.default),
            None => self.default,
        };
        let mut items = items.peekable();
        if let Some(token) = self.token {
            let unknown = || ApiError::new("InvalidNextToken", "The specified token is not valid.");
            let last = URL_SAFE_NO_PAD.decode(token).map_err(|_| unknown())?;
            if !items.by_ref().any(|item| key(&item).as_bytes() == last) {
                return Err(unknown());
            }
        }
        let page: Vec<T> = items.by_ref().take(size).collect();
        let next = match (items.peek(), page.last()) {
            (Some(_), Some(last)) => Value::String(URL_SAFE_NO_PAD.encode(key(last))),
            _ => Value::Null,
        };
        Ok((page, next))
    }
}
