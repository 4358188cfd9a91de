//! Random numbers by record: cheap to start anywhere.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014), started by a hash of
/// the seed, a stream and a record's number. A ChaCha block a record would cost as much as the record.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The numbers of one record. Streams of one seed are unrelated.
    pub(super) fn of(seed: u64, stream: u64, row: u64) -> Self {
        let mixed = mix(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Self(mix(mixed ^ row.wrapping_mul(GOLDEN)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `end` (which is not zero): the high half of a product, a bias of 2⁻³² at most.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        ((u64::from(self.next() as u32) * u64::from(end)) >> 32) as u32
    }

    /// From 0 up to, not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub(super) fn happens(&mut self, rate: f64) -> bool {
        rate > 0.0 && self.unit() < rate
    }

    /// One of several.
    pub(super) fn choose<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u32) as usize]
    }

    /// Appends lower-case letters; five bits of a number make one.
    pub(super) fn letters(&mut self, count: usize, out: &mut Vec<u8>) {
        let mut left = count;
        while left > 0 {
            let mut bits = self.next();
            for _ in 0..left.min(12) {
                out.push(b'a' + ((bits & 31) * 26 / 32) as u8);
                bits >>= 5;
            }
            left = left.saturating_sub(12);
        }
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
