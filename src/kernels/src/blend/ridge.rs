//! Ridge regression from second moments.

use std::ops::AddAssign;

/// Sums over rows of predictors and a target: enough for any regression, and additive.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    predictors: usize,
    /// The lower triangle, row by row, of the sums of products of 1, the predictors and the target.
    sums: Vec<f64>,
}

/// A linear model.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// What is added to the weighted predictors.
    pub intercept: f64,
    /// The weight of each predictor.
    pub weights: Vec<f64>,
}

impl Moments {
    /// No rows yet.
    pub fn new(predictors: usize) -> Self {
        Self { predictors, sums: vec![0.0; Self::length(predictors)] }
    }

    /// The number of sums.
    pub fn length(predictors: usize) -> usize {
        let size = predictors + 2;
        size * (size + 1) / 2
    }

    /// Sums that came from elsewhere.
    pub fn from_sums(predictors: usize, sums: &[f64]) -> Self {
        assert_eq!(sums.len(), Self::length(predictors), "the sums of {predictors} predictors");
        Self { predictors, sums: sums.to_vec() }
    }

    /// The sums, as [`Moments::from_sums`] takes them.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// Adds a row; `row` has room for one, the predictors and the target.
    pub fn add(&mut self, predictors: &[f64], target: f64, row: &mut Vec<f64>) {
        row.clear();
        row.push(1.0);
        row.extend_from_slice(predictors);
        row.push(target);
        let mut begin = 0;
        for (at, value) in row.iter().enumerate() {
            for (sum, other) in self.sums[begin..=begin + at].iter_mut().zip(&row[..=at]) {
                *sum += value * other;
            }
            begin += at + 1;
        }
    }

    fn sum(&self, one: usize, other: usize) -> f64 {
        let (row, column) = (one.max(other), one.min(other));
        self.sums[row * (row + 1) / 2 + column]
    }

    /// The number of rows.
    pub fn count(&self) -> f64 {
        self.sums[0]
    }

    /// The weights that minimise mean squared error + `ridge` · sum of squared weights; the intercept is free.
    ///
    /// None if the predictors depend on each other so closely that their weights are undetermined.
    pub fn solve(&self, ridge: f64) -> Option<Weights> {
        let count = self.count();
        if count == 0.0 {
            return Some(Weights { intercept: 0.0, weights: vec![0.0; self.predictors] });
        }
        let target = self.predictors + 1;
        let mean = |at: usize| self.sum(at, 0) / count;
        let covariance = |one: usize, other: usize| self.sum(one, other) / count - mean(one) * mean(other);
        let size = self.predictors;
        let mut factor = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                let ridge = if row == column { ridge } else { 0.0 };
                factor[row * size + column] = covariance(row + 1, column + 1) + ridge;
            }
        }
        let right: Vec<f64> = (0..size).map(|at| covariance(at + 1, target)).collect();
        let weights = solve_by_cholesky(factor, right)?;
        let intercept = mean(target) - weights.iter().enumerate().map(|(at, weight)| weight * mean(at + 1)).sum::<f64>();
        Some(Weights { intercept, weights })
    }
}

impl AddAssign<&Self> for Moments {
    fn add_assign(&mut self, other: &Self) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
    }
}

impl Weights {
    /// The model's answer for one row.
    pub fn of(&self, predictors: &[f64]) -> f64 {
        self.intercept + self.weights.iter().zip(predictors).map(|(weight, value)| weight * value).sum::<f64>()
    }
}

/// Solves a symmetric positive definite system, given by its lower triangle row by row; none if it is not definite.
fn solve_by_cholesky(mut lower: Vec<f64>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let size = right.len();
    for row in 0..size {
        for column in 0..=row {
            let known: f64 = (0..column).map(|at| lower[row * size + at] * lower[column * size + at]).sum();
            let rest = lower[row * size + column] - known;
            if row != column {
                lower[row * size + column] = rest / lower[column * size + column];
                continue;
            }
            // What rounding leaves of a diagonal that is 0 in exact arithmetic.
            if rest.is_nan() || rest <= 1e-12 * lower[row * size + row].abs() {
                return None;
            }
            lower[row * size + row] = rest.sqrt();
        }
    }
    for row in 0..size {
        let known: f64 = (0..row).map(|at| lower[row * size + at] * right[at]).sum();
        right[row] = (right[row] - known) / lower[row * size + row];
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|at| lower[at * size + row] * right[at]).sum();
        right[row] = (right[row] - known) / lower[row * size + row];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;
    use proptest::prelude::*;

    /// Random rows of predictors, and targets that depend on them and on chance.
    fn rows(predictors: usize, count: usize, seed: u64) -> Vec<(Vec<f64>, f64)> {
        let mut random = SplitMix64::new(seed);
        let mut row = || {
            let values: Vec<f64> = (0..predictors).map(|_| 3.5 + random.normal()).collect();
            let target = 1.0 + values.iter().enumerate().map(|(at, value)| value * (at as f64 - 1.0)).sum::<f64>();
            (values, target + 0.1 * random.normal())
        };
        (0..count).map(|_| row()).collect()
    }

    fn moments(rows: &[(Vec<f64>, f64)], predictors: usize) -> Moments {
        let mut moments = Moments::new(predictors);
        let mut room = Vec::new();
        rows.iter().for_each(|(values, target)| moments.add(values, *target, &mut room));
        moments
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn weights_are_where_the_gradient_of_the_penalised_error_is_zero(
            predictors in 1usize..9,
            more in 5usize..60,
            ridge in 0.0f64..0.5,
            seed: u64,
        ) {
            let rows = rows(predictors, predictors + more, seed);
            let found = moments(&rows, predictors).solve(ridge).unwrap();
            let errors: Vec<f64> = rows.iter().map(|(values, target)| found.of(values) - target).collect();
            let mean = |terms: &mut dyn Iterator<Item = f64>| terms.sum::<f64>() / rows.len() as f64;
            prop_assert!(mean(&mut errors.iter().copied()).abs() < 1e-8);
            for at in 0..predictors {
                let gradient = mean(&mut rows.iter().zip(&errors).map(|((values, _), error)| values[at] * error));
                prop_assert!((gradient + ridge * found.weights[at]).abs() < 1e-8, "{gradient}");
            }
        }
    }

    #[test]
    fn dependent_predictors_need_a_ridge() {
        let rows: Vec<(Vec<f64>, f64)> = (0..20).map(|at| (vec![f64::from(at), 2.0 * f64::from(at)], f64::from(at))).collect();
        let moments = moments(&rows, 2);
        assert_eq!(moments.solve(0.0), None);
        let weights = moments.solve(1e-6).unwrap();
        assert!((weights.of(&[3.0, 6.0]) - 3.0).abs() < 1e-4);
    }

    #[test]
    fn a_predictor_that_never_changes_gets_no_weight_and_no_rows_give_none() {
        let rows: Vec<(Vec<f64>, f64)> = (0..9).map(|at| (vec![4.0, f64::from(at)], f64::from(at))).collect();
        let weights = moments(&rows, 2).solve(1e-3).unwrap();
        assert!(weights.weights[0].abs() < 1e-9 && weights.weights[1] > 0.9);
        assert_eq!(Moments::new(2).solve(0.1).unwrap().weights, [0.0, 0.0]);
    }
}
