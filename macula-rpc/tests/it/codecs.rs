//! One handler, whoever calls it: the same values and the same errors, here and elsewhere, in
//! whichever codec.

use std::collections::BTreeMap;

use bytes::Bytes;
use macula_registry::Advertisement;
use macula_rpc::{CallError, CallOptions, Codec, HandlerError, typed};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::mesh::{Mesh, Node};

const TYPED: [Codec; 2] = [Codec::Postcard, Codec::Json];

/// What serde can describe and both codecs can write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Value {
    Nothing,
    Flag(bool),
    Small(i8),
    Natural(u64),
    Integer(i64),
    Real(f64),
    Short(f32),
    Letter(char),
    Text(String),
    Raw(Vec<u8>),
    Maybe(Option<Box<Value>>),
    List(Vec<Value>),
    Pair((Box<Value>, u32)),
    Named {
        name: String,
        fields: BTreeMap<String, Value>,
    },
}

/// What the handler is asked for: a value, or an error with its code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Asked {
    value: Value,
    error: Option<(u32, String)>,
}

/// JSON has no numbers that are none.
fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("finite", |real| real.is_finite())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nothing),
        any::<bool>().prop_map(Value::Flag),
        any::<i8>().prop_map(Value::Small),
        any::<u64>().prop_map(Value::Natural),
        any::<i64>().prop_map(Value::Integer),
        finite().prop_map(Value::Real),
        any::<f32>()
            .prop_filter("finite", |real| real.is_finite())
            .prop_map(Value::Short),
        any::<char>().prop_map(Value::Letter),
        any::<String>().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Raw),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let field = (any::<String>(), inner.clone());
        prop_oneof![
            prop::option::of(inner.clone()).prop_map(|some| Value::Maybe(some.map(Box::new))),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            (inner, any::<u32>()).prop_map(|(left, right)| Value::Pair((Box::new(left), right))),
            (
                any::<String>(),
                prop::collection::btree_map(field.0, field.1, 0..6)
            )
                .prop_map(|(name, fields)| Value::Named { name, fields }),
        ]
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let error = prop::option::weighted(0.3, any::<(u32, String)>());
    (value(), error).prop_map(|(value, error)| Asked { value, error })
}

/// A provider, which calls itself too, and another caller, on a clock that does not wait.
struct Pair {
    runtime: Runtime,
    provider: Node,
    caller: Node,
    _ads: Vec<Advertisement>,
    _mesh: Mesh,
}

impl Pair {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let (mesh, provider, caller, ads) = runtime.block_on(async {
            let mesh = Mesh::new();
            let (provider, caller) = (mesh.node(1), mesh.node(100));
            let gives = typed(|asked: Asked| async move {
                match asked.error {
                    Some((code, text)) => Err(HandlerError::new(text).with_code(code)),
                    None => Ok(asked.value),
                }
            });
            let keyed = typed(|(): ()| async { Ok(BTreeMap::from([(vec![1_u8], 1_u8)])) });
            let ads = vec![
                provider.serve("app.gives", gives).await,
                provider.serve("app.keyed", keyed).await,
            ];
            (mesh, provider, caller, ads)
        });
        Self {
            runtime,
            provider,
            caller,
            _ads: ads,
            _mesh: mesh,
        }
    }

    /// What comes of the same call at the provider itself and elsewhere.
    fn both(&self, service: &str, codec: Codec, body: &Bytes) -> [Result<Bytes, CallError>; 2] {
        [&self.provider, &self.caller].map(|node| {
            let call = node.send(service, codec, body.clone(), CallOptions::default());
            let reply = self.runtime.block_on(call)?;
            assert_eq!(reply.codec, codec);
            Ok(reply.body)
        })
    }

    /// Both have to fail, in the same way.
    fn error(&self, service: &str, codec: Codec, body: &Bytes) -> CallError {
        let [here, there] = self.both(service, codec, body).map(Result::unwrap_err);
        assert_eq!(here.to_string(), there.to_string());
        assert_eq!(
            (here.class(), here.executed()),
            (there.class(), there.executed())
        );
        here
    }
}

#[test]
fn a_handler_gives_the_same_values_and_errors_to_all_its_callers() {
    let pair = Pair::start();
    let given = |asked: Asked| {
        for codec in TYPED {
            let body = codec.encode(&asked).unwrap();
            for outcome in pair.both("app.gives", codec, &body) {
                match (&asked.error, outcome) {
                    (None, Ok(body)) => {
                        prop_assert_eq!(codec.decode(&body), Ok(asked.value.clone()));
                    }
                    (Some((code, text)), Err(CallError::Handler { error, .. })) => {
                        let expected = HandlerError::new(text).with_code(*code);
                        prop_assert_eq!(error, expected);
                    }
                    (_, other) => prop_assert!(false, "{codec:?}: {other:?}"),
                }
            }
        }
        Ok(())
    };
    let mut runner = TestRunner::new(ProptestConfig::with_source_file(file!()));
    runner.run(&asked(), given).unwrap();
}

#[test]
fn what_cannot_be_read_or_written_is_the_same_error_here_and_elsewhere() {
    let pair = Pair::start();
    let unreadable = Bytes::from_static(b"\xff\xff");
    for codec in TYPED {
        let error = pair.error("app.gives", codec, &unreadable);
        assert!(matches!(error, CallError::Codec { .. }), "{error}");
        let left_over = [&codec.encode(&()).unwrap()[..], b"1"].concat();
        let error = pair.error("app.keyed", codec, &left_over.into());
        assert!(matches!(error, CallError::Codec { .. }), "{error}");
    }
    let untyped = pair.error("app.gives", Codec::Raw, &Bytes::new());
    assert!(untyped.to_string().contains("no type"), "{untyped}");

    // JSON has no keys but text, postcard has.
    let null = Codec::Json.encode(&()).unwrap();
    let unwritable = pair.error("app.keyed", Codec::Json, &null);
    assert!(
        matches!(unwritable, CallError::Codec { .. }),
        "{unwritable}"
    );
    let expected = BTreeMap::from([(vec![1_u8], 1_u8)]);
    for outcome in pair.both("app.keyed", Codec::Postcard, &Bytes::new()) {
        let given = Codec::Postcard.decode::<BTreeMap<Vec<u8>, u8>>(&outcome.unwrap());
        assert_eq!(given.as_ref(), Ok(&expected));
    }
}
