//! Texts with a form: names, ids, paths and the trait that every checked text of a spec implements.
//!
//! A value of one of these types is valid by construction: it can only be made by [`std::str::FromStr`],
//! by deserialising, or by deriving it from another valid one. Nothing here looks at the world.

use std::str::FromStr;

mod checks;
mod forms;

pub(crate) use forms::{Form, form, form_of_keys};

/// Why a text does not have the form its type asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong, as a lowercase fragment that quotes the text.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Invalid {
    /// Makes an error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds what to write instead.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A type written as one text in a spec.
///
/// The JSON Schema of such a type carries [`TextForm::KIND`] under `x-ewulf-form`, so that the structural check
/// can run the type's own parser where the value stands and report its hint.
pub trait TextForm: FromStr<Err = Invalid> {
    /// Identifier of the form in schemas, such as `duration`.
    const KIND: &'static str;
    /// What the form is called in messages, with its article: `a duration`.
    const NOUN: &'static str;
    /// A valid text.
    const EXAMPLE: &'static str;
    /// Regular expression for editors; looser than the parser where a pattern cannot say all.
    const PATTERN: &'static str;

    /// What to write instead of a plain number, or `None` if a number is never meant.
    fn instead_of_number(number: &str) -> Option<String> {
        let _ = number;
        None
    }
}

/// Implements the serde and schema traits of a [`TextForm`] over its `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                use $crate::names::TextForm;
                schemars::json_schema!({
                    "type": "string",
                    "pattern": <$name as TextForm>::PATTERN,
                    "examples": [<$name as TextForm>::EXAMPLE],
                    "x-ewulf-form": <$name as TextForm>::KIND,
                })
            }
        }
    };
}
pub(crate) use serde_as_text;

/// Defines a text type whose values are the texts that a check function returns.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident { kind: $kind:literal, noun: $noun:literal, example: $example:literal, pattern: $pattern:expr, check: $check:expr $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $crate::names::TextForm for $name {
            const KIND: &'static str = $kind;
            const NOUN: &'static str = $noun;
            const EXAMPLE: &'static str = $example;
            const PATTERN: &'static str = $pattern;
        }

        impl std::str::FromStr for $name {
            type Err = $crate::names::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> Result<String, $crate::names::Invalid> = $check;
                check(text).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        $crate::names::serde_as_text!($name);
    };
}

const NAME_PATTERN: &str = "^[a-z][a-z0-9-]{0,31}$";

