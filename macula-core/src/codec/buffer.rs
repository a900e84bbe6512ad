//! Where an encoding goes while it is made.

use postcard::Error;
use postcard::ser_flavors::Flavor;

/// A buffer that takes so many bytes and refuses the next one, so that an encoder stops at its
/// limit instead of finding out afterwards.
pub(super) struct BoundedBuffer {
    bytes: Vec<u8>,
    limit_bytes: usize,
}

impl BoundedBuffer {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(limit_bytes.min(USUAL_BYTES)),
            limit_bytes,
        }
    }
}

impl Flavor for BoundedBuffer {
    type Output = Vec<u8>;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        if data.len() > self.limit_bytes - self.bytes.len() {
            return Err(Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.bytes)
    }
}

/// Room to begin with: most messages do not need more, and growing from nothing takes several
/// allocations.
const USUAL_BYTES: usize = 128;
