//! Several providers of one name: when one dies, the calls go on.
//!
//! `cargo run --example failover`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;

use macula_client::testnet::Testnet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let net = Testnet::start(5).await?;
    let mut advertisements = Vec::new();
    for provider in 1..=3 {
        let node = net.node(provider);
        let greet =
            move |name: String| async move { Ok(format!("hello {name}, from node {provider}")) };
        advertisements.push(node.advertise("demo.greet", greet).await?);
    }

    let mut answers = BTreeMap::new();
    for call in 0..60 {
        if call == 20 {
            println!("killing node 1");
            net.kill(1).await;
        }
        let answer: String = net.node(4).call("demo.greet", "world").await?;
        *answers.entry(answer).or_insert(0) += 1;
    }
    for (answer, times) in answers {
        println!("{times:>3} × {answer}");
    }

    drop(advertisements);
    net.shutdown().await;
    Ok(())
}
