//! Three providers as processes, one of which comes to harm.

use std::num::NonZeroU8;
use std::path::Path;
use std::time::Duration;

use benches::Session;
use benches::area::rpc::failover_overhead::{Accident, Aftermath};
use benches::part::Harm;

const ACCIDENT: Accident = Accident {
    harm: Harm::Killed,
    per_second: 200.0,
    before: Duration::from_millis(500),
    after: Duration::from_millis(1500),
    timeout: Duration::from_secs(3),
    max_attempts: NonZeroU8::MIN.saturating_add(2),
};

fn aftermath(accident: Accident) -> Aftermath {
    let session = Session::new(false).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_figures"));
    accident.happen(&session, program).unwrap()
}

#[test]
fn calls_outlive_a_provider_that_is_killed_or_stopped() {
    for harm in [Harm::Killed, Harm::Stopped] {
        let after = aftermath(Accident { harm, ..ACCIDENT });
        assert_eq!(after.failed, 0, "{after:?}");
        assert!(after.delayed > 0 && after.worst >= after.attempt_timeout);
    }
}

/// Calls that may try one provider only fail where that is the one who was harmed.
#[test]
fn calls_that_cannot_go_elsewhere_are_counted_as_failed() {
    let after = aftermath(Accident {
        max_attempts: NonZeroU8::MIN,
        timeout: Duration::from_secs(1),
        ..ACCIDENT
    });
    assert_eq!(after.delayed, 0);
    assert!(after.failed > 0, "{after:?}");
    assert_eq!(after.failed, after.in_vain, "{after:?}");
}
