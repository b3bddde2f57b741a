//! The calls that went over a wire, and what they sum up to.

use std::collections::BTreeMap;
use std::time::Instant;

use super::http::Message;

/// One call, as seen between client and cloud.
#[derive(Debug, Clone)]
pub struct Call {
    /// The service that its signature names: `ec2`, `ssm`.
    pub service: String,
    pub action: String,
    pub begun: Instant,
    pub ended: Instant,
    /// Status of the answer; 0 if none was delivered.
    pub status: u16,
}

/// Which call of an action: the first is 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub action: String,
    pub nth: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.action, self.nth)
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub calls: usize,
    /// Longest chain of calls, each begun after the one before had ended.
    pub in_sequence: usize,
}

/// Sums up calls.
pub fn totals<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Totals {
    let mut calls: Vec<&Call> = calls.into_iter().collect();
    calls.sort_by_key(|call| call.ended);
    // Taking the earliest end first gives the longest chain of intervals that do not overlap.
    let (mut in_sequence, mut free_from) = (0, None);
    for call in &calls {
        if free_from.is_none_or(|end| call.begun >= end) {
            in_sequence += 1;
            free_from = Some(call.ended);
        }
    }
    Totals { calls: calls.len(), in_sequence }
}

/// Whether an action changes anything.
pub fn changes(action: &str) -> bool {
    !["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb))
}

/// The calls that change something, each as which of its action it was.
pub fn places<'a>(calls: impl IntoIterator<Item = &'a Call>) -> Vec<Place> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut place = |call: &'a Call| {
        let nth = seen.entry(&call.action).or_default();
        *nth += 1;
        Place { action: call.action.clone(), nth: *nth }
    };
    calls.into_iter().filter(|call| changes(&call.action)).map(&mut place).collect()
}

/// Service and action of a request: the service from its signature, the action from the target or the form.
pub fn name(request: &Message) -> (String, String) {
    let scope = request.header("authorization").and_then(|text| text.split_once("Credential=")).map(|(_, rest)| rest);
    let service = scope.and_then(|scope| scope.split('/').nth(3)).unwrap_or("unsigned").to_owned();
    let action = match request.header("x-amz-target") {
        Some(target) => target.rsplit('.').next().map(str::to_owned),
        None => {
            let form = String::from_utf8_lossy(&request.body).into_owned();
            form.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned)
        }
    };
    (service, action.unwrap_or_else(|| "unknown".to_owned()))
}
