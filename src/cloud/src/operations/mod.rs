//! One function an API action: reads and changes the model, asks the driver for deeds.
pub mod control;
pub mod ebs;
pub mod ec2;
pub mod ssm;
pub mod sts;

/// Every action that this cloud serves: the service that a client signs for, and the action's name.
pub fn actions() -> Vec<(&'static str, &'static str)> {
    let of = |service: &'static str| move |action| (service, action);
    ebs::actions()
        .map(of("ebs"))
        .chain(ec2::actions().map(of("ec2")))
        .chain(ssm::actions().map(of("ssm")))
        .chain(sts::actions().map(of("sts")))
        .collect()
}

/// Every parameter that is accepted and changes nothing: service, action, parameter, and why that is right.
pub fn ignored_parameters() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    let of = |service: &'static str| move |(action, parameter, why)| (service, action, parameter, why);
    ec2::ignored_parameters().map(of("ec2")).chain(ssm::ignored_parameters().map(of("ssm"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_action_is_served_twice() {
        let mut all = actions();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_is_ignored_is_listed_with_its_reason() {
        let mut lines: Vec<String> = ignored_parameters()
            .into_iter()
            .map(|(service, action, parameter, why)| format!("{service} {action} {parameter}: {why}\n"))
            .collect();
        lines.sort_unstable();
        let listed = lines.concat();
        // A parameter that comes to be ignored, or no longer is, belongs into this list as well.
        assert_eq!(listed, include_str!("ignored.txt"), "the list should be:\n{listed}");
    }
}
