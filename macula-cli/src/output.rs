//! What is printed: text for people or JSON for programs.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use macula_client::Source;
use serde::Serialize;
use serde_json::json;

use crate::exit::{Class, Failure};

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
    ///
    /// A reader that has left, as `head` does, has what it wanted: that is no failure.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let line = if self.json {
            json!(value).to_string()
        } else {
            text()
        };
        match writeln!(io::stdout(), "{line}") {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::of(Class::Unexpected, &error))
            }
            _ => Ok(()),
        }
    }

    /// Prints what happens on the way; JSON readers get results only.
    pub(crate) fn progress(self, text: impl FnOnce() -> String) {
        if !self.json {
            // The work goes on, whoever reads about it.
            let _ = writeln!(io::stdout(), "{}", text());
        }
    }

    /// Prints why the program fails, on standard error.
    pub(crate) fn fail(self, failure: &Failure) {
        let line = if self.json {
            json!({"error": failure.class, "message": failure.message}).to_string()
        } else {
            format!("macula: {}", failure.message)
        };
        // The exit code tells it too.
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// Where providers were found, in words.
pub(crate) fn place(source: Source) -> &'static str {
    match source {
        Source::Local => "itself",
        Source::Fresh | Source::Stale => "the cache",
        Source::Dht => "the DHT",
        Source::Direct => "its peers",
    }
}

/// How long something took, to three digits or so.
pub(crate) struct Took(pub(crate) Duration);

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs_f64();
        let text = match secs {
            1.0.. => format!("{secs:.2} s"),
            0.0995.. => format!("{:.0} ms", secs * 1e3),
            0.00995.. => format!("{:.1} ms", secs * 1e3),
            0.000_999_5.. => format!("{:.2} ms", secs * 1e3),
            _ => format!("{:.0} µs", secs * 1e6),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        let shown = |micros| Took(Duration::from_micros(micros)).to_string();
        assert_eq!(shown(7), "7 µs");
        assert_eq!(shown(999), "999 µs");
        assert_eq!(shown(1_000), "1.00 ms");
        assert_eq!(shown(9_949), "9.95 ms");
        assert_eq!(shown(12_345), "12.3 ms");
        assert_eq!(shown(123_456), "123 ms");
        assert_eq!(shown(1_500_000), "1.50 s");
    }

    #[test]
    fn durations_can_be_aligned() {
        let took = Took(Duration::from_micros(7));
        assert_eq!(format!("{took:>8}"), "    7 µs");
    }
}
