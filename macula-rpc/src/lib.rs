//! Calls: codecs, handlers, provider selection and failover inside one deadline.
