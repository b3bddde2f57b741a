//! Signature Version 4, the verifying side: who signed a request, and that nothing in it was changed since.
//!
//! It covers the `Authorization` header alone; signed URLs and session tokens are refused, since no client needs them.

use base64::Engine as _;
use hmac::{Hmac, Mac};
use hyper::HeaderMap;
use jiff::Timestamp;
use jiff::civil::DateTime;
use sha2::{Digest, Sha256};

/// How far a request's date may be from now, as AWS has it.
pub const MAXIMUM_SKEW_SECONDS: i64 = 15 * 60;

/// What stands in the place of the body's hash where the body is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that AWS's SDKs send unsigned although the name starts with `x-amz-`, or that proxies add.
const MAY_BE_UNSIGNED: [&str; 2] = ["x-amz-user-agent", "x-amzn-trace-id"];

/// Headers that say how to read the body. AWS asks for the first; both kinds of SDK sign every header they set before
/// signing, these two among them.
const MUST_BE_SIGNED: [&str; 2] = ["content-type", "content-encoding"];

/// The one key pair that a cloud accepts.
#[derive(Clone)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Credentials {
    /// Reads a key pair from a shared-credentials file with one profile.
    pub fn read(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        Some(Self { access_key_id: value("aws_access_key_id")?, secret_access_key: value("aws_secret_access_key")? })
    }
}

/// A request as it came over the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Percent-encoded, without the query.
    pub path: &'a str,
    /// Percent-encoded, without the question mark.
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Why a request is not from the holder of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the request is not signed")]
    Missing,
    #[error("the Authorization header is incomplete: {0}")]
    Malformed(String),
    #[error("the access key id does not exist")]
    UnknownKey,
    #[error("session tokens are not accepted")]
    SessionToken,
    #[error("the credential is scoped to {found}, not to {wanted}")]
    Scope { found: String, wanted: String },
    #[error("the request's date {date} is more than 15 minutes from {now}")]
    Expired { date: String, now: String },
    #[error("the header {0} must be signed")]
    Unsigned(String),
    #[error("the body is not the one whose hash x-amz-content-sha256 names")]
    Payload,
    #[error("the body is neither signed nor the one whose checksum {0} holds")]
    Checksum(String),
    #[error("the signature is not the one that this request has with the secret key")]
    Mismatch,
    #[error("the request's date {date} is before the start of this server")]
    Early { date: String },
    #[error("the request was carried out already: each one has to be signed anew")]
    Repeated,
}

impl Refusal {
    /// The kind of refusal in a word, without anything that the caller sent.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "key",
            Self::SessionToken => "session token",
            Self::Scope { .. } => "scope",
            Self::Expired { .. } => "expired",
            Self::Unsigned(_) => "unsigned header",
            Self::Payload => "payload",
            Self::Checksum(_) => "checksum",
            Self::Mismatch => "mismatch",
            Self::Early { .. } => "early",
            Self::Repeated => "repeated",
        }
    }
}

/// Verifies the request and answers with the service that it was signed for.
pub fn verify(
    request: Request<'_>,
    credentials: &Credentials,
    region: &str,
    services: &[&'static str],
    now: Timestamp,
) -> Result<&'static str, Refusal> {
    let claim = Claim::read(request.headers, credentials, region, services, now)?;
    claim.verify(request, credentials)?;
    Ok(claim.service)
}

/// What a request's head says of its signature, before anything is proven: enough to turn strangers away without
/// reading what else they send.
pub struct Claim<'a> {
    authorization: Authorization<'a>,
    /// `X-Amz-Date` as it was signed.
    date: &'a str,
    /// The same as a time.
    pub time: Timestamp,
    /// The service that the request was signed for.
    pub service: &'static str,
}

