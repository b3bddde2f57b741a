//! Which instructions a kernel's inner loops use: the widest that the machine has, or those that the environment names.
//!
//! Every kernel gives the same bytes on every path; the environment variable is there for tests and measurements.

use std::ffi::OsString;
use std::fmt;

/// The environment variable that names the path: `portable`, `avx2` or `avx512`.
pub const VARIABLE: &str = "EWULF_SIMD";

/// A set of instructions; a later one has all of the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What the compiler makes of plain Rust for any machine of the target.
    Portable,
    /// 256 bits: AVX2, FMA, BMI1, BMI2 and POPCNT (x86-64-v3).
    Avx2,
    /// 512 bits: AVX-512 F, BW, CD, DQ and VL (x86-64-v4).
    Avx512,
}

/// The environment names a path that cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimdError {
    /// No path has this name.
    #[error("{VARIABLE} is {0:?}: portable, avx2 or avx512 is expected, or nothing for the widest this machine has")]
    Unknown(OsString),
    /// The machine has no such instructions.
    #[error("{VARIABLE} is {wanted}, but this machine has no more than {widest}: leave it unset")]
    Missing {
        /// What was asked for.
        wanted: Simd,
        /// What there is.
        widest: Simd,
    },
}

impl Simd {
    /// All paths, narrowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The widest path of this machine.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => return Self::Avx512,
                (true, false) => return Self::Avx2,
                _ => {}
            }
        }
        Self::Portable
    }

    /// The paths that this machine can take, narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|simd| *simd <= Self::widest())
    }

    /// The path that [`VARIABLE`] names, or else the widest.
    pub fn from_environment() -> Result<Self, SimdError> {
        Self::named(std::env::var_os(VARIABLE).filter(|name| !name.is_empty()))
    }

    fn named(name: Option<OsString>) -> Result<Self, SimdError> {
        let widest = Self::widest();
        let Some(name) = name else { return Ok(widest) };
        match Self::ALL.into_iter().find(|simd| name == simd.name()) {
            None => Err(SimdError::Unknown(name)),
            Some(wanted) if wanted > widest => Err(SimdError::Missing { wanted, widest }),
            Some(simd) => Ok(simd),
        }
    }

    /// The path's name, as the environment variable takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Simd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_path_is_taken_unless_another_is_named() {
        assert_eq!(Simd::named(None), Ok(Simd::widest()));
        for simd in Simd::available() {
            assert_eq!(Simd::named(Some(simd.name().into())), Ok(simd));
        }
    }

    #[test]
    fn an_unknown_name_or_a_missing_path_says_what_would_do() {
        let error = Simd::named(Some("sse9".into())).unwrap_err().to_string();
        assert!(error.contains("\"sse9\": portable, avx2 or avx512"), "{error}");
        for wanted in Simd::ALL.into_iter().filter(|simd| *simd > Simd::widest()) {
            assert_eq!(Simd::named(Some(wanted.name().into())), Err(SimdError::Missing { wanted, widest: Simd::widest() }));
        }
    }
}
