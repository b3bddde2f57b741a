//! The order of movies by popularity, and which rank works on which of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::ratings::Store;

/// Movies by falling number of ratings, then by index. A movie's place in this order is its row.
///
/// Every pair is computed at its less popular movie, over the columns before its row.
#[derive(Clone, Debug)]
pub struct Order {
    /// The movie index of each row.
    pub movies: Vec<u32>,
}

impl Order {
    /// The order of a set.
    pub fn of(store: &Store) -> Self {
        let mut movies: Vec<u32> = (0..store.movies() as u32).collect();
        movies.sort_by_key(|movie| (Reverse(store.places(*movie as usize).len()), *movie));
        Self { movies }
    }
}

/// Hands rows of known cost to ranks: costliest first, each to the rank with the least so far. Returns this rank's rows,
/// ascending, and their cost.
pub fn dealt(costs: &[f64], ranks: usize, rank: usize) -> (Vec<u32>, f64) {
    let mut rows: Vec<u32> = (0..costs.len() as u32).collect();
    rows.sort_by(|one, other| costs[*other as usize].total_cmp(&costs[*one as usize]).then(one.cmp(other)));
    // Costs in whole thousandths, so that they have a total order.
    let mut loads: BinaryHeap<Reverse<(u64, usize)>> = (0..ranks).map(|rank| Reverse((0, rank))).collect();
    let mut own = Vec::new();
    for row in rows {
        let Some(mut least) = loads.peek_mut() else { break };
        if least.0.1 == rank {
            own.push(row);
        }
        least.0.0 += (1000.0 * costs[row as usize]) as u64 + 1;
    }
    own.sort_unstable();
    let cost = own.iter().map(|row| costs[*row as usize]).sum();
    (own, cost)
}

/// The users of each rank: runs of about equal numbers of ratings, judged by a sample; the same on every rank.
pub fn user_shares(store: &Store, ranks: usize) -> Vec<Range<u32>> {
    /// Samples enough for shares within a percent, in a few milliseconds.
    const SAMPLES: usize = 1 << 19;
    let mut bounds = vec![0; ranks + 1];
    bounds[ranks] = store.users() as u32;
    if ranks > 1 {
        let step = store.len().div_ceil(SAMPLES).max(1);
        let mut sample: Vec<u32> = store.raters().iter().copied().step_by(step).collect();
        sample.sort_unstable();
        for (rank, bound) in bounds[..ranks].iter_mut().enumerate().skip(1) {
            *bound = sample.get(sample.len() * rank / ranks).copied().unwrap_or(0);
        }
    }
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Where the ratings of one run of users are in each row's movie, and where they end.
pub fn slices(store: &Store, order: &Order, users: &Range<u32>) -> Vec<Range<usize>> {
    let everyone = users.start == 0 && users.end as usize == store.users();
    let slice = |movie: &u32| {
        let places = store.places(*movie as usize);
        if everyone {
            return places;
        }
        let raters = &store.raters()[places.clone()];
        let from = raters.partition_point(|rater| *rater < users.start);
        let to = from + raters[from..].partition_point(|rater| *rater < users.end);
        places.start + from..places.start + to
    };
    order.movies.iter().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_one_rank_and_costs_are_about_equal() {
        let costs: Vec<f64> = (0..100).map(|row| 1e4 / f64::from(row + 10)).collect();
        for ranks in [1, 2, 3, 7, 200] {
            let dealt: Vec<_> = (0..ranks).map(|rank| dealt(&costs, ranks, rank)).collect();
            let mut rows: Vec<u32> = dealt.iter().flat_map(|(rows, _)| rows.clone()).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..100).collect::<Vec<u32>>());
            let most = dealt.iter().map(|(_, cost)| *cost).fold(0.0, f64::max);
            assert!(ranks > 7 || most < 1.05 * costs.iter().sum::<f64>() / ranks as f64, "{most} on {ranks} ranks");
        }
    }
}
