//! Authenticated connections and streams behind a trait, and the endpoint that pools them.
