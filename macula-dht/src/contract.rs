//! The suite that every implementation of [`Dht`] has to pass.
//!
//! ```no_run
//! # async fn suite() -> Result<(), macula_dht::contract::Broken> {
//! use macula_core::SecretKey;
//! use macula_dht::{MemoryDht, contract};
//!
//! contract::run(async || {
//!     let clock = contract::wall_clock();
//!     let dht = MemoryDht::new(clock.clone());
//!     contract::Network {
//!         members: [1, 2, 3, 4].map(|seed| contract::Member {
//!             secret_key: SecretKey::from_bytes(&[seed; 32]),
//!             dht: dht.clone(),
//!         }),
//!         clock,
//!         keep: Box::new(()),
//!     }
//! })
//! .await
//! # }
//! ```

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use macula_core::{SecretKey, Timestamp, WallClock};
use tokio::time::Instant;

mod announce;
mod case;
mod expiry;
mod find;
mod withdraw;

use crate::Dht;
use crate::contract::case::{Case, Checked};

/// How many nodes a [`Network`] under test has.
pub const MEMBERS: usize = 4;

/// How soon after an operation returned every member has to see its effect.
pub const SETTLE: Duration = Duration::from_secs(2);

/// A network under test: fresh, joined, and without a record.
///
/// Time passes on tokio's clock: on a paused one the suite takes moments, in real time somewhat
/// more than a minute, because records have to outlive [`MIN_TTL`](macula_core::MIN_TTL).
pub struct Network {
    /// Its nodes, any of which can announce and find. All reach each other.
    pub members: [Member; MEMBERS],
    /// The wall clock of all members; it has to advance with tokio's. See [`wall_clock`].
    pub clock: WallClock,
    /// Whatever else has to live as long as the network.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// A node of the network under test.
pub struct Member {
    /// What it signs its records with.
    pub secret_key: SecretKey,
    /// Its access to the DHT.
    pub dht: Arc<dyn Dht>,
}

/// A promise that the implementation does not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{case}: {finding}")]
pub struct Broken {
    /// The promise.
    pub case: &'static str,
    /// What happened instead.
    pub finding: String,
}

/// Runs the whole suite, each case on a network that `make` makes for it.
///
/// # Errors
/// [`Broken`], the first promise that is not kept.
///
/// # Cancel safety
/// Nothing is left behind but the network of the current case, which is dropped.
pub async fn run(make: impl AsyncFn() -> Network) -> Result<(), Broken> {
    macro_rules! cases {
        ($($case:path),* $(,)?) => {
            $(check(stringify!($case), &make, async |case| $case(&case).await).await?;)*
        };
    }
    cases![
        announce::announced_record_is_found_as_it_was_signed,
        announce::two_providers_are_found_in_any_order_of_arrival,
        announce::provider_that_announces_again_replaces_itself,
        announce::older_record_changes_nothing,
        announce::stranger_replaces_nothing,
        announce::record_without_address_fails_alone,
        announce::refused_records_fail_alone,
        announce::records_are_reported_in_their_order,
        withdraw::withdrawn_provider_is_not_found,
        withdraw::removing_one_of_three_leaves_two_and_the_last_none,
        withdraw::stranger_withdraws_nothing,
        withdraw::replayed_record_stays_withdrawn,
        withdraw::replayed_withdrawal_changes_nothing,
        withdraw::newer_record_revives_a_withdrawn_provider,
        withdraw::withdrawing_what_was_never_announced_keeps_older_records_out,
        withdraw::withdrawals_are_reported_in_their_order,
        withdraw::superseded_withdrawal_counts_as_told,
        withdraw::withdrawal_out_of_its_time_counts_as_told,
        expiry::expired_record_is_not_found,
        expiry::identical_replay_gains_no_life,
        expiry::newer_record_revives_an_expired_provider,
        find::unknown_key_finds_nothing,
        find::every_member_sees_the_same,
        find::own_and_foreign_records_are_merged,
        find::services_and_realms_are_kept_apart,
        find::connected_peers_answer_for_what_they_hold,
        find::find_ends_by_its_timeout,
        find::trace_is_told_when_it_is_asked_for,
    ];
    Ok(())
}

/// A wall clock that runs with tokio's clock, paused or not, from a fixed time on.
pub fn wall_clock() -> WallClock {
    let started = Instant::now();
    Arc::new(move || START.saturating_add(started.elapsed()))
}

async fn check(
    name: &'static str,
    make: &impl AsyncFn() -> Network,
    body: impl AsyncFnOnce(Case) -> Checked,
) -> Result<(), Broken> {
    let case = Case::new(make().await)?;
    let checked = tokio::time::timeout(CASE_TIMEOUT, body(case)).await;
    let checked = checked.unwrap_or_else(|_| case::broken("it does not end"));
    checked.map_err(|broken| Broken {
        case: name,
        ..broken
    })
}

/// Far longer than any case takes that ends at all.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

const START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
