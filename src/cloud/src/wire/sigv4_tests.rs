//! The verifying side of Signature Version 4, against published signatures and what a stranger might send.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

// AWS's published test suite: example key, us-east-1, "service", 2015-08-30T12:36:00Z, host example.amazonaws.com.
const DATE: &str = "20150830T123600Z";

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
    }
}

fn check(
    method: &str,
    path: &str,
    query: &str,
    extra: &[(&str, &str)],
    body: &[u8],
    signature: &str,
) -> Result<&'static str, Refusal> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        headers.append(name, value.parse().expect("a header value"));
    };
    add("host", "example.amazonaws.com");
    add("x-amz-date", DATE);
    extra.iter().for_each(|(name, value)| add(name, value));
    let mut signed: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    signed.sort();
    let authorization = format!(
        "{ALGORITHM} Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={}, Signature={signature}",
        signed.join(";")
    );
    headers.append("authorization", authorization.parse().expect("a header value"));
    let now = "2015-08-30T12:40:00Z".parse().expect("a time");
    verify(Request { method, path, query, headers: &headers, body }, &credentials(), "us-east-1", &["service"], now)
}

#[test]
fn what_is_signed_here_is_what_is_accepted_here() {
    let mut headers = HeaderMap::new();
    headers.insert("host", "example.amazonaws.com".parse().expect("a header value"));
    headers.insert("x-amz-date", DATE.parse().expect("a header value"));
    let request = Request { method: "POST", path: "/", query: "", headers: &headers, body: b"" };
    let authorization = authorization(request, &credentials(), "us-east-1", "service", DATE);
    // AWS's published signature for post-vanilla.
    assert!(authorization.ends_with("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"), "{authorization}");
    let mut signed = headers.clone();
    signed.insert("authorization", authorization.parse().expect("a header value"));
    let request = Request { headers: &signed, ..request };
    let now = "2015-08-30T12:40:00Z".parse().expect("a time");
    assert_eq!(verify(request, &credentials(), "us-east-1", &["service"], now), Ok("service"));
}

