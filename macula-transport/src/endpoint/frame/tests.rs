use proptest::prelude::*;

use super::*;

const KINDS: [Kind; 8] = [
    Kind::Request,
    Kind::Reply,
    Kind::Refusal,
    Kind::ReplyTooLarge,
    Kind::OutOfTime,
    Kind::Aborted,
    Kind::Cancel,
    Kind::Goaway,
];

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        kind in prop::sample::select(KINDS.to_vec()),
        code in any::<u8>(),
        alone in any::<bool>(),
        call in any::<u64>().prop_map(CallId),
        remaining_ms in any::<u32>(),
        some_len in any::<u32>(),
        extension_len in 0u16..=4096,
    ) {
        let remaining = Duration::from_millis(remaining_ms.into());
        let has_body = matches!(kind, Kind::Request | Kind::Reply);
        let body_len = if has_body { some_len } else { 0 };
        let header = Header { kind, code, alone, call, remaining, body_len, extension_len };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in any::<[u8; Header::LEN_BYTES]>()) {
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert!(usize::from(header.extension_len) <= MAX_EXTENSION_BLOCK_BYTES);
        }
    }
}

#[test]
fn the_layout_is_written_down() {
    let mut header = Header::new(Kind::Request, CallId(0x0102_0304_0506_0708), 5);
    header.code = 2;
    header.alone = true;
    header.remaining = Duration::from_millis(1500);
    let expected = [
        1, 1, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 5, 0xdc, 0, 0, 0, 5, 0, 0,
    ];
    assert_eq!(header.encode(), expected);
}

#[test]
fn unknown_versions_kinds_and_length_bombs_are_told_apart() {
    let good = Header::new(Kind::Reply, CallId(1), 1).encode();
    let with = |at: usize, value: u8| {
        let mut bytes = good;
        bytes[at] = value;
        Header::decode(&bytes)
    };
    assert_eq!(with(0, 9), Err(BadFrame::UnknownVersion(9)));
    assert_eq!(with(1, 77), Err(BadFrame::UnknownKind(77)));
    assert_eq!(with(20, 0xff), Err(BadFrame::ExtensionsTooLarge));
    assert_eq!(with(1, Kind::Cancel as u8), Err(BadFrame::UnexpectedBody));
}

#[test]
fn reserved_kinds_are_unknown_to_this_version() {
    for reserved in [8, 9] {
        let mut bytes = Header::new(Kind::Reply, CallId(1), 0).encode();
        bytes[1] = reserved;
        assert_eq!(Header::decode(&bytes), Err(BadFrame::UnknownKind(reserved)));
    }
}
