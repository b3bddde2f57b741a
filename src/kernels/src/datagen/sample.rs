//! Weighted samples without repeats.

use crate::random::SplitMix64;

/// Draws indexes by weight: one table look-up a draw (Walker 1977, built as Vose 1991 does).
pub struct Sampler {
    weights: Vec<f64>,
    /// The chance to keep a column's own index.
    keep: Vec<f64>,
    /// Whose index it is otherwise.
    alias: Vec<u32>,
    /// The sample in which an index was drawn last.
    drawn: Vec<u32>,
    sample: u32,
}

impl Sampler {
    /// A sampler of `0..weights.len()`; weights are positive.
    pub fn new(weights: Vec<f64>) -> Self {
        let count = weights.len();
        let mean = weights.iter().sum::<f64>() / count as f64;
        let mut keep: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut alias: Vec<u32> = (0..count as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|index| keep[*index] < 1.0);
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            alias[poor] = rich as u32;
            keep[rich] -= 1.0 - keep[poor];
            if keep[rich] < 1.0 { small.push(rich) } else { large.push(rich) }
        }
        // What is left over is 1 but for rounding.
        small.into_iter().chain(large).for_each(|index| keep[index] = 1.0);
        Self { weights, keep, alias, drawn: vec![0; count], sample: 0 }
    }

    /// Fills `into` with `count` different indexes, ascending.
    pub fn sample(&mut self, random: &mut SplitMix64, count: usize, into: &mut Vec<u32>) {
        into.clear();
        self.sample += 1;
        // Rejection gets slow once the heavy indexes are taken; up to a quarter, some 12 % of the weight is left.
        if count > self.weights.len() / 4 {
            self.by_keys(random, count, into);
        } else {
            while into.len() < count {
                let index = self.draw(random);
                if std::mem::replace(&mut self.drawn[index as usize], self.sample) != self.sample {
                    into.push(index);
                }
            }
        }
        into.sort_unstable();
    }

    fn draw(&self, random: &mut SplitMix64) -> u32 {
        let column = random.below(self.keep.len() as u64) as usize;
        if random.unit() <= self.keep[column] { column as u32 } else { self.alias[column] }
    }

    /// The indexes with the largest `ln(u) / weight` (Efraimidis and Spirakis 2006): the same distribution, in one pass.
    fn by_keys(&self, random: &mut SplitMix64, count: usize, into: &mut Vec<u32>) {
        let keys = self.weights.iter().enumerate();
        let mut keys: Vec<(f64, u32)> = keys.map(|(index, weight)| (random.unit().ln() / weight, index as u32)).collect();
        if count < keys.len() {
            keys.select_nth_unstable_by(count, |one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        }
        into.extend(keys[..count].iter().map(|(_, index)| *index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let weights = vec![1.0, 5.0, 0.5, 3.5];
        let sampler = Sampler::new(weights.clone());
        let mut random = SplitMix64::new(3);
        let mut counts = [0; 4];
        (0..100_000).for_each(|_| counts[sampler.draw(&mut random) as usize] += 1);
        for (count, weight) in counts.iter().zip(weights) {
            assert!((f64::from(*count) / 10_000.0 - weight).abs() < 0.1, "{counts:?}");
        }
    }

    #[test]
    fn samples_of_any_size_have_no_repeats() {
        let mut sampler = Sampler::new((1..=40).map(|rank| 1.0 / f64::from(rank * rank)).collect());
        let mut random = SplitMix64::new(3);
        let mut sample = Vec::new();
        for count in 0..=40 {
            sampler.sample(&mut random, count, &mut sample);
            assert_eq!(sample.len(), count);
            assert!(sample.windows(2).all(|pair| pair[0] < pair[1]) && sample.iter().all(|index| *index < 40));
        }
    }
}
