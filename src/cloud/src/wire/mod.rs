//! Bytes to values and back: signatures, query and XML (EC2), JSON (SSM). It may not look into the model.
pub mod error;
pub mod json;
pub mod query;
pub mod sigv4;
pub mod xml;
