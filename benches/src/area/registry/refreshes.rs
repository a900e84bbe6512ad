//! What it costs a node of a simulated mesh to keep thousands of services advertised.
//!
//! All machines share a thread, and hand each other messages as they are: the processor time has
//! signing, schedules and the machines in it, those of the holders too, but neither sockets nor
//! encoding, nor what holders take to verify.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use macula_core::{Key, Realm, ServiceName};
use macula_dht::{Dht, FindOptions, Scope};
use macula_registry::{
    AdvertiseOptions, Advertisement, AdvertisementState, Registry, RegistryConfig,
};
use macula_sim::Sent;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::area::{measured_once, on_paused_clock};
use crate::cpu;
use crate::figure::Unit;
use crate::fixture::{SimulatedMesh, identity};
use crate::measurement::{Clock, Measurement};
use crate::session::Session;
use crate::statistics::{Estimate, Goal};

pub(super) const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "refresh of 10,000 services, 1000 machines: requests over one lookup for each",
        unit: Unit::Ratio,
        goal: Goal::AtMost(0.03),
        clock: Clock::Virtual,
        run: requests_over_lookup,
    },
    Measurement {
        // What refreshes cost whoever holds the records. It would be 240 if all came in the same
        // second; ten leaves room for chance, as a second has fewer than twenty on average. Walks are
        // left out: the busiest second of those is the one in which the routing table is filled,
        // whatever is advertised.
        name: "the same: requests to store in the busiest second, over the mean",
        unit: Unit::Ratio,
        goal: Goal::AtMost(10.0),
        clock: Clock::Virtual,
        run: busiest_over_mean,
    },
    Measurement {
        name: "the same: share of a core, all 1000 machines but no sockets and no encoding",
        unit: Unit::Share,
        goal: Goal::AtMost(0.02),
        clock: Clock::Virtual,
        run: processor,
    },
    Measurement {
        name: "the same: requests of all kinds per second",
        unit: Unit::Count,
        goal: Goal::None,
        clock: Clock::Virtual,
        run: requests_a_second,
    },
    Measurement {
        name: "the same: virtual time until all are published for the first time",
        unit: Unit::Millis,
        goal: Goal::None,
        clock: Clock::Virtual,
        run: first_published,
    },
];

/// A node that advertises services in a mesh in which nobody else does, and nobody leaves.
#[derive(Debug, Clone, Copy)]
struct Advertiser {
    nodes: usize,
    services: usize,
    /// Virtual seconds from the first publication of the last service until counting begins.
    settled: u32,
    /// Virtual seconds that are counted.
    watched: u32,
    /// Lookups in vain, to compare with.
    lookups: usize,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kept {
    /// How long it took until all services were published.
    first_published: Duration,
    /// Requests of the node that tell holders or look for them, per service and refresh.
    requests_per_refresh: f64,
    /// Requests of one exhaustive lookup.
    requests_per_lookup: f64,
    /// Requests that tell holders in the busiest second over those of all on average.
    busiest_over_mean: f64,
    /// Requests of the node in a second, whatever for.
    requests_a_second: f64,
    /// Processor time of everything over virtual time.
    processor: f64,
}

const SHORT: Advertiser = Advertiser {
    nodes: 1_000,
    services: 10_000,
    settled: 300,
    // The holders of a record are looked for anew every quarter of an hour.
    watched: 900,
    lookups: 300,
};

const FULL: Advertiser = Advertiser {
    watched: 3_600,
    ..SHORT
};

fn requests_over_lookup(session: &Session) -> anyhow::Result<Estimate> {
    let kept = kept(session)?;
    Ok(Estimate::exact(
        kept.requests_per_refresh / kept.requests_per_lookup,
    ))
}

fn busiest_over_mean(session: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(kept(session)?.busiest_over_mean))
}

fn requests_a_second(session: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(kept(session)?.requests_a_second))
}

fn processor(session: &Session) -> anyhow::Result<Estimate> {
    Ok(Estimate::exact(kept(session)?.processor))
}

fn first_published(session: &Session) -> anyhow::Result<Estimate> {
    let millis = kept(session)?.first_published.as_secs_f64() * 1e3;
    Ok(Estimate::exact(millis))
}

fn kept(session: &Session) -> anyhow::Result<&'static Kept> {
    static KEPT: OnceLock<Kept> = OnceLock::new();
    let advertiser = if session.is_full() { FULL } else { SHORT };
    measured_once(&KEPT, || on_paused_clock(advertiser.play()))
}

impl Advertiser {
    async fn play(self) -> anyhow::Result<Kept> {
        let mesh = SimulatedMesh::start(self.nodes, SEED, None)?;
        let ours = identity(mesh.secret_key(NODE), mesh.addresses(NODE), mesh.clock());
        let registry = Registry::new(ours, mesh.dht(NODE), RegistryConfig::default())?;
        let began = Instant::now();
        let _advertisements = self.advertise(&registry).await?;
        let first_published = began.elapsed();
        sleep(Duration::from_secs(self.settled.into())).await;
        let watched = self.watch(&mesh, &registry).await?;
        Ok(Kept {
            first_published,
            requests_per_lookup: self.requests_per_lookup(&mesh).await?,
            ..watched
        })
    }

