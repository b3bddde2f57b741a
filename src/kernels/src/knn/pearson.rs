//! The similarity of one pair of movies.

/// Sums over the users who rated both movies of a pair, of ratings x and y in half stars (1 to 10).
///
/// 32 bits hold them for up to [`super::block::MOST_RATERS`] common raters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The number of such users.
    pub n: u32,
    /// Σ x
    pub x: u32,
    /// Σ y
    pub y: u32,
    /// Σ x²
    pub xx: u32,
    /// Σ y²
    pub yy: u32,
    /// Σ x y
    pub xy: u32,
}

impl Sums {
    /// Adds one user's two ratings.
    #[inline]
    pub fn add(&mut self, x: u32, y: u32) {
        self.n += 1;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// Pearson's correlation, `(n Σxy − Σx Σy) / sqrt((n Σxx − Σx²) (n Σyy − Σy²))`; 0 where the root is 0.
    ///
    /// The three differences are exact integers, and below 2^53 up to 9.4 million common raters; from there one rounding
    /// each for product, root and quotient, in this order, so that it is the same bits as any f64 evaluation of the same
    /// formula. Half stars instead of stars scale every term by a power of two, which changes no bit.
    pub fn correlation(&self) -> f64 {
        let [n, x, y, xx, yy, xy] = [self.n, self.x, self.y, self.xx, self.yy, self.xy].map(i64::from);
        let root = ((n * xx - x * x) as f64 * (n * yy - y * y) as f64).sqrt();
        if root == 0.0 { 0.0 } else { (n * xy - x * y) as f64 / root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(pairs: &[(u32, u32)]) -> Sums {
        let mut sums = Sums::default();
        pairs.iter().for_each(|(x, y)| sums.add(*x, *y));
        sums
    }

    #[test]
    fn correlation_of_a_known_pair_is_known() {
        // Ratings 1, 2, 4 and 2, 3, 3 stars: means 7/3 and 8/3, r = (4/3) / sqrt(14/3 · 2/3) = 2 / sqrt(7).
        assert!((sums(&[(2, 4), (4, 6), (8, 6)]).correlation() - 2.0 / 7f64.sqrt()).abs() < 1e-15);
        assert_eq!(sums(&[(2, 4), (4, 8)]).correlation(), 1.0);
        assert_eq!(sums(&[(2, 8), (4, 4)]).correlation(), -1.0);
    }

    #[test]
    fn constant_ratings_and_single_raters_correlate_with_nothing() {
        assert_eq!(sums(&[]).correlation(), 0.0);
        assert_eq!(sums(&[(2, 4)]).correlation(), 0.0);
        assert_eq!(sums(&[(6, 4), (6, 8), (6, 2)]).correlation(), 0.0);
    }

    #[test]
    fn half_stars_and_stars_give_the_same_bits() {
        let pairs = [(1, 5), (2, 2), (5, 3), (4, 4), (3, 1), (5, 5), (1, 2)];
        let doubled: Vec<(u32, u32)> = pairs.iter().map(|(x, y)| (2 * x, 2 * y)).collect();
        assert_eq!(sums(&pairs).correlation().to_bits(), sums(&doubled).correlation().to_bits());
    }

    #[test]
    fn the_most_raters_fit_into_the_sums() {
        let most = super::super::block::MOST_RATERS;
        assert!(most * 100 <= u64::from(u32::MAX) && (most + 1) * 100 > u64::from(u32::MAX));
    }
}
