//! Rows in any order to sorted columns, in time linear in the rows, and with little more memory than both need.
//!
//! Every row goes to its movie's place at once (a counting sort); only movies whose users did not come in ascending order
//! are sorted. Work is split over threads; the columns do not depend on their number.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Mutex;

use super::ids::Ids;
use super::workers::Workers;
use super::{Ratings, RatingsError, Rows};

/// Below this length comparison sorting is faster than counting digits.
const FEW: usize = 512;
/// Bits of one digit of the radix sort: 2,048 counters of 4 bytes fit a first-level cache beside what is sorted.
const DIGIT: u32 = 11;

/// Sorts rows, given in parts, into columns; a movie and user that come together twice are an error.
pub fn build(mut parts: Vec<Rows>, workers: Workers) -> Result<Ratings, RatingsError> {
    let total = parts.iter().map(Rows::len).sum();
    let (movies, users) = ids(&parts, workers);
    let (mut movies, mut users) = (movies, users);
    let (movie_ids, user_ids) = (movies.count(), users.count());

    // Each group has a counter of every movie, which must not outweigh the ratings themselves.
    let groups = workers.count.min(total / movie_ids.len().max(1)).max(1);
    let mut groups = grouped(&mut parts, groups);
    let counts = count(&mut groups, &movies, movie_ids.len(), workers);
    let (offsets, starts) = starts(counts, movie_ids.len());

    let (mut raters, mut stars) = (vec![0; total], vec![0; total]);
    in_large_pages(&mut raters);
    in_large_pages(&mut stars);
    let (rater_slots, star_slots) = (Slots::of(&mut raters), Slots::of(&mut stars));
    workers.each(groups.into_iter().zip(starts).collect(), |(group, mut next)| {
        for part in group {
            for ((movie, user), stars) in part.movies.iter().zip(&part.users).zip(&part.stars) {
                let slot = &mut next[*movie as usize];
                // SAFETY: counters of a group begin where those of the groups before end, and each group advances each
                // of them as often as it counted: every place is written once, and no counter leaves the columns.
                unsafe {
                    rater_slots.put(*slot as usize, users.place(*user));
                    star_slots.put(*slot as usize, *stars);
                }
                *slot += 1;
            }
            // The rows are not needed again, and the columns grow as they shrink.
            *part = Rows::default();
        }
    });
    drop(parts);
    let mut ratings = Ratings { movie_ids, user_ids, offsets, raters, stars };
    sort(&mut ratings, workers)?;
    Ok(ratings)
}

/// Asks for large pages: rows go to as many places at once as there are movies, more than a core can translate otherwise.
fn in_large_pages<T>(column: &mut [T]) {
    /// Of x86 and of most others.
    const PAGE: usize = 2 << 20;
    let begin = (column.as_mut_ptr() as usize).next_multiple_of(PAGE);
    let end = (column.as_mut_ptr() as usize + size_of_val(column)) / PAGE * PAGE;
    if begin < end {
        // SAFETY: advice changes no content, and these whole pages belong to the column; without effect, all is well.
        unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_HUGEPAGE) };
    }
}

