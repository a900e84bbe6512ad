//! Two nodes: one provides arithmetic, the other one calls it.
//!
//! `cargo run --example calculator`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use macula_client::{Client, HandlerError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = Client::builder()
        .listen("127.0.0.1:0".parse()?)
        .connect()
        .await?;
    let _add = provider
        .advertise(
            "calculator.add",
            |(a, b): (i64, i64)| async move { Ok(a + b) },
        )
        .await?;
    let _divide = provider
        .advertise("calculator.divide", |(a, b): (i64, i64)| async move {
            a.checked_div(b)
                .ok_or_else(|| HandlerError::new("division by zero"))
        })
        .await?;

    let caller = Client::builder()
        .bootstrap([provider.contact()])
        .connect()
        .await?;
    let sum: i64 = caller.call("calculator.add", &(2, 40)).await?;
    println!("2 + 40 = {sum}");
    let quotient: Result<i64, _> = caller.call("calculator.divide", &(1, 0)).await;
    if let Err(error) = quotient {
        println!("1 / 0: {error}");
    }

    caller.shutdown().await;
    provider.shutdown().await;
    Ok(())
}
