//! Which calls belong together: the W3C trace context.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CallId;

/// The trace that a call belongs to, and the span that caused it (W3C Trace Context, level 1).
///
/// A call within a handler belongs to the trace of the call that is handled. One that belongs to no
/// trace begins its own, named after its [`CallId`], so that nothing more has to travel. The spans
/// on both sides carry `trace_id`, `span_id` and `parent_id`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

/// Why a text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of the form 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
pub struct TraceContextError;

impl TraceContext {
    /// How long it is where it travels.
    pub(crate) const LEN_BYTES: usize = 25;

    /// A trace with the span that calls made in it are caused by; `None` when either id is zero.
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then(|| Self {
            trace_id: trace_id.to_be_bytes(),
            span_id: span_id.to_be_bytes(),
            flags: u8::from(sampled),
        })
    }

    /// The trace that a call begins when it belongs to none.
    pub(crate) fn of_call(id: CallId) -> Self {
        let id = id.as_u128().max(1);
        Self {
            trace_id: id.to_be_bytes(),
            span_id: mixed(id as u64 ^ (id >> 64) as u64, 0).to_be_bytes(),
            flags: 0,
        }
    }

    /// The span that this one causes as its `number`th.
    pub(crate) fn child(self, number: u64) -> Self {
        let parent = u64::from_be_bytes(self.span_id);
        Self {
            span_id: mixed(parent, number.wrapping_add(1)).to_be_bytes(),
            ..self
        }
    }

    /// What all that belongs together shares.
    pub fn trace_id(&self) -> u128 {
        u128::from_be_bytes(self.trace_id)
    }

    /// The span.
    pub fn span_id(&self) -> u64 {
        u64::from_be_bytes(self.span_id)
    }

    /// Whether whoever began the trace recorded it.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

/// Another number for each pair; never zero, which names no span.
fn mixed(seed: u64, number: u64) -> u64 {
    // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}

/// As in the header `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (self.trace_id(), self.span_id());
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut fields = text.split('-');
        let mut hex = |len: usize| {
            let field = fields.next().filter(|field| field.len() == len);
            let field = field.filter(|field| field.bytes().all(is_lower_hex));
            u128::from_str_radix(field.ok_or(TraceContextError)?, 16).map_err(|_| TraceContextError)
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // Later versions may append fields; this one has none more, and 255 is no version.
        let is_known = version != 0xff && (version != 0 || fields.next().is_none());
        let context = Self::new(trace_id, span_id as u64, flags & 1 == 1);
        context.filter(|_| is_known).ok_or(TraceContextError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_standard_reads_and_writes_itself() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context: TraceContext = text.parse().unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.span_id(), 0x00f0_67aa_0ba9_02b7);
        assert!(context.is_sampled());
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(later.parse(), Ok(context));
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                text.parse::<TraceContext>(),
                Err(TraceContextError),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_context_reads_what_it_writes(
            trace_id in 1_u128.., span_id in 1_u64.., sampled: bool,
        ) {
            let context = TraceContext::new(trace_id, span_id, sampled).unwrap();
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn spans_of_a_trace_differ(id in 1_u128.., number in 0_u64..1000) {
            let root = TraceContext::of_call(CallId::from_u128(id));
            let (one, other) = (root.child(number), root.child(number + 1));
            prop_assert_eq!(one.trace_id(), root.trace_id());
            prop_assert!(one.span_id() != other.span_id() && one.span_id() != root.span_id());
            prop_assert_ne!(one.child(0).span_id(), one.span_id());
        }
    }
}
