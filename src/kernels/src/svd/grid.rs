//! The fixed grid: users in groups, movies in as many groups, whatever the number of ranks.

use std::ops::Range;

/// Movies or users in groups of about equal weight.
///
/// Members are dealt out by falling weight, ties by rising index, forwards and backwards in turn ("snake order"): the
/// groups' sizes differ by at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    count: usize,
    /// Each member's rank by falling weight.
    rank: Vec<u32>,
}

impl Groups {
    /// Deals out members of these weights.
    pub fn new(count: usize, weights: &[u32]) -> Self {
        assert!(count > 0, "there is at least one group");
        let mut order: Vec<u32> = (0..weights.len() as u32).collect();
        order.sort_unstable_by_key(|member| (std::cmp::Reverse(weights[*member as usize]), *member));
        let mut rank = vec![0; weights.len()];
        order.into_iter().enumerate().for_each(|(at, member)| rank[member as usize] = at as u32);
        Self { count, rank }
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The number of members of all groups.
    pub fn members(&self) -> usize {
        self.rank.len()
    }

    /// The group of a member, and its place there.
    #[inline]
    pub fn of(&self, member: usize) -> (usize, usize) {
        let (place, at) = (self.rank[member] as usize / self.count, self.rank[member] as usize % self.count);
        (if place.is_multiple_of(2) { at } else { self.count - 1 - at }, place)
    }

    /// The number of members of a group.
    pub fn len(&self, group: usize) -> usize {
        let (full, rest) = (self.members() / self.count, self.members() % self.count);
        let at = if full.is_multiple_of(2) { group } else { self.count - 1 - group };
        full + usize::from(at < rest)
    }

    /// The number of members of the largest group.
    pub fn longest(&self) -> usize {
        self.members().div_ceil(self.count)
    }

    /// The members of a group, by place.
    pub fn member_lists(&self) -> Vec<Vec<u32>> {
        let mut lists: Vec<Vec<u32>> = (0..self.count).map(|group| vec![0; self.len(group)]).collect();
        for member in 0..self.members() {
            let (group, place) = self.of(member);
            lists[group][place] = member as u32;
        }
        lists
    }
}

/// The ranks that work: no more than there are groups.
pub fn active(ranks: usize, groups: usize) -> usize {
    ranks.min(groups)
}

/// The groups of users that a rank owns for the whole run, and of movies that it starts with; none for an idle rank.
pub fn owned(rank: usize, ranks: usize, groups: usize) -> Range<usize> {
    let active = active(ranks, groups);
    rank.min(active) * groups / active..(rank + 1).min(active) * groups / active
}

/// The rank that owns a group.
pub fn owner(group: usize, ranks: usize, groups: usize) -> usize {
    let active = active(ranks, groups);
    (0..active).find(|rank| owned(*rank, ranks, groups).contains(&group)).expect("the ranks own every group")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_are_even_and_every_member_has_its_own_place(
            count in 1usize..9,
            weights in proptest::collection::vec(0u32..5, 0..60),
        ) {
            let groups = Groups::new(count, &weights);
            let lists = groups.member_lists();
            prop_assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), weights.len());
            prop_assert_eq!(lists.iter().map(Vec::len).max().unwrap(), groups.longest());
            prop_assert!(lists.iter().all(|list| list.len() + 1 >= groups.longest()));
            for (group, list) in lists.iter().enumerate() {
                prop_assert!(list.iter().enumerate().all(|(place, member)| groups.of(*member as usize) == (group, place)));
                prop_assert!(list.windows(2).all(|pair| weights[pair[0] as usize] >= weights[pair[1] as usize]));
            }
        }

        #[test]
        fn every_group_has_one_owner(ranks in 1usize..40, groups in 1usize..30) {
            let all: Vec<usize> = (0..ranks).flat_map(|rank| owned(rank, ranks, groups)).collect();
            prop_assert_eq!(all, (0..groups).collect::<Vec<_>>());
            prop_assert!((0..groups).all(|group| owned(owner(group, ranks, groups), ranks, groups).contains(&group)));
        }
    }
}
