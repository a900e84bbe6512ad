//! Why the DHT could not do what it was asked.

/// Why an announce, a withdraw or a find failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtError {
    /// No record names an address to dial, so nobody could use them. Nothing was announced.
    #[error("record has no address to dial")]
    NoAddress,
    /// There is nobody to ask, or nobody answered. Trying again later may help.
    #[error("no node of the network can be reached")]
    Unreachable,
    /// Every holder refused every record, for being full or for not accepting it.
    #[error("every holder refused the record")]
    Rejected,
    /// More records or more running operations than this node takes at once.
    #[error("too much at once")]
    Overloaded,
    /// This node is shut down.
    #[error("closed")]
    Closed,
}
