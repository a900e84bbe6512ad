//! A provider selector of one's own: prefer providers in our region.
//!
//! `cargo run --example custom_selector`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use macula_client::rpc::{ProviderSelector, Selection};
use macula_client::testnet::Testnet;

/// Picks the first provider that says it is in this region, else the first one.
pub(crate) struct InRegion(pub(crate) &'static str);

impl ProviderSelector for InRegion {
    fn select(&self, selection: &Selection<'_>) -> Option<usize> {
        let is_near = |region: Option<&str>| region == Some(self.0);
        let candidates = selection.candidates;
        let near = candidates
            .iter()
            .position(|candidate| is_near(candidate.provider.metadata().value("region")));
        near.or((!candidates.is_empty()).then_some(0))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = Testnet::start(3).await?;
    let mut advertisements = Vec::new();
    for (index, region) in [(0, "eu"), (1, "us"), (2, "ap")] {
        let answer = move |()| async move { Ok(region.to_owned()) };
        let node = net.node(index);
        advertisements.push(
            node.advertise("demo.where", answer)
                .metadata("region", region)
                .await?,
        );
    }

    let caller = net
        .builder()
        .selector(Arc::new(InRegion("us")))
        .connect()
        .await?;
    for _ in 0..3 {
        let region: String = caller.call("demo.where", &()).await?;
        println!("answered from {region}");
    }

    caller.shutdown().await;
    net.shutdown().await;
    Ok(())
}
