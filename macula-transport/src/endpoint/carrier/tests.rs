use std::collections::VecDeque;

use async_trait::async_trait;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 4096;

/// Hands out prepared chunks, then the end.
struct Chunks(VecDeque<Bytes>);

#[async_trait]
impl ReceiveStream for Chunks {
    async fn receive(&mut self) -> Result<Option<Bytes>, StreamError> {
        Ok(self.0.pop_front())
    }

    fn stop(&mut self, _code: CloseCode) {}
}

/// Cuts bytes at the given places.
fn cut(bytes: &[u8], mut places: Vec<usize>) -> Chunks {
    places.push(bytes.len());
    places.sort_unstable();
    let mut start = 0;
    let mut chunks = VecDeque::new();
    for place in places {
        chunks.push_back(Bytes::copy_from_slice(&bytes[start..place]));
        start = place;
    }
    Chunks(chunks)
}

fn read(mut chunks: Chunks) -> Result<(Header, Bytes), ReadError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(MessageReader::new(&mut chunks).message(LIMIT))
}

fn message(extensions: &[u8], body: &[u8]) -> (Header, Vec<u8>) {
    let mut header = Header::new(Kind::Request, 1, u32::try_from(body.len()).unwrap());
    header.extension_len = u16::try_from(extensions.len()).unwrap();
    let mut bytes = header.encode().to_vec();
    bytes.extend(extensions);
    bytes.extend(body);
    (header, bytes)
}

proptest! {
    #[test]
    fn a_message_survives_any_fragmentation(
        extensions in vec(any::<u8>(), 0..64),
        body in vec(any::<u8>(), 0..512),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (header, bytes) = message(&extensions, &body);
        let places = places.iter().map(|place| place.index(bytes.len())).collect();
        prop_assert_eq!(read(cut(&bytes, places)), Ok((header, body.into())));
    }

    #[test]
    fn a_truncated_message_is_never_taken_for_whole(
        body in vec(any::<u8>(), 1..512),
        end in any::<prop::sample::Index>(),
    ) {
        let (_, bytes) = message(&[], &body);
        let end = end.index(bytes.len());
        prop_assert_eq!(read(cut(&bytes[..end], vec![])), Err(ReadError::Truncated));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = read(cut(&bytes, vec![]));
    }
}

#[test]
fn a_message_byte_by_byte_decodes() {
    let (header, bytes) = message(b"later", b"hello");
    let places = (0..bytes.len()).collect();
    assert_eq!(read(cut(&bytes, places)), Ok((header, "hello".into())));
}

#[test]
fn bytes_after_the_body_are_refused() {
    let (_, mut bytes) = message(&[], b"hello");
    bytes.push(0);
    assert_eq!(read(cut(&bytes, vec![])), Err(ReadError::Trailing));
}
