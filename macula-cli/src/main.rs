//! The macula program.

fn main() {}
