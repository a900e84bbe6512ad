use super::*;

const TEXT: &str = "aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa";

fn counting() -> NodeId {
    NodeId::from_bytes(std::array::from_fn(|i| i as u8 + 1))
}

#[test]
fn text_form_is_lower_case_and_round_trips() {
    assert_eq!(counting().to_string(), TEXT);
    assert_eq!(TEXT.parse(), Ok(counting()));
}

#[test]
fn upper_and_mixed_case_are_read() {
    assert_eq!(TEXT.to_uppercase().parse(), Ok(counting()));
    let mixed = format!("{}{}", TEXT[..9].to_uppercase(), &TEXT[9..]);
    assert_eq!(mixed.parse(), Ok(counting()));
}

#[test]
fn only_32_bytes_are_an_id() {
    let bytes: Vec<u8> = (1..=33).collect();
    assert_eq!(NodeId::try_from(&bytes[..32]), Ok(counting()));
    for found in [0, 1, 31, 33] {
        assert_eq!(
            NodeId::try_from(&bytes[..found]),
            Err(ParseIdError::Length { found })
        );
    }
}

#[test]
fn text_of_another_length_is_refused() {
    for (text, found) in [
        (String::new(), 0),
        (TEXT[..51].to_owned(), 51),
        (format!("{TEXT}a"), 53),
        (format!("{TEXT}===="), 56),
    ] {
        assert_eq!(text.parse::<NodeId>(), Err(ParseIdError::Length { found }));
    }
}

#[test]
fn characters_outside_the_alphabet_are_refused() {
    for bad in ["0", "1", "8", "9", " ", "-", "=", "\u{e9}", "\u{1f600}"] {
        let text = format!("{bad}{}", &TEXT[1..]);
        assert_eq!(text.parse::<NodeId>(), Err(ParseIdError::NotBase32));
    }
}

#[test]
fn an_id_has_one_text_only() {
    // The last character carries one bit; the other four have to be zero.
    let with_stray_bits = format!("{}b", &TEXT[..51]);
    assert_eq!(
        with_stray_bits.parse::<NodeId>(),
        Err(ParseIdError::NotBase32)
    );
}

#[test]
fn humans_get_text_and_the_wire_gets_bytes() {
    let json = serde_json::to_string(&counting()).unwrap();
    assert_eq!(json, format!("\"{TEXT}\""));
    assert_eq!(serde_json::from_str::<NodeId>(&json).unwrap(), counting());
    assert!(serde_json::from_str::<NodeId>("\"short\"").is_err());
    assert_eq!(
        postcard::to_stdvec(&counting()).unwrap(),
        counting().as_bytes()
    );
}

#[test]
fn node_id_is_the_ed25519_public_key() {
    // RFC 8032 §7.1, test 1.
    let seed = data_encoding::HEXLOWER
        .decode(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
        .unwrap();
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let secret_key = SecretKey::from_bytes(&seed.try_into().unwrap());
    assert_eq!(
        data_encoding::HEXLOWER.encode(secret_key.node_id().as_bytes()),
        public
    );
}

#[test]
fn secret_key_is_restored_from_its_bytes() {
    let secret_key = SecretKey::generate().unwrap();
    let restored = SecretKey::from_bytes(&secret_key.to_bytes());
    assert_eq!(restored.node_id(), secret_key.node_id());
    assert_ne!(
        SecretKey::generate().unwrap().node_id(),
        secret_key.node_id()
    );
}

#[test]
fn secret_key_is_never_printed() {
    let secret_key = SecretKey::from_bytes(&[7; 32]);
    let printed = format!("{secret_key:?}");
    assert!(printed.contains(&secret_key.node_id().short()));
    assert!(!printed.contains("7, 7") && !printed.contains("0707"));
}
