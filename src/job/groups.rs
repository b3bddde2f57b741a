//! Rank groups: which slots of a run's nodes its members run on, several of them at once.

use ewulf_core::spec::{Bind, JobManifest};
use serde::{Deserialize, Serialize};

use super::mpirun::{Mpirun, binding};
use super::placement::Share;
use super::plan::{PlannedNode, planned_node};
use super::{JobError, Plan};

/// Most groups of one run: each is an mpirun on the master, of some 30 MiB, and a login on each of its nodes.
const GROUPS_MAX: usize = 256;

/// Slots that run one member at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its nodes, with its own ranks on each, in the order of the ranks.
    pub nodes: Vec<PlannedNode>,
    /// mpirun and its options, up to the program.
    pub mpirun: Vec<String>,
}

impl Group {
    /// Name of a group's hostfile in the control folder.
    pub(super) fn hostfile(index: usize) -> String {
        format!("hostfile-{}", index + 1)
    }
}

/// Decides on which slots the members run; none for a job without members.
pub(super) fn groups(manifest: &JobManifest, shares: &[Share], mpirun: &Mpirun) -> Result<Vec<Group>, JobError> {
    if !manifest.has_members() {
        return Ok(Vec::new());
    }
    let ranks: u32 = shares.iter().map(|share| share.ranks).sum();
    let split = manifest.split.unwrap_or(ranks);
    if split > ranks {
        return Err(JobError::invalid(
            format!("job {}: members of {split} ranks do not fit into the {ranks} of the job", manifest.job),
            format!("write `split: {ranks}` or less"),
        ));
    }
    // More groups than members would have nothing to do.
    let count = usize::try_from(manifest.member_count()).unwrap_or(usize::MAX).min((ranks / split) as usize);
    if count > GROUPS_MAX {
        let least = ranks.div_ceil(GROUPS_MAX as u32);
        return Err(JobError::invalid(
            format!("job {}: `split: {split}` makes {count} rank groups, and {GROUPS_MAX} can run at once", manifest.job),
            format!("write `split: {least}` or more"),
        ));
    }
    let mut cut = cut(shares, split);
    cut.truncate(count);
    let group = |(index, shares): (usize, &Vec<Share>)| {
        Ok(Group {
            nodes: shares.iter().map(planned_node).collect(),
            mpirun: mpirun.words(&Group::hostfile(index), shares, group_binding(manifest, &cut, shares)?),
        })
    };
    cut.iter().enumerate().map(group).collect()
}

/// Cuts the slots of some nodes into disjoint groups of `split` ranks, as many as fit.
///
/// A group that fits on one node gets one alone, because memory is faster than any network; what is then left of the nodes
/// is put together in their order.
fn cut<'a>(shares: &[Share<'a>], split: u32) -> Vec<Vec<Share<'a>>> {
    let mut groups = Vec::new();
    let mut left = Vec::new();
    for share in shares {
        let whole = share.ranks / split;
        groups.extend((0..whole).map(|_| vec![Share { node: share.node, ranks: split }]));
        if share.ranks % split > 0 {
            left.push(Share { node: share.node, ranks: share.ranks % split });
        }
    }
    let mut group: Vec<Share> = Vec::new();
    let mut missing = split;
    for mut share in left {
        while share.ranks > 0 {
            let ranks = share.ranks.min(missing);
            group.push(Share { node: share.node, ranks });
            share.ranks -= ranks;
            missing -= ranks;
            if missing == 0 {
                groups.push(std::mem::take(&mut group));
                missing = split;
            }
        }
    }
    groups
}

/// What a group's ranks are bound to: each mpirun starts with a node's first core, so where several share a node they would
/// all be bound to the same ones.
fn group_binding(manifest: &JobManifest, groups: &[Vec<Share>], shares: &[Share]) -> Result<Option<&'static str>, JobError> {
    let uses = |group: &[Share], node: &str| group.iter().any(|share| share.node.address == node);
    let shared = shares.iter().find(|share| groups.iter().filter(|group| uses(group, &share.node.address)).count() > 1);
    match (shared, manifest.bind) {
        (None, bind) => Ok(binding(bind, shares)),
        (Some(_), None | Some(Bind::None)) => Ok(Some("none")),
        (Some(share), Some(_)) => Err(JobError::invalid(
            format!(
                "job {}: members share {}, and `bind` would put all of them on its first cores",
                manifest.job, share.node.address
            ),
            "remove `bind`, or choose a `split` that gives each member nodes of its own",
        )),
    }
}

