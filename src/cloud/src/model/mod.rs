//! What the cloud knows, as plain data with its rules. It may not do any I/O.
pub mod ec2;
pub mod ssm;
