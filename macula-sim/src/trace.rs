//! A hash over everything that happens, to tell two runs apart or show them equal.

use crate::latency::mix;

/// One mixing per number: the same on every platform. Nobody attacks it here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    pub(crate) fn write(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    /// Adds the beginning of a point or an identity, which is as good as the whole.
    pub(crate) fn write_id(&mut self, bytes: &[u8; 32]) {
        let mut beginning = [0; 8];
        beginning.copy_from_slice(&bytes[..8]);
        self.write(u64::from_be_bytes(beginning));
    }

    pub(crate) fn hash(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    fn hash_of(numbers: &[u64]) -> u64 {
        let mut trace = Trace::new();
        for number in numbers {
            trace.write(*number);
        }
        trace.hash()
    }

    #[test]
    fn hash_depends_on_each_number_and_on_their_order() {
        assert_eq!(hash_of(&[1, 2, 3]), hash_of(&[1, 2, 3]));
        assert_ne!(hash_of(&[1, 2, 3]), hash_of(&[1, 3, 2]));
        assert_ne!(hash_of(&[1, 2, 3]), hash_of(&[1, 2, 4]));
        assert_ne!(hash_of(&[1, 2]), hash_of(&[1, 2, 0]));
    }
}
