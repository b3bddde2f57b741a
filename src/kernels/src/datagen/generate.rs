//! The model behind generated ratings.
//!
//! Numbers are fitted to the published moments of the Netflix Prize set: 17,770 movies, 480,189 users, 100,480,507
//! ratings; the 302 most rated movies have a third of all ratings, the median movie has 554; users have 209 ratings in
//! the mean; any two movies have 3.2e10 common raters in all. Who rates what follows popularity and activity; how it is rated follows biases and
//! eight tastes, so that movies of one genre correlate.

use super::sample::Sampler;
use crate::random::{SplitMix64, derive};
use crate::ratings::Rows;

/// Tastes of a user, and traits of a movie.
const FACTORS: usize = 8;
/// Movies of one genre share most of their traits.
const GENRES: u64 = 12;
/// The popularity of the movie of rank k, as a weight of draws without repeats, is
/// `(1 + k / (KNEE · movies))^-TAIL · (1 + k)^-HEAD`. Nobody rates a movie twice, so the most popular ones get less than
/// their weight; the three numbers are fitted to what is left: 0.34 for the top 302 of 17,770, 554 for the median.
const KNEE: f64 = 0.05;
const TAIL: f64 = 2.1;
const HEAD: f64 = 0.25;
/// Of the log-normal activity: its second moment gives all pairs of movies the common raters they had.
const ACTIVITY: f64 = 1.11;
/// 1999-11-11, the first day of the Netflix Prize set, in days since 1970.
const FIRST_DAY: u64 = 10_906;
/// Its length in days, to the end of 2005.
const DAYS: u64 = 2_243;

/// What determines a set.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Number of movies, at least 1.
    pub movies: u32,
    /// Number of users, at least 1.
    pub users: u32,
    /// Number of ratings, at most movies times users.
    pub ratings: u64,
    /// Seed of all random streams.
    pub seed: u64,
    /// Whether ratings have half stars.
    pub half_stars: bool,
}

/// A generated set, ordered by user and then by movie; ids count from 1.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Who rated what how.
    pub rows: Rows,
    /// When, in days since 1970.
    pub days: Vec<u16>,
}

/// A movie as ratings see it.
struct Movie {
    bias: f64,
    traits: [f64; FACTORS],
}

/// Random streams of one seed that must not be the same.
#[derive(Clone, Copy)]
enum Stream {
    Popularity,
    Movies,
    Genres,
    Activity,
    Users,
}

impl Stream {
    fn of(self, seed: u64, index: u64) -> SplitMix64 {
        SplitMix64::new(derive(derive(seed, self as u64), index))
    }
}

/// Generates a set; `progress` is told users done and in total.
pub fn generate(shape: &Shape, mut progress: impl FnMut(u64, u64)) -> Set {
    let ranks = popularity_ranks(shape);
    let knee = (KNEE * f64::from(shape.movies)).max(1.0);
    let mut sampler = Sampler::new(ranks.iter().map(|rank| popularity(f64::from(*rank), knee)).collect());
    let movies: Vec<Movie> = (0..shape.movies as usize).map(|index| movie(shape, index, ranks[index])).collect();
    let counts = activity(shape);
    let mut set = Set::default();
    let mut sample = Vec::new();
    for (user, count) in counts.iter().enumerate() {
        let mut random = Stream::Users.of(shape.seed, user as u64);
        let bias = 0.4 * random.normal();
        let tastes: [f64; FACTORS] = std::array::from_fn(|_| random.normal());
        sampler.sample(&mut random, *count as usize, &mut sample);
        for index in &sample {
            let movie = &movies[*index as usize];
            let liking: f64 = tastes.iter().zip(&movie.traits).map(|(taste, part)| taste * part).sum();
            let stars = 3.5 + bias + movie.bias + liking + 0.7 * random.normal();
            set.rows.push(index + 1, user as u32 + 1, rounded(stars, shape.half_stars));
            set.days.push((FIRST_DAY + random.below(DAYS)) as u16);
        }
        if user % 1024 == 0 {
            progress(user as u64, counts.len() as u64);
        }
    }
    progress(counts.len() as u64, counts.len() as u64);
    set
}

/// The weight of the movie of some rank.
fn popularity(rank: f64, knee: f64) -> f64 {
    (1.0 + rank / knee).powf(-TAIL) * (1.0 + rank).powf(-HEAD)
}

/// Half stars of a rating: 1 to 10, or the even ones of 2 to 10.
fn rounded(stars: f64, half_stars: bool) -> u8 {
    if half_stars { (2.0 * stars).round().clamp(1.0, 10.0) as u8 } else { 2 * stars.round().clamp(1.0, 5.0) as u8 }
}

/// The place of each movie in the order of popularity, from 0: a permutation (Fisher and Yates).
fn popularity_ranks(shape: &Shape) -> Vec<u32> {
    let mut random = Stream::Popularity.of(shape.seed, 0);
    let mut ranks: Vec<u32> = (0..shape.movies).collect();
    for last in (1..ranks.len()).rev() {
        ranks.swap(last, random.below(last as u64 + 1) as usize);
    }
    ranks
}

/// Popular movies are liked a little better; their traits are those of a genre, and a few of their own.
fn movie(shape: &Shape, index: usize, rank: u32) -> Movie {
    let mut random = Stream::Movies.of(shape.seed, index as u64);
    let mut genre = Stream::Genres.of(shape.seed, random.below(GENRES));
    let popularity = 0.5 - f64::from(rank) / f64::from(shape.movies);
    Movie {
        bias: 0.4 * popularity + 0.4 * random.normal(),
        traits: std::array::from_fn(|_| 0.22 * genre.normal() + 0.12 * random.normal()),
    }
}

/// The number of ratings of each user: log-normal, at most one of each movie, at least one if there are enough, and
/// exactly as many in total as asked for.
fn activity(shape: &Shape) -> Vec<u64> {
    let mut random = Stream::Activity.of(shape.seed, 0);
    let weights: Vec<f64> = (0..shape.users).map(|_| (ACTIVITY * random.normal()).exp()).collect();
    let most = f64::from(shape.movies);
    let least = if shape.ratings >= u64::from(shape.users) { 1.0 } else { 0.0 };
    let share = |scale: f64, weight: f64| (scale * weight).clamp(least, most);
    let total = |scale: f64| weights.iter().map(|weight| share(scale, *weight)).sum::<f64>();
    let ratings = shape.ratings as f64;
    let (mut low, mut high) = (0.0, 1.0);
    // Weights are above exp(-1.11 · 9), so that doubling reaches `most` for every user long before 200 steps.
    for _ in 0..200 {
        if total(high) >= ratings {
            break;
        }
        high *= 2.0;
    }
    // Each step halves the interval: 100 go below the last bit.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if total(middle) < ratings { low = middle } else { high = middle }
    }
    whole_shares(weights.iter().map(|weight| share(high, *weight)), shape)
}

/// Rounds shares to whole numbers that are at most a movie count each and add up to all ratings.
fn whole_shares(shares: impl Iterator<Item = f64>, shape: &Shape) -> Vec<u64> {
    let (mut exact, mut given) = (0.0, 0);
    let mut counts: Vec<u64> = shares
        .map(|share| {
            exact += share;
            let upto = (exact.round() as u64).min(shape.ratings);
            let count = (upto - given).min(u64::from(shape.movies));
            given += count;
            count
        })
        .collect();
    // Rounding of the sum itself may leave a few ratings over.
    for count in &mut counts {
        let more = (shape.ratings - given).min(u64::from(shape.movies) - *count);
        *count += more;
        given += more;
    }
    counts
}
