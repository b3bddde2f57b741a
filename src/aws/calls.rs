//! Keeps what API calls were made: how many, of which kind, the longest chain in which each began after the one before
//! had ended, and the history of a resource. Of requests and answers only ids of resources and of the request are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_ec2::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use jiff::Timestamp;

/// Every attempt that went over the wire.
#[derive(Debug, Default)]
pub struct CallLog {
    finished: Mutex<Vec<Call>>,
}

#[derive(Debug, Clone)]
struct Call {
    begun: Instant,
    ended: Instant,
    record: CallRecord,
}

/// One attempt of one call, for whoever looks for what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CallRecord {
    /// When it was sent.
    pub at: Timestamp,
    pub service: String,
    pub action: String,
    pub milliseconds: u64,
    /// `ok`, the code of the error, or `no answer`.
    pub outcome: String,
    /// By which AWS's support finds the call.
    pub request_id: Option<String>,
    /// Ids named in the request, and in the answer of a call that changes something.
    pub resources: BTreeSet<String>,
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
    /// The same by service: `EC2`, `SSM`.
    pub by_service: BTreeMap<String, ServiceTotals>,
}

/// What a run cost in calls to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ServiceTotals {
    pub requests: usize,
    pub in_sequence: usize,
}

impl CallTotals {
    /// What the calls to EC2 came to.
    pub fn ec2(&self) -> ServiceTotals {
        self.by_service.get("EC2").copied().unwrap_or(ServiceTotals { requests: 0, in_sequence: 0 })
    }
}

impl CallLog {
    /// Sums up all calls so far.
    pub fn totals(&self) -> CallTotals {
        let mut calls = self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_by_key(|call| call.ended);
        let mut by_action = BTreeMap::new();
        let mut services: BTreeMap<String, Vec<&Call>> = BTreeMap::new();
        for call in &calls {
            *by_action.entry(call.record.action.clone()).or_default() += 1;
            services.entry(call.record.service.clone()).or_default().push(call);
        }
        let of_service = |calls: Vec<&Call>| ServiceTotals { requests: calls.len(), in_sequence: in_sequence(calls) };
        CallTotals {
            requests: calls.len(),
            in_sequence: in_sequence(&calls),
            by_action,
            by_service: services.into_iter().map(|(service, calls)| (service, of_service(calls))).collect(),
        }
    }

    /// Every attempt that named one of `ids`, or was of `action`, in the order of sending.
    pub fn history(&self, ids: &[String], action: Option<&str>) -> Vec<CallRecord> {
        let calls = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant =
            |call: &&Call| action == Some(&call.record.action) || ids.iter().any(|id| call.record.resources.contains(id));
        let mut found: Vec<&Call> = calls.iter().filter(is_meant).collect();
        found.sort_by_key(|call| call.begun);
        found.into_iter().map(|call| call.record.clone()).collect()
    }
}

/// Most bytes of a body that are searched for ids; a request has at most 64 KB, and ids of an answer stand in front.
const SEARCHED: usize = 256 << 10;

/// Kinds of ids that EC2 gives, as they stand before the dash.
const ID_KINDS: [&str; 14] =
    ["i", "vpc", "subnet", "igw", "rtb", "rtbassoc", "sg", "lt", "vol", "snap", "ami", "eni", "pg", "sir"];

/// Ids of resources in a body, whatever its form: `i-` and eight or 17 hexadecimal digits, and so on.
fn ids_in(body: &SdkBody) -> BTreeSet<String> {
    let bytes = body.bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SEARCHED)]);
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    let is_id = |word: &&str| {
        word.split_once('-').is_some_and(|(kind, digits)| {
            ID_KINDS.contains(&kind)
                && matches!(digits.len(), 8 | 17)
                && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
        })
    };
    words.filter(is_id).map(str::to_owned).collect()
}

/// The first text between `<NAME>` and `</`, or after `"NAME":"`.
fn field(body: &SdkBody, names: &[&str]) -> Option<String> {
    let bytes = body.bytes()?;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SEARCHED)]);
    names.iter().find_map(|name| {
        let element = text.split_once(&format!("<{name}>")).and_then(|(_, rest)| Some(rest.split_once("</")?.0));
        let member = text.split_once(&format!("\"{name}\""));
        let member = member.and_then(|(_, rest)| rest.trim_start_matches([':', ' ']).strip_prefix('"')?.split('"').next());
        element.or(member).map(str::to_owned)
    })
}

/// Longest chain of calls, sorted by their ends, in which each began after the one before had ended.
fn in_sequence<'a>(calls: impl IntoIterator<Item = &'a Call>) -> usize {
    // Greedy interval scheduling: taking the earliest end first gives the longest chain of disjoint intervals.
    let (mut number, mut free_from) = (0, None);
    for call in calls {
        if free_from.is_none_or(|end| call.begun >= end) {
            number += 1;
            free_from = Some(call.ended);
        }
    }
    number
}

/// Records each attempt into a [`CallLog`].
#[derive(Debug, Clone)]
pub(super) struct Counter(pub Arc<CallLog>);

