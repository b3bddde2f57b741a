//! Several runs of one program in one job: a sweep over arguments, the folds of a cross-validation, or both.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::{Argument, Arguments, JobManifest};
use super::scalar::Scalar;
use crate::names::{Invalid, OptionName};

/// Most members of one job: at a second each, the shortest that pay for an mpirun of their own, they take hours.
pub const MEMBERS_MAX: u64 = 10_000;

/// Option that tells a program which fold it is to keep out.
pub(super) const FOLD: &str = "fold";
/// Option that tells a program how rows are dealt to folds: the same for all members, so that their scores compare.
const FOLD_SEED: &str = "fold-seed";

/// Arguments that vary from member to member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "WrittenSweep", into = "WrittenSweep")]
pub enum Sweep {
    /// Every combination of these values; none of the lists is empty.
    Grid(BTreeMap<OptionName, Vec<Scalar>>),
    /// Just these.
    List(Vec<Arguments>),
}

/// A sweep as it is written.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sweep", extend("oneOf" = [{"required": ["grid"]}, {"required": ["list"]}]))]
struct WrittenSweep {
    /// Options with all values that they are to have: every combination of them is a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grid: Option<BTreeMap<OptionName, Vec<Scalar>>>,
    /// Options of each member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    list: Option<Vec<Arguments>>,
}

impl TryFrom<WrittenSweep> for Sweep {
    type Error = Invalid;

    fn try_from(written: WrittenSweep) -> Result<Self, Invalid> {
        match (written.grid, written.list) {
            (Some(grid), None) if grid.is_empty() || grid.values().any(Vec::is_empty) => {
                Err(Invalid::new("`grid` has an option without values, or no option"))
            }
            (None, Some(list)) if list.is_empty() => Err(Invalid::new("`list` has no entry")),
            (Some(grid), None) => Ok(Self::Grid(grid)),
            (None, Some(list)) => Ok(Self::List(list)),
            (Some(_), Some(_)) => Err(Invalid::new("`grid` and `list` exclude each other")),
            (None, None) => Err(Invalid::new("either `grid` or `list` is needed")),
        }
    }
}

impl From<Sweep> for WrittenSweep {
    fn from(sweep: Sweep) -> Self {
        match sweep {
            Sweep::Grid(grid) => Self { grid: Some(grid), list: None },
            Sweep::List(list) => Self { grid: None, list: Some(list) },
        }
    }
}

impl Sweep {
    /// Returns how many sets of arguments there are; saturates.
    pub fn len(&self) -> u64 {
        match self {
            Self::Grid(grid) => grid.values().fold(1, |product, values| product.saturating_mul(values.len() as u64)),
            Self::List(list) => list.len() as u64,
        }
    }

    /// Tells whether there is no set of arguments, which a loaded sweep never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the sets of arguments: of a grid in the order of its options' names, the last one changing fastest.
    fn sets(&self) -> Vec<Arguments> {
        match self {
            Self::List(list) => list.clone(),
            Self::Grid(grid) => grid.iter().fold(vec![Arguments::new()], |sets, (option, values)| {
                let with = |set: &Arguments, value: &Scalar| {
                    let mut set = set.clone();
                    set.insert(option.clone(), Argument::One(value.clone()));
                    set
                };
                sets.iter().flat_map(|set| values.iter().map(move |value| with(set, value))).collect()
            }),
        }
    }
}

/// One of the folds that data is dealt to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Which, from 1: the one that is kept out.
    pub number: u32,
    /// Of how many, at least 2.
    pub of: u32,
}

impl fmt::Display for Fold {
    /// Writes the fold as programs take it: `2/5`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.number, self.of)
    }
}

/// One run of the program, of several in one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Which, from 1.
    pub number: u32,
    /// Which set of arguments it has, from 0: members of one set differ by their fold alone.
    pub set: u32,
    /// What the sweep gives it; these win over the job's own.
    pub arguments: Arguments,
    /// What it keeps out.
    pub fold: Option<Fold>,
}

impl fmt::Display for Member {
    /// Writes what is its own: `--factors 20 --fold 1/5`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = self.arguments.iter().flat_map(|(option, argument)| {
            let values = match argument {
                Argument::One(value) => std::slice::from_ref(value),
                Argument::Many(values) => values,
            };
            values.iter().map(move |value| format!("--{option} {value}"))
        });
        let fold = self.fold.map(|fold| format!("--{FOLD} {fold}"));
        formatter.write_str(&options.chain(fold).collect::<Vec<_>>().join(" "))
    }
}

impl JobManifest {
    /// Tells whether the job is several runs in one.
    pub fn has_members(&self) -> bool {
        self.sweep.is_some() || self.folds.is_some()
    }

    /// Returns how many members there are; saturates.
    pub fn member_count(&self) -> u64 {
        let sets = self.sweep.as_ref().map_or(1, Sweep::len);
        if self.has_members() { sets.saturating_mul(self.folds.unwrap_or(1).into()) } else { 0 }
    }

    /// Returns the members in the order in which they are begun; none for a job that is one run.
    ///
    /// The same manifest always has the same members under the same numbers. All folds of a set come after each other.
    pub fn members(&self) -> Vec<Member> {
        if !self.has_members() {
            return Vec::new();
        }
        let sets = self.sweep.as_ref().map_or_else(|| vec![Arguments::new()], Sweep::sets);
        let folds: Vec<Option<Fold>> = match self.folds {
            Some(of) => (1..=of).map(|number| Some(Fold { number, of })).collect(),
            None => vec![None],
        };
        let pairs = (0..).zip(sets).flat_map(|(set, arguments)| folds.iter().map(move |fold| (set, arguments.clone(), *fold)));
        (1..).zip(pairs).map(|(number, (set, arguments, fold))| Member { number, set, arguments, fold }).collect()
    }

    /// Returns the words that every rank of a member runs.
    pub fn member_argv(&self, member: &Member) -> Vec<String> {
        let mut arguments = self.args.clone();
        arguments.extend(member.arguments.clone());
        if let Some(fold) = member.fold {
            let name = |text: &str| text.parse::<OptionName>().expect("it is a name of an option");
            let word = fold.to_string().parse().expect("digits and a slash are a word");
            arguments.insert(name(FOLD), Argument::One(Scalar::Text(word)));
            arguments.entry(name(FOLD_SEED)).or_insert(Argument::One(Scalar::Integer(0)));
        }
        self.program.argv(&arguments)
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
