use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{CallId, Kind};
use super::*;

const LIMIT: usize = 4096;

/// A frame on the wire.
fn frame(call: u64, extensions: &[u8], body: &[u8]) -> (Header, Vec<u8>) {
    let body_len = u32::try_from(body.len()).unwrap();
    let mut header = Header::new(Kind::Request, CallId(call), body_len);
    header.extension_len = u16::try_from(extensions.len()).unwrap();
    let bytes = [&header.encode()[..], extensions, body].concat();
    (header, bytes)
}

/// All that comes out of chunks.
fn decode(chunks: &[&[u8]]) -> Result<(Vec<Decoded>, FrameDecoder), BadFrame> {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut decoded = Vec::new();
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        while let Some(next) = decoder.next(Instant::now(), &mut chunk, |_, _| true)? {
            decoded.push(next);
        }
        assert!(chunk.is_empty());
    }
    Ok((decoded, decoder))
}

/// Cuts bytes at the given places.
fn cut<'a>(bytes: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place.index(bytes.len()))
        .collect();
    places.push(bytes.len());
    places.sort_unstable();
    let mut start = 0;
    let cut = |end| &bytes[std::mem::replace(&mut start, end)..end];
    places.into_iter().map(cut).collect()
}

fn bodies(decoded: &[Decoded]) -> Vec<(u64, &[u8])> {
    decoded.iter().map(body).collect()
}

fn body(decoded: &Decoded) -> (u64, &[u8]) {
    match decoded {
        Decoded::Frame(header, _, body) => (header.call.0, body),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn frames_survive_any_fragmentation(
        frames in vec((vec(any::<u8>(), 0..64), vec(any::<u8>(), 0..512)), 1..8),
        places in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for (call, (extensions, body)) in (0..).zip(&frames) {
            bytes.extend(frame(call, extensions, body).1);
            expected.push((call, &body[..]));
        }
        let (decoded, decoder) = decode(&cut(&bytes, &places)).unwrap();
        prop_assert_eq!(bodies(&decoded), expected);
        prop_assert!(!decoder.is_within_frame());
    }

    #[test]
    fn a_truncated_frame_is_never_taken_for_whole(
        body in vec(any::<u8>(), 1..512),
        end in any::<prop::sample::Index>(),
    ) {
        let (_, bytes) = frame(1, &[], &body);
        let end = end.index(bytes.len());
        let (decoded, decoder) = decode(&[&bytes[..end]]).unwrap();
        prop_assert!(decoded.is_empty());
        prop_assert_eq!(decoder.is_within_frame(), end > 0);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = decode(&[&bytes]);
    }
}

#[test]
fn a_frame_byte_by_byte_decodes() {
    let (_, bytes) = frame(7, b"later", b"hello");
    let chunks: Vec<_> = bytes.chunks(1).collect();
    let (decoded, _) = decode(&chunks).unwrap();
    assert_eq!(bodies(&decoded), [(7, &b"hello"[..])]);
}

#[test]
fn a_body_over_the_limit_is_skipped_and_the_next_frame_is_read() {
    let (header, long) = frame(1, &[], &[0; LIMIT + 1]);
    let (_, next) = frame(2, &[], b"next");
    let (decoded, _) = decode(&[&long, &next]).unwrap();
    assert_eq!(decoded[0], Decoded::TooLarge(header));
    assert_eq!(bodies(&decoded[1..]), [(2, &b"next"[..])]);
}

#[test]
fn a_body_without_room_is_skipped_and_the_next_frame_is_read() {
    let (header, long) = frame(1, &[], &[0; 1000]);
    let (_, next) = frame(2, &[], b"next");
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut decoded = Vec::new();
    for chunk in [&long[..500], &long[500..], &next] {
        let mut chunk = Bytes::copy_from_slice(chunk);
        let has_room = |_: &Header, len| len < 400;
        while let Some(next) = decoder.next(Instant::now(), &mut chunk, has_room).unwrap() {
            decoded.push(next);
        }
    }
    assert_eq!(decoded[0], Decoded::NoRoom(header));
    assert_eq!(bodies(&decoded[1..]), [(2, &b"next"[..])]);
}

#[test]
fn an_announced_body_takes_no_memory_before_it_comes() {
    let (_, bytes) = frame(1, &[], &[0; LIMIT]);
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut chunk = Bytes::copy_from_slice(&bytes[..Header::LEN_BYTES + 10]);
    let mut asked = Vec::new();
    let has_room = |_: &Header, len| {
        asked.push(len);
        true
    };
    assert_eq!(decoder.next(Instant::now(), &mut chunk, has_room), Ok(None));
    assert_eq!(asked, [10]);
}

#[test]
fn a_body_has_room_for_sixteen_times_what_is_there_at_most_and_so_is_seldom_moved() {
    const LEN: usize = 4 << 20;
    let (_, bytes) = frame(1, &[], &vec![0; LEN]);
    let mut decoder = FrameDecoder::new(LEN);
    let mut places = Vec::new();
    for piece in bytes.chunks(9_000) {
        let mut chunk = Bytes::copy_from_slice(piece);
        let decoded = decoder.next(Instant::now(), &mut chunk, |_, _| true);
        if let Part::Body { body, .. } = &decoder.part {
            assert!(body.capacity() <= EAGER_BYTES.max(ROOM_FACTOR * body.len()));
            places.push(body.as_ptr());
        } else {
            assert!(decoded.unwrap().is_some());
        }
    }
    places.dedup();
    assert!(places.len() <= 4, "{}", places.len());
}

#[test]
fn a_small_body_does_not_keep_its_chunk() {
    let (_, mut bytes) = frame(1, &[], b"small");
    bytes.reserve_exact(5000);
    let mut chunk = Bytes::from(bytes);
    let start = chunk.as_ptr() as usize;
    let mut decoder = FrameDecoder::new(LIMIT);
    let decoded = decoder
        .next(Instant::now(), &mut chunk, |_, _| true)
        .unwrap();
    let Some(Decoded::Frame(_, _, body)) = decoded else {
        panic!("{decoded:?}");
    };
    assert!(!(start..start + 5000).contains(&(body.as_ptr() as usize)));
}
