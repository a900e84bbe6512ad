//! Whole DHT networks in virtual time, on one thread, from one seed.
