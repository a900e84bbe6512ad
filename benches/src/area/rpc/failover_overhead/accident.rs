//! Calls at a steady rate to three processes, one of which comes to harm.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use macula_client::Client;
use macula_core::ServiceName;
use tokio::time::{Instant, sleep};

use super::aftermath::{Aftermath, Made, Scene};
use crate::area::rpc::warm::body;
use crate::load::{Arrivals, open_loop};
use crate::part::{Harm, Provider};
use crate::session::Session;

/// Calls through a whole client over QUIC, at random times, to three providers that it found
/// through its DHT; in the midst of them one is harmed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accident {
    /// What happens to one of them.
    pub harm: Harm,
    /// How often is called.
    pub per_second: f64,
    /// For how long all is well.
    pub before: Duration,
    /// For how long calls are made after that.
    pub after: Duration,
    /// The deadline of every call.
    pub timeout: Duration,
    /// How many providers a call tries.
    pub max_attempts: NonZeroU8,
}

impl Accident {
    /// Lets it happen, to processes of a program that plays parts.
    ///
    /// # Errors
    /// When a process cannot be started, or nobody noticed anything: that would be no accident.
    pub fn happen(self, session: &Session, program: &Path) -> anyhow::Result<Aftermath> {
        let client = session.block_on(caller())?;
        let providers = (0..PROVIDERS).map(|_| Provider::start(program, &client.contact()));
        let mut providers = providers.collect::<anyhow::Result<Vec<_>>>()?;
        session.block_on(async {
            warm_up(&client, &providers).await?;
            let scene = self.call(&client, &mut providers[0]).await?;
            client.shutdown().await;
            Aftermath::of(self, &scene)
        })
    }

    /// Makes the calls, and does the harm on time.
    async fn call(self, client: &Client, victim: &mut Provider) -> anyhow::Result<Scene> {
        let arrivals = Arrivals {
            per_second: self.per_second,
            duration: self.before + self.after,
            seed: SEED,
        };
        let service = Provider::service()?;
        let made = Arc::new(Mutex::new(Vec::new()));
        let calls = open_loop(arrivals, || {
            let made = Arc::clone(&made);
            let call = self.one_call(client.clone(), service.clone());
            async move {
                let call = call.await;
                let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                made.push(call);
                Ok(())
            }
        });
        let victim_id = victim.node_id();
        let harm = async {
            sleep(self.before).await;
            let at = Instant::now();
            victim.suffer(self.harm)?;
            anyhow::Ok(at)
        };
        let (calls, harmed_at) = tokio::join!(calls, harm);
        calls?;
        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Scene {
            victim: victim_id,
            harmed_at: harmed_at?,
            made: std::mem::take(&mut made),
        })
    }

    /// One call from now on, whenever the future gets to run.
    fn one_call(
        self,
        client: Client,
        service: ServiceName,
    ) -> impl Future<Output = Made> + Send + 'static {
        let started = Instant::now();
        async move {
            let call = client.call::<_, Bytes, Bytes>(service, &body());
            let call = call.timeout(self.timeout).max_attempts(self.max_attempts);
            let outcome = call.detailed().await;
            Made {
                started,
                took: started.elapsed(),
                succeeded: outcome.is_ok(),
                attempts: match outcome {
                    Ok(reply) => reply.attempts,
                    Err(error) => error.attempts().to_vec(),
                },
            }
        }
    }
}

/// A node that provides nothing, and is the network that the providers come into.
async fn caller() -> anyhow::Result<Client> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(Client::builder().listen(loopback).connect().await?)
}

/// Finds all providers and calls each of them.
async fn warm_up(client: &Client, providers: &[Provider]) -> anyhow::Result<()> {
    let service = Provider::service()?;
    let found = client.providers(service.clone()).await?;
    ensure!(
        found.providers().len() == providers.len(),
        "not all providers are found"
    );
    for provider in providers {
        let call = client.call::<_, Bytes, Bytes>(service.clone(), &body());
        let reply = call.provider(provider.node_id()).await;
        reply.context("a provider does not answer")?;
    }
    Ok(())
}

const PROVIDERS: usize = 3;

/// Decides the times of the calls.
const SEED: u64 = 1;
