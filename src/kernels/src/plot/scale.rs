//! Axes: where a value lies, where the marks are, and how they read.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How an axis divides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By differences.
    Linear,
    /// By differences, marked at whole numbers.
    Count,
    /// By factors, marked at powers of 10.
    Decimal,
    /// By factors, marked at powers of 2 bytes.
    Binary,
}

impl Kind {
    /// Whether a value can be shown at all.
    pub fn shows(self, value: f64) -> bool {
        value.is_finite() && (matches!(self, Kind::Linear | Kind::Count) || value > 0.0)
    }

    /// The value's place before it is stretched to the axis.
    fn place(self, value: f64) -> f64 {
        match self {
            Kind::Linear | Kind::Count => value,
            Kind::Decimal => value.log10(),
            Kind::Binary => value.log2(),
        }
    }
}

/// An axis that spans some values.
#[derive(Clone, Debug)]
pub struct Scale {
    kind: Kind,
    low: f64,
    high: f64,
}

impl Scale {
    /// Spans `values`, all of which can be shown: from zero on a linear axis, unless they keep away from it.
    pub fn spanning(kind: Kind, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        // An axis without values stands around 1.
        let (low, high) = if low > high { (1.0, 1.0) } else { (low, high) };
        match kind {
            Kind::Linear => {
                let margin = if high > low { (high - low) * 0.04 } else { high.abs().max(1.0) * 0.1 };
                let low = if low >= 0.0 && low < 0.4 * high { 0.0 } else { low - margin };
                Self { kind, low, high: high + margin }
            }
            Kind::Count => Self { kind, low: low - (high - low) * 0.04 - 0.2, high: high + (high - low) * 0.04 + 0.2 },
            Kind::Decimal | Kind::Binary => {
                let margin = if high > low { (high / low).powf(0.03) } else { 2.0 };
                Self { kind, low: low / margin, high: high * margin }
            }
        }
    }

    /// Powers of 10 with their halves and fifths where those alone would be too few; or powers of 2.
    fn powers(&self, most: usize) -> Vec<f64> {
        let base: f64 = if self.kind == Kind::Binary { 2.0 } else { 10.0 };
        let (first, last) = (self.kind.place(self.low).floor() as i32, self.kind.place(self.high).ceil() as i32);
        let between: &[f64] = match self.kind {
            Kind::Decimal if (last - first) <= 3 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let step = ((last - first) as usize).div_ceil(most.max(1)).max(1);
        let exponents = (first..=last).filter(|exponent| exponent.rem_euclid(step as i32) == 0);
        let marks = exponents.flat_map(|exponent| between.iter().map(move |part| part * base.powi(exponent)));
        marks.filter(|mark| (self.low..=self.high).contains(mark)).collect()
    }

    /// Multiples of 1, 2 or 5 times a power of 10, at most `most` of them.
    fn multiples(&self, most: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|part| part * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let step = if self.kind == Kind::Count { step.max(1.0) } else { step };
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|multiple| multiple as f64 * step).collect()
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (low, high) = (self.kind.place(self.low), self.kind.place(self.high));
        let share = (self.kind.place(*value) - low) / (high - low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match self.kind {
            Kind::Linear | Kind::Count => self.multiples(hint.bold_points()),
            Kind::Decimal | Kind::Binary => self.powers(hint.bold_points()),
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        if self.kind == Kind::Binary { bytes(*value) } else { short(*value) }
    }
}

/// A size as in `64 KiB`.
fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = ((value.max(1.0).log2() / 10.0).floor() as usize).min(units.len() - 1);
    format!("{} {}", short(value / 1024f64.powi(step as i32)), units[step])
}

/// A mark without the noise of binary fractions: at most six significant digits, no zeros behind them.
fn short(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some(("1", exponent)) => format!("10^{exponent}"),
            Some((digits, exponent)) => format!("{digits}·10^{exponent}"),
            None => text,
        };
    }
    let decimals = (5 - value.abs().max(1e-4).log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(kind: Kind, low: f64, high: f64, most: usize) -> Vec<String> {
        let scale = Scale::spanning(kind, [low, high].into_iter());
        scale.key_points(most).iter().map(|mark| scale.format_ext(mark)).collect()
    }

    #[test]
    fn marks_are_round_numbers_in_the_axis_own_steps() {
        assert_eq!(marks(Kind::Linear, 1.0, 4.0, 5), ["0", "1", "2", "3", "4"]);
        assert_eq!(marks(Kind::Linear, 0.852, 0.897, 6), ["0.86", "0.87", "0.88", "0.89"]);
        assert_eq!(marks(Kind::Count, 1.0, 4.0, 20), ["1", "2", "3", "4"]);
        assert_eq!(marks(Kind::Count, 1.0, 60.0, 8), ["0", "10", "20", "30", "40", "50", "60"]);
        assert_eq!(marks(Kind::Decimal, 0.2, 900.0, 9), ["1", "10", "100", "1000"]);
        assert_eq!(marks(Kind::Decimal, 3.0, 40.0, 9), ["5", "10", "20"]);
        assert_eq!(
            marks(Kind::Binary, 1.0, 4194304.0, 8),
            ["1 B", "8 B", "64 B", "512 B", "4 KiB", "32 KiB", "256 KiB", "2 MiB"]
        );
    }

    #[test]
    fn numbers_read_without_noise() {
        let texts = [0.0, 0.1 + 0.2, 1e-7, 2.5e6, 1200.0, -0.05, 1e6].map(short);
        assert_eq!(texts, ["0", "0.3", "10^-7", "2.5·10^6", "1200", "-0.05", "10^6"]);
    }

    #[test]
    fn one_value_or_none_still_makes_an_axis() {
        for kind in [Kind::Linear, Kind::Count, Kind::Decimal, Kind::Binary] {
            for values in [vec![], vec![0.7], vec![5.0, 5.0]] {
                let scale = Scale::spanning(kind, values.into_iter());
                assert!(scale.low < scale.high, "{scale:?}");
                assert!(scale.key_points(8).len() <= 20, "{scale:?}");
            }
        }
    }
}
