//! Hosts that a claim starts, cuts off and crashes, and the packets between them.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use macula_core::SecretKey;
use macula_transport::{Executor, NodeRuntime, QuicConfig, QuicError, QuicTransport};
use tokio::sync::watch;
use turmoil::{Builder, Protocol, Sim};

/// What the links between hosts are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    pub(crate) latency: (Duration, Duration),
    /// How likely a packet is to take everything with it that is on its link, both ways.
    pub(crate) loss: f64,
}

impl Links {
    pub(crate) const GOOD: Self = Self {
        latency: (Duration::from_millis(2), Duration::from_millis(4)),
        loss: 0.0,
    };

    pub(crate) const BAD: Self = Self {
        latency: (Duration::from_millis(5), Duration::from_millis(40)),
        loss: 0.02,
    };

    fn build(self, seed: u64) -> Sim<'static> {
        Builder::new()
            .rng_seed(seed)
            .min_message_latency(self.latency.0)
            .max_message_latency(self.latency.1)
            .fail_rate(self.loss)
            .simulation_duration(LONGEST)
            .udp_capacity(QUEUE_PACKETS)
            .build()
    }
}

/// The hosts of a simulation, as its claim sees them. The claim runs on a host of its own.
#[derive(Clone)]
pub(crate) struct Network {
    state: Arc<State>,
}

struct State {
    seed: u64,
    /// How many transports were bound: none may have the seed of another.
    bound: Mutex<u64>,
    /// Every host that was ever started; none has a runtime after a crash.
    hosts: watch::Sender<BTreeMap<String, Option<NodeRuntime>>>,
    orders: Mutex<Vec<Order>>,
}

/// What cannot be done from within.
enum Order {
    Start(String),
    Crash(String),
}

impl Network {
    fn new(seed: u64) -> Self {
        let state = State {
            seed,
            bound: Mutex::new(0),
            hosts: watch::Sender::default(),
            orders: Mutex::default(),
        };
        Self {
            state: Arc::new(state),
        }
    }

    /// Where the work of a host runs; it is started if it does not run, again after a crash.
    pub(crate) async fn runtime(&self, seed: u8) -> NodeRuntime {
        let name = name(seed);
        let mut hosts = self.state.hosts.subscribe();
        let running = hosts.borrow().get(&name).cloned().flatten();
        if let Some(runtime) = running {
            return runtime;
        }
        self.order(Order::Start(name.clone()));
        let started = hosts.wait_for(|hosts| matches!(hosts.get(&name), Some(Some(_))));
        started.await.unwrap()[&name].clone().unwrap()
    }

    /// Ends everything that runs on a host, without a farewell.
    pub(crate) async fn crash(&self, seed: u8) {
        let name = name(seed);
        self.order(Order::Crash(name.clone()));
        let mut hosts = self.state.hosts.subscribe();
        let crashed = hosts.wait_for(|hosts| hosts[&name].is_none());
        crashed.await.unwrap();
    }

    /// Loses every packet between two hosts from now on, those under way included.
    pub(crate) fn cut(&self, one: u8, other: u8) {
        turmoil::partition(name(one), name(other));
    }

    /// Loses every packet from one host to another. Not for links with losses: the end of one
    /// would end this too.
    pub(crate) fn mute(&self, from: u8, to: u8) {
        turmoil::partition_oneway(name(from), name(to));
    }

    /// Ends what [`mute`](Self::mute) began.
    pub(crate) fn unmute(&self, from: u8, to: u8) {
        turmoil::repair_oneway(name(from), name(to));
    }

    pub(crate) fn heal(&self, one: u8, other: u8) {
        turmoil::repair(name(one), name(other));
    }

    /// Keeps every packet between two hosts back, until [`let_go`](Self::let_go).
    pub(crate) fn hold(&self, one: u8, other: u8) {
        turmoil::hold(name(one), name(other));
    }

    /// Ends every fault between two hosts.
    pub(crate) fn let_go(&self, one: u8, other: u8) {
        turmoil::release(name(one), name(other));
    }

    pub(crate) fn ip(&self, seed: u8) -> IpAddr {
        turmoil::lookup(name(seed))
    }

    /// An address at which nobody answers.
    pub(crate) fn black_hole(&self) -> SocketAddr {
        (turmoil::lookup(NOBODY), 4433).into()
    }

