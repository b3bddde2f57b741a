//! One HTTP request: limits, signature, dispatch, answer. It may not know what an action does.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};

use super::blocks;
use super::line::Line;
use super::refusals::Refusals;
use super::seen::Seen;
use super::trouble::{self, Denial};
use crate::cloud::Cloud;
use crate::faults::{Facts, Fault, Stage, Ticket};
use crate::operations;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::sigv4::{self, Claim, Credentials, Refusal};
use crate::wire::{json, xml};

/// Largest request body. EC2's largest is 16 KiB of user data, SSM's a document of 64 KiB; both grow by encoding.
const MAXIMUM_BODY: usize = 1 << 20;

/// How long a client may take to send a body; it comes over the loopback interface.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the body of a refused request is thrown away before the answer. A connection that is closed on unread bytes
/// takes the answer with it; bytes that are on their way over loopback are there in no time.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// What requests may be signed for.
const SERVICES: [&str; 4] = ["ec2", "ssm", "sts", CONTROL];

/// Actions carried out side by side; more wait.
pub(super) const OPERATIONS: u32 = 256;

const TARGET: &str = "x-amz-target";

/// All that a request needs.
pub(super) struct Service {
    pub cloud: Arc<Cloud>,
    pub credentials: Credentials,
    /// Free places for actions; all are free when nothing is under way.
    pub operations: Arc<Semaphore>,
    /// True once the server ends: nothing waits any longer then.
    pub ended: watch::Receiver<bool>,
    /// What was admitted already.
    pub seen: Seen,
    /// What was said of those who were not.
    pub refusals: Refusals,
}

impl Service {
    /// Notes a refusal and puts it into the protocol's words.
    pub fn refuse(&self, protocol: Protocol, refusal: &Refusal) -> ApiError {
        self.refusals.note(&self.cloud.log, refusal.kind(), format_args!("request refused: {refusal}"));
        refused(protocol, refusal)
    }
}

/// A request that gets no answer: its connection ends instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection ends without an answer")]
pub(super) struct Severed;

/// How an answer is written; decided before the request is trusted, since a refusal needs it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ec2,
    Sts,
    Json,
}

impl Protocol {
    /// Reads it off the headers, of which nothing is believed yet.
    fn of(headers: &HeaderMap) -> Self {
        let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match headers.contains_key(TARGET) {
            true => Self::Json,
            false if authorization.contains("/sts/aws4_request") => Self::Sts,
            false => Self::Ec2,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Ec2 => "text/xml;charset=UTF-8",
            Self::Sts => "text/xml",
            Self::Json => "application/x-amz-json-1.1",
        }
    }

    fn error(self, error: &ApiError, request_id: &str) -> String {
        match self {
            Self::Ec2 => xml::error(error, request_id),
            Self::Sts => operations::sts::error(error, request_id),
            Self::Json => json::error(error),
        }
    }
}

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request, whatever comes, unless a fault was asked for that ends the connection.
pub(super) async fn answer(service: Arc<Service>, line: Arc<Line>, request: Request<Incoming>) -> Result<Answer, Severed> {
    let is_health = request.method() == Method::GET
        && request.uri().path() == "/"
        && request.uri().query().is_none()
        && !request.headers().contains_key(header::AUTHORIZATION);
    if is_health {
        let text = format!("{} {}\n", super::HEALTH, std::process::id());
        return Ok(response(StatusCode::OK, "text/plain; charset=utf-8", text, &xml::uuid()));
    }
    if blocks::is_call(&request) {
        return blocks::answer(service, request).await.inspect_err(|Severed| line.reset_at_end());
    }
    let protocol = Protocol::of(request.headers());
    // One id for the header, the document and whoever asks about the call.
    let request_id = xml::uuid();
    let (status, text) = match admit(service, request, protocol, request_id.clone()).await {
        Ok(text) => (StatusCode::OK, text),
        Err(Denial::Severed) => {
            line.reset_at_end();
            return Err(Severed);
        }
        Err(Denial::Refused(error)) => (status(&error), protocol.error(&error, &request_id)),
    };
    Ok(response(status, protocol.content_type(), text, &request_id))
}

fn status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn response(status: StatusCode, content_type: &'static str, text: String, request_id: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let request_id = HeaderValue::from_str(request_id).expect("a UUID is ASCII");
    response.headers_mut().insert("x-amzn-requestid", request_id);
    response
}

