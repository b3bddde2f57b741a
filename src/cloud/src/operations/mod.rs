//! One function an API action: reads and changes the model, asks the driver for deeds.
pub mod control;
pub mod ebs;
pub mod ec2;
pub mod ssm;
