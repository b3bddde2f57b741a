//! Durations, sizes, money and networks: amounts that a spec writes with their unit.
//!
//! A plain number is never one of these: `90` could be seconds or minutes, and a spec should not need its manual.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul};
use std::str::FromStr;

use crate::names::{Invalid, TextForm, serde_as_text};

mod network;
mod range;

pub use network::Ipv4Network;
pub use range::AddressRange;

/// A span of time in whole seconds, at least one: `8h`, `90s`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

/// Units of a duration, largest first, in seconds.
const DURATION_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Longest duration: ten years. Beyond it lies a typing error, and arithmetic on times that overflows.
const DURATION_MAX: u64 = 3650 * 86_400;

impl Duration {
    /// Makes a duration of 1 second to 10 years; others are brought to the nearest bound.
    pub const fn from_seconds(seconds: u64) -> Self {
        match seconds {
            0 => Self(1),
            1..DURATION_MAX => Self(seconds),
            _ => Self(DURATION_MAX),
        }
    }

    /// Returns the whole seconds.
    pub const fn as_seconds(self) -> u64 {
        self.0
    }

    /// Returns the standard library's form.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }
}

impl TextForm for Duration {
    const KIND: &'static str = "duration";
    const NOUN: &'static str = "a duration";
    const EXAMPLE: &'static str = "1h30m";
    const PATTERN: &'static str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$";

    fn instead_of_number(number: &str) -> Option<String> {
        Some(format!("write the unit: `{number}s`, `{number}m` or `{number}h`"))
    }
}

impl FromStr for Duration {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(format!("`{text}` is not a duration"))
                .hint("write numbers with units d, h, m, s, largest first: `90s`, `8h`, `1h30m`")
        };
        let mut rest = text;
        let mut seconds: u64 = 0;
        let mut units = DURATION_UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            let letter = rest[digits..].chars().next().ok_or_else(invalid)?;
            let (_, size) = units.find(|(unit, _)| *unit == letter).ok_or_else(invalid)?;
            seconds = number.checked_mul(*size).and_then(|part| seconds.checked_add(part)).ok_or_else(invalid)?;
            rest = &rest[digits + letter.len_utf8()..];
        }
        match seconds {
            0 if text.is_empty() => Err(invalid()),
            0 => Err(Invalid::new(format!("duration `{text}` is zero")).hint("the shortest duration is `1s`")),
            1..=DURATION_MAX => Ok(Self(seconds)),
            _ => Err(Invalid::new(format!("duration `{text}` is longer than ten years"))),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, size) in DURATION_UNITS {
            if rest >= size {
                write!(formatter, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

serde_as_text!(Duration);

/// An amount of memory or storage in bytes, at least one: `512MiB`, `50GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const KIBIBYTE: u64 = 1 << 10;
const MEBIBYTE: u64 = 1 << 20;
const GIBIBYTE: u64 = 1 << 30;
const TEBIBYTE: u64 = 1 << 40;

const SIZE_UNITS: [(&str, u64); 5] = [("TiB", TEBIBYTE), ("GiB", GIBIBYTE), ("MiB", MEBIBYTE), ("KiB", KIBIBYTE), ("B", 1)];

/// Decimal units, known only to say what to write instead.
const DECIMAL_UNITS: [(&str, u64); 8] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("T", TEBIBYTE),
    ("G", GIBIBYTE),
    ("M", MEBIBYTE),
    ("K", KIBIBYTE),
];

impl Size {
    /// Makes a size from bytes, or `None` for zero.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            0 => None,
            _ => Some(Self(bytes)),
        }
    }

    /// Returns the bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

impl TextForm for Size {
    const KIND: &'static str = "size";
    const NOUN: &'static str = "a size";
    const EXAMPLE: &'static str = "50GiB";
    const PATTERN: &'static str = "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$";

    fn instead_of_number(number: &str) -> Option<String> {
        Some(format!("write the unit: `{number}GiB`"))
    }
}

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = text[digits..].trim_start_matches(' ');
        let invalid = || Invalid::new(format!("`{text}` is not a size"));
        let general = || invalid().hint("write a whole number with KiB, MiB, GiB or TiB, such as `50GiB`");
        let number: u64 = text[..digits].parse().map_err(|_| general())?;
        if let Some((_, size)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
            return match number.checked_mul(*size) {
                Some(0) => Err(Invalid::new(format!("size `{text}` is zero"))),
                Some(bytes) => Ok(Self(bytes)),
                None => Err(Invalid::new(format!("size `{text}` is too large"))),
            };
        }
        let same = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit);
        if let Some((name, _)) = SIZE_UNITS.iter().find(same) {
            return Err(invalid().hint(format!("write `{number}{name}`")));
        }
        let decimal = DECIMAL_UNITS.iter().find(same).and_then(|(_, size)| number.checked_mul(*size));
        Err(match decimal.and_then(Self::from_bytes) {
            Some(bytes) => invalid().hint(format!("units are powers of two: write `{}`", bytes.rounded())),
            None => general(),
        })
    }
}

