//! One HTTP request: limits, signature, dispatch, answer. It may not know what an action does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::cloud::Cloud;
use crate::operations;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::sigv4::{self, Credentials, Refusal};
use crate::wire::{json, xml};

/// Largest request body. EC2's largest is 16 KiB of user data, SSM's a document of 64 KiB; both grow by encoding.
const MAXIMUM_BODY: usize = 1 << 20;

/// How long a client may take to send a body; it comes over the loopback interface.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Actions carried out side by side; more wait.
pub(super) const OPERATIONS: u32 = 256;

const TARGET: &str = "x-amz-target";

/// All that a request needs.
pub(super) struct Service {
    pub cloud: Arc<Cloud>,
    pub credentials: Credentials,
    /// Free places for actions; all are free when nothing is under way.
    pub operations: Arc<Semaphore>,
}

/// How an answer is written; decided before the request is trusted, since a refusal needs it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Query,
    Json,
}

type Answer = Response<Full<Bytes>>;

/// Answers one request; never fails, whatever comes.
pub(super) async fn answer(service: Arc<Service>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let is_health = request.method() == Method::GET
        && request.uri().path() == "/"
        && request.uri().query().is_none()
        && !request.headers().contains_key(header::AUTHORIZATION);
    if is_health {
        let text = format!("{} {}\n", super::HEALTH, std::process::id());
        return Ok(response(StatusCode::OK, "text/plain; charset=utf-8", text, &xml::request_id()));
    }
    let protocol = if request.headers().contains_key(TARGET) { Protocol::Json } else { Protocol::Query };
    let outcome = admit(service, request, protocol).await;
    Ok(match (protocol, outcome) {
        (Protocol::Query, Ok(text)) => response(StatusCode::OK, "text/xml;charset=UTF-8", text, &xml::request_id()),
        (Protocol::Json, Ok(text)) => response(StatusCode::OK, JSON, text, &xml::request_id()),
        (Protocol::Query, Err(error)) => {
            response(status(&error), "text/xml;charset=UTF-8", xml::error(&error), &xml::request_id())
        }
        (Protocol::Json, Err(error)) => response(status(&error), JSON, json::error(&error), &xml::request_id()),
    })
}

const JSON: &str = "application/x-amz-json-1.1";

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

/// Reads and verifies the request, then carries it out to its end, even if the client goes away meanwhile: an action
/// that stops half-way would leave the model and the machine apart.
async fn admit(service: Arc<Service>, request: Request<Incoming>, protocol: Protocol) -> Result<String, ApiError> {
    let (head, body) = request.into_parts();
    let body = read(body).await?;
    let signed = sigv4::Request {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    let region = &service.cloud.config.region;
    let services = ["ec2", "ssm", "sts"];
    let scope = sigv4::verify(signed, &service.credentials, region, &services, Timestamp::now()).map_err(|refusal| {
        service.cloud.log.line(format_args!("request refused: {refusal}"));
        refused(protocol, &refusal)
    })?;
    if head.method != Method::POST || head.uri.path() != "/" {
        return Err(ApiError::new("InvalidRequest", "calls are POST requests to /").with_status(405));
    }
    let permit = Arc::clone(&service.operations).acquire_owned().await;
    let work = tokio::spawn(async move {
        let _permit = permit;
        carry_out(&service.cloud, scope, &head.headers, &body).await
    });
    work.await.unwrap_or_else(|_| Err(ApiError::new("InternalFailure", "the action failed inside the cloud").with_status(500)))
}

async fn read(body: Incoming) -> Result<Bytes, ApiError> {
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

/// Finds the action and does it. The signature's service decides the API, not what the request looks like.
async fn carry_out(cloud: &Arc<Cloud>, service: &str, headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
    let target = headers.get(TARGET).map(|target| target.to_str().unwrap_or_default());
    let unknown = |message: String| ApiError::new("UnknownOperationException", message);
    match (service, target) {
        ("ssm", Some(target)) => match target.strip_prefix("AmazonSSM.") {
            Some(action) => noted(cloud, service, action, operations::ssm::call(cloud, action, body).await),
            None => Err(unknown(format!("{target} is not an action of AmazonSSM"))),
        },
        ("ssm", None) => Err(unknown("the request has no X-Amz-Target".to_owned())),
        (_, Some(_)) => Err(unknown("the signature's service is not ssm".to_owned())),
        (service, None) => {
            let text = std::str::from_utf8(body).map_err(|_| ApiError::new("MalformedQueryString", "the form is not UTF-8"))?;
            let query = Query::parse(text)?;
            let action = query.required("Action").map_err(|_| ApiError::new("MissingAction", "the form has no Action"))?;
            match (service, action) {
                ("ec2", action) => noted(cloud, service, action, operations::ec2::call(cloud, action, &query).await),
                ("sts", "GetCallerIdentity") => Ok(caller_identity(&cloud.config.account)),
                (_, action) => Err(ApiError::invalid_action(action)),
            }
        }
    }
}

/// Logs an action that changes something. Its message may quote what the caller sent, so only its code is written.
fn noted(cloud: &Cloud, service: &str, action: &str, outcome: Result<String, ApiError>) -> Result<String, ApiError> {
    let only_reads = ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb));
    match &outcome {
        Ok(_) if only_reads => {}
        Ok(_) => cloud.log.line(format_args!("{service} {action}")),
        Err(error) if only_reads && error.status < 500 => {}
        Err(error) => cloud.log.line(format_args!("{service} {action}: {}", error.code)),
    }
    outcome
}

fn caller_identity(account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:iam::{account}:root</Arn><UserId>{account}</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>",
        xml::request_id()
    )
}

/// The refusal in the words of each protocol: EC2's error list, and the common errors of the JSON services.
fn refused(protocol: Protocol, refusal: &Refusal) -> ApiError {
    let (query, status, json) = match refusal {
        Refusal::Missing => ("AuthFailure", 401, "MissingAuthenticationTokenException"),
        Refusal::UnknownKey | Refusal::SessionToken => ("AuthFailure", 401, "UnrecognizedClientException"),
        Refusal::Malformed(_) => ("IncompleteSignature", 400, "IncompleteSignatureException"),
        Refusal::Expired { .. } => ("RequestExpired", 400, "InvalidSignatureException"),
        Refusal::Scope { .. } | Refusal::Unsigned(_) | Refusal::Payload | Refusal::Mismatch => {
            ("SignatureDoesNotMatch", 403, "InvalidSignatureException")
        }
    };
    match protocol {
        Protocol::Query => ApiError::new(query, refusal.to_string()).with_status(status),
        Protocol::Json => ApiError::new(json, refusal.to_string()),
    }
}
