//! Signatures: the first line is method, path and query, then headers, then after an empty line the body. Nobody here
//! has the key.
#![no_main]

use ewulf_cloud::wire::sigv4::{Credentials, Request, verify};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (head, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, path, query) = (word(), word(), word());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    let credentials = Credentials { access_key_id: "AKIDEXAMPLE".to_owned(), secret_access_key: "nobody knows this".to_owned() };
    let now = "2015-08-30T12:40:00Z".parse().expect("a time");
    let request = Request { method, path, query, headers: &headers, body };
    assert!(verify(request, &credentials, "us-east-1", &["service"], now).is_err());
});
