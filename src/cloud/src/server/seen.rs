//! Requests that were admitted: none is carried out twice because someone sends it again.
//!
//! A signature says who made a request, and its date when; neither says that this is the first time it comes. AWS lets
//! a captured request through for as long as its date is fresh. This server remembers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};

use hyper::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::wire::sigv4::{Claim, MAXIMUM_SKEW_SECONDS, Refusal};

/// For how many seconds after its date an equal request may be another one. Dates have no fractions, so clients that
/// ask twice within a second sign the same; and an SDK's first repeat, which the Rust SDK sends 0 to 1 s later, carries
/// its number in headers that are added after signing. The rest is for a busy machine, on which one was 6 s late.
const SAME_MOMENT_SECONDS: i64 = 30;

/// How long before the server's start a request may have been signed: clocks have whole seconds, and clients wait for it.
const BEFORE_START_SECONDS: i64 = 5;

/// Headers by which SDKs tell their calls and attempts apart: botocore signs them, the Rust SDK does not.
const ATTEMPT: [&str; 2] = ["amz-sdk-invocation-id", "amz-sdk-request"];

/// 128 bits of a hash that only the holder of the key can make: enough that no two requests meet by accident.
type Mark = [u8; 16];

/// The requests of the time in which their dates are accepted; as the server's memory starts with it, what was signed
/// before is refused.
pub(super) struct Seen {
    start: Timestamp,
    memory: Mutex<Memory>,
}

/// Marks by the second of the request's date, so that whole seconds can be forgotten.
#[derive(Default)]
struct Memory {
    signatures: BTreeMap<i64, HashSet<Mark>>,
    attempts: BTreeMap<i64, HashSet<Mark>>,
}

impl Seen {
    pub fn since(start: Timestamp) -> Self {
        Self { start, memory: Mutex::default() }
    }

    /// Admits a verified request once. An equal one is admitted for a moment more if it only reads, or if it says that
    /// it is another call or attempt.
    pub fn admit(
        &self,
        claim: &Claim<'_>,
        headers: &HeaderMap,
        now: Timestamp,
        only_reads: impl FnOnce() -> bool,
    ) -> Result<(), Refusal> {
        let (second, now) = (claim.time.as_second(), now.as_second());
        if second < self.start.as_second() - BEFORE_START_SECONDS {
            let date = claim.time.strftime("%Y%m%dT%H%M%SZ").to_string();
            return Err(Refusal::Early { date });
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.forget(now);
        let is_this_moment = (now - second).abs() <= SAME_MOMENT_SECONDS;
        let is_new = memory.signatures.entry(second).or_default().insert(mark([claim.signature()]));
        let is_other_attempt = match attempt(claim, headers) {
            Some(attempt) if is_this_moment => memory.attempts.entry(second).or_default().insert(attempt),
            _ => false,
        };
        if is_new || is_other_attempt || is_this_moment && only_reads() { Ok(()) } else { Err(Refusal::Repeated) }
    }
}

impl Memory {
    /// Forgets what would be refused for its date.
    fn forget(&mut self, now: i64) {
        self.signatures = self.signatures.split_off(&(now - MAXIMUM_SKEW_SECONDS));
        self.attempts = self.attempts.split_off(&(now - SAME_MOMENT_SECONDS));
    }
}

/// What tells this attempt from others of the same signature, if the client says.
fn attempt(claim: &Claim<'_>, headers: &HeaderMap) -> Option<Mark> {
    let [invocation, request] = ATTEMPT.map(|name| headers.get(name).map(|value| value.as_bytes()));
    invocation.map(|invocation| mark([claim.signature(), invocation, request.unwrap_or_default()]))
}

fn mark<const N: usize>(parts: [&[u8]; N]) -> Mark {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut mark = Mark::default();
    mark.copy_from_slice(&hash.finalize()[..16]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sigv4::Credentials;

    const SIGNED: i64 = 1_700_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The head of a request with this signature and date; nothing of it is verified here.
    fn head(signature: &str, signed: i64, attempt: Option<(&str, &str)>) -> HeaderMap {
        let date = at(signed).strftime("%Y%m%dT%H%M%SZ").to_string();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=KEY/{}/us-east-1/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature={signature}",
            &date[..8]
        );
        let mut headers = HeaderMap::new();
        headers.insert("host", "here".parse().unwrap());
        headers.insert("x-amz-date", date.parse().unwrap());
        headers.insert("authorization", authorization.parse().unwrap());
        if let Some((invocation, request)) = attempt {
            headers.insert("amz-sdk-invocation-id", invocation.parse().unwrap());
            headers.insert("amz-sdk-request", request.parse().unwrap());
        }
        headers
    }

    fn admit(seen: &Seen, headers: &HeaderMap, now: i64, reads: bool) -> Result<(), &'static str> {
        let credentials = Credentials { access_key_id: "KEY".to_owned(), secret_access_key: "SECRET".to_owned() };
        let claim = Claim::read(headers, &credentials, "us-east-1", &["ec2"], at(now)).map_err(|refusal| refusal.kind())?;
        seen.admit(&claim, headers, at(now), || reads).map_err(|refusal| refusal.kind())
    }

