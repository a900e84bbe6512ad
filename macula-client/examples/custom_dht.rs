//! A DHT of one's own: a fixed list of records, shared by two nodes.
//!
//! `cargo run --example custom_dht`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use macula_client::Client;
use macula_client::dht::{
    AnnounceReport, Announced, Dht, DhtError, FindOptions, FindOutcome, Found, FoundProvider,
    WithdrawReport, Withdrawn,
};
use macula_core::{Key, NodeId, ProviderRecord, Withdrawal};

/// Remembers the last record of every provider, as long as the process lives.
#[derive(Default)]
struct SharedList(Mutex<BTreeMap<(Key, NodeId), ProviderRecord>>);

#[async_trait]
impl Dht for SharedList {
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = AnnounceReport::default();
        for record in records {
            report.records.push(Announced {
                key: record.key(),
                holders: 1,
                full: 0,
            });
            list.insert((record.key(), record.provider()), record);
        }
        Ok(report)
    }

    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = WithdrawReport::default();
        for withdrawal in &withdrawals {
            list.remove(&(withdrawal.key(), withdrawal.provider()));
            report.withdrawals.push(Withdrawn {
                key: withdrawal.key(),
                acknowledged: 1,
                declined: 0,
            });
        }
        Ok(report)
    }

    async fn find(&self, key: Key, _options: FindOptions) -> Result<Found, DhtError> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = list.iter().filter(|((of, _), _)| *of == key);
        let providers: Vec<_> = of_key
            .map(|(_, record)| FoundProvider {
                record: record.clone(),
                life: record.ttl(),
            })
            .collect();
        let outcome = if providers.is_empty() {
            FindOutcome::Absent
        } else {
            FindOutcome::Found
        };
        Ok(Found {
            providers,
            outcome,
            requests: 0,
            hops: 0,
            trace: Vec::new(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let list = Arc::new(SharedList::default());
    let listen = "127.0.0.1:0".parse()?;
    let provider = Client::builder()
        .dht(list.clone())
        .listen(listen)
        .connect()
        .await?;
    let caller = Client::builder().dht(list).listen(listen).connect().await?;

    let _upper = provider
        .advertise("text.upper", |text: String| async move {
            Ok(text.to_uppercase())
        })
        .await?;
    let shouted: String = caller.call("text.upper", "no dht, no bootstrap").await?;
    println!("{shouted}");

    caller.shutdown().await;
    provider.shutdown().await;
    Ok(())
}