impl Plan {
    /// How many slots no group has; 0 for a run without members.
    pub fn idle_ranks(&self) -> u32 {
        let used: u32 = self.groups.iter().flat_map(|group| &group.nodes).map(|node| node.ranks).sum();
        if self.groups.is_empty() { 0 } else { self.ranks - used }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::tests::{cluster, manifest};
    use super::*;

    fn plan(yaml: &str, cores: &[u32]) -> Result<Plan, JobError> {
        Plan::new(&manifest(yaml), &cluster(cores), Timestamp::UNIX_EPOCH, 1)
    }

    /// Ranks by node, of each group.
    fn shape(plan: &Plan) -> Vec<Vec<(&str, u32)>> {
        let nodes = |group: &Group| -> Vec<(usize, u32)> {
            let index = |node: &PlannedNode| plan.nodes.iter().position(|planned| planned.address == node.address).unwrap();
            group.nodes.iter().map(|node| (index(node), node.ranks)).collect()
        };
        let named = |(index, ranks): (usize, u32)| (plan.nodes[index].address.as_str(), ranks);
        plan.groups.iter().map(|group| nodes(group).into_iter().map(named).collect()).collect()
    }

    const SWEEP: &str = "sweep: {grid: {seed: [1, 2, 3, 4, 5, 6, 7, 8]}}";

    #[test]
    fn a_member_has_all_ranks_unless_the_job_splits_them() {
        assert_eq!(shape(&plan(&format!("{{{SWEEP}}}"), &[2, 4]).unwrap()), [[("node/master", 2), ("node/compute/0", 4)]]);
        assert!(plan("", &[2, 4]).unwrap().groups.is_empty());
    }

    #[test]
    fn groups_fit_on_one_node_where_they_can() {
        let plan = plan(&format!("{{{SWEEP}, split: 4}}"), &[2, 4, 6]).unwrap();
        let (master, first, second) = ("node/master", "node/compute/0", "node/compute/1");
        assert_eq!(shape(&plan), [vec![(first, 4)], vec![(second, 4)], vec![(master, 2), (second, 2)]]);
        assert!(plan.groups[1].mpirun.join(" ").contains("/.ewulf/hostfile-2 -n 4 "));
        assert_eq!(plan.idle_ranks(), 0);
    }

    #[test]
    fn members_on_one_node_are_not_bound_and_those_on_their_own_are_as_always() {
        let bound =
            |group: &Group| group.mpirun.iter().position(|word| word == "--bind-to").map(|at| group.mpirun[at + 1].clone());
        let shared = plan(&format!("{{{SWEEP}, split: 2}}"), &[4, 2]).unwrap();
        let bindings: Vec<_> = shared.groups.iter().map(bound).collect();
        assert_eq!(bindings, [Some("none".to_owned()), Some("none".to_owned()), None]);
        let own = plan(&format!("{{{SWEEP}, split: 4, bind: core}}"), &[4, 4]).unwrap();
        assert!(own.groups.iter().all(|group| bound(group).as_deref() == Some("core")));
        let error = plan(&format!("{{{SWEEP}, split: 2, bind: core}}"), &[4, 2]).unwrap_err();
        assert!(error.to_string().contains("members share node/master"), "{error}");
    }

    #[test]
    fn what_cannot_be_cut_is_told_with_what_to_write() {
        let error = plan(&format!("{{{SWEEP}, split: 7}}"), &[2, 4]).unwrap_err();
        assert_eq!(error.hint().unwrap(), "write `split: 6` or less");
        let error = plan("{folds: 1000, split: 1}", &[64; 10]).unwrap_err();
        assert_eq!(error.hint().unwrap(), "write `split: 3` or more");
    }

    #[test]
    fn a_plan_with_the_most_groups_still_fits_one_answer() {
        let plan = plan("{folds: 1000, split: 2}", &[32; 16]).unwrap();
        assert_eq!(plan.groups.len(), GROUPS_MAX);
        let packed = super::super::bundle::gzip(&serde_json::to_vec(&plan).unwrap()).unwrap();
        assert!(packed.len() * 4 / 3 < 24_000, "{} characters", packed.len() * 4 / 3);
    }

    proptest! {
        #[test]
        fn groups_are_of_one_size_disjoint_and_as_many_as_fit(
            cores in prop::collection::vec(1_u32..9, 1..6),
            split in 1_u32..12,
        ) {
            let all: u32 = cores.iter().sum();
            prop_assume!(split <= all);
            let plan = plan(&format!("{{folds: 100, split: {split}}}"), &cores).unwrap();
            prop_assert_eq!(plan.groups.len() as u32, all / split);
            let mut used: BTreeMap<&str, u32> = BTreeMap::new();
            for group in shape(&plan) {
                prop_assert_eq!(group.iter().map(|(_, ranks)| ranks).sum::<u32>(), split);
                group.iter().for_each(|(node, ranks)| *used.entry(node).or_default() += ranks);
            }
            prop_assert!(plan.nodes.iter().all(|node| used.get(node.address.as_str()).is_none_or(|used| *used <= node.ranks)));
            prop_assert_eq!(plan.idle_ranks(), all % split);
        }
    }
}
