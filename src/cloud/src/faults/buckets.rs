//! Token buckets, and how large EC2 and SSM make theirs.

use std::time::Duration;

/// Tokens that come back with time, up to a capacity. Time is handed in, as a distance from any fixed moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    size: Size,
    tokens: f64,
    filled: Duration,
}

/// How many tokens a bucket holds, and how many come back in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    pub capacity: f64,
    pub refill: f64,
}

impl Bucket {
    /// A full bucket.
    pub fn new(size: Size, now: Duration) -> Self {
        Self { size, tokens: size.capacity, filled: now }
    }

    /// Takes so many tokens, or none if there are fewer.
    pub fn take(&mut self, tokens: f64, now: Duration) -> bool {
        // A clock that stands still or is read out of order brings nothing back.
        let elapsed = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.size.refill).min(self.size.capacity);
        self.filled = self.filled.max(now);
        if self.tokens < tokens {
            return false;
        }
        self.tokens -= tokens;
        true
    }
}

/// A bucket that a call takes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    /// Calls with the same name take from the same bucket.
    pub bucket: String,
    pub size: Size,
    pub tokens: f64,
}

/// What a call costs: a token of its action's bucket, and for some actions one for each instance of another.
///
/// `broad` says that a listing is neither filtered nor paginated; `instances` how many instances the call is about.
/// Figures: ec2.md 3.1 and 3.3. SSM's rates for commands are not published, so those are not limited.
pub fn charges(service: &str, action: &str, broad: bool, instances: u64) -> Vec<Charge> {
    let charge = |bucket: &str, (capacity, refill): (f64, f64), tokens: f64| Charge {
        bucket: format!("{service}/{bucket}"),
        size: Size { capacity, refill },
        tokens,
    };
    match service {
        "ec2" => {
            let broad = broad && BROAD.contains(&action);
            let name = if broad { format!("{action} (all)") } else { action.to_owned() };
            let mut all = vec![charge(&name, if broad { (50.0, 10.0) } else { ec2(action) }, 1.0)];
            if let Some(size) = by_instance(action) {
                all.push(charge(&format!("{action} (instances)"), size, instances as f64));
            }
            all
        }
        "ssm" => ssm(action).map(|(bucket, size)| charge(bucket, size, 1.0)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Listings with a bucket of their own when they ask for everything.
const BROAD: [&str; 7] = [
    "DescribeInstances",
    "DescribeInstanceStatus",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSnapshots",
    "DescribeSpotInstanceRequests",
    "DescribeVolumes",
];

fn ec2(action: &str) -> (f64, f64) {
    match action {
        "RunInstances" | "StartInstances" => (5.0, 2.0),
        "TerminateInstances"
        | "CreateNetworkInterface"
        | "DeleteNetworkInterface"
        | "CreateVolume"
        | "DeleteVolume"
        | "CreateSnapshot"
        | "DeleteSnapshot"
        | "DeregisterImage"
        | "CreateLaunchTemplateVersion"
        | "ModifyInstanceMetadataOptions"
        | "ModifyNetworkInterfaceAttribute"
        | "AssociateIamInstanceProfile" => (100.0, 5.0),
        "CreateTags" | "DeleteTags" => (100.0, 10.0),
        "CopyImage" => (100.0, 1.0),
        "CreateNatGateway" => (10.0, 1.0),
        "CreateVpcEndpoint" | "DeleteVpcEndpoints" => (4.0, 0.3),
        "DescribeInstanceTopology" => (1.0, 1.0),
        _ if action.starts_with("Describe") || action.starts_with("Get") => (100.0, 20.0),
        _ => (50.0, 5.0),
    }
}

fn by_instance(action: &str) -> Option<(f64, f64)> {
    match action {
        "RunInstances" | "StartInstances" => Some((1000.0, 2.0)),
        "StopInstances" | "TerminateInstances" => Some((1000.0, 20.0)),
        _ => None,
    }
}

/// Rates are published a second; a second's worth is taken for the capacity.
fn ssm(action: &str) -> Option<(&'static str, (f64, f64))> {
    match action {
        "GetParameter" | "GetParameters" | "GetParametersByPath" => Some(("GetParameter*", (40.0, 40.0))),
        "PutParameter" => Some(("PutParameter", (3.0, 3.0))),
        "DeleteParameter" => Some(("DeleteParameter", (3.0, 3.0))),
        "DescribeParameters" => Some(("DescribeParameters", (3.0, 3.0))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_its_capacity_and_then_what_comes_back() {
        let mut bucket = Bucket::new(Size { capacity: 5.0, refill: 2.0 }, SECOND);
        assert_eq!((0..9).filter(|_| bucket.take(1.0, SECOND)).count(), 5);
        assert!(!bucket.take(1.0, SECOND + SECOND / 4), "half a token is none");
        assert_eq!((0..9).filter(|_| bucket.take(1.0, 2 * SECOND)).count(), 2);
        assert_eq!((0..9).filter(|_| bucket.take(1.0, 60 * SECOND)).count(), 5, "it never holds more than its capacity");
        assert!(!bucket.take(1.0, SECOND), "time that runs back brings nothing");
    }

    #[test]
    fn a_launch_pays_for_the_call_and_for_each_instance() {
        let charges = charges("ec2", "RunInstances", false, 600);
        let paid: Vec<(f64, f64)> = charges.iter().map(|charge| (charge.size.capacity, charge.tokens)).collect();
        assert_eq!(paid, [(5.0, 1.0), (1000.0, 600.0)]);
    }

    #[test]
    fn asking_for_everything_takes_from_a_smaller_bucket() {
        let size = |action: &str, broad| charges("ec2", action, broad, 0)[0].size.capacity;
        assert_eq!((size("DescribeInstances", true), size("DescribeInstances", false)), (50.0, 100.0));
        assert_eq!(size("DescribeVpcs", true), 100.0, "only some listings have the smaller bucket");
    }

    #[test]
    fn reads_of_parameters_share_a_bucket() {
        assert_eq!(charges("ssm", "GetParameter", false, 0), charges("ssm", "GetParametersByPath", false, 0));
        assert!(charges("ssm", "SendCommand", false, 0).is_empty());
    }
}