    /// A node on the host of its seed.
    pub(crate) async fn bind(&self, seed: u8, config: QuicConfig) -> Arc<QuicTransport> {
        self.try_bind(seed, config).await.unwrap()
    }

    pub(crate) async fn try_bind(
        &self,
        seed: u8,
        mut config: QuicConfig,
    ) -> Result<Arc<QuicTransport>, QuicError> {
        let runtime = self.runtime(seed).await;
        config.simulation_seed = Some(self.next_seed());
        let key = SecretKey::from_bytes(&[seed; 32]);
        let binding = async move { QuicTransport::bind(&key, config).await };
        runtime.spawn(binding).await.unwrap()
    }

    /// A node that listens at the address of its host.
    pub(crate) async fn server(&self, seed: u8) -> Arc<QuicTransport> {
        let _started = self.runtime(seed).await;
        let config = QuicConfig {
            listen: vec![(self.ip(seed), 0).into()],
            ..QuicConfig::default()
        };
        self.bind(seed, config).await
    }

    fn next_seed(&self) -> u64 {
        let mut bound = self.state.bound.lock().unwrap();
        *bound += 1;
        (self.state.seed << 32) + *bound
    }

    fn order(&self, order: Order) {
        self.state.orders.lock().unwrap().push(order);
    }

    fn obey(&self, sim: &mut Sim<'static>) {
        let orders = std::mem::take(&mut *self.state.orders.lock().unwrap());
        for order in orders {
            match order {
                Order::Start(name) => self.start(sim, name),
                Order::Crash(name) => {
                    sim.crash(name.as_str());
                    self.state.hosts.send_modify(|hosts| {
                        hosts.insert(name, None);
                    });
                }
            }
        }
    }

    fn start(&self, sim: &mut Sim<'static>, name: String) {
        if self.state.hosts.borrow().contains_key(&name) {
            sim.bounce(name);
            return;
        }
        let network = self.clone();
        sim.host(name.clone(), move || network.clone().run(name.clone()));
    }

    /// What every host does by itself.
    async fn run(self, name: String) -> turmoil::Result {
        let runtime = Executor::Current.start()?;
        self.state.hosts.send_modify(|hosts| {
            hosts.insert(name, Some(runtime));
        });
        pending().await
    }
}

fn name(seed: u8) -> String {
    format!("node-{seed}")
}

/// What was on the links after each step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trace(Vec<u64>);

impl Trace {
    fn note(&mut self, sim: &Sim<'static>) {
        let mut seen = DefaultHasher::new();
        sim.links(|links| {
            for sent in links.flatten() {
                sent.pair().hash(&mut seen);
                if let Protocol::Udp(datagram) = sent.protocol() {
                    datagram.0.len().hash(&mut seen);
                }
            }
        });
        self.0.push(seen.finish());
    }

    /// After how many milliseconds two traces are no longer the same.
    pub(crate) fn parts_from(&self, other: &Self) -> Option<usize> {
        let shorter = self.0.len().min(other.0.len());
        (0..shorter)
            .find(|&at| self.0[at] != other.0[at])
            .or((self.0.len() != other.0.len()).then_some(shorter))
    }

    /// How many milliseconds it took.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Tries a claim with one seed.
pub(crate) fn simulate<F>(seed: u64, links: Links, claim: impl FnOnce(Network) -> F) -> Trace
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = links.build(seed);
    let network = Network::new(seed);
    sim.host(NOBODY, pending);
    let claim = claim(network.clone());
    sim.client("claim", async move {
        claim.await;
        Ok(())
    });
    let mut trace = Trace::default();
    loop {
        network.obey(&mut sim);
        match sim.step() {
            Ok(true) => return trace,
            Ok(false) => trace.note(&sim),
            Err(failure) => panic!("with seed {seed}, after {:?}: {failure}", sim.elapsed()),
        }
    }
}

/// Tries a claim with a few seeds.
pub(crate) fn on_some_seeds<F>(links: Links, claim: impl Fn(Network) -> F)
where
    F: Future<Output = ()> + 'static,
{
    for seed in 1..=SEEDS {
        simulate(seed, links, &claim);
    }
}

const SEEDS: u64 = 3;

/// The host that has no sockets.
const NOBODY: &str = "nobody";

/// A claim that has not held by then never will.
const LONGEST: Duration = Duration::from_secs(600);

/// Longer than any burst: packets are lost where a claim says so.
const QUEUE_PACKETS: usize = 8192;
