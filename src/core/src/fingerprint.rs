//! Fingerprints: short hashes of inputs that cannot be read back from EC2.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Hash of a value's JSON: 16 hexadecimal digits of SHA-256, enough to tell versions of one thing apart.
pub fn of(value: &impl Serialize) -> String {
    let text = serde_json::to_vec(value).expect("values of this crate have text keys and serialise without fail");
    of_bytes(&text)
}

/// Hash of bytes, in the same form.
pub fn of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
