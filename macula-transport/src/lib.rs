//! Authenticated connections and streams behind the [`Transport`] trait, and the [`Endpoint`]
//! that pools them and carries requests.

mod error;
mod transport;

mod executor;

pub use error::{
    CloseCode, ConnectionError, DialError, Executed, Refusal, RequestError, RequestFailure,
    StreamError,
};
pub use executor::{Executor, NodeRuntime};
pub use transport::{Connection, ReceiveStream, SendStream, Stream, Transport};
