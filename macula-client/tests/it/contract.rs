//! The selector of the example keeps the contract of selectors.

use std::sync::Arc;

use macula_rpc::contract;

use custom_selector::InRegion;

#[path = "../../examples/custom_selector.rs"]
#[expect(dead_code, reason = "its `main` is not run here")]
mod custom_selector;

#[test]
fn the_selector_of_the_example_keeps_the_contract() {
    contract::run(|| Arc::new(InRegion("eu"))).unwrap();
    contract::repeat(|| Arc::new(InRegion("eu"))).unwrap();
}