/// Reads and verifies the request, then carries it out, with whatever was to go wrong on the way.
async fn admit(
    service: Arc<Service>,
    request: Request<Incoming>,
    protocol: Protocol,
    request_id: String,
) -> Result<String, Denial> {
    let (head, body) = request.into_parts();
    let region = &service.cloud.config.region;
    // Strangers are turned away by the head alone: nobody without the key's id has a body kept for him.
    let claim = match Claim::read(&head.headers, &service.credentials, region, &SERVICES, Timestamp::now()) {
        Ok(claim) => claim,
        Err(refusal) => {
            discard(body).await;
            return Err(service.refuse(protocol, &refusal).into());
        }
    };
    let body = read(body).await?;
    let signed = sigv4::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    claim.verify(signed, &service.credentials).map_err(|refusal| service.refuse(protocol, &refusal))?;
    let call = Call::read(claim.service, &head.headers, &body);
    let only_reads = || call.as_ref().is_ok_and(|call| only_reads(&call.action));
    let admitted = service.seen.admit(&claim, &head.headers, Timestamp::now(), only_reads);
    admitted.map_err(|refusal| service.refuse(protocol, &refusal))?;
    if head.method != Method::POST || head.uri.path() != "/" {
        return Err(ApiError::new("InvalidRequest", "calls are POST requests to /").with_status(405).into());
    }
    let call = call?;
    if call.service == CONTROL {
        return Ok(carry_out(service, call, request_id, None).await.0?);
    }
    let cloud = Arc::clone(&service.cloud);
    let ticket = cloud.faults.arrive(call.service, &call.action, call.changes_something(), Timestamp::now());
    let facts = if cloud.faults.is_empty() { Facts::default() } else { call.facts(&cloud) };
    let before = trouble::before(&service, &facts, || call.is_throttled(&cloud, &facts));
    if let Err(denial) = ticket.during(before).await {
        cloud.faults.finish(ticket, None);
        return Err(denial);
    }
    let ended = service.ended.clone();
    let (outcome, fault) = carry_out(service, call, request_id, Some((ticket, facts))).await;
    trouble::after(fault, ended).await?;
    Ok(outcome?)
}

/// The service of this cloud's own calls, which no fault concerns.
const CONTROL: &str = "local";

pub(super) async fn read(body: Incoming) -> Result<Bytes, ApiError> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAXIMUM_BODY).collect());
    match whole.await {
        Err(_) => Err(ApiError::new("RequestTimeout", "the body did not arrive in time").with_status(408)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body is larger than {MAXIMUM_BODY} bytes");
            Err(ApiError::new("RequestEntityTooLarge", message).with_status(413))
        }
        Ok(Err(_)) => Err(ApiError::new("RequestAbortedException", "the body broke off")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// Takes a body in without keeping it.
pub(super) async fn discard(body: Incoming) {
    let mut body = Limited::new(body, MAXIMUM_BODY);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Who sends more, or more slowly, may lose the answer.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, all).await;
}

/// A call whose sender is known: the signature's service decides the API, not what the request looks like.
struct Call {
    service: &'static str,
    action: String,
    parameters: Parameters,
}

enum Parameters {
    Query(Query),
    Json(Bytes),
}

impl Call {
    fn read(service: &'static str, headers: &HeaderMap, body: &Bytes) -> Result<Self, ApiError> {
        let target = headers.get(TARGET).map(|target| target.to_str().unwrap_or_default());
        let unknown = |message: String| ApiError::new("UnknownOperationException", message);
        let json = |name: &str, target: Option<&str>| {
            let target = target.ok_or_else(|| unknown("the request has no X-Amz-Target".to_owned()))?;
            let action = target.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            let action = action.ok_or_else(|| unknown(format!("{target} is not an action of {name}")))?;
            Ok(Self { service, action: action.to_owned(), parameters: Parameters::Json(body.clone()) })
        };
        match (service, target) {
            ("ssm", target) => json("AmazonSSM", target),
            (CONTROL, target) => json("LocalCloud", target),
            (_, Some(_)) => Err(unknown("the signature's service is not ssm".to_owned())),
            (service, None) => {
                let text =
                    std::str::from_utf8(body).map_err(|_| ApiError::new("MalformedQueryString", "the form is not UTF-8"))?;
                let query = Query::parse(text)?;
                let action = query.required("Action").map_err(|_| ApiError::new("MissingAction", "the form has no Action"))?;
                Ok(Self { service, action: action.to_owned(), parameters: Parameters::Query(query) })
            }
        }
    }

    /// Whether it may change the model: a dry run does not.
    fn changes_something(&self) -> bool {
        let is_rehearsal = match &self.parameters {
            Parameters::Query(query) => matches!(query.boolean("DryRun"), Ok(Some(true))),
            Parameters::Json(_) => false,
        };
        !only_reads(&self.action) && !is_rehearsal
    }

    /// What rules about faults may know of it.
    fn facts(&self, cloud: &Cloud) -> Facts {
        match (&self.parameters, self.service) {
            (Parameters::Query(query), "ec2") => operations::ec2::facts(&cloud.state().ec2, &self.action, query),
            (Parameters::Query(_), service) => Facts { service, action: self.action.clone(), ..Facts::default() },
            (Parameters::Json(body), service) => {
                let mut resources = Vec::new();
                if let Ok(value) = serde_json::from_slice(body) {
                    texts(&value, &mut resources);
                }
                Facts { service, action: self.action.clone(), resources, ..Facts::default() }
            }
        }
    }

    /// Whether it takes more than the request limits leave.
    fn is_throttled(&self, cloud: &Cloud, facts: &Facts) -> bool {
        let (broad, instances) = match &self.parameters {
            Parameters::Query(query) => {
                let names_some = query.names().any(|name| name == "Filter" || name == "MaxResults" || name.ends_with("Id"));
                let launched = query.integer("MaxCount").ok().flatten().and_then(|count| u64::try_from(count).ok());
                (!names_some, launched.unwrap_or(query.list("InstanceId").len() as u64))
            }
            Parameters::Json(_) => (false, 0),
        };
        cloud.faults.is_throttled(facts, broad, instances, cloud.uptime())
    }
}

/// Every text in a JSON document.
fn texts(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => found.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        serde_json::Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

/// Carries a call out to its end, even if the client goes away meanwhile: an action that stops half-way would leave the
/// model and the machine apart. Notes how it ended, and says what befalls the answer of one that took effect.
async fn carry_out(
    service: Arc<Service>,
    call: Call,
    request_id: String,
    known: Option<(Ticket, Facts)>,
) -> (Result<String, ApiError>, Option<Fault>) {
    let permit = Arc::clone(&service.operations).acquire_owned().await;
    let work = tokio::spawn(async move {
        let _permit = permit;
        let cloud = &service.cloud;
        let Some((ticket, facts)) = known else { return (dispatch(cloud, &call, &request_id).await, None) };
        let work = async {
            let outcome = dispatch(cloud, &call, &request_id).await;
            let fault = outcome.is_ok().then(|| cloud.faults.strike(Stage::After, &facts)).flatten();
            (outcome, fault)
        };
        let (outcome, fault) = ticket.during(work).await;
        let code = outcome.as_ref().map_or_else(|error| error.code.as_ref(), |_| "OK");
        cloud.faults.finish(ticket, Some(code));
        (outcome, fault)
    });
    let failed = || ApiError::new("InternalFailure", "the action failed inside the cloud").with_status(500);
    work.await.unwrap_or_else(|_| (Err(failed()), None))
}

/// Finds the action and does it.
async fn dispatch(cloud: &Arc<Cloud>, call: &Call, request_id: &str) -> Result<String, ApiError> {
    let (service, action) = (call.service, call.action.as_str());
    match (&call.parameters, service, action) {
        (Parameters::Json(body), CONTROL, _) => {
            noted(cloud, service, action, operations::control::call(cloud, action, body).await)
        }
        (Parameters::Json(body), _, _) => noted(cloud, service, action, operations::ssm::call(cloud, action, body).await),
        (Parameters::Query(query), "ec2", _) => {
            let answer = noted(cloud, service, action, operations::ec2::call(cloud, action, query).await);
            answer.map(|body| xml::response(action, &body, request_id))
        }
        (Parameters::Query(query), "sts", _) => {
            let answer = noted(cloud, service, action, operations::sts::call(cloud, action, query));
            answer.map(|result| operations::sts::response(action, &result, request_id))
        }
        _ => Err(ApiError::invalid_action(action)),
    }
}

/// Whether an action's name says that it changes nothing.
fn only_reads(action: &str) -> bool {
    ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb))
}