impl Size {
    /// Rounds to a whole number of the largest unit that the size fills.
    fn rounded(self) -> Self {
        let unit = SIZE_UNITS.iter().map(|(_, unit)| *unit).find(|unit| self.0 >= *unit).unwrap_or(1);
        // Half a TiB matters to a disk: round terabytes in GiB.
        let unit = unit.min(GIBIBYTE);
        Self((self.0 + unit / 2) / unit * unit)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = SIZE_UNITS.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(&("B", 1));
        write!(formatter, "{}{name}", self.0 / unit)
    }
}

serde_as_text!(Size);

/// Size of an EBS volume: whole GiB, from 1 GiB to 64 TiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeSize(u32);

/// Largest volume in GiB: CreateVolume takes 1 to 65,536 GiB for gp3.
const VOLUME_MAX: u64 = 64 * 1024;

impl VolumeSize {
    /// Makes a volume size, or `None` outside 1 GiB to 64 TiB.
    pub const fn from_gibibytes(gibibytes: u32) -> Option<Self> {
        match gibibytes as u64 {
            1..=VOLUME_MAX => Some(Self(gibibytes)),
            _ => None,
        }
    }

    /// Returns the GiB, the unit of EC2's `Size` and `VolumeSize`.
    pub const fn as_gibibytes(self) -> u32 {
        self.0
    }
}

impl TextForm for VolumeSize {
    const KIND: &'static str = "volume-size";
    const NOUN: &'static str = "a volume size";
    const EXAMPLE: &'static str = "50GiB";
    const PATTERN: &'static str = "^[0-9]+ ?(MiB|GiB|TiB)$";

    fn instead_of_number(number: &str) -> Option<String> {
        Size::instead_of_number(number)
    }
}

impl FromStr for VolumeSize {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let size: Size = text.parse()?;
        let gibibytes = size.as_bytes() / GIBIBYTE;
        if !size.as_bytes().is_multiple_of(GIBIBYTE) {
            return Err(Invalid::new(format!("volume size `{text}` is not a whole number of GiB"))
                .hint(format!("write `{}GiB`", (gibibytes + 1).min(VOLUME_MAX))));
        }
        u32::try_from(gibibytes).ok().and_then(Self::from_gibibytes).ok_or_else(|| {
            Invalid::new(format!("volume size `{text}` is larger than a volume can be")).hint("the largest volume is `64TiB`")
        })
    }
}

impl fmt::Display for VolumeSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Size(u64::from(self.0) * GIBIBYTE).fmt(formatter)
    }
}

serde_as_text!(VolumeSize);

/// An amount of US dollars, exact to a millionth: `$40`, `$0.357`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(u64);

const MICRODOLLARS: u64 = 1_000_000;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Makes an amount from millionths of a dollar.
    pub const fn from_microdollars(microdollars: u64) -> Self {
        Self(microdollars)
    }

    /// Returns the millionths of a dollar.
    pub const fn as_microdollars(self) -> u64 {
        self.0
    }

    /// Returns the dollars, for ratios and display.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / MICRODOLLARS as f64
    }

    /// Returns this amount per hour spent over some seconds, rounded down to a millionth.
    pub fn for_seconds(self, seconds: u64) -> Self {
        let total = u128::from(self.0) * u128::from(seconds) / 3600;
        Self(u64::try_from(total).unwrap_or(u64::MAX))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Mul<u64> for Money {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl TextForm for Money {
    const KIND: &'static str = "money";
    const NOUN: &'static str = "an amount of dollars";
    const EXAMPLE: &'static str = "$40";
    const PATTERN: &'static str = "^\\$[0-9]+(\\.[0-9]{1,6})?$";

    fn instead_of_number(number: &str) -> Option<String> {
        Some(format!("write the currency: `${number}`"))
    }
}

impl FromStr for Money {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new(format!("`{text}` is not an amount of dollars")).hint("write dollars such as `$40` or `$0.25`");
        let number = text.strip_prefix('$').ok_or_else(invalid)?;
        let (dollars, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        if !digits(dollars) || !digits(fraction) || fraction.len() > 6 {
            return Err(invalid());
        }
        let dollars: u64 = dollars.parse().map_err(|_| invalid())?;
        let micro: u64 = format!("{fraction:0<6}").parse().map_err(|_| invalid())?;
        dollars.checked_mul(MICRODOLLARS).and_then(|whole| whole.checked_add(micro)).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Money {
    /// Writes at least cents, and as many further digits as the amount has.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % MICRODOLLARS);
        let needed = fraction.trim_end_matches('0').len().max(2);
        write!(formatter, "${}.{}", self.0 / MICRODOLLARS, &fraction[..needed])
    }
}

serde_as_text!(Money);

#[cfg(test)]
mod tests;
