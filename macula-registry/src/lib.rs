//! Local services, the discovery cache and the life of advertisements.