impl<'a> Claim<'a> {
    /// Reads the claim; refused unless it is well-formed, fresh, of this key and scope, and covers all it has to.
    pub fn read(
        headers: &'a HeaderMap,
        credentials: &Credentials,
        region: &str,
        services: &[&'static str],
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let authorization = Authorization::parse(headers)?;
        if headers.contains_key("x-amz-security-token") {
            return Err(Refusal::SessionToken);
        }
        if authorization.access_key_id != credentials.access_key_id {
            return Err(Refusal::UnknownKey);
        }
        let service = services.iter().find(|service| **service == authorization.service);
        let Some(service) = service.filter(|_| authorization.region == region) else {
            return Err(Refusal::Scope {
                found: format!("{}/{}", authorization.region, authorization.service),
                wanted: format!("{region}/{}", services.join("|")),
            });
        };
        let date =
            single(headers, "x-amz-date").ok_or_else(|| Refusal::Malformed("it needs one X-Amz-Date header".to_owned()))?;
        let time = check_date(date, authorization.date, now)?;
        check_signed_headers(headers, &authorization.signed_headers)?;
        Ok(Self { authorization, date, time, service })
    }

    /// Proves that the holder of the secret key signed this very request.
    pub fn verify(&self, request: Request<'_>, credentials: &Credentials) -> Result<(), Refusal> {
        self.verify_payload(request, credentials, &hexadecimal(&Sha256::digest(request.body)))
    }

    /// As [`Claim::verify`] for a request whose body its client may leave out of the signature: a signed header then
    /// holds the body's SHA-256 in base64, so that the signature covers the body all the same.
    pub fn verify_checksummed(&self, request: Request<'_>, checksum: &str, credentials: &Credentials) -> Result<(), Refusal> {
        if single(request.headers, "x-amz-content-sha256") != Some(UNSIGNED) {
            return self.verify(request, credentials);
        }
        self.verify_payload(request, credentials, UNSIGNED)?;
        // Every `x-amz-` header is signed, so this one is.
        let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(request.body));
        if checksum.starts_with("x-amz-") && single(request.headers, checksum) == Some(&sum) {
            return Ok(());
        }
        Err(Refusal::Checksum(checksum.to_owned()))
    }

    /// Verifies the request with this text in the place of its body's hash.
    fn verify_payload(&self, request: Request<'_>, credentials: &Credentials, payload_hash: &str) -> Result<(), Refusal> {
        let authorization = &self.authorization;
        if request.headers.contains_key("x-amz-content-sha256")
            && single(request.headers, "x-amz-content-sha256") != Some(payload_hash)
        {
            return Err(Refusal::Payload);
        }
        let canonical = canonical_request(request, &authorization.signed_headers, payload_hash);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}/{}/{}/aws4_request\n{}",
            self.date,
            authorization.date,
            authorization.region,
            authorization.service,
            hexadecimal(&Sha256::digest(canonical))
        );
        let key = signing_key(&credentials.secret_access_key, authorization.date, authorization.region, authorization.service);
        // Compares in constant time.
        keyed(&key, to_sign.as_bytes()).verify_slice(&authorization.signature).map_err(|_| Refusal::Mismatch)
    }

    /// The signature's bytes; 32 once it is verified.
    pub fn signature(&self) -> &[u8] {
        &self.authorization.signature
    }
}

/// The value of the `Authorization` header that makes the request one of this key's. All its headers are covered;
/// `date` is what its `x-amz-date` says.
pub fn authorization(request: Request<'_>, credentials: &Credentials, region: &str, service: &str, date: &str) -> String {
    let day = date.get(..8).unwrap_or(date);
    let mut signed_headers: Vec<&str> = request.headers.keys().map(hyper::header::HeaderName::as_str).collect();
    signed_headers.sort_unstable();
    let payload_hash = hexadecimal(&Sha256::digest(request.body));
    let canonical = canonical_request(request, &signed_headers, &payload_hash);
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{}", hexadecimal(&Sha256::digest(canonical)));
    let key = signing_key(&credentials.secret_access_key, day, region, service);
    let signature = hexadecimal(&keyed(&key, to_sign.as_bytes()).finalize().into_bytes());
    format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        credentials.access_key_id,
        signed_headers.join(";")
    )
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    /// Lower-case, ascending, without doubles.
    signed_headers: Vec<&'a str>,
    signature: Vec<u8>,
}

