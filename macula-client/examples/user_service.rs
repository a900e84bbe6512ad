//! A typed service: the provider's side and the caller's side of one function.
//!
//! `cargo run --example user_service`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use macula_client::{Client, HandlerError};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct GetUser {
    user_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct User {
    name: String,
    email: String,
}

async fn get_user(query: GetUser) -> Result<User, HandlerError> {
    match query.user_id.as_str() {
        "user-123" => Ok(User {
            name: "Ada".into(),
            email: "ada@example.com".into(),
        }),
        unknown => Err(HandlerError::new(format!("no user {unknown}"))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = Client::builder()
        .realm("com.myapp")
        .listen("127.0.0.1:0".parse()?)
        .connect()
        .await?;
    let advertisement = provider
        .advertise("myapp.get_user", get_user)
        .metadata("version", "1.0")
        .ttl(Duration::from_secs(300))
        .await?;

    let caller = Client::builder()
        .realm("com.myapp")
        .bootstrap([provider.contact()])
        .connect()
        .await?;
    let user: User = caller
        .call(
            "myapp.get_user",
            &GetUser {
                user_id: "user-123".into(),
            },
        )
        .await?;
    println!("{user:?}");
    let missing = GetUser {
        user_id: "user-7".into(),
    };
    let nobody: Result<User, _> = caller.call("myapp.get_user", &missing).await;
    if let Err(error) = nobody {
        println!("user-7: {error}");
    }

    advertisement.withdraw().await?;
    caller.shutdown().await;
    provider.shutdown().await;
    Ok(())
}
