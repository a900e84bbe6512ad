use std::sync::LazyLock;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Metadata, ProviderRecord, Realm, RecordDraft, SecretKey,
    Timestamp,
};

use super::*;

/// Signed once, for signing is slow.
static PROVIDERS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    (0..20)
        .map(|i| {
            let draft = RecordDraft {
                realm: Realm::default(),
                service: service("app.f"),
                addresses: Addresses::from_iter([([10, 0, 0, i], 1000).into()]),
                metadata: Metadata::new(),
                delivery: Delivery::AtLeastOnce,
                seq: 1,
                issued_at: Timestamp::from_unix_millis(1),
                ttl: Duration::from_secs(300),
                extensions: Extensions::default(),
            };
            let record =
                ProviderRecord::sign(&SecretKey::from_bytes(&[i; 32]), draft).expect("draft");
            record.into()
        })
        .collect()
});

pub(crate) fn candidates(count: u8) -> Vec<Candidate<'static>> {
    let providers = &PROVIDERS[..usize::from(count)];
    let candidate = |(index, provider)| Candidate {
        index,
        ..Candidate::new(provider, false)
    };
    providers.iter().enumerate().map(candidate).collect()
}

fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn pick(
    selector: &dyn ProviderSelector,
    name: &str,
    candidates: &[Candidate<'_>],
) -> Option<usize> {
    selector.select(&Selection::new(&service(name), 1, candidates))
}

fn every_strategy() -> Vec<Box<dyn ProviderSelector>> {
    vec![
        Box::new(First),
        Box::new(Random::new(1)),
        Box::new(LeastLatency::new(1)),
        Box::new(RoundRobin::new()),
    ]
}

#[test]
fn an_empty_list_gives_no_provider() {
    for selector in every_strategy() {
        assert_eq!(pick(selector.as_ref(), "app.f", &[]), None);
    }
}

#[test]
fn the_only_provider_is_always_chosen() {
    let one = candidates(1);
    for selector in every_strategy() {
        for _ in 0..10 {
            assert_eq!(pick(selector.as_ref(), "app.f", &one), Some(0));
        }
    }
}

#[test]
fn first_is_stable() {
    let five = candidates(5);
    for _ in 0..10 {
        assert_eq!(pick(&First, "app.f", &five), Some(0));
    }
}

#[test]
fn random_is_a_member_and_uniform() {
    let five = candidates(5);
    let selector = Random::new(42);
    let mut counts = [0_u32; 5];
    for _ in 0..10_000 {
        counts[pick(&selector, "app.f", &five).unwrap()] += 1;
    }
    // Five standard deviations of a binomial with n = 10 000, p = 0.2.
    for count in counts {
        assert!((1800..=2200).contains(&count), "{counts:?}");
    }
}

#[test]
fn least_latency_compares_two_different_ones_and_comes_to_all() {
    let mut five = candidates(5);
    let selector = LeastLatency::new(42);
    let mut counts = [0_u32; 5];
    for _ in 0..10_000 {
        counts[pick(&selector, "app.f", &five).unwrap()] += 1;
    }
    assert!(
        counts.iter().all(|count| (1800..=2200).contains(count)),
        "{counts:?}"
    );
    // Nobody else is as slow: it loses almost always against whomever it is compared with.
    five[3].health.latency = Some(Duration::from_millis(20));
    for i in [0, 1, 2, 4] {
        five[i].health.latency = Some(Duration::from_millis(1));
    }
    let slow = (0..10_000).filter(|_| pick(&selector, "app.f", &five) == Some(3));
    // Two pairs in five, and there one in four hundred: ten are expected.
    assert!((1..30).contains(&slow.count()));
}

#[test]
fn least_latency_weighs_what_is_under_way_what_waits_and_what_fails() {
    let selector = LeastLatency::new(1);
    let known = |health: fn(&mut crate::ProviderHealth)| {
        let mut two = candidates(2);
        for candidate in &mut two {
            candidate.health.latency = Some(Duration::from_millis(5));
        }
        health(&mut two[0].health);
        let picks = (0..1_000).map(|_| pick(&selector, "app.f", &two));
        picks.filter(|chosen| *chosen == Some(0)).count()
    };
    // Twice as much: one in five.
    assert!((150..250).contains(&known(|health| health.in_flight = 1)));
    // Ten times as much: one in a hundred.
    let waiting = known(|health| health.waiting = Some(Duration::from_millis(50)));
    assert!((1..30).contains(&waiting));
    assert!(known(|health| health.failing = 0.5) < 30);
    let unknown = known(|health| {
        health.latency = None;
        health.in_flight = 1;
    });
    assert!((150..250).contains(&unknown), "as much is expected of both");
}

#[test]
fn round_robin_takes_turns_and_starts_over() {
    let three = candidates(3);
    let selector = RoundRobin::new();
    let picks: Vec<_> = (0..4).map(|_| pick(&selector, "app.f", &three)).collect();
    assert_eq!(picks, [Some(0), Some(1), Some(2), Some(0)]);
}

#[test]
fn round_robin_counts_each_service_by_itself() {
    let three = candidates(3);
    let selector = RoundRobin::new();
    assert_eq!(pick(&selector, "app.f", &three), Some(0));
    assert_eq!(pick(&selector, "app.f", &three), Some(1));
    assert_eq!(pick(&selector, "app.g", &three), Some(0));
    assert_eq!(pick(&selector, "app.f", &three), Some(2));
}

#[test]
fn round_robin_stays_even_while_one_provider_fails_over() {
    let three = candidates(3);
    let selector = RoundRobin::new();
    let mut first_attempts = [0; 3];
    for _ in 0..9 {
        let first = pick(&selector, "app.f", &three).unwrap();
        first_attempts[first] += 1;
        if first == 1 {
            let mut untried = three.clone();
            untried.remove(first);
            let name = service("app.f");
            let next = selector
                .select(&Selection::new(&name, 2, &untried))
                .unwrap();
            assert_eq!(untried[next], three[2], "its successor takes over");
        }
    }
    assert_eq!(first_attempts, [3, 3, 3]);
}

#[test]
fn round_robin_stays_even_while_another_call_is_quicker_to_probe() {
    let three = candidates(3);
    let selector = RoundRobin::new();
    let name = service("app.f");
    let mut first_choices = [0; 3];
    for _ in 0..9 {
        let first = pick(&selector, "app.f", &three).unwrap();
        first_choices[first] += 1;
        if first == 1 {
            let mut others = three.clone();
            others.remove(first);
            let again = Selection {
                chosen_before: 1,
                ..Selection::new(&name, 1, &others)
            };
            let next = selector.select(&again).unwrap();
            assert_eq!(others[next], three[2], "its successor takes over");
        }
    }
    assert_eq!(first_choices, [3, 3, 3]);
}

#[test]
fn round_robin_shares_a_counter_beyond_its_bound() {
    let three = candidates(3);
    let selector = RoundRobin::new();
    for i in 0..MAX_COUNTED_SERVICES + 100 {
        assert!(pick(&selector, &format!("app.f{i}"), &three).is_some());
    }
    assert_eq!(pick(&selector, "app.f0", &three), Some(1));
    let beyond: Vec<_> = (0..3)
        .map(|i| pick(&selector, &format!("app.new{i}"), &three))
        .collect();
    assert!(beyond.contains(&Some(0)) && beyond.contains(&Some(1)) && beyond.contains(&Some(2)));
}
