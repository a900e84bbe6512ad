//! The Macula client: advertise a function under a name, call it from anywhere.
