//! Who is there to be chosen, and the few verbs that all cases are told in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Metadata, Provider, ProviderRecord, Realm, RecordDraft,
    SecretKey, ServiceName, Timestamp,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::contract::{Broken, MAX_CANDIDATES};
use crate::{BreakerState, Candidate, ProviderHealth, ProviderSelector, Selection};

/// Providers of a service, and what is drawn for the cases: the same in every run.
pub(super) struct Crowd {
    providers: Vec<Provider>,
    pub(super) service: ServiceName,
    /// Another one, with the same providers.
    pub(super) other: ServiceName,
}

/// What a case, or a step of it, comes to.
pub(super) type Checked<T = ()> = Result<T, Broken>;

impl Crowd {
    pub(super) fn new() -> Checked<Self> {
        let service = name("contract.service")?;
        let providers = (0..MAX_CANDIDATES).map(|place| provider(&service, place));
        Ok(Self {
            providers: providers.collect::<Checked<_>>()?,
            other: name("contract.other")?,
            service,
        })
    }

    /// So many candidates of whom nothing is known.
    pub(super) fn strangers(&self, count: usize) -> Vec<Candidate<'_>> {
        let providers = self.providers[..count].iter().enumerate();
        let candidate = |(index, provider)| Candidate {
            index,
            ..Candidate::new(provider, false)
        };
        providers.map(candidate).collect()
    }

    /// So many of whom all sorts of things are known.
    pub(super) fn known(&self, count: usize, rng: &mut SmallRng) -> Vec<Candidate<'_>> {
        let mut candidates = self.strangers(count);
        for candidate in &mut candidates {
            candidate.connected = rng.random();
            candidate.health = health(rng);
        }
        candidates
    }
}

/// Asks for the first choice of a call.
pub(super) fn first(
    selector: &dyn ProviderSelector,
    service: &ServiceName,
    candidates: &[Candidate<'_>],
) -> Checked<usize> {
    choose(selector, &Selection::new(service, 1, candidates))
}

/// Asks for a choice where there is somebody to choose.
pub(super) fn choose(selector: &dyn ProviderSelector, selection: &Selection<'_>) -> Checked<usize> {
    let count = selection.candidates.len();
    match selector.select(selection) {
        Some(place) if place < count => Ok(place),
        Some(place) => broken(format!("number {place} of {count} was chosen, from zero")),
        None => broken(format!("nobody of {count} was chosen")),
    }
}

/// Randomness of a case.
pub(super) fn lots(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

pub(super) fn ensure(kept: bool, otherwise: impl Into<String>) -> Checked {
    if kept { Ok(()) } else { broken(otherwise) }
}

pub(super) fn broken<T>(finding: impl Into<String>) -> Checked<T> {
    Err(Broken {
        case: "",
        finding: finding.into(),
    })
}

fn health(rng: &mut SmallRng) -> ProviderHealth {
    let breakers = [
        BreakerState::Closed,
        BreakerState::HalfOpen,
        BreakerState::Open,
    ];
    let mut while_ms = |at_most| {
        let is_known: bool = rng.random();
        is_known.then(|| Duration::from_millis(rng.random_range(0..at_most)))
    };
    ProviderHealth {
        latency: while_ms(2_000),
        waiting: while_ms(20_000),
        failing: rng.random_range(0.0..=1.0),
        in_flight: rng.random_range(0..1_000),
        breaker: breakers[rng.random_range(..breakers.len())],
    }
}

fn provider(service: &ServiceName, place: usize) -> Checked<Provider> {
    // Fewer than there are bytes.
    let seed = u8::try_from(place).unwrap_or(u8::MAX);
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, seed), PORT));
    let draft = RecordDraft {
        realm: Realm::default(),
        service: service.clone(),
        addresses: Addresses::from_iter([address]),
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at: Timestamp::from_unix_millis(1),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&SecretKey::from_bytes(&[seed; 32]), draft)
        .map(Provider::from)
        .or_else(|error| broken(format!("the suite's own record cannot be signed: {error}")))
}

fn name(text: &str) -> Checked<ServiceName> {
    text.parse()
        .or_else(|error| broken(format!("the suite's own name {text}: {error}")))
}

const PORT: u16 = 4433;