/// The movies and users of all rows.
fn ids(parts: &[Rows], workers: Workers) -> (Ids, Ids) {
    let both = Mutex::new((Ids::new(), Ids::new()));
    let share = parts.len().div_ceil(workers.count).max(1);
    workers.each(parts.chunks(share).collect(), |parts| {
        let (mut movies, mut users) = (Ids::new(), Ids::new());
        for part in parts {
            movies.add(&part.movies);
            users.add(&part.users);
        }
        let mut both = both.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        both.0.merge(&movies);
        both.1.merge(&users);
    });
    both.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Consecutive parts, cut into groups of about equal numbers of parts.
fn grouped(parts: &mut [Rows], groups: usize) -> Vec<&mut [Rows]> {
    let share = parts.len().div_ceil(groups).max(1);
    parts.chunks_mut(share).collect()
}

/// Replaces movie ids by their indexes, and counts the rows of each in each group.
fn count(groups: &mut [&mut [Rows]], movies: &Ids, number: usize, workers: Workers) -> Vec<Vec<u64>> {
    let mut counts: Vec<Vec<u64>> = groups.iter().map(|_| vec![0; number]).collect();
    workers.each(groups.iter_mut().zip(&mut counts).collect(), |(group, counts)| {
        for part in group.iter_mut() {
            // Movies come in long runs of the same.
            for run in part.movies.chunk_by_mut(|one, other| one == other) {
                let movie = movies.place(run[0]);
                counts[movie as usize] += run.len() as u64;
                run.fill(movie);
            }
        }
    });
    counts
}

/// Where movies begin, and where in each of them each group begins.
fn starts(mut counts: Vec<Vec<u64>>, number: usize) -> (Vec<u64>, Vec<Vec<u64>>) {
    let mut offsets = Vec::with_capacity(number + 1);
    let mut next = 0;
    for movie in 0..number {
        offsets.push(next);
        for group in &mut counts {
            next += std::mem::replace(&mut group[movie], next);
        }
    }
    offsets.push(next);
    (offsets, counts)
}

/// Memory that several threads write to, each at places of its own.
struct Slots<'a, T> {
    first: *mut T,
    #[cfg(debug_assertions)]
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: only `put` touches the memory, and its callers see to it that no two threads use the same place.
unsafe impl<T: Send> Sync for Slots<'_, T> {}

impl<'a, T> Slots<'a, T> {
    fn of(slice: &'a mut [T]) -> Self {
        Self {
            first: slice.as_mut_ptr(),
            #[cfg(debug_assertions)]
            length: slice.len(),
            lifetime: PhantomData,
        }
    }

    /// Writes a value.
    ///
    /// # Safety
    /// `place` is inside the slice, and no other thread uses it.
    #[inline(always)]
    unsafe fn put(&self, place: usize, value: T) {
        #[cfg(debug_assertions)]
        assert!(place < self.length);
        // SAFETY: the caller's promise.
        unsafe { self.first.add(place).write(value) }
    }
}

/// A run of movies with their ratings.
struct Run<'a> {
    movies: Range<usize>,
    raters: &'a mut [u32],
    stars: &'a mut [u8],
}

/// Sorts the users of every movie.
fn sort(ratings: &mut Ratings, workers: Workers) -> Result<(), RatingsError> {
    let Ratings { movie_ids, user_ids, offsets, raters, stars } = ratings;
    let first_duplicate = Mutex::new(None);
    let bits = usize::BITS - user_ids.len().leading_zeros();
    workers.each(runs(offsets, raters, stars, 8 * workers.count), |run| {
        let mut scratch = Scratch::default();
        let (mut raters, mut stars) = (run.raters, run.stars);
        for movie in run.movies {
            let length = (offsets[movie + 1] - offsets[movie]) as usize;
            let (users, rest) = raters.split_at_mut(length);
            let (given, other) = stars.split_at_mut(length);
            (raters, stars) = (rest, other);
            if users.windows(2).all(|pair| pair[0] < pair[1]) {
                continue;
            }
            scratch.sort(users, given, bits);
            if let Some(pair) = users.windows(2).find(|pair| pair[0] == pair[1]) {
                let mut first = first_duplicate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                *first = Some(first.map_or((movie, pair[0]), |first: (usize, u32)| first.min((movie, pair[0]))));
                break;
            }
        }
    });
    match first_duplicate.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some((movie, user)) => Err(RatingsError::Duplicate { movie: movie_ids[movie], user: user_ids[user as usize] }),
        None => Ok(()),
    }
}

/// Cuts the columns into about `count` runs of movies with about equal numbers of ratings.
fn runs<'a>(offsets: &[u64], mut raters: &'a mut [u32], mut stars: &'a mut [u8], count: usize) -> Vec<Run<'a>> {
    let movies = offsets.len() - 1;
    let share = (offsets[movies] / count as u64).max(1);
    let mut runs = Vec::with_capacity(count + 1);
    let mut begin = 0;
    while begin < movies {
        let end = offsets.partition_point(|offset| *offset < offsets[begin] + share).clamp(begin + 1, movies);
        let length = (offsets[end] - offsets[begin]) as usize;
        let (first, rest) = raters.split_at_mut(length);
        let (given, other) = stars.split_at_mut(length);
        (raters, stars) = (rest, other);
        runs.push(Run { movies: begin..end, raters: first, stars: given });
        begin = end;
    }
    runs
}

/// Memory for sorting one movie after the other.
#[derive(Default)]
struct Scratch {
    keys: Vec<u64>,
    other: Vec<u64>,
}