#[derive(Debug)]
struct Begun {
    begun: Instant,
    resources: BTreeSet<String>,
}

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "CallCounter"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let resources = ids_in(context.request().body());
        bag.interceptor_state().store_put(Begun { begun: Instant::now(), resources });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Begun { begun, resources }) = bag.load::<Begun>() else { return Ok(()) };
        let ended = Instant::now();
        let elapsed = ended.duration_since(*begun);
        let (service, action) = bag.load::<Metadata>().map_or_else(
            || ("unknown".to_owned(), "unknown".to_owned()),
            |call| (call.service().to_owned(), call.name().to_owned()),
        );
        let mut resources = resources.clone();
        let (mut outcome, mut request_id) = ("no answer".to_owned(), None);
        if let Some(response) = context.response() {
            let status = response.status();
            outcome = if status.is_success() {
                "ok".to_owned()
            } else {
                let code = field(response.body(), &["Code", "__type"]).unwrap_or_else(|| format!("HTTP {}", status.as_u16()));
                code.rsplit('#').next().unwrap_or_default().to_owned()
            };
            let header = response.headers().get("x-amzn-requestid").map(str::to_owned);
            request_id = header.or_else(|| field(response.body(), &["requestId", "RequestID", "RequestId"]));
            let only_reads = ["Describe", "List", "Get"].iter().any(|verb| action.starts_with(verb));
            if !only_reads {
                resources.append(&mut ids_in(response.body()));
            }
        }
        let at = Timestamp::now().checked_sub(elapsed).unwrap_or(Timestamp::UNIX_EPOCH);
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let record = CallRecord { at, service, action, milliseconds, outcome, request_id, resources };
        self.0.finished.lock().unwrap_or_else(PoisonError::into_inner).push(Call { begun: *begun, ended, record });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ids_are_found_in_forms_and_in_xml_and_nothing_else_is() {
        let form = "Action=AttachVolume&VolumeId=vol-0123456789abcdef0&InstanceId=i-0a1b2c3d&Token=secret-0123456789abcdef0";
        assert_eq!(ids_in(&SdkBody::from(form)), ["i-0a1b2c3d", "vol-0123456789abcdef0"].map(str::to_owned).into());
        let xml = "<item><instanceId>i-0123456789abcdef0</instanceId><name>sg-not-an-id</name></item>";
        assert_eq!(ids_in(&SdkBody::from(xml)), ["i-0123456789abcdef0".to_owned()].into());
    }

    #[test]
    fn codes_and_request_ids_are_read_from_both_protocols() {
        let xml = SdkBody::from(
            "<Response><Errors><Error><Code>VpcLimitExceeded</Code></Error></Errors><RequestID>r-1</RequestID></Response>",
        );
        assert_eq!(field(&xml, &["Code", "__type"]).as_deref(), Some("VpcLimitExceeded"));
        assert_eq!(field(&xml, &["requestId", "RequestID"]).as_deref(), Some("r-1"));
        let json = SdkBody::from("{\"__type\": \"ParameterNotFound\"}");
        assert_eq!(field(&json, &["Code", "__type"]).as_deref(), Some("ParameterNotFound"));
    }

    #[test]
    fn the_history_of_a_resource_has_its_calls_alone() {
        let log = CallLog::default();
        let call = |action: &str, id: &str| {
            let record = CallRecord {
                at: Timestamp::UNIX_EPOCH,
                service: "ec2".to_owned(),
                action: action.to_owned(),
                milliseconds: 1,
                outcome: "ok".to_owned(),
                request_id: None,
                resources: [id.to_owned()].into(),
            };
            let now = Instant::now();
            log.finished.lock().unwrap().push(Call { begun: now, ended: now, record });
        };
        call("RunInstances", "i-1");
        call("RunInstances", "i-2");
        call("CreateVpc", "vpc-1");
        let actions = |ids: &[&str], action| {
            let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            log.history(&ids, action).into_iter().map(|record| record.action).collect::<Vec<_>>()
        };
        assert_eq!(actions(&["i-2"], None), ["RunInstances"]);
        assert_eq!(actions(&["i-2"], Some("CreateVpc")), ["RunInstances", "CreateVpc"]);
    }

    #[test]
    fn calls_are_summed_up_for_each_service_by_itself() {
        let log = CallLog::default();
        let zero = Instant::now();
        let call = |service: &str, action: &str, begun: u64, ended: u64| {
            let record = CallRecord {
                at: Timestamp::UNIX_EPOCH,
                service: service.to_owned(),
                action: action.to_owned(),
                milliseconds: ended - begun,
                outcome: "ok".to_owned(),
                request_id: None,
                resources: BTreeSet::new(),
            };
            Call { begun: zero + Duration::from_millis(begun), ended: zero + Duration::from_millis(ended), record }
        };
        log.finished.lock().unwrap().extend([
            call("SSM", "PutParameter", 0, 5),
            call("EC2", "DescribeVpcs", 5, 9),
            call("EC2", "DescribeSubnets", 5, 8),
            call("EC2", "CreateVpc", 9, 12),
            call("SSM", "DeleteParameter", 12, 14),
        ]);
        let totals = log.totals();
        assert_eq!((totals.requests, totals.in_sequence), (5, 4));
        assert_eq!(totals.ec2(), ServiceTotals { requests: 3, in_sequence: 2 });
        assert_eq!(totals.by_service["SSM"], ServiceTotals { requests: 2, in_sequence: 2 });
    }
}
