use proptest::prelude::*;

use super::*;

const ARGUMENTS: Bytes = Bytes::from_static(b"{}");

fn call() -> CallHeader<'static> {
    CallHeader {
        call_id: CallId::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        attempt: 2,
        codec: Codec::Json.id(),
        delivery: Delivery::AtMostOnce,
        service: "app.get_user",
        trace: None,
        headers: Cow::default(),
        extensions: Extensions::default(),
    }
}

fn statuses() -> Vec<Status> {
    vec![
        Status::Ok,
        Status::Handler(HandlerError::new("no such user").with_code(404)),
        Status::Panicked,
        Status::NotServed,
        Status::Overloaded,
        Status::BadArguments(ErrorText::truncating("what?")),
        Status::BadResult(ErrorText::truncating("odd")),
        Status::ResultTooLarge { limit_bytes: 9 },
        Status::ShuttingDown,
        Status::DeadlineExceeded,
        Status::Aborted,
        Status::Denied,
    ]
}

/// The header and the arguments.
fn decoded(message: &Bytes) -> Result<(CallHeader<'_>, Bytes), DecodeError> {
    let (header, len) = CallHeader::decode(message)?;
    Ok((header, message.slice(len..)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_call() {
    let bytes = call().encode(&ARGUMENTS).unwrap();
    assert_eq!(
        hex(&bytes),
        "0123456789abcdef00112233445566770201010c6170702e6765745f757365720000007b7d"
    );
    assert_eq!(decoded(&bytes), Ok((call(), ARGUMENTS)));
}

#[test]
fn golden_call_of_a_trace_with_headers() {
    let mut traced = call();
    traced.trace = TraceContext::new(0x0102, 0x0304, true);
    traced.headers.to_mut().insert("k", "v").unwrap();
    let bytes = traced.encode(&ARGUMENTS).unwrap();
    assert_eq!(
        hex(&bytes),
        "0123456789abcdef00112233445566770201010c6170702e6765745f75736572\
         01000000000000000000000000000001020000000000000304010101\
         6b0176007b7d"
    );
    assert_eq!(decoded(&bytes), Ok((traced, ARGUMENTS)));
}

#[test]
fn golden_replies() {
    let golden = [
        "000100aabb",
        "0194030c6e6f207375636820757365720100",
        "020100",
        "030100",
        "040100",
        "0505776861743f0100",
        "06036f64640100",
        "07090100",
        "080100",
        "090100",
        "0a0100",
        "0b0100",
    ];
    assert_eq!(statuses().len(), golden.len());
    for (status, golden) in statuses().into_iter().zip(golden) {
        let body: &'static [u8] = if status == Status::Ok {
            b"\xaa\xbb"
        } else {
            b""
        };
        let reply = ReplyMessage {
            status,
            codec: Codec::Json,
            body: Bytes::from_static(body),
        };
        let bytes = reply.clone().encode().unwrap();
        assert_eq!(hex(&bytes), golden, "{reply:?}");
        assert_eq!(ReplyMessage::decode(bytes), Ok(reply));
    }
}

#[test]
fn an_unknown_extension_is_skipped() {
    let mut message = call();
    message
        .extensions
        .push(999, Bytes::from_static(b"later"))
        .unwrap();
    let bytes = message.encode(&ARGUMENTS).unwrap();
    let (header, body) = decoded(&bytes).unwrap();
    assert_eq!((header.service, body), (call().service, ARGUMENTS));
}

#[test]
fn a_message_has_room_for_exactly_its_header() {
    let mut long = call();
    assert_eq!(long.usual_len(), long.encode(&[]).unwrap().len());
    long.trace = TraceContext::new(1, 2, false);
    for (key, value) in [("token", "open sesame"), ("k", "")] {
        long.headers.to_mut().insert(key, value).unwrap();
    }
    assert_eq!(long.usual_len(), long.encode(&[]).unwrap().len());
}

#[test]
fn a_name_longer_than_any_is_refused() {
    let name = "x".repeat(MAX_NAME_BYTES + 1);
    let mut long = call();
    long.service = &name;
    let bytes = long.encode(&ARGUMENTS).unwrap();
    assert_eq!(CallHeader::decode(&bytes), Err(DecodeError::Malformed));
}

#[test]
fn the_body_of_a_reply_is_shared_with_the_message() {
    for status in statuses() {
        let reply = ReplyMessage {
            status,
            codec: Codec::Raw,
            body: ARGUMENTS,
        };
        let message = reply.encode().unwrap();
        let range = message.as_ptr_range();
        let reply = ReplyMessage::decode(message).unwrap();
        assert!(range.contains(&reply.body.as_ptr()), "{reply:?}");
    }
}

#[test]
fn an_error_text_beyond_the_bound_is_refused() {
    let mut bytes = vec![5_u8];
    bytes.extend(postcard::to_stdvec(&"x".repeat(MAX_ERROR_BYTES + 1)).unwrap());
    bytes.extend([1, 0]);
    assert_eq!(
        ReplyMessage::decode(bytes.into()),
        Err(DecodeError::Malformed)
    );
}

proptest! {
    #[test]
    fn decoders_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = CallHeader::decode(&bytes);
        let _ = ReplyMessage::decode(bytes);
    }

    #[test]
    fn a_call_by_hand_is_what_serde_writes_and_reads(
        attempt: u8, codec: u8, once: bool, name in ".{0,150}", has_trace: bool, body: Vec<u8>,
    ) {
        let mut header = call();
        (header.attempt, header.codec, header.service) = (attempt, codec, &name);
        header.delivery = if once { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
        header.trace = TraceContext::new(1, 2, false).filter(|_| has_trace);
        let message = header.encode(&body).unwrap();
        let by_serde = encode(header.call_id.0.to_vec(), &header, &body);
        prop_assert_eq!(Ok(message.clone()), by_serde);
        let (_, rest) = message.split_at(size_of::<CallId>());
        let by_hand = CallHeader::decode_usual(rest);
        prop_assert_eq!(by_hand.is_some(), !has_trace && name.len() < 128);
        if let Some(by_hand) = by_hand {
            prop_assert_eq!(Ok(by_hand), decode(rest));
        }
    }

    #[test]
    fn whatever_is_read_by_hand_serde_reads_the_same(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..40), name_len in 0_u8..20,
    ) {
        // Most random bytes are no header.
        for (at, byte) in [(2, 1), (3, name_len), (4 + usize::from(name_len), 0)] {
            bytes.get_mut(at).into_iter().for_each(|it| *it = byte);
        }
        if let Some(by_hand) = CallHeader::decode_usual(&bytes) {
            prop_assert_eq!(Ok(by_hand), decode(&bytes));
        }
    }

    #[test]
    fn a_result_written_by_hand_is_what_serde_writes(codec in 0_u8..3, body: Vec<u8>) {
        let codec = Codec::from_id(codec).unwrap();
        let header = ReplyHeader {
            status: Status::Ok,
            codec: codec.id(),
            extensions: Extensions::default(),
        };
        let reply = ReplyMessage {
            status: Status::Ok,
            codec,
            body: body.clone().into(),
        };
        prop_assert_eq!(reply.encode(), encode(Vec::new(), &header, &body));
    }

    #[test]
    fn a_truncated_header_is_refused(keep in 0_usize..33) {
        let bytes = call().encode(&ARGUMENTS).unwrap().slice(..keep);
        prop_assert!(CallHeader::decode(&bytes).is_err());
    }
}

#[test]
fn the_bound_in_the_specification_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = format!("| `macula_rpc::MAX_ERROR_BYTES` | {MAX_ERROR_BYTES} |\n");
    assert!(text.contains(&row), "{row}");
}