impl Scratch {
    /// Sorts the users of a movie, below 2^`bits`, together with their stars.
    fn sort(&mut self, users: &mut [u32], stars: &mut [u8], bits: u32) {
        self.keys.clear();
        self.keys.extend(users.iter().zip(stars.iter()).map(|(user, stars)| u64::from(*user) << 8 | u64::from(*stars)));
        if users.len() < FEW {
            self.keys.sort_unstable();
        } else {
            self.other.resize(self.keys.len(), 0);
            for shift in (0..bits).step_by(DIGIT as usize) {
                self.by_digit(8 + shift);
            }
        }
        for ((user, stars), key) in users.iter_mut().zip(stars).zip(&self.keys) {
            (*user, *stars) = ((key >> 8) as u32, *key as u8);
        }
    }

    /// Orders the keys by one digit; equal ones keep their order.
    fn by_digit(&mut self, shift: u32) {
        let digit = |key: u64| (key >> shift) as usize % (1 << DIGIT);
        let mut next = [0u32; 1 << DIGIT];
        self.keys.iter().for_each(|key| next[digit(*key)] += 1);
        let mut sum = 0;
        for count in &mut next {
            sum += std::mem::replace(count, sum);
        }
        self.other.truncate(self.keys.len());
        for key in &self.keys {
            let slot = &mut next[digit(*key)];
            self.other[*slot as usize] = *key;
            *slot += 1;
        }
        std::mem::swap(&mut self.keys, &mut self.other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(entries: &[(u32, u32, u8)]) -> Rows {
        let mut rows = Rows::default();
        entries.iter().for_each(|(movie, user, stars)| rows.push(*movie, *user, *stars));
        rows
    }

    /// The definition: sort everything, then look ids up.
    fn plainly(entries: &[(u32, u32, u8)]) -> Result<Ratings, RatingsError> {
        let mut sorted = entries.to_vec();
        sorted.sort_by_key(|entry| (entry.0, entry.1));
        if let Some(pair) = sorted.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            return Err(RatingsError::Duplicate { movie: pair[0].0, user: pair[0].1 });
        }
        let unique = |ids: &mut dyn Iterator<Item = u32>| ids.collect::<std::collections::BTreeSet<u32>>().into_iter().collect();
        let movie_ids: Vec<u32> = unique(&mut sorted.iter().map(|entry| entry.0));
        let user_ids: Vec<u32> = unique(&mut sorted.iter().map(|entry| entry.1));
        let before = |id: &u32| sorted.partition_point(|entry| entry.0 < *id) as u64;
        let place = |id: u32| user_ids.binary_search(&id).unwrap() as u32;
        Ok(Ratings {
            offsets: movie_ids.iter().map(before).chain([sorted.len() as u64]).collect(),
            raters: sorted.iter().map(|entry| place(entry.1)).collect(),
            stars: sorted.iter().map(|entry| entry.2).collect(),
            movie_ids,
            user_ids,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn columns_are_those_of_sorted_rows_for_any_parts_and_threads(
            entries in proptest::collection::vec(
                (prop_oneof![0u32..6, any::<u32>()], prop_oneof![0u32..40, any::<u32>(), Just(u32::MAX)], 1u8..=10), 0..160),
            keep_duplicates in any::<bool>(),
            part in 1usize..70,
            threads in 1usize..5,
        ) {
            let mut seen = std::collections::HashSet::new();
            let entries: Vec<_> =
                entries.into_iter().filter(|entry| seen.insert((entry.0, entry.1)) || keep_duplicates).collect();
            let parts = entries.chunks(part).map(rows).collect();
            prop_assert_eq!(build(parts, Workers::of_number(threads)), plainly(&entries));
        }
    }

    #[test]
    fn long_lists_of_users_are_sorted_digit_by_digit() {
        let entries: Vec<(u32, u32, u8)> = (0..6000u64)
            .map(|at| (1, (at * 7919 % 6000) as u32 * 700_001 % 4_200_000_011, (crate::random::mix(at) % 10) as u8 + 1))
            .collect();
        assert_eq!(build(vec![rows(&entries)], Workers::of_number(2)), plainly(&entries));
    }

    #[test]
    fn a_second_rating_of_the_same_movie_by_the_same_user_is_named() {
        let error = Ratings::from_rows(rows(&[(9, 40, 4), (9, 7, 10), (9, 40, 2)])).unwrap_err();
        assert_eq!(error, RatingsError::Duplicate { movie: 9, user: 40 });
    }

    #[test]
    fn no_rows_are_a_set_without_movies() {
        let ratings = Ratings::from_rows(Rows::default()).unwrap();
        assert_eq!((ratings.movies(), ratings.users(), ratings.offsets), (0, 0, vec![0]));
    }
}