    /// Advertises everything at once; back when all of it is published.
    async fn advertise(self, registry: &Arc<Registry<()>>) -> anyhow::Result<Vec<Advertisement>> {
        let mut under_way = JoinSet::new();
        for n in 0..self.services {
            let name: ServiceName = format!("bench.refreshes.name{n}").parse()?;
            let registry = Arc::clone(registry);
            under_way.spawn(async move {
                let options = AdvertiseOptions::default();
                let mut advertisement = registry.advertise(name, (), options).await?;
                while !is_published(&advertisement) {
                    advertisement.changed().await;
                }
                anyhow::Ok(advertisement)
            });
        }
        let mut advertisements = Vec::with_capacity(self.services);
        while let Some(advertised) = under_way.join_next().await {
            advertisements.push(advertised??);
        }
        Ok(advertisements)
    }

    async fn watch(self, mesh: &SimulatedMesh, registry: &Registry<()>) -> anyhow::Result<Kept> {
        let (sent_before, published_before) = (mesh.sent(NODE), registry.stats().publish);
        let used_before = cpu::used();
        let busiest = self.stores_of_busiest_second(mesh).await;
        let used = cpu::used().saturating_sub(used_before);
        let (sent, published) = (mesh.sent(NODE), registry.stats().publish);
        let failed = published.failed - published_before.failed;
        ensure!(failed == 0, "{failed} refreshes failed");
        let refreshes = published.refreshed - published_before.refreshed;
        let least = u64::try_from(self.services)? * (u64::from(self.watched) / LONGEST_INTERVAL);
        ensure!(refreshes >= least, "{refreshes} refreshes, not {least}");
        let requests = told_or_walked(sent) - told_or_walked(sent_before);
        let watched = f64::from(self.watched);
        let stores_a_second = whole(sent.stores - sent_before.stores)? / watched;
        Ok(Kept {
            first_published: Duration::ZERO,
            requests_per_refresh: whole(requests)? / whole(refreshes)?,
            requests_per_lookup: 0.0,
            busiest_over_mean: whole(busiest)? / stores_a_second,
            requests_a_second: whole(sent.all() - sent_before.all())? / watched,
            processor: used.as_secs_f64() / watched,
        })
    }

    /// Lets the time pass in which everything is counted.
    async fn stores_of_busiest_second(self, mesh: &SimulatedMesh) -> u64 {
        let mut until_then = mesh.sent(NODE).stores;
        let mut busiest = 0;
        for _ in 0..self.watched {
            sleep(Duration::from_secs(1)).await;
            let until_now = mesh.sent(NODE).stores;
            busiest = busiest.max(until_now - until_then);
            until_then = until_now;
        }
        busiest
    }

    /// The mean of lookups for which nobody has an answer, by one node after the other.
    async fn requests_per_lookup(self, mesh: &Arc<SimulatedMesh>) -> anyhow::Result<f64> {
        let mut requests = 0;
        for n in 0..self.lookups {
            let name: ServiceName = format!("bench.refreshes.nobody{n}").parse()?;
            let key = Key::of_service(&Realm::default(), &name);
            let node = (NODE + 1 + n) % self.nodes;
            let found = mesh.dht(node).find(key, EXHAUSTIVE).await?;
            ensure!(found.providers.is_empty(), "somebody provides {name}");
            requests += u64::try_from(found.requests)?;
        }
        let lookups = u64::try_from(self.lookups)?;
        let mean = whole(requests)? / whole(lookups)?;
        ensure!(mean > 1.0, "nobody was asked");
        Ok(mean)
    }
}

fn is_published(advertisement: &Advertisement) -> bool {
    let state = advertisement.state();
    matches!(state, AdvertisementState::Published { .. })
}

/// Walks to fill the routing table are among them, though no service is the cause of those.
fn told_or_walked(sent: Sent) -> u64 {
    sent.stores + sent.find_node
}

fn whole(number: u64) -> anyhow::Result<f64> {
    let number = u32::try_from(number).context("more than was ever expected")?;
    Ok(f64::from(number))
}

const EXHAUSTIVE: FindOptions = FindOptions {
    want: NonZeroUsize::MAX,
    timeout: Duration::from_secs(10),
    scope: Scope::Network,
    trace: false,
};

const SEED: u64 = 1;

/// Who advertises.
const NODE: usize = 0;

/// The longest time between two refreshes of a record with the default time to live.
const LONGEST_INTERVAL: u64 = 240;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Advertiser = Advertiser {
        nodes: 50,
        services: 100,
        settled: 60,
        watched: 500,
        lookups: 20,
    };

    #[test]
    fn equal_seeds_count_equal_requests() {
        let [one, other] = [(); 2].map(|()| on_paused_clock(SMALL.play()).unwrap());
        let processor = 0.0;
        let alike = |kept: Kept| Kept { processor, ..kept };
        assert_eq!(alike(one), alike(other));
        assert!(one.requests_per_refresh > 0.0, "{one:?}");
        assert!(one.busiest_over_mean >= 1.0, "{one:?}");
        assert!(one.requests_a_second > 0.0, "{one:?}");
        assert!(one.first_published < Duration::from_secs(60), "{one:?}");
    }
}
