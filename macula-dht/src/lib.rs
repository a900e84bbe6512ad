//! The Kademlia DHT of Macula: a machine without I/O, its driver, and an in-memory twin.
