use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use super::*;

#[test]
fn an_encoding_stops_at_its_limit() {
    let value = vec![7_u8; 100];
    let bytes = encode(&value, 101).unwrap();
    assert_eq!(bytes.len(), 101);
    let too_large = Err(EncodeError::TooLarge { limit_bytes: 100 });
    assert_eq!(encode(&value, 100), too_large);
    assert_eq!(
        encode(&1_u8, 0),
        Err(EncodeError::TooLarge { limit_bytes: 0 })
    );
}

#[test]
fn a_value_that_refuses_is_unserialisable() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    assert_eq!(encode(&Refuses, 10), Err(EncodeError::Unserialisable));
}

#[test]
fn a_value_decodes_to_itself() {
    let value = ("text".to_owned(), Some(300_u32), vec![-1_i64]);
    let bytes = encode(&value, 100).unwrap();
    assert_eq!(decode(&bytes, bytes.len()), Ok(value));
}

#[test]
fn every_truncation_is_called_so() {
    let bytes = encode(&("text", Some(300_u32)), 100).unwrap();
    for end in 0..bytes.len() {
        let decoded = decode::<(String, Option<u32>)>(&bytes[..end], 100);
        assert_eq!(decoded, Err(DecodeError::Truncated));
    }
}

#[test]
fn trailing_bytes_are_refused_and_counted() {
    let mut bytes = encode(&300_u32, 100).unwrap();
    bytes.extend([0, 0, 0]);
    assert_eq!(
        decode::<u32>(&bytes, 100),
        Err(DecodeError::Trailing { count: 3 })
    );
}

#[test]
fn an_input_beyond_the_limit_is_not_looked_at() {
    assert_eq!(
        decode::<u8>(&[1, 2], 1),
        Err(DecodeError::TooLarge { limit_bytes: 1 })
    );
}

#[test]
fn what_is_no_encoding_of_the_type_is_malformed() {
    for bytes in [&[2][..], &[0xff; 11]] {
        assert_eq!(decode::<bool>(bytes, 100), Err(DecodeError::Malformed));
    }
    let not_utf8 = [1, 0xff];
    assert_eq!(
        decode::<String>(&not_utf8, 100),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn an_announced_length_that_is_not_there_is_a_truncation() {
    let length_bomb = [0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(
        decode::<Vec<u8>>(&length_bomb, 100),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        decode::<BoundedVec<u64, 8>>(&length_bomb, 100),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        decode::<BoundedBytes<8>>(&length_bomb, 100),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn bounded_types_take_their_bound_and_no_more() {
    fn fits<T: serde::de::DeserializeOwned>(value: &impl Serialize) -> Result<T, DecodeError> {
        decode(&encode(value, 100).unwrap(), 100)
    }
    assert_eq!(
        fits::<BoundedVec<u8, 2>>(&vec![1_u8, 2]).map(BoundedVec::into_vec),
        Ok(vec![1, 2])
    );
    assert_eq!(
        fits::<BoundedVec<u8, 2>>(&vec![1_u8, 2, 3]),
        Err(DecodeError::Malformed)
    );
    assert_eq!(
        fits::<BoundedText<2>>(&"ab").map(BoundedText::into_string),
        Ok("ab".to_owned())
    );
    assert_eq!(fits::<BoundedText<2>>(&"abc"), Err(DecodeError::Malformed));
    assert_eq!(
        fits::<BoundedBytes<2>>(&"ab").map(BoundedBytes::into_bytes),
        Ok(Bytes::from("ab"))
    );
    assert_eq!(fits::<BoundedBytes<2>>(&"abc"), Err(DecodeError::Malformed));
}

#[test]
fn a_list_of_nothings_ends_at_its_bound() {
    // Items of no bytes: the announced length alone would keep a reader busy for ever.
    let announced = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(
        decode::<BoundedVec<(), 8>>(&announced, 100),
        Err(DecodeError::Malformed)
    );
}

#[test]
fn bounded_types_hold_their_bound_in_json_too() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All(BoundedVec<u8, 2>, BoundedText<2>, BoundedBytes<2>);
    let all: All = serde_json::from_str(r#"[[1,2],"ab",[3,4]]"#).unwrap();
    let json = serde_json::to_string(&all).unwrap();
    assert_eq!(serde_json::from_str::<All>(&json).unwrap(), all);
    for json in [
        r#"[[1,2,3],"ab",[3,4]]"#,
        r#"[[1,2],"abc",[3,4]]"#,
        r#"[[1,2],"ab",[3,4,5]]"#,
    ] {
        assert!(serde_json::from_str::<All>(json).is_err());
    }
}

#[test]
fn what_is_built_keeps_the_bound() {
    let mut list = BoundedVec::<u8, 2>::truncating(1..);
    assert_eq!(*list, [1, 2]);
    assert_eq!(list.try_push(3), Err(3));
    assert_eq!(BoundedVec::<u8, 1>::try_from(vec![1, 2]), Err(vec![1, 2]));
    assert_eq!(BoundedText::<4>::truncating("ab\u{20ac}").as_str(), "ab");
    assert_eq!(
        BoundedText::<5>::truncating("ab\u{20ac}").as_str(),
        "ab\u{20ac}"
    );
    let bytes = Bytes::from_static(b"abc");
    assert_eq!(BoundedBytes::<2>::try_from(bytes.clone()), Err(bytes));
}