    #[test]
    fn a_write_is_carried_out_once() {
        let seen = Seen::since(at(SIGNED));
        let plain = head("aa", SIGNED, None);
        assert_eq!(admit(&seen, &plain, SIGNED, false), Ok(()));
        assert_eq!(admit(&seen, &plain, SIGNED, false), Err("repeated"));
        assert_eq!(admit(&seen, &plain, SIGNED + 14 * 60, false), Err("repeated"));
        assert_eq!(admit(&seen, &plain, SIGNED + 16 * 60, false), Err("expired"));
        assert_eq!(admit(&seen, &head("ab", SIGNED, None), SIGNED, false), Ok(()));
    }

    #[test]
    fn an_equal_read_is_admitted_for_a_moment() {
        let seen = Seen::since(at(SIGNED));
        let plain = head("aa", SIGNED, None);
        for (later, admitted) in [(0, true), (1, true), (30, true), (31, false), (600, false)] {
            assert_eq!(admit(&seen, &plain, SIGNED + later, true).is_ok(), admitted, "after {later} s");
        }
    }

    #[test]
    fn another_attempt_is_admitted_for_a_moment_and_the_same_attempt_never() {
        let seen = Seen::since(at(SIGNED));
        let first = head("aa", SIGNED, Some(("one", "attempt=1; max=3")));
        let second = head("aa", SIGNED, Some(("one", "attempt=2; max=3")));
        let third = head("aa", SIGNED, Some(("one", "attempt=3; max=3")));
        assert_eq!(admit(&seen, &first, SIGNED, false), Ok(()));
        assert_eq!(admit(&seen, &first, SIGNED, false), Err("repeated"));
        assert_eq!(admit(&seen, &second, SIGNED + 1, false), Ok(()));
        assert_eq!(admit(&seen, &second, SIGNED + 1, false), Err("repeated"));
        assert_eq!(admit(&seen, &third, SIGNED + 31, false), Err("repeated"));
    }

    #[test]
    fn what_was_signed_before_the_start_is_refused() {
        let seen = Seen::since(at(SIGNED + 60));
        assert_eq!(admit(&seen, &head("aa", SIGNED, None), SIGNED + 61, true), Err("early"));
        // Dates have no fractions, and a client may have signed while the server was starting.
        assert_eq!(admit(&seen, &head("ab", SIGNED + 59, None), SIGNED + 61, true), Ok(()));
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_its_date_is_good() {
        let seen = Seen::since(at(SIGNED));
        for later in 0..3000 {
            let headers = head(&format!("{later:08x}"), SIGNED + later, Some(("one", "attempt=1")));
            assert_eq!(admit(&seen, &headers, SIGNED + later, false), Ok(()));
        }
        let memory = seen.memory.lock().unwrap();
        let kept = |seconds: i64| usize::try_from(seconds).unwrap() + 1;
        assert_eq!(memory.signatures.len(), kept(MAXIMUM_SKEW_SECONDS));
        assert_eq!(memory.attempts.len(), kept(SAME_MOMENT_SECONDS));
    }
}
