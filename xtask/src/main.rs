//! The checks and the figures of the project.

fn main() {}
