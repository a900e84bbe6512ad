use proptest::prelude::*;

use super::*;

fn call() -> CallMessage {
    CallMessage {
        header: CallHeader {
            call_id: CallId::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
            attempt: 2,
            codec: Codec::Json.id(),
            delivery: Delivery::AtMostOnce,
            service: "app.get_user".parse().unwrap(),
            trace: None,
            headers: Metadata::new(),
            extensions: Extensions::default(),
        },
        body: Bytes::from_static(b"{}"),
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_call() {
    let bytes = call().encode().unwrap();
    assert_eq!(
        hex(&bytes),
        "0123456789abcdef00112233445566770201010c6170702e6765745f757365720000007b7d"
    );
    assert_eq!(CallMessage::decode(&bytes), Ok(call()));
}

#[test]
fn golden_call_of_a_trace_with_headers() {
    let mut traced = call();
    traced.header.trace = crate::TraceContext::new(0x0102, 0x0304, true);
    traced.header.headers.insert("k", "v").unwrap();
    let bytes = traced.encode().unwrap();
    assert_eq!(
        hex(&bytes),
        "0123456789abcdef00112233445566770201010c6170702e6765745f75736572\
         01000000000000000000000000000001020000000000000304010101\
         6b0176007b7d"
    );
    assert_eq!(CallMessage::decode(&bytes), Ok(traced));
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
        assert_eq!(ReplyMessage::decode(&bytes), Ok(reply));
    }
}

#[test]
fn an_unknown_extension_is_skipped() {
    let mut message = call();
    message
        .header
        .extensions
        .push(999, Bytes::from_static(b"later"))
        .unwrap();
    let decoded = CallMessage::decode(&message.encode().unwrap()).unwrap();
    assert_eq!(decoded.header.service, call().header.service);
    assert_eq!(decoded.body, call().body);
}

#[test]
fn the_body_is_shared_with_the_message() {
    let message = call().encode().unwrap();
    let body = CallMessage::decode(&message).unwrap().body;
    assert!(message.as_ptr_range().contains(&body.as_ptr()));
}

#[test]
fn an_error_text_beyond_the_bound_is_refused() {
    let mut bytes = vec![5_u8];
    bytes.extend(postcard::to_stdvec(&"x".repeat(MAX_ERROR_BYTES + 1)).unwrap());
    bytes.extend([1, 0]);
    assert_eq!(
        ReplyMessage::decode(&bytes.into()),
        Err(DecodeError::Malformed)
    );
}

proptest! {
    #[test]
    fn decoders_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = CallMessage::decode(&bytes);
        let _ = ReplyMessage::decode(&bytes);
    }

    #[test]
    fn a_truncated_header_is_refused(keep in 0_usize..33) {
        let bytes = call().encode().unwrap();
        prop_assert!(CallMessage::decode(&bytes.slice(..keep)).is_err());
    }
}

#[test]
fn the_bound_in_the_specification_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = format!("| `macula_rpc::MAX_ERROR_BYTES` | {MAX_ERROR_BYTES} |\n");
    assert!(text.contains(&row), "{row}");
}
