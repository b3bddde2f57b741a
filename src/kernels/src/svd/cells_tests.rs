//! Every rating is in its cell and block once, and neighbouring quads have no common user or movie.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Movie, user and half stars of every rating, sorted.
type Rows = BTreeSet<(u32, u32, u8)>;

struct Set {
    offsets: Vec<u64>,
    raters: Vec<u32>,
    stars: Vec<u8>,
    users: usize,
}

impl Set {
    fn new(rows: &Rows, movies: usize, users: usize) -> Self {
        let before = |movie: usize| rows.iter().filter(|row| (row.0 as usize) < movie).count() as u64;
        Self {
            offsets: (0..=movies).map(before).collect(),
            raters: rows.iter().map(|row| row.1).collect(),
            stars: rows.iter().map(|row| row.2).collect(),
            users,
        }
    }

    fn columns(&self) -> Columns<'_> {
        Columns { offsets: &self.offsets, raters: &self.raters, stars: &self.stars }
    }

    fn groups(&self, count: usize) -> (Groups, Groups) {
        let (movies, users) = self.columns().counts(self.users);
        (Groups::new(count, &users), Groups::new(count, &movies))
    }
}

/// The ratings of some groups of users, put together again from their cells.
fn rows_of(cells: &Cells, users: &Groups, movies: &Groups, own: Range<usize>) -> Vec<(u32, u32, u8)> {
    let (user_lists, movie_lists) = (users.member_lists(), movies.member_lists());
    let mut rows = Vec::new();
    for group in own.clone() {
        for (movie_group, movie_list) in movie_lists.iter().enumerate() {
            for block in cells.blocks(group - own.start, movie_group) {
                rows.extend((block.begin..block.end).map(|at| {
                    let user = user_lists[group][block.user + usize::from(cells.users[at])];
                    let movie = movie_list[block.movie + usize::from(cells.movies[at])];
                    (movie, user, cells.stars[at])
                }));
            }
        }
    }
    rows
}

fn random_rows() -> impl Strategy<Value = (Rows, usize, usize)> {
    (1usize..12, 1usize..30).prop_flat_map(|(movies, users)| {
        let cell = proptest::option::weighted(0.5, 1u8..=10);
        proptest::collection::vec(cell, movies * users).prop_map(move |stars| {
            let rated = stars.into_iter().enumerate().filter_map(|(at, stars)| Some((at, stars?)));
            (rated.map(|(at, stars)| ((at / users) as u32, (at % users) as u32, stars)).collect(), movies, users)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_rating_is_in_one_cell_once_for_any_split_of_the_groups(
        (rows, movies, users) in random_rows(),
        count in 1usize..6,
        at in 0usize..6,
        seed: u64,
    ) {
        let set = Set::new(&rows, movies, users);
        let (users, movies) = set.groups(count);
        let whole = cut(set.columns(), &users, &movies, 0..count, seed);
        let all = rows_of(&whole, &users, &movies, 0..count);
        let at = at.min(count);
        let parts = [0..at, at..count];
        let pieces = parts.map(|own| rows_of(&cut(set.columns(), &users, &movies, own.clone(), seed), &users, &movies, own));
        prop_assert_eq!(&pieces.concat(), &all);
        prop_assert_eq!(all.len(), rows.len());
        prop_assert_eq!(all.into_iter().collect::<Rows>(), rows);
        for block in &whole.blocks {
            prop_assert!((block.quads - block.begin).is_multiple_of(QUAD) && block.quads <= block.end);
            for one in block.begin..block.quads {
                let first = block.begin + (one - block.begin) / QUAD * QUAD;
                for other in one + 1..(first + 2 * QUAD).min(block.quads) {
                    prop_assert!(whole.users[one] != whole.users[other] && whole.movies[one] != whole.movies[other]);
                }
            }
        }
    }
}

#[test]
fn no_ratings_make_no_blocks() {
    let set = Set { offsets: vec![0], raters: vec![], stars: vec![], users: 0 };
    let (users, movies) = set.groups(4);
    let cells = cut(set.columns(), &users, &movies, 0..4, 1);
    assert!(cells.is_empty() && cells.blocks.is_empty());
    assert_eq!(cells.blocks(3, 3), []);
}

#[test]
fn most_ratings_of_a_dense_block_are_in_quads() {
    let rows: Rows = (0..40).flat_map(|movie| (0..60).map(move |user| (movie, user, 5))).collect();
    let set = Set::new(&rows, 40, 60);
    let (users, movies) = set.groups(1);
    let cells = cut(set.columns(), &users, &movies, 0..1, 7);
    assert!(cells.blocks[0].quads > 2300, "{} of 2400", cells.blocks[0].quads);
}

#[test]
fn huge_groups_have_larger_blocks_rather_than_many() {
    let users = Groups::new(1, &vec![1; 20_000_000]);
    let movies = Groups::new(1, &[1; 5_000]);
    let cut = Cut::of(&users, &movies);
    assert_eq!(cut, Cut { users: 2048, movies: 8192 });
    assert!(20_000_000usize.div_ceil(cut.users) <= MOST_BLOCKS);
}
