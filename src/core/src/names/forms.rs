//! Every form a text can have, found by the name that schemas carry.

use super::*;
use crate::instance_types::InstanceType;
use crate::quantity::{AddressRange, Duration, Ipv4Network, Money, Size, VolumeSize};

/// A [`TextForm`] as a value.
pub(crate) struct Form {
    pub noun: &'static str,
    pub example: &'static str,
    pub check: fn(&str) -> Result<(), Invalid>,
    pub instead_of_number: fn(&str) -> Option<String>,
}

impl Form {
    fn of<T: TextForm>() -> Self {
        Self {
            noun: T::NOUN,
            example: T::EXAMPLE,
            check: |text| text.parse::<T>().map(drop),
            instead_of_number: T::instead_of_number,
        }
    }
}

macro_rules! forms {
    ($($name:ident),* $(,)?) => {
        /// Returns the form of a kind, or `None` for an unknown kind.
        pub(crate) fn form(kind: &str) -> Option<Form> {
            match kind {
                $(<$name as TextForm>::KIND => Some(Form::of::<$name>()),)*
                _ => None,
            }
        }

        /// Returns the form of a map's keys by the pattern that its schema gives for them.
        pub(crate) fn form_of_keys(pattern: &str) -> Option<Form> {
            $(if pattern == <$name as TextForm>::PATTERN {
                return Some(Form::of::<$name>());
            })*
            None
        }
    };
}

// Keys come first: their patterns are told apart by order.
forms! {
    EnvironmentName, OptionName, VariableName,
    AddressRange, AmiId, ClusterName, Duration, GroupName, ImageName, InputUrl, InstanceProfileName, InstanceType, Ipv4Network, JobName,
    KernelName, Money, NodePath, OutputPattern, PackageName, ParameterName, Region, RelativePath, ShellLine, Size, SubnetId,
    TemplateName, UnitName, VolumeSize, VpcId, Word, Zone,
}