/// Logs an action that changes something. Its message may quote what the caller sent, so only its code is written.
fn noted<T>(cloud: &Cloud, service: &str, action: &str, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
    let only_reads = only_reads(action);
    match &outcome {
        Ok(_) if only_reads => {}
        Ok(_) => cloud.log.line(format_args!("{service} {action}")),
        Err(error) if only_reads && error.status < 500 => {}
        Err(error) => cloud.log.line(format_args!("{service} {action}: {}", error.code)),
    }
    outcome
}

/// The refusal in the words of each protocol: EC2's error list, and the common errors of the other services.
pub(super) fn refused(protocol: Protocol, refusal: &Refusal) -> ApiError {
    let (ec2, sts, json) = match refusal {
        Refusal::Missing => (("AuthFailure", 401), ("MissingAuthenticationToken", 403), "MissingAuthenticationTokenException"),
        Refusal::UnknownKey | Refusal::SessionToken => {
            (("AuthFailure", 401), ("InvalidClientTokenId", 403), "UnrecognizedClientException")
        }
        Refusal::Malformed(_) => (("IncompleteSignature", 400), ("IncompleteSignature", 400), "IncompleteSignatureException"),
        Refusal::Expired { .. } | Refusal::Early { .. } => {
            (("RequestExpired", 400), ("SignatureDoesNotMatch", 403), "InvalidSignatureException")
        }
        // AWS has no word for a repeat: it does not notice.
        Refusal::Scope { .. }
        | Refusal::Unsigned(_)
        | Refusal::Payload
        | Refusal::Checksum(_)
        | Refusal::Mismatch
        | Refusal::Repeated => (("SignatureDoesNotMatch", 403), ("SignatureDoesNotMatch", 403), "InvalidSignatureException"),
    };
    let (code, status) = match protocol {
        Protocol::Ec2 => ec2,
        Protocol::Sts => sts,
        Protocol::Json => (json, 400),
    };
    ApiError::new(code, refusal.to_string()).with_status(status)
}
