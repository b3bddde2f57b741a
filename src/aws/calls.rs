//! Counts API calls: how many, of which kind, and the longest chain in which each began after the one before had ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_ec2::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Every attempt that went over the wire.
#[derive(Debug, Default)]
pub struct CallLog {
    finished: Mutex<Vec<Call>>,
}

#[derive(Debug, Clone)]
struct Call {
    name: String,
    begun: Instant,
    ended: Instant,
}

/// What a run cost in calls.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CallTotals {
    /// Number of requests, retries included.
    pub requests: usize,
    /// Longest chain of requests, each begun after the one before had ended.
    pub in_sequence: usize,
    /// Requests by action.
    pub by_action: BTreeMap<String, usize>,
}

impl CallLog {
    /// Sums up all calls so far.
    pub fn totals(&self) -> CallTotals {
        let mut calls = self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_by_key(|call| call.ended);
        let mut by_action = BTreeMap::new();
        // Greedy interval scheduling: taking the earliest end first gives the longest chain of disjoint intervals.
        let (mut in_sequence, mut free_from) = (0, None);
        for call in &calls {
            *by_action.entry(call.name.clone()).or_default() += 1;
            if free_from.is_none_or(|end| call.begun >= end) {
                in_sequence += 1;
                free_from = Some(call.ended);
            }
        }
        CallTotals { requests: calls.len(), in_sequence, by_action }
    }
}

/// Records each attempt into a [`CallLog`].
#[derive(Debug, Clone)]
pub(super) struct Counter(pub Arc<CallLog>);

#[derive(Debug)]
struct Begun(Instant);

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "CallCounter"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Begun(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        _context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Begun(begun)) = bag.load::<Begun>() else { return Ok(()) };
        let name = bag.load::<Metadata>().map_or_else(|| "unknown".to_owned(), |m| m.name().to_owned());
        let call = Call { name, begun: *begun, ended: Instant::now() };
        self.0.finished.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        Ok(())
    }
}
