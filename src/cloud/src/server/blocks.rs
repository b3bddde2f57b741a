//! Requests of the EBS direct API: method and path name the action, headers and bytes come and go beside JSON.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::requests::{Answer, Protocol, Service, Severed, discard, read};
use super::trouble::{self, Denial};
use crate::faults::{Facts, Stage};
use crate::operations::ebs::{self, Call, EbsError, Reply};
use crate::wire::error::ApiError;
use crate::wire::sigv4::{self, Claim, Refusal};
use crate::wire::xml::uuid;

/// Whether a request is one of this API: the others know no path but `/`.
pub(super) fn is_call<T>(request: &Request<T>) -> bool {
    let path = request.uri().path();
    path == "/snapshots" || path.starts_with("/snapshots/")
}

/// Answers one request, whatever comes, unless a fault was asked for that ends the connection.
pub(super) async fn answer(service: Arc<Service>, request: Request<Incoming>) -> Result<Answer, Severed> {
    let outcome = match admit(service, request).await {
        Ok(reply) => Ok(reply),
        Err(Refused::Call(error)) => Err(error),
        Err(Refused::Before(Denial::Refused(error))) => Err(plain(error)),
        Err(Refused::Before(Denial::Severed)) => return Err(Severed),
    };
    let mut response = Response::new(Full::default());
    let headers = response.headers_mut();
    // A request id is a UUID, which is ASCII; checksums and numbers are, too.
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-amzn-requestid", &uuid());
    let (status, content_type, body) = match outcome {
        Ok(Reply { status, content_type, headers, body }) => {
            headers.iter().for_each(|(name, value)| put(name, value));
            (status, content_type, body)
        }
        Err(error) => {
            put("x-amzn-errortype", &error.code);
            let mut document = json!({ "Message": error.message });
            if let Some(reason) = error.reason {
                document["Reason"] = json!(reason);
            }
            (error.status, "application/json", Bytes::from(document.to_string()))
        }
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.body_mut() = Full::new(body);
    Ok(response)
}

/// Why a request is not answered as it wished: by the API, or by what was asked to go wrong.
enum Refused {
    Call(EbsError),
    Before(Denial),
}

impl From<EbsError> for Refused {
    fn from(error: EbsError) -> Self {
        Self::Call(error)
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Before(denial)
    }
}

/// Reads and verifies the request, then carries it out to its end, even if the client goes away meanwhile.
async fn admit(service: Arc<Service>, request: Request<Incoming>) -> Result<Reply, Refused> {
    let (head, body) = request.into_parts();
    let (region, services) = (&service.cloud.config.region, ["ebs"]);
    let claim = match Claim::read(&head.headers, &service.credentials, region, &services, Timestamp::now()) {
        Ok(claim) => claim,
        Err(refusal) => {
            discard(body).await;
            return Err(plain(service.refuse(Protocol::Json, &refusal)).into());
        }
    };
    let body = read(body).await.map_err(plain)?;
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    let signed = sigv4::Request { method: head.method.as_str(), path, query, headers: &head.headers, body: &body };
    let verified = if ebs::may_be_unsigned(&head.method, path) {
        claim.verify_checksummed(signed, ebs::CHECKSUM, &service.credentials)
    } else {
        claim.verify(signed, &service.credentials)
    };
    let only_reads = || head.method == Method::GET;
    let admitted = verified.and_then(|()| service.seen.admit(&claim, &head.headers, Timestamp::now(), only_reads));
    admitted.map_err(|refusal| {
        let error = service.refuse(Protocol::Json, &refusal);
        match refusal {
            // The signature is right: what came is not what was sent.
            Refusal::Checksum(_) => EbsError::invalid("INVALID_BLOCK", refusal.to_string()),
            _ => plain(error),
        }
    })?;
    let call = Call { method: head.method.clone(), path: path.to_owned(), query: query.to_owned(), headers: head.headers, body };
    carry_out(service, call).await
}

/// Carries a call out between what was asked to go wrong before and after it.
async fn carry_out(service: Arc<Service>, call: Call) -> Result<Reply, Refused> {
    let facts = facts(&call);
    let faults = &service.cloud.faults;
    let ticket = faults.arrive(facts.service, &facts.action, call.method != Method::GET, Timestamp::now());
    // The published limits of this API are far above what one machine can send (ec2.md 8.7).
    if let Err(denial) = ticket.during(trouble::before(&service, &facts, || false)).await {
        faults.finish(ticket, None);
        return Err(denial.into());
    }
    let ended = service.ended.clone();
    let permit = Arc::clone(&service.operations).acquire_owned().await;
    let work = tokio::spawn(async move {
        let _permit = permit;
        let faults = &service.cloud.faults;
        let work = async {
            let outcome = ebs::call(&service.cloud, &call).await;
            let fault = outcome.is_ok().then(|| faults.strike(Stage::After, &facts)).flatten();
            (outcome, fault)
        };
        let (outcome, fault) = ticket.during(work).await;
        faults.finish(ticket, Some(outcome.as_ref().map_or_else(|error| error.code.as_str(), |_| "OK")));
        (outcome, fault)
    });
    let failed = || EbsError::internal("the action failed inside the cloud");
    let (outcome, fault) = work.await.unwrap_or_else(|_| (Err(failed()), None));
    trouble::after(fault, ended).await?;
    Ok(outcome?)
}

/// What rules about faults may know of a call: the parts of its path are the snapshot and the block.
fn facts(call: &Call) -> Facts {
    Facts {
        service: "ebs",
        action: ebs::action(&call.method, &call.path).unwrap_or("unknown").to_owned(),
        resources: call.path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        ..Facts::default()
    }
}

/// A refusal that has nothing to do with snapshots, as it is.
fn plain(error: ApiError) -> EbsError {
    // These two have reasons in the service model, the first one always.
    let reason = match error.code.as_ref() {
        "AccessDeniedException" => Some("UNAUTHORIZED_ACCOUNT"),
        "RequestThrottledException" => Some("ACCOUNT_THROTTLED"),
        _ => None,
    };
    EbsError { code: error.code.into_owned(), reason, message: error.message, status: error.status }
}