impl<'a> Authorization<'a> {
    fn parse(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        if !headers.contains_key("authorization") {
            return Err(Refusal::Missing);
        }
        let malformed = |what: &str| Refusal::Malformed(what.to_owned());
        let header = single(headers, "authorization").ok_or_else(|| malformed("it must be one line of ASCII"))?;
        let (algorithm, fields) = header.split_once(' ').ok_or_else(|| malformed("it has no fields"))?;
        if algorithm != ALGORITHM {
            return Err(malformed("its algorithm is not AWS4-HMAC-SHA256"));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or_else(|| malformed("a field has no value"))?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed("it has an unknown field")),
            };
            if place.replace(value).is_some() {
                return Err(malformed("a field comes twice"));
            }
        }
        let credential = credential.ok_or_else(|| malformed("it requires Credential"))?;
        let signed_headers = signed_headers.ok_or_else(|| malformed("it requires SignedHeaders"))?;
        let signature = signature.ok_or_else(|| malformed("it requires Signature"))?;

        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
            return Err(malformed("its Credential is not KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        let signed_headers: Vec<&str> = signed_headers.split(';').collect();
        let ordered = signed_headers.windows(2).all(|pair| pair[0] < pair[1]);
        let lower = signed_headers.iter().all(|name| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase()));
        if !ordered || !lower {
            return Err(malformed("its SignedHeaders are not lower-case and ascending"));
        }
        let signature = bytes(signature).ok_or_else(|| malformed("its Signature is not hexadecimal"))?;
        Ok(Self { access_key_id, date, region, service, signed_headers, signature })
    }
}

/// The header's value, if it occurs exactly once and is printable ASCII.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok()
}

/// Reads the date; refused if it is not `YYYYMMDDTHHMMSSZ`, not of the scope's day, or too far from now.
fn check_date(date: &str, scope_day: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let signed = date.strip_suffix('Z').and_then(|text| DateTime::strptime("%Y%m%dT%H%M%S", text).ok());
    let signed = signed
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .ok_or_else(|| Refusal::Malformed("X-Amz-Date is not YYYYMMDDTHHMMSSZ".to_owned()))?
        .timestamp();
    if date.get(..8) != Some(scope_day) {
        return Err(Refusal::Malformed("the day in Credential is not that of X-Amz-Date".to_owned()));
    }
    if (signed.as_second() - now.as_second()).abs() > MAXIMUM_SKEW_SECONDS {
        let now = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        return Err(Refusal::Expired { date: date.to_owned(), now });
    }
    Ok(signed)
}

/// Host, date, the body's type and encoding if they are given, and every other `x-amz-` header must be covered, and
/// what is named must be there.
fn check_signed_headers(headers: &HeaderMap, signed: &[&str]) -> Result<(), Refusal> {
    let must = ["host", "x-amz-date"].into_iter().chain(
        headers
            .keys()
            .map(hyper::header::HeaderName::as_str)
            .filter(|name| MUST_BE_SIGNED.contains(name) || name.starts_with("x-amz-") && !MAY_BE_UNSIGNED.contains(name)),
    );
    for name in must {
        if !signed.contains(&name) {
            return Err(Refusal::Unsigned(name.to_owned()));
        }
    }
    match signed.iter().find(|name| !headers.contains_key(**name)) {
        Some(absent) => Err(Refusal::Malformed(format!("it names the header {absent}, which the request has not"))),
        None => Ok(()),
    }
}

fn canonical_request(request: Request<'_>, signed_headers: &[&str], payload_hash: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(request.method.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(canonical_path(request.path).as_bytes());
    text.push(b'\n');
    text.extend_from_slice(canonical_query(request.query).as_bytes());
    text.push(b'\n');
    for name in signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        for (index, value) in request.headers.get_all(*name).iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&single_spaced(value.as_bytes()));
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload_hash.as_bytes());
    text
}

/// Removes outer white space and makes inner runs of spaces one.
fn single_spaced(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

/// Normalises dot segments and doubled slashes, then encodes the encoded path once more, as every service but S3 does.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut canonical = String::with_capacity(path.len() + 1);
    for segment in &segments {
        canonical.push('/');
        encode_into(&mut canonical, segment.as_bytes());
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if segments.is_empty() || is_folder {
        canonical.push('/');
    }
    canonical
}

/// Encodes every name and value exactly once and sorts by both.
fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let mut once = String::with_capacity(text.len());
        encode_into(&mut once, &decode(text));
        once
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode_into(target: &mut String, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            target.push(char::from(byte));
        } else {
            target.push('%');
            target.push(char::from(DIGITS[usize::from(byte >> 4)]));
            target.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Undoes percent-encoding; a percent sign without two digits stands for itself.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let byte = (*first == b'%').then(|| tail.get(..2)).flatten().and_then(|pair| bytes(std::str::from_utf8(pair).ok()?));
        match byte {
            Some(byte) => {
                decoded.extend(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

fn signing_key(secret: &str, date: &str, region: &str, service: &str) -> Vec<u8> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, service, "aws4_request"] {
        key = keyed(&key, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    key
}

fn keyed(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    if !hexadecimal.len().is_multiple_of(2) || !hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..hexadecimal.len()).step_by(2).map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
