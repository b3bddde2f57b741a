//! Where ranks run: how many on each node, and in which order.

use ewulf_core::spec::{JobManifest, Ranks};

use super::{ClusterNodes, JobError, JobNode};

/// A node with its share of the ranks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Share<'a> {
    pub node: &'a JobNode,
    pub ranks: u32,
}

/// Distributes the ranks over the nodes, in their order: a node is filled before the next one gets any.
///
/// A slot is a real core. The hostfile made of this holds exactly as many slots as there are ranks, so that mpirun's
/// own mapping has no choice left and rank numbers run through the nodes in this order.
pub(super) fn place<'a>(manifest: &JobManifest, cluster: &'a ClusterNodes) -> Result<Vec<Share<'a>>, JobError> {
    let most = manifest.ranks_per_node.unwrap_or(u32::MAX).max(1);
    let slots: Vec<u32> = cluster.nodes.iter().map(|node| node.cores.max(1).min(most)).collect();
    let all: u32 = slots.iter().sum();
    let wanted = match manifest.ranks {
        Ranks::All => all,
        Ranks::Count(count) => count,
    };
    if wanted > all && !manifest.oversubscribe {
        return Err(too_many(manifest, cluster, wanted, all));
    }
    if let Some(most) = manifest.ranks_per_node {
        let room = u64::from(most) * cluster.nodes.len() as u64;
        if u64::from(wanted) > room {
            return Err(JobError::invalid(
                format!(
                    "job {}: {wanted} ranks are more than {room}, {most} on each of {} nodes of cluster {}",
                    manifest.job,
                    cluster.nodes.len(),
                    cluster.cluster
                ),
                "raise `ranks_per_node` or lower `ranks`",
            ));
        }
    }
    let mut shares: Vec<Share> = cluster.nodes.iter().map(|node| Share { node, ranks: 0 }).collect();
    let mut left = wanted;
    // One round fills every slot once; more rounds come with oversubscription alone.
    while left > 0 {
        for (share, slots) in shares.iter_mut().zip(&slots) {
            let more = left.min(*slots).min(most - share.ranks);
            share.ranks += more;
            left -= more;
        }
    }
    shares.retain(|share| share.ranks > 0);
    Ok(shares)
}

fn too_many(manifest: &JobManifest, cluster: &ClusterNodes, wanted: u32, slots: u32) -> JobError {
    let limit = match manifest.ranks_per_node {
        Some(most) => format!(" with `ranks_per_node: {most}`"),
        None => String::new(),
    };
    JobError::invalid(
        format!("job {}: {wanted} ranks are more than the {slots} slots of cluster {}{limit}", manifest.job, cluster.cluster),
        format!("write `ranks: {slots}` or `ranks: all`; `oversubscribe: true` puts several ranks on a core"),
    )
}

/// Threads that one rank may use without taking cores from another: cores a rank, on the fullest node.
pub(super) fn threads_per_rank(shares: &[Share]) -> u32 {
    shares.iter().map(|share| share.node.cores / share.ranks).min().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cluster, manifest};
    use super::*;

    fn ranks(yaml: &str, cores: &[u32]) -> Result<Vec<u32>, String> {
        let cluster = cluster(cores);
        let shares = place(&manifest(yaml), &cluster).map_err(|error| error.to_string())?;
        Ok(shares.iter().map(|share| share.ranks).collect())
    }

    #[test]
    fn all_means_one_rank_on_every_core() {
        assert_eq!(ranks("ranks: all", &[2, 4, 4]), Ok(vec![2, 4, 4]));
        assert_eq!(ranks("", &[2, 4]), Ok(vec![2, 4]));
        assert_eq!(ranks("ranks_per_node: 3", &[2, 4]), Ok(vec![2, 3]));
    }

    #[test]
    fn a_number_fills_node_after_node_and_leaves_out_the_rest() {
        assert_eq!(ranks("ranks: 5", &[2, 4, 4]), Ok(vec![2, 3]));
        assert_eq!(ranks("{ranks: 3, ranks_per_node: 1}", &[2, 4, 4]), Ok(vec![1, 1, 1]));
    }

    #[test]
    fn more_ranks_than_slots_are_refused_with_both_numbers() {
        let message = ranks("ranks: 11", &[2, 4, 4]).unwrap_err();
        assert!(message.contains("11 ranks") && message.contains("10 slots"), "{message}");
        assert!(ranks("{ranks: 4, ranks_per_node: 1}", &[2, 4, 4]).unwrap_err().contains("3 slots"));
    }

    #[test]
    fn oversubscription_spreads_the_surplus_and_keeps_to_the_most_per_node() {
        assert_eq!(ranks("{ranks: 8, oversubscribe: true}", &[2, 4]), Ok(vec![4, 4]));
        assert_eq!(ranks("{ranks: 13, oversubscribe: true}", &[2, 4]), Ok(vec![5, 8]));
        assert_eq!(ranks("{ranks: 9, oversubscribe: true, ranks_per_node: 5}", &[2, 4]), Ok(vec![4, 5]));
        let message = ranks("{ranks: 11, oversubscribe: true, ranks_per_node: 5}", &[2, 4]).unwrap_err();
        assert!(message.contains("11 ranks") && message.contains("10"), "{message}");
    }

    #[test]
    fn a_rank_may_use_the_cores_that_no_other_rank_has() {
        let threads = |yaml, cores: &[u32]| threads_per_rank(&place(&manifest(yaml), &cluster(cores)).unwrap());
        assert_eq!(threads("ranks: all", &[2, 4, 4]), 1);
        assert_eq!(threads("ranks_per_node: 2", &[4, 9]), 2);
        assert_eq!(threads("{ranks: 8, oversubscribe: true}", &[2, 2]), 1);
    }
}
