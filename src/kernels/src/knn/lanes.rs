//! Vectors of 512 bits, on every path.
//!
//! The functions of a kernel are generic over [`Lanes`] and always inlined; [`on_path`] compiles them once a path, inside
//! a function with that path's instructions.

/// 64 bytes, aligned as the widest vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

/// A line of no bits.
pub const EMPTY: Line = Line([0; 64]);

/// 512 bits.
///
/// # Safety
///
/// Every method needs the machine to have the path's instructions; `load` and `store` need a valid address.
pub trait Lanes: Copy {
    /// No bits.
    unsafe fn zero() -> Self;
    /// Reads a line.
    unsafe fn load(from: *const Line) -> Self;
    /// Writes a line.
    unsafe fn store(self, to: *mut Line);
    /// Bits of both.
    unsafe fn and(self, other: Self) -> Self;
    /// Bits of one and not the other.
    unsafe fn xor(self, other: Self) -> Self;
    /// The low bit of the sum of three bits.
    unsafe fn low(self, second: Self, third: Self) -> Self;
    /// The high bit of the sum of three bits.
    unsafe fn high(self, second: Self, third: Self) -> Self;
    /// Shifts each 64 bits towards the low end.
    unsafe fn down<const BITS: u32>(self) -> Self;
    /// Shifts each 64 bits towards the high end.
    unsafe fn up<const BITS: u32>(self) -> Self;
    /// The same byte everywhere.
    unsafe fn splat(byte: u8) -> Self;
}

/// Eight words.
#[derive(Clone, Copy)]
pub struct Portable([u64; 8]);

