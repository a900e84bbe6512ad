use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::sleep;

use super::*;
use crate::CloseCode;

fn hosts(addresses: &[&str]) -> Vec<HostPort> {
    addresses
        .iter()
        .map(|host| HostPort {
            host: (*host).to_owned(),
            port: 1,
        })
        .collect()
}

async fn run<F>(addresses: &[&str], dial: impl Fn(SocketAddr) -> F) -> Result<SocketAddr, DialError>
where
    F: Future<Output = Result<SocketAddr, DialError>> + Send + 'static,
{
    race(
        &hosts(addresses),
        Duration::from_secs(5),
        &Handle::current(),
        dial,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn nothing_to_dial_is_an_error() {
    let outcome = run(&[], |address| async move { Ok(address) }).await;
    assert_eq!(outcome, Err(DialError::NoAddress));
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_delays_the_next_one_by_the_stagger() {
    let start = Instant::now();
    let outcome = run(&["10.0.0.1", "10.0.0.2"], |address| async move {
        if address.ip().to_string() == "10.0.0.1" {
            pending::<()>().await;
        }
        Ok(address)
    })
    .await;
    assert_eq!(
        outcome.map(|address| address.to_string()),
        Ok("10.0.0.2:1".to_owned())
    );
    assert_eq!(start.elapsed(), STAGGER);
}

#[tokio::test(start_paused = true)]
async fn a_failed_address_lets_the_next_one_go_at_once() {
    let start = Instant::now();
    let outcome = run(&["10.0.0.1", "10.0.0.2"], |address| async move {
        if address.ip().to_string() == "10.0.0.1" {
            return Err(DialError::Unreachable);
        }
        Ok(address)
    })
    .await;
    assert!(outcome.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_still_wins_over_a_dead_one() {
    let outcome = run(&["10.0.0.1", "10.0.0.2"], |address| async move {
        if address.ip().to_string() == "10.0.0.1" {
            sleep(STAGGER * 3).await;
            return Ok(address);
        }
        pending().await
    })
    .await;
    assert_eq!(
        outcome.map(|address| address.to_string()),
        Ok("10.0.0.1:1".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_that_tells_most_is_the_one_reported() {
    let outcome = run(
        &["10.0.0.1", "10.0.0.2", "10.0.0.3"],
        |address| async move {
            Err(match address.ip().to_string().as_str() {
                "10.0.0.2" => DialError::Refused(CloseCode::Overloaded),
                _ => DialError::Unreachable,
            })
        },
    )
    .await;
    assert_eq!(outcome, Err(DialError::Refused(CloseCode::Overloaded)));
}

#[tokio::test(start_paused = true)]
async fn an_address_given_twice_is_dialled_once() {
    let dials = Arc::new(AtomicUsize::new(0));
    let outcome = run(&["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"], |_| {
        let dials = Arc::clone(&dials);
        async move {
            dials.fetch_add(1, Ordering::Relaxed);
            Err(DialError::Unreachable)
        }
    })
    .await;
    assert_eq!(outcome, Err(DialError::Unreachable));
    assert_eq!(dials.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn giving_the_dial_up_gives_its_attempts_up() {
    let (started, alive) = tokio::sync::oneshot::channel::<()>();
    let started = std::sync::Mutex::new(Some(started));
    let dial = run(&["10.0.0.1"], |_| {
        let held = started.lock().unwrap().take();
        async move {
            let _held = held;
            pending().await
        }
    });
    assert!(
        tokio::time::timeout(Duration::from_secs(1), dial)
            .await
            .is_err()
    );
    assert!(alive.await.is_err(), "the attempt was dropped");
}