#[test]
fn published_signatures_are_accepted() {
    for (name, method, path, query, headers, body, signature) in [
        ("get-vanilla", "GET", "/", "", &[][..], &b""[..], "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "get-vanilla-query-order-key-case",
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            &[],
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("post-vanilla", "POST", "/", "", &[], b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("get-relative", "GET", "/example/..", "", &[], b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("get-slashes", "GET", "//example//", "", &[], b"", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        (
            "get-header-value-trim",
            "GET",
            "/",
            "",
            &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "post-x-www-form-urlencoded",
            "POST",
            "/",
            "",
            &[("content-type", "application/x-www-form-urlencoded")],
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ] {
        assert_eq!(check(method, path, query, headers, body, signature), Ok("service"), "{name}");
    }
}

#[test]
fn a_changed_body_method_or_query_is_refused() {
    let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    assert_eq!(check("GET", "/", "", &[], b"x", signature), Err(Refusal::Mismatch));
    assert_eq!(check("PUT", "/", "", &[], b"", signature), Err(Refusal::Mismatch));
    assert_eq!(check("GET", "/", "a=b", &[], b"", signature), Err(Refusal::Mismatch));
}

#[test]
fn a_wrong_payload_hash_or_a_session_token_is_refused() {
    let signature = "00";
    let hash = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    assert_eq!(check("GET", "/", "", &hash, b"", signature), Err(Refusal::Payload));
    let token = [("x-amz-security-token", "t")];
    assert_eq!(check("GET", "/", "", &token, b"", signature), Err(Refusal::SessionToken));
}

#[test]
fn paths_and_queries_have_one_canonical_form() {
    assert_eq!(canonical_path("/a%20b/./c/"), "/a%2520b/c/");
    assert_eq!(canonical_path(""), "/");
    assert_eq!(canonical_query("b=%2f&a=x+y&a=%7E&c"), "a=x%2By&a=~&b=%2F&c=");
}

/// A request that is signed with the example key, as the suite's are.
fn signed(path: &str, query: &str, extra: &[(String, String)], body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", "example.amazonaws.com".parse().unwrap());
    headers.insert("x-amz-date", DATE.parse().unwrap());
    for (name, value) in extra {
        headers.append(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let mut names: Vec<&str> = headers.keys().map(hyper::header::HeaderName::as_str).collect();
    names.sort_unstable();
    let request = Request { method: "POST", path, query, headers: &headers, body };
    let canonical = canonical_request(request, &names, &hexadecimal(&Sha256::digest(body)));
    let to_sign =
        format!("{ALGORITHM}\n{DATE}\n20150830/us-east-1/service/aws4_request\n{}", hexadecimal(&Sha256::digest(canonical)));
    let key = signing_key(&credentials().secret_access_key, "20150830", "us-east-1", "service");
    let signature = hexadecimal(&keyed(&key, to_sign.as_bytes()).finalize().into_bytes());
    let names = names.join(";");
    let authorization = format!(
        "{ALGORITHM} Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
    );
    headers.insert("authorization", authorization.parse().unwrap());
    headers
}

fn admit(path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Result<&'static str, Refusal> {
    let now = "2015-08-30T12:40:00Z".parse().unwrap();
    verify(Request { method: "POST", path, query, headers, body }, &credentials(), "us-east-1", &["service"], now)
}

/// What might stand in a header that decides: pieces of the real thing in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("AWS4-HMAC-SHA256 ".to_owned()),
        Just("Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request".to_owned()),
        Just("SignedHeaders=host;x-amz-date".to_owned()),
        Just("Signature=".to_owned()),
        Just("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31".to_owned()),
        Just(DATE.to_owned()),
        Just("99999999T999999Z".to_owned()),
        "[,;/= 0-9a-f]{0,4}",
        "[ -~]{0,20}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_head_passes_that_was_not_signed(
        authorization in pieces(),
        date in prop_oneof![Just(DATE.to_owned()), pieces()],
        others in vec(("[a-z-]{1,12}", "[ -~]{0,20}"), 0..4),
        path in "[ -~]{0,20}",
        query in "[ -~]{0,20}",
        body in vec(any::<u8>(), 0..20),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("host", "example.amazonaws.com".parse().unwrap());
        for (name, value) in [("authorization".to_owned(), authorization), ("x-amz-date".to_owned(), date)].into_iter().chain(others) {
            if let (Ok(name), Ok(value)) = (hyper::header::HeaderName::from_bytes(name.as_bytes()), value.parse()) {
                headers.append(name, value);
            }
        }
        prop_assert!(admit(&path, &query, &headers, &body).is_err());
    }

    #[test]
    fn what_was_signed_passes_and_any_change_of_it_does_not(
        path in "(/[a-z0-9.%]{0,5}){1,3}",
        query in "[a-z0-9&=%+]{0,12}",
        extra in vec(("x-[a-z]{1,8}", "[!-~]{1,8}"), 0..4),
        body in vec(any::<u8>(), 1..40),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let headers = signed(&path, &query, &extra, &body);
        prop_assert_eq!(admit(&path, &query, &headers, &body), Ok("service"));

        let mut changed = body.clone();
        changed[at.index(body.len())] ^= 1 << bit;
        prop_assert_eq!(admit(&path, &query, &headers, &changed), Err(Refusal::Mismatch));
        let (other_path, other_query) = (format!("{path}/x"), format!("{query}&x=1"));
        prop_assert!(admit(&other_path, &query, &headers, &body).is_err());
        prop_assert!(admit(&path, &other_query, &headers, &body).is_err());
        for (name, _) in &extra {
            let mut changed = headers.clone();
            changed.insert(hyper::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), "other value".parse().unwrap());
            prop_assert!(admit(&path, &query, &changed, &body).is_err());
            changed.remove(name.as_str());
            prop_assert!(admit(&path, &query, &changed, &body).is_err());
        }
        let mut added = headers.clone();
        added.insert("x-amz-target", "AmazonSSM.SendCommand".parse().unwrap());
        prop_assert_eq!(admit(&path, &query, &added, &body), Err(Refusal::Unsigned("x-amz-target".to_owned())));
    }
}
