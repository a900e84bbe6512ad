//! What is printed: text for people or JSON for programs.

use serde::Serialize;
use serde_json::json;

use crate::exit::Failure;

/// Where results and failures go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result: the value as one line of JSON, or the text.
    pub(crate) fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            println!("{}", json!(value));
        } else {
            println!("{}", text());
        }
    }

    /// Prints what happens on the way; JSON readers get results only.
    pub(crate) fn progress(self, text: impl FnOnce() -> String) {
        if !self.json {
            println!("{}", text());
        }
    }

    /// Prints why the program fails, on standard error.
    pub(crate) fn fail(self, failure: &Failure) {
        if self.json {
            eprintln!(
                "{}",
                json!({"error": failure.class, "message": failure.message})
            );
        } else {
            eprintln!("macula: {}", failure.message);
        }
    }
}