text! {
    /// Name of a cluster; also its identity in EC2, in tag `ewulf:cluster`.
    ClusterName { kind: "cluster-name", noun: "a cluster name", example: "demo", pattern: NAME_PATTERN, check: |text| checks::name("cluster", text) }
}
text! {
    /// Name of a worker group, unique in its cluster; `master` is never one.
    GroupName {
        kind: "group-name", noun: "a group name", example: "compute", pattern: NAME_PATTERN,
        check: |text| match text {
            "master" => Err(Invalid::new("group name `master` is taken by the master node").hint("choose another name, such as `compute`")),
            _ => checks::name("group", text),
        },
    }
}
text! {
    /// Name of an image recipe: `worker` is `images/worker.yaml`.
    ImageName { kind: "image-name", noun: "an image name", example: "worker", pattern: NAME_PATTERN, check: |text| checks::name("image", text) }
}
text! {
    /// Name of a job; part of its runs' ids.
    JobName { kind: "job-name", noun: "a job name", example: "knn", pattern: NAME_PATTERN, check: |text| checks::name("job", text) }
}
text! {
    /// Name of a compiled kernel: a file in `/opt/ewulf/bin`.
    KernelName { kind: "kernel-name", noun: "a kernel name", example: "primitives", pattern: NAME_PATTERN, check: |text| checks::name("kernel", text) }
}
text! {
    /// Name of a folder under `templates/`, whose files an image receives.
    TemplateName { kind: "template-name", noun: "a template folder", example: "common", pattern: NAME_PATTERN, check: |text| checks::name("template", text.strip_suffix('/').unwrap_or(text)) }
}
text! {
    /// Region of AWS, such as `us-east-1`.
    Region { kind: "region", noun: "a region", example: "us-east-1", pattern: "^[a-z]{2,3}(-[a-z]+)+-[0-9]+$", check: checks::region }
}
text! {
    /// Availability zone, such as `us-east-1a`.
    Zone { kind: "zone", noun: "an availability zone", example: "us-east-1a", pattern: "^[a-z0-9-]+[a-z]$", check: checks::zone }
}
text! {
    /// Id of a VPC.
    VpcId { kind: "vpc-id", noun: "a VPC id", example: "vpc-0a1b2c3d4e5f60718", pattern: "^vpc-([0-9a-f]{8}|[0-9a-f]{17})$", check: |text| checks::resource_id("vpc", text) }
}
text! {
    /// Id of a subnet.
    SubnetId { kind: "subnet-id", noun: "a subnet id", example: "subnet-0a1b2c3d4e5f60718", pattern: "^subnet-([0-9a-f]{8}|[0-9a-f]{17})$", check: |text| checks::resource_id("subnet", text) }
}
text! {
    /// Id of an AMI.
    AmiId { kind: "ami-id", noun: "an AMI id", example: "ami-0a1b2c3d4e5f60718", pattern: "^ami-([0-9a-f]{8}|[0-9a-f]{17})$", check: |text| checks::resource_id("ami", text) }
}
text! {
    /// Name (not ARN) of an IAM instance profile.
    InstanceProfileName { kind: "instance-profile", noun: "an instance profile name", example: "ewulf-node", pattern: "^[A-Za-z0-9_+=,.@-]{1,128}$", check: checks::instance_profile }
}
text! {
    /// Name of a public or own SSM parameter that holds an AMI id.
    ParameterName { kind: "parameter-name", noun: "an SSM parameter name", example: "/aws/service/debian/release/13/latest/amd64", pattern: "^/[A-Za-z0-9_./-]+$", check: checks::parameter }
}
text! {
    /// Debian package, with an optional suite: `rustc/trixie-backports`.
    PackageName { kind: "package", noun: "a Debian package", example: "openmpi-bin", pattern: "^[a-z0-9][a-z0-9+.-]+(/[a-z][a-z0-9.-]*)?$", check: checks::package }
}
text! {
    /// Unit of systemd, with its suffix: `chrony.service`.
    UnitName { kind: "unit", noun: "a systemd unit", example: "chrony.service", pattern: "^[A-Za-z0-9:_.@-]+\\.(service|socket|timer|mount|automount|target|path)$", check: checks::unit }
}
text! {
    /// Name of an environment variable.
    EnvironmentName { kind: "environment-name", noun: "an environment variable name", example: "OMP_NUM_THREADS", pattern: "^[A-Za-z_][A-Za-z0-9_]*$", check: checks::environment }
}
text! {
    /// Name of a program's option, written as a long option: `min_support` and `min-support` both are `--min-support`.
    OptionName { kind: "option-name", noun: "an option name", example: "neighbours", pattern: "^[a-z][a-z0-9_-]*$", check: checks::option }
}
text! {
    /// Variable of a template.
    VariableName { kind: "variable-name", noun: "a template variable", example: "mpi_version", pattern: "^[a-z][a-z0-9_]*$", check: checks::variable }
}
text! {
    /// Absolute path of a folder on a node that ewulf may own; without `.`, `..`, spaces or a trailing slash.
    NodePath { kind: "node-path", noun: "an absolute path", example: "/shared", pattern: "^(/[A-Za-z0-9._-]+)+/?$", check: checks::node_path }
}
text! {
    /// Path relative to where it is used, without `..`; `./data` is kept as `data`, and `.` is the folder itself.
    RelativePath { kind: "relative-path", noun: "a relative path", example: "data/ratings", pattern: "^[^/].*$", check: |text| checks::relative_path(text) }
}
text! {
    /// Relative path of results in a run's folder; `*` and `?` match inside one segment.
    OutputPattern { kind: "output-pattern", noun: "a relative path or pattern", example: "*.npy", pattern: "^[^/].*$", check: |text| checks::relative_path(text) }
}
text! {
    /// Address of an input that a node can fetch by itself: `s3://` or `https://`.
    InputUrl { kind: "input-url", noun: "an address", example: "s3://bucket/ratings.csv", pattern: "^(s3|https)://[^ ]+$", check: checks::input_url }
}
text! {
    /// One word of a program's command line; anything but a NUL character.
    Word { kind: "word", noun: "a text", example: "python3", pattern: "^[^\\u0000]*$", check: checks::word }
}
text! {
    /// One shell line of a recipe's checks.
    ShellLine { kind: "shell-line", noun: "a shell line", example: "mpirun --version", pattern: "^[^\\n\\r\\u0000]+$", check: checks::shell_line }
}

#[cfg(test)]
mod tests;