impl Portable {
    #[inline(always)]
    fn map(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|word| operation(self.0[word], other.0[word])))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const Line) -> Self {
        Self(unsafe { *from.cast() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut Line) {
        unsafe { *to.cast() = self.0 }
    }
    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        self.map(other, |left, right| left & right)
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        self.map(other, |left, right| left ^ right)
    }
    #[inline(always)]
    unsafe fn low(self, second: Self, third: Self) -> Self {
        self.map(second, |left, right| left ^ right).map(third, |left, right| left ^ right)
    }
    #[inline(always)]
    unsafe fn high(self, second: Self, third: Self) -> Self {
        let either = self.map(second, |left, right| left ^ right);
        self.map(second, |left, right| left & right)
            .map(either.map(third, |left, right| left & right), |left, right| left | right)
    }
    #[inline(always)]
    unsafe fn down<const BITS: u32>(self) -> Self {
        Self(self.0.map(|word| word >> BITS))
    }
    #[inline(always)]
    unsafe fn up<const BITS: u32>(self) -> Self {
        Self(self.0.map(|word| word << BITS))
    }
    #[inline(always)]
    unsafe fn splat(byte: u8) -> Self {
        Self([u64::from_ne_bytes([byte; 8]); 8])
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Line};

    /// Two vectors of 256 bits.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256i, __m256i);

    macro_rules! both {
        ($one:expr, $other:expr, $operation:expr) => {
            unsafe { Self($operation($one.0, $other.0), $operation($one.1, $other.1)) }
        };
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_si256(), _mm256_setzero_si256()) }
        }
        #[inline(always)]
        unsafe fn load(from: *const Line) -> Self {
            let from: *const __m256i = from.cast();
            unsafe { Self(_mm256_load_si256(from), _mm256_load_si256(from.add(1))) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut Line) {
            let to: *mut __m256i = to.cast();
            unsafe {
                _mm256_store_si256(to, self.0);
                _mm256_store_si256(to.add(1), self.1);
            }
        }
        #[inline(always)]
        unsafe fn and(self, other: Self) -> Self {
            both!(self, other, _mm256_and_si256)
        }
        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            both!(self, other, _mm256_xor_si256)
        }
        #[inline(always)]
        unsafe fn low(self, second: Self, third: Self) -> Self {
            unsafe { self.xor(second).xor(third) }
        }
        #[inline(always)]
        unsafe fn high(self, second: Self, third: Self) -> Self {
            let sum = unsafe { self.xor(second).and(third) };
            let common = unsafe { self.and(second) };
            both!(common, sum, _mm256_or_si256)
        }
        #[inline(always)]
        unsafe fn down<const BITS: u32>(self) -> Self {
            let count = unsafe { _mm_cvtsi32_si128(BITS as i32) };
            unsafe { Self(_mm256_srl_epi64(self.0, count), _mm256_srl_epi64(self.1, count)) }
        }
        #[inline(always)]
        unsafe fn up<const BITS: u32>(self) -> Self {
            let count = unsafe { _mm_cvtsi32_si128(BITS as i32) };
            unsafe { Self(_mm256_sll_epi64(self.0, count), _mm256_sll_epi64(self.1, count)) }
        }
        #[inline(always)]
        unsafe fn splat(byte: u8) -> Self {
            unsafe { Self(_mm256_set1_epi8(byte as i8), _mm256_set1_epi8(byte as i8)) }
        }
    }

    /// One vector of 512 bits.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512i);

    impl Lanes for Avx512 {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm512_setzero_si512()) }
        }
        #[inline(always)]
        unsafe fn load(from: *const Line) -> Self {
            unsafe { Self(_mm512_load_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut Line) {
            unsafe { _mm512_store_si512(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn and(self, other: Self) -> Self {
            unsafe { Self(_mm512_and_si512(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn xor(self, other: Self) -> Self {
            unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
        }
        #[inline(always)]
        unsafe fn low(self, second: Self, third: Self) -> Self {
            unsafe { Self(_mm512_ternarylogic_epi64::<0x96>(self.0, second.0, third.0)) }
        }
        #[inline(always)]
        unsafe fn high(self, second: Self, third: Self) -> Self {
            unsafe { Self(_mm512_ternarylogic_epi64::<0xe8>(self.0, second.0, third.0)) }
        }
        #[inline(always)]
        unsafe fn down<const BITS: u32>(self) -> Self {
            unsafe { Self(_mm512_srli_epi64::<BITS>(self.0)) }
        }
        #[inline(always)]
        unsafe fn up<const BITS: u32>(self) -> Self {
            unsafe { Self(_mm512_slli_epi64::<BITS>(self.0)) }
        }
        #[inline(always)]
        unsafe fn splat(byte: u8) -> Self {
            unsafe { Self(_mm512_set1_epi8(byte as i8)) }
        }
    }
}

/// Asks for a line some time before it is read; any address will do.
#[inline(always)]
pub fn prefetch(line: *const Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch does not fault.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Calls `function::<L>(arguments)` compiled for a path, with `L` its [`Lanes`].
///
/// The function is `#[inline(always)]` and unsafe for want of the path's instructions alone.
macro_rules! on_path {
    ($simd:expr, $function:ident::<_ $(, $generic:tt)*>($($name:ident: $type:ty = $value:expr),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt")]
            unsafe fn avx2($($name: $type),*) {
                unsafe { $function::<$crate::knn::lanes::Avx2 $(, {$generic})*>($($name),*) }
            }
            #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,popcnt")]
            unsafe fn avx512($($name: $type),*) {
                unsafe { $function::<$crate::knn::lanes::Avx512 $(, {$generic})*>($($name),*) }
            }
            match $simd {
                // SAFETY: a `Simd` is made only where the machine has its instructions.
                $crate::simd::Simd::Avx512 => unsafe { avx512($($value),*) },
                $crate::simd::Simd::Avx2 => unsafe { avx2($($value),*) },
                $crate::simd::Simd::Portable => unsafe {
                    $function::<$crate::knn::lanes::Portable $(, {$generic})*>($($value),*)
                },
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: the portable path needs no instructions of its own.
        unsafe {
            let _ = $simd;
            $function::<$crate::knn::lanes::Portable $(, {$generic})*>($($value),*)
        }
    }};
}
pub(crate) use on_path;
