//! Who may call a service.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use macula_core::NodeId;

use crate::CallContext;

/// Who may call a service. The caller's identity is proved by its connection; this node itself is
/// asked like everybody else.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Access {
    /// Whoever has an identity, and everybody has one.
    #[default]
    Everybody,
    /// These nodes.
    Only(Arc<BTreeSet<NodeId>>),
    /// Those of whom this says so. Runs on the node's own thread for every call: it should be quick
    /// and must not block.
    When(Arc<dyn Fn(&CallContext) -> bool + Send + Sync>),
}

impl Access {
    /// Only these nodes may call.
    pub fn only(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Self::Only(Arc::new(nodes.into_iter().collect()))
    }

    /// Those may call of whom `rule` says so.
    pub fn when(rule: impl Fn(&CallContext) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Arc::new(rule))
    }

    pub(crate) fn admits(&self, context: &CallContext) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(nodes) => nodes.contains(&context.caller),
            // A rule that panics admits nobody, and harms nobody else.
            Self::When(rule) => catch_unwind(AssertUnwindSafe(|| rule(context))).unwrap_or(false),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("Everybody"),
            Self::Only(nodes) => f.debug_tuple("Only").field(nodes).finish(),
            Self::When(_) => f.write_str("When(..)"),
        }
    }
}
