//! What ewulf needs of an AWS account, as far as cheap reads can tell.

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ec2::config::ProvideCredentials;
use aws_sdk_ec2::types::Filter;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

use super::machine::find_program;
use super::{Check, State};
use crate::aws::{CallError, Class, Cloud, Place, describe, failure};
use crate::cli::failure::Failure;

const AREA: &str = "aws";

/// Region to look at when nothing names one; also the default of specs.
const DEFAULT_REGION: &str = "us-east-1";

/// SSM setting under which every instance of the account may be managed without an instance profile (ec2.md 7.3).
const HOST_MANAGEMENT: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

/// Looks at the account; without credentials all of it is optional unless `required`.
pub async fn checks(endpoint_url: Option<String>, region: Option<&str>, required: bool) -> Vec<Check> {
    let http = Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let region = region.map(str::to_owned).or_else(|| config.region().map(Region::to_string));
    let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
    let (credentials, found) = credentials(&config, required).await;
    let mut checks = vec![credentials];
    if found {
        match Cloud::connect(Place::Aws { endpoint_url }, &region).await {
            Ok(cloud) => checks.extend(account(&cloud).await),
            Err(error) => checks.push(Check::new(AREA, "connection", State::Missing, describe(&error))),
        }
    }
    checks.push(session_manager());
    checks
}

async fn credentials(config: &aws_config::SdkConfig, required: bool) -> (Check, bool) {
    let name = "credentials";
    let absent = |detail: String| {
        let state = if required { State::Missing } else { State::Optional };
        Check::new(AREA, name, state, detail).hint("`aws configure` or `aws sso login`; only `cloud: aws` needs them")
    };
    let Some(provider) = config.credentials_provider() else { return (absent("none are set up".to_owned()), false) };
    match provider.provide_credentials().await {
        Ok(credentials) => {
            let detail = format!("access key {}", credentials.access_key_id());
            (Check::new(AREA, name, State::Ok, detail), true)
        }
        Err(error) => (absent(describe(&error)), false),
    }
}

async fn account(cloud: &Cloud) -> Vec<Check> {
    let zones = cloud.ec2.describe_availability_zones().send().await;
    let zones = zones.map_err(|error| failure("DescribeAvailabilityZones", cloud.region.clone(), error));
    let region = match zones {
        Ok(answer) => {
            let count = answer.availability_zones().len() as u64;
            Check::new(AREA, "region", State::Ok, format!("{} with {}", cloud.region, crate::ui::text::count(count, "zone")))
        }
        Err(error) => return vec![refused("region", error)],
    };
    vec![region, default_vpc(cloud).await, managed_nodes(cloud).await]
}

/// A builder needs a subnet; without one in its recipe, the default VPC's.
async fn default_vpc(cloud: &Cloud) -> Check {
    let name = "default VPC";
    let filter = Filter::builder().name("is-default").values("true").build();
    let answer = cloud.ec2.describe_vpcs().filters(filter).send().await;
    match answer.map_err(|error| failure("DescribeVpcs", "default VPC", error)) {
        Ok(answer) => match answer.vpcs().first().and_then(|vpc| vpc.vpc_id()) {
            Some(id) => Check::new(AREA, name, State::Ok, format!("{id}: builders of images use it")),
            None => Check::new(AREA, name, State::Optional, "there is none for builders of images")
                .hint("write `builder.subnet` in the recipes, or `aws ec2 create-default-vpc`"),
        },
        Err(error) => refused(name, error),
    }
}

/// SSM reaches an instance by its profile, or by the account's default host management.
async fn managed_nodes(cloud: &Cloud) -> Check {
    let name = "SSM on nodes";
    let answer = cloud.ssm.get_service_setting().setting_id(HOST_MANAGEMENT).send().await;
    let profile = "write `instance_profile` in specs and recipes: a role with the policy AmazonSSMManagedInstanceCore";
    match answer.map_err(|error| failure("GetServiceSetting", "default host management", error)) {
        Ok(answer) => {
            let role = answer.service_setting().and_then(|setting| setting.setting_value()).unwrap_or_default();
            match role {
                // What the setting says while it is off.
                "" | "$None" => {
                    Check::new(AREA, name, State::Optional, "default host management is off: nodes need an instance profile")
                        .hint(profile)
                }
                role => Check::new(AREA, name, State::Ok, format!("default host management is on, by role {role}")),
            }
        }
        Err(error) if error.class == Class::Permission => {
            Check::new(AREA, name, State::Optional, "default host management cannot be read: nodes need an instance profile")
                .hint(profile)
        }
        Err(error) => refused(name, error),
    }
}

fn refused(name: &str, error: CallError) -> Check {
    let failure = Failure::from(error);
    let check = Check::new(AREA, name, State::Missing, failure.message);
    match failure.hints.into_iter().next() {
        Some(hint) => check.hint(hint),
        None => check,
    }
}

fn session_manager() -> Check {
    let name = "session-manager-plugin";
    match find_program(name) {
        Some(path) => Check::new(AREA, name, State::Ok, format!("{} opens shells on nodes", path.display())),
        None => Check::new(AREA, name, State::Optional, "not found; `ewulf ssh` needs it on AWS, `ewulf exec` does not")
            .hint("see \"Install the Session Manager plugin\" in AWS's Systems Manager guide"),
    }
}
