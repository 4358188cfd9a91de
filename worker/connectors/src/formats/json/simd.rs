//! Sixteen bytes at a time: which of them end a run.
//!
//! One of the files with `unsafe`: the compiler wants it where a function without `#[target_feature]` calls one with it.
//! The calls are sound because SSE2 is part of every x86-64; nothing here touches memory other than by safe slices. So it
//! does around assembly, of which there is no instruction here.

#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "SSE2 is part of every x86-64"))]

/// Bytes looked at in one step.
pub(crate) const WIDTH: usize = 16;

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(block: &[u8; super::WIDTH]) -> __m128i {
        let bits = u128::from_le_bytes(*block);
        _mm_set_epi64x((bits >> 64) as i64, bits as i64)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn equals(v: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(v, _mm_set1_epi8(byte as i8))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn at_most(v: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(byte as i8)), v)
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn mask(v: __m128i) -> u32 {
        _mm_movemask_epi8(v) as u32
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub fn string_stops(block: &[u8; super::WIDTH]) -> u32 {
        let v = load(block);
        mask(_mm_or_si128(_mm_or_si128(equals(v, b'"'), equals(v, b'\\')), at_most(v, 0x1f)))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub fn scalar_stops(block: &[u8; super::WIDTH]) -> u32 {
        let v = load(block);
        let folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
        let brackets = _mm_or_si128(equals(folded, b'{'), equals(folded, b'}'));
        let marks = _mm_or_si128(_mm_or_si128(equals(v, b','), equals(v, b':')), equals(v, b'"'));
        mask(_mm_or_si128(_mm_or_si128(brackets, marks), at_most(v, b' ')))
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub fn bracket_stops(block: &[u8; super::WIDTH]) -> u32 {
        let v = load(block);
        let folded = _mm_or_si128(v, _mm_set1_epi8(0x20));
        let brackets = _mm_or_si128(equals(folded, b'{'), equals(folded, b'}'));
        mask(_mm_or_si128(_mm_or_si128(brackets, equals(v, b'"')), equals(v, b'\n')))
    }
}

/// The same number, but the compiler does not know that it equals one that it was compared with: it may not wait for
/// that one instead.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn opaque(mut number: usize) -> usize {
    // SAFETY: there is no instruction.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
    number
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn opaque(number: usize) -> usize {
    number
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    fn mask(block: &[u8; super::WIDTH], stops: impl Fn(u8) -> bool) -> u32 {
        block.iter().enumerate().fold(0, |mask, (i, &byte)| mask | u32::from(stops(byte)) << i)
    }

    pub fn string_stops(block: &[u8; super::WIDTH]) -> u32 {
        mask(block, |b| b == b'"' || b == b'\\' || b < 0x20)
    }

    pub fn scalar_stops(block: &[u8; super::WIDTH]) -> u32 {
        mask(block, |b| b <= b' ' || matches!(b, b',' | b':' | b'"' | b'{' | b'}' | b'[' | b']'))
    }

    pub fn bracket_stops(block: &[u8; super::WIDTH]) -> u32 {
        mask(block, |b| matches!(b, b'"' | b'\n' | b'{' | b'}' | b'[' | b']'))
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use portable::{bracket_stops, scalar_stops, string_stops};

/// Bytes that end plain text in a string: quotes, backslashes, control characters. Bit `i` stands for byte `i`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn string_stops(block: &[u8; WIDTH]) -> u32 {
    // SAFETY: SSE2 is part of every x86-64.
    unsafe { imp::string_stops(block) }
}

/// Bytes that end a bare word: blanks, control characters, and whatever is structure.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn scalar_stops(block: &[u8; WIDTH]) -> u32 {
    // SAFETY: SSE2 is part of every x86-64.
    unsafe { imp::scalar_stops(block) }
}

/// Bytes that matter between brackets: brackets, quotes, newlines.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn bracket_stops(block: &[u8; WIDTH]) -> u32 {
    // SAFETY: SSE2 is part of every x86-64.
    unsafe { imp::bracket_stops(block) }
}

/// The bytes from `at`; spaces stand for what lies past the end of the text.
#[inline]
pub(crate) fn load(text: &[u8], at: usize) -> [u8; WIDTH] {
    match text.get(at..at + WIDTH).and_then(|bytes| bytes.first_chunk()) {
        Some(block) => *block,
        None => load_tail(text, at),
    }
}

#[cold]
#[inline(never)]
fn load_tail(text: &[u8], at: usize) -> [u8; WIDTH] {
    let mut block = [b' '; WIDTH];
    let tail = text.get(at..).unwrap_or_default();
    let length = tail.len().min(WIDTH);
    block[..length].copy_from_slice(&tail[..length]);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_stops_the_same_runs_with_and_without_simd() {
        for byte in 0..=u8::MAX {
            for at in [0, 7, 15] {
                let mut block = [b'a'; WIDTH];
                block[at] = byte;
                assert_eq!(string_stops(&block), portable::string_stops(&block), "string, {byte}");
                assert_eq!(scalar_stops(&block), portable::scalar_stops(&block), "scalar, {byte}");
                assert_eq!(bracket_stops(&block), portable::bracket_stops(&block), "bracket, {byte}");
            }
        }
    }
}
