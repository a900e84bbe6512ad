//! A DHT that records what it is asked and answers as it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use macula_core::{Key, ProviderRecord, Withdrawal};
use macula_dht::{
    AnnounceReport, Announced, Dht, DhtError, FindOptions, FindOutcome, Found, FoundProvider,
    Scope, WithdrawReport, Withdrawn,
};
use tokio::time::Instant;

/// What is done, in order, and how to answer.
#[derive(Default)]
pub(crate) struct ScriptedDht {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    announces: Vec<(Instant, ProviderRecord)>,
    batches: Vec<(Instant, usize)>,
    withdrawals: Vec<(Instant, Vec<Withdrawal>)>,
    finds: Vec<FindOptions>,
    script: Script,
}

/// How to answer from now on.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) latency: Duration,
    pub(crate) hangs_on_announce: bool,
    pub(crate) announce: Option<DhtError>,
    pub(crate) withdraw: Option<DhtError>,
    pub(crate) nobody_hears_of_the_withdrawal_of: Option<Key>,
    pub(crate) network: Answer,
    pub(crate) connected: Answer,
    pub(crate) panics: bool,
    pub(crate) panics_on_announce_of: Option<Key>,
    pub(crate) nobody_holds: Option<Key>,
    pub(crate) holders: Option<usize>,
    pub(crate) full: usize,
}

/// What a find comes to.
#[derive(Clone, Default)]
pub(crate) enum Answer {
    #[default]
    Absent,
    Inconclusive,
    Found(Vec<(ProviderRecord, Duration)>),
    Fails(DhtError),
}

impl ScriptedDht {
    pub(crate) fn new(script: Script) -> Arc<Self> {
        let dht = Self::default();
        dht.set(script);
        Arc::new(dht)
    }

    pub(crate) fn set(&self, script: Script) {
        self.state.lock().unwrap().script = script;
    }

    pub(crate) fn announces(&self) -> Vec<(Instant, ProviderRecord)> {
        self.state.lock().unwrap().announces.clone()
    }

    /// When each batch was announced, and how many records it had.
    pub(crate) fn batches(&self) -> Vec<(Instant, usize)> {
        self.state.lock().unwrap().batches.clone()
    }

    pub(crate) fn withdrawals(&self) -> Vec<(Instant, Vec<Withdrawal>)> {
        self.state.lock().unwrap().withdrawals.clone()
    }

    pub(crate) fn finds(&self) -> Vec<FindOptions> {
        self.state.lock().unwrap().finds.clone()
    }
}

impl Script {
    fn withdrawn(&self, key: Key) -> Withdrawn {
        let is_told = self.nobody_hears_of_the_withdrawal_of != Some(key);
        Withdrawn {
            key,
            acknowledged: if is_told { 8 } else { 0 },
            declined: 0,
        }
    }
}

#[async_trait]
impl Dht for ScriptedDht {
    async fn announce(&self, records: Vec<ProviderRecord>) -> Result<AnnounceReport, DhtError> {
        let script = {
            let mut state = self.state.lock().unwrap();
            state.batches.push((Instant::now(), records.len()));
            for record in &records {
                state.announces.push((Instant::now(), record.clone()));
            }
            state.script.clone()
        };
        tokio::time::sleep(script.latency).await;
        let panics_on = script.panics_on_announce_of;
        assert!(!records.iter().any(|r| Some(r.key()) == panics_on));
        if script.hangs_on_announce {
            std::future::pending::<()>().await;
        }
        if let Some(error) = script.announce {
            return Err(error);
        }
        let records = records.iter().map(|record| Announced {
            key: record.key(),
            holders: match script.nobody_holds {
                Some(key) if key == record.key() => 0,
                _ => script.holders.unwrap_or(8),
            },
            full: script.full,
        });
        Ok(AnnounceReport {
            records: records.collect(),
        })
    }

    async fn withdraw(&self, withdrawals: Vec<Withdrawal>) -> Result<WithdrawReport, DhtError> {
        let keys: Vec<_> = withdrawals.iter().map(Withdrawal::key).collect();
        let script = {
            let mut state = self.state.lock().unwrap();
            state.withdrawals.push((Instant::now(), withdrawals));
            state.script.clone()
        };
        tokio::time::sleep(script.latency).await;
        match script.withdraw {
            Some(error) => Err(error),
            None => Ok(WithdrawReport {
                withdrawals: keys.into_iter().map(|key| script.withdrawn(key)).collect(),
            }),
        }
    }

    async fn find(&self, _key: Key, options: FindOptions) -> Result<Found, DhtError> {
        let script = {
            let mut state = self.state.lock().unwrap();
            state.finds.push(options);
            state.script.clone()
        };
        tokio::time::sleep(script.latency).await;
        assert!(!script.panics, "as the script says");
        let answer = match options.scope {
            Scope::Network => script.network,
            Scope::Connected => script.connected,
        };
        let (outcome, found) = match answer {
            Answer::Absent => (FindOutcome::Absent, Vec::new()),
            Answer::Inconclusive => (FindOutcome::Inconclusive, Vec::new()),
            Answer::Found(found) => (FindOutcome::Found, found),
            Answer::Fails(error) => return Err(error),
        };
        let provider = |(record, life)| FoundProvider { record, life };
        Ok(Found {
            providers: found.into_iter().map(provider).collect(),
            outcome,
            requests: 1,
            hops: 1,
            trace: Vec::new(),
        })
    }
}
