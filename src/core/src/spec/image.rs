//! The image recipe: what `images/*.yaml` says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::Scalar;
use crate::instance_types::InstanceType;
use crate::names::{
    AmiId, ImageName, InstanceProfileName, KernelName, PackageName, ParameterName, ShellLine, SubnetId, TemplateName, UnitName,
    VariableName,
};
use crate::quantity::VolumeSize;

/// A recipe from which an AMI is baked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageRecipe {
    /// Name of the image; the file is `images/NAME.yaml`.
    pub image: ImageName,
    /// The AMI it starts from.
    #[serde(default)]
    pub base: Base,
    /// The instance that bakes it.
    pub builder: Builder,
    /// Debian packages that stay in the image.
    #[serde(default)]
    pub packages: Vec<PackageName>,
    /// Debian packages that only the build needs; removed before the image is taken.
    #[serde(default)]
    pub build_packages: Vec<PackageName>,
    /// Kernels compiled into `/opt/ewulf/bin`.
    #[serde(default)]
    pub kernels: Vec<KernelName>,
    /// Folders under `templates/`, rendered into the image in order: `templates/worker/etc/motd.tera` becomes `/etc/motd`.
    #[serde(default)]
    pub templates: Vec<TemplateName>,
    /// Variables that the templates may use.
    #[serde(default)]
    pub variables: BTreeMap<VariableName, Scalar>,
    /// Units of systemd that start at boot.
    #[serde(default)]
    pub enable: Vec<UnitName>,
    /// Shell lines run on the builder before the image is taken; any failure stops the bake.
    #[serde(default)]
    pub checks: Vec<ShellLine>,
}

/// What an image starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Base {
    /// The newest public image of Debian 13.
    #[default]
    #[serde(rename = "debian-13")]
    Debian13,
    /// The AMI that an SSM parameter names.
    #[serde(untagged)]
    Parameter(ParameterReference),
    /// An AMI by its id.
    #[serde(untagged)]
    Ami(AmiReference),
}

/// An AMI, by the SSM parameter that holds its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParameterReference {
    /// Full name of the parameter.
    pub ssm_parameter: ParameterName,
}

/// An AMI, by its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AmiReference {
    /// Id of the AMI.
    pub ami: AmiId,
}

/// The instance that bakes an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// Its instance type.
    pub instance_type: InstanceType,
    /// Its subnet; the default VPC's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<SubnetId>,
    /// Its instance profile, which must let the SSM agent work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<InstanceProfileName>,
    /// Size of its root volume, and so of the image.
    #[serde(default = "default_root_volume")]
    pub root_volume: VolumeSize,
}

/// Default root volume of a builder: base, packages and the compiler's output take 6 GiB, and nodes cannot have a root
/// volume smaller than their image.
fn default_root_volume() -> VolumeSize {
    VolumeSize::from_gibibytes(16).expect("16 GiB is in range")
}
