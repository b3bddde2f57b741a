//! SSM's actions: commands really run in nodes, instance information, Parameter Store.

mod commands;
mod documents;
mod execute;
mod instances;
mod labels;
mod parameters;
#[cfg(test)]
mod properties;
mod sessions;
mod settings;
mod tags;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::wire::error::ApiError;

pub use execute::{Running, recover, stop};
pub use instances::register;
pub(crate) use parameters::value_of;

type Run = fn(&Arc<Cloud>, &[u8]) -> Result<Value, ApiError>;

const ACTIONS: &[(&str, Run)] = &[
    ("SendCommand", commands::send),
    ("CancelCommand", commands::cancel),
    ("ListCommands", commands::list),
    ("ListCommandInvocations", commands::list_invocations),
    ("GetCommandInvocation", commands::get_invocation),
    ("DescribeInstanceInformation", instances::describe),
    ("ListDocuments", documents::list),
    ("DescribeDocument", documents::describe),
    ("GetDocument", documents::get),
    ("StartSession", sessions::start),
    ("TerminateSession", sessions::terminate),
    ("DescribeSessions", sessions::describe),
    ("GetConnectionStatus", sessions::connection),
    ("GetServiceSetting", settings::get),
    ("PutParameter", parameters::put),
    ("GetParameter", parameters::get),
    ("GetParameters", parameters::get_several),
    ("GetParametersByPath", parameters::get_by_path),
    ("GetParameterHistory", parameters::history),
    ("DescribeParameters", parameters::describe),
    ("DeleteParameter", parameters::delete),
    ("DeleteParameters", parameters::delete_several),
    ("LabelParameterVersion", labels::label),
    ("UnlabelParameterVersion", labels::unlabel),
    ("AddTagsToResource", tags::add),
    ("RemoveTagsFromResource", tags::remove),
    ("ListTagsForResource", tags::list),
];

/// The names of all actions.
pub fn actions() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|(name, _)| *name)
}

/// What actions accept and ignore: action, parameter, reason. Every other member that they do not know is refused.
pub fn ignored_parameters() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    [("StartSession", "Parameters", "no session is ever started")].into_iter()
}

/// Carries out one action; input and answer are JSON texts.
pub async fn call(cloud: &Arc<Cloud>, action: &str, body: &[u8]) -> Result<String, ApiError> {
    let known = ACTIONS.iter().find(|(name, _)| *name == action);
    let (_, run) = known.ok_or_else(|| {
        ApiError::new("UnknownOperationException", format!("{action} is not an action of AmazonSSM that this cloud has"))
    })?;
    run(cloud, body).map(|answer| answer.to_string())
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
