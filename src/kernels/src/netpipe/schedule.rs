//! Which sizes are measured, and who talks to whom when.

/// The sizes of NetPIPE up to `largest` bytes: powers of two and the means between them, each also `perturbation` bytes
/// smaller and larger where those do not reach the next size, because protocols and copies like round sizes best.
///
/// Ascending, without repeats; empty when `largest` is 0.
pub fn sizes(smallest: u64, largest: u64, perturbation: u64) -> Vec<u64> {
    let powers = (0..63).map(|exponent| 1u64 << exponent);
    let mut bases: Vec<u64> = powers.flat_map(|power| [power, power + power / 2]).collect();
    bases.dedup();
    let mut sizes = Vec::new();
    for (position, base) in bases.iter().enumerate() {
        let below = if position == 0 { 0 } else { bases[position - 1] };
        let gap = base - below;
        if perturbation > 0 && gap > 2 * perturbation {
            sizes.extend([base - perturbation, *base, base + perturbation]);
        } else {
            sizes.push(*base);
        }
    }
    sizes.retain(|size| (smallest..=largest).contains(size));
    sizes
}

/// The partner of `rank` in each round of a tournament in which everyone meets everyone once and all meet at once.
///
/// `ranks - 1` rounds for an even number of ranks; one more for an odd one, as one rank has to pause in each.
pub fn partners(rank: usize, ranks: usize) -> Vec<Option<usize>> {
    // One seat stays and the others move on by one a round; an odd table gets an empty chair.
    let seats = ranks + ranks % 2;
    let moving = seats.saturating_sub(1);
    let partner = |round: usize| {
        let other = match rank {
            _ if rank == moving => (round * (seats / 2)) % moving,
            _ if (2 * rank) % moving == round % moving => moving,
            _ => (round + moving - rank) % moving,
        };
        (other < ranks).then_some(other)
    };
    (0..moving).map(partner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_of_netpipe() {
        assert_eq!(sizes(1, 64, 0), [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]);
        assert_eq!(sizes(1, 51, 3), [1, 2, 3, 4, 6, 8, 12, 16, 21, 24, 27, 29, 32, 35, 45, 48, 51]);
        assert!(sizes(5, 5, 0).is_empty() && sizes(1, 0, 3).is_empty());
        assert!(sizes(1, u64::MAX, 3).len() > 200);
    }

    proptest! {
        #[test]
        fn sizes_ascend_whatever_the_perturbation(largest in 0..1u64 << 40, perturbation in 0..1u64 << 20) {
            let sizes = sizes(1, largest, perturbation);
            prop_assert!(sizes.is_sorted_by(|left, right| left < right), "{:?}", sizes);
            prop_assert!(sizes.iter().all(|size| *size <= largest));
        }

        #[test]
        fn everyone_meets_everyone_once_and_partners_agree(ranks in 1..40usize) {
            let tables: Vec<Vec<Option<usize>>> = (0..ranks).map(|rank| partners(rank, ranks)).collect();
            for rank in 0..ranks {
                prop_assert_eq!(tables[rank].len(), ranks + ranks % 2 - 1);
                let mut met: Vec<usize> = tables[rank].iter().flatten().copied().collect();
                met.sort_unstable();
                let others: Vec<usize> = (0..ranks).filter(|other| *other != rank).collect();
                prop_assert_eq!(met, others);
                for (round, partner) in tables[rank].iter().enumerate() {
                    if let Some(partner) = partner {
                        prop_assert_eq!(tables[*partner][round], Some(rank));
                    }
                }
            }
        }
    }
}
