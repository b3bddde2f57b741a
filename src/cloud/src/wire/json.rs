//! JSON 1.1 as SSM speaks it: inputs with unknown members refused, times as seconds, the error document.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ApiError;

/// Reads an action's input. A member that this cloud does not know is refused rather than ignored.
pub fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        // serde_json's category tells a text that is no JSON from one with the wrong members.
        let code = if error.is_data() { "ValidationException" } else { "SerializationException" };
        ApiError::new(code, error.to_string())
    })
}

/// A time on the wire: seconds since 1970, to the millisecond.
pub fn seconds(time: Timestamp) -> Value {
    // Milliseconds since 1970 stay exact in a double for 285,000 years.
    json!(time.as_millisecond() as f64 / 1000.0)
}

/// The whole answer to a call that failed.
pub fn error(error: &ApiError) -> String {
    json!({ "__type": error.code, "message": error.message }).to_string()
}
