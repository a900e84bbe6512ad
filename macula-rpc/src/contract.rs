//! The suite that every implementation of [`ProviderSelector`] has to pass.
//!
//! [`run`] is for all of them. What only some promise is asked for by name: that they [`spread`]
//! calls over equals, and that they [`repeat`] their choices when they are made alike.
//!
//! ```
//! use std::sync::Arc;
//!
//! use macula_rpc::{Random, contract};
//!
//! # fn main() -> Result<(), contract::Broken> {
//! let made_alike = || Arc::new(Random::new(7)) as _;
//! contract::run(made_alike)?;
//! contract::spread(made_alike)?;
//! contract::repeat(made_alike)
//! # }
//! ```

use std::sync::Arc;

mod any;
mod crowd;
mod even;
mod same;

use crate::ProviderSelector;
use crate::contract::crowd::{Checked, Crowd};

/// As many candidates as the suite ever offers.
pub const MAX_CANDIDATES: usize = 64;

/// A promise that the implementation does not keep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{case}: {finding}")]
pub struct Broken {
    /// The promise.
    pub case: &'static str,
    /// What happened instead.
    pub finding: String,
}

/// Makes the selector under test.
type Make<'a> = &'a dyn Fn() -> Arc<dyn ProviderSelector>;

/// Checks cases, each on a selector of its own.
macro_rules! cases {
    ($make:expr; $($case:path),* $(,)?) => {{
        let crowd = Crowd::new()?;
        $(named(stringify!($case), $case(&crowd, &*$make()))?;)*
        Ok(())
    }};
}

/// Checks what every selector promises, each case on one that `make` makes for it: it chooses one
/// of those it is offered whenever there is one, whatever is known of them.
///
/// # Errors
/// [`Broken`], the first promise that is not kept.
///
/// # Panics
/// When the selector does, which no selector may.
pub fn run(make: impl Fn() -> Arc<dyn ProviderSelector>) -> Result<(), Broken> {
    cases![
        make;
        any::nobody_is_chosen_where_there_is_nobody,
        any::the_only_candidate_is_chosen,
        any::whoever_is_chosen_is_a_candidate,
        any::a_call_that_fails_over_comes_to_everybody_once,
        any::candidates_that_others_have_taken_are_not_missed,
        any::candidates_that_come_and_go_confuse_nobody,
        any::whatever_is_known_of_candidates_one_is_chosen,
        any::calls_on_many_threads_choose_at_once,
    ]
}

/// Checks what a selector promises that shares calls out: of candidates of whom the same is known,
/// each gets its share.
///
/// # Errors
/// [`Broken`], the first promise that is not kept.
pub fn spread(make: impl Fn() -> Arc<dyn ProviderSelector>) -> Result<(), Broken> {
    cases![
        make;
        even::equals_get_equal_shares,
        even::each_service_is_shared_out_by_itself,
        even::whoever_is_new_gets_a_share_at_once,
    ]
}

/// Checks what a selector promises that draws from a seed, or draws nothing: two that were made
/// alike and are asked alike choose alike.
///
/// # Errors
/// [`Broken`], the first promise that is not kept.
pub fn repeat(make: impl Fn() -> Arc<dyn ProviderSelector>) -> Result<(), Broken> {
    let crowd = Crowd::new()?;
    let case = stringify!(same::selectors_made_alike_choose_alike);
    named(case, same::selectors_made_alike_choose_alike(&crowd, &make))
}

fn named(case: &'static str, checked: Checked) -> Result<(), Broken> {
    checked.map_err(|broken| Broken { case, ..broken })
}
