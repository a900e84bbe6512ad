//! A hash over everything that happens, to tell two runs apart or show them equal.

/// FNV-1a over 64 bits: the same on every platform and in every release, one multiplication per
/// byte. Nobody attacks it here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    pub(crate) fn hash(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn hash_is_the_published_fnv_1a() {
        let mut trace = Trace::new();
        assert_eq!(trace.hash(), 0xcbf2_9ce4_8422_2325);
        trace.write(b"foobar");
        assert_eq!(trace.hash(), 0x8594_4171_f739_67e8);
    }
}
