use std::sync::LazyLock;

use macula_core::{
    Addresses, Extensions, Metadata, ProviderRecord, Realm, RecordDraft, SecretKey, Timestamp,
};
use proptest::prelude::*;

use super::*;

const NODES: u8 = 6;
const PORTS: u16 = 3;

/// A record of each node at each port, of either delivery; signed once, for signing is slow.
static RECORDS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    let mut records = Vec::new();
    for node in 0..NODES {
        for port in 0..PORTS {
            for delivery in [Delivery::AtLeastOnce, Delivery::AtMostOnce] {
                records.push(sign(node, port, delivery));
            }
        }
    }
    records
});

fn sign(node: u8, port: u16, delivery: Delivery) -> Provider {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: "app.f".parse().unwrap(),
        addresses: Addresses::from_iter([([10, 0, 0, node], 1000 + port).into()]),
        metadata: Metadata::new(),
        delivery,
        seq: 1,
        issued_at: Timestamp::from_unix_millis(1),
        ttl: Duration::from_secs(300),
        extensions: Extensions::default(),
    };
    ProviderRecord::sign(&SecretKey::from_bytes(&[node; 32]), draft)
        .unwrap()
        .into()
}

fn provider(node: u8, port: u16, delivery: Delivery) -> Provider {
    let index = (u16::from(node) * PORTS + port) * 2 + u16::from(delivery == Delivery::AtMostOnce);
    RECORDS[usize::from(index)].clone()
}

fn plain(node: u8) -> Provider {
    provider(node, 0, Delivery::AtLeastOnce)
}

fn offer(plan: &mut Plan, found: impl IntoIterator<Item = Provider>) -> bool {
    plan.offer(found.into_iter().collect(), |_| true)
}

fn plan(timeout: Duration, max_attempts: u8, delivery: Delivery) -> (Plan, Instant) {
    let now = Instant::now();
    let plan = Plan::new(PlanConfig {
        deadline: now + timeout,
        max_attempts,
        lookup_percent: 40,
        delivery,
    });
    (plan, now)
}

const FIVE_SECONDS: Duration = Duration::from_secs(5);

#[test]
fn attempts_share_the_time_that_is_left() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    assert!(offer(&mut plan, (0..2).map(plain)));
    let first = plan.begin(now, 0, false).unwrap();
    let half = FIVE_SECONDS / 2;
    assert_eq!(first.timeout, half - TIMER, "two providers, two shares");
    let now = now + Duration::from_secs(1);
    plan.failed(first, Executed::No, false);
    let second = plan.begin(now, 0, false).unwrap();
    assert_eq!(second.timeout, Duration::from_secs(4), "all that is left");
}

#[test]
fn an_attempt_that_a_timer_ends_late_takes_nothing_from_the_next() {
    for timeout in [FIVE_SECONDS, Duration::from_millis(40)] {
        let (mut plan, now) = plan(timeout, 2, Delivery::AtLeastOnce);
        assert!(offer(&mut plan, (0..2).map(plain)));
        let first = plan.begin(now, 0, false).unwrap();
        let now = now + first.timeout + TIMER;
        plan.failed(first, Executed::Unknown, true);
        let second = plan.begin(now, 0, false).unwrap();
        assert!(second.timeout >= timeout / 2, "{second:?}");
    }
    let (mut plan, now) = plan(Duration::from_micros(10), 2, Delivery::AtLeastOnce);
    assert!(offer(&mut plan, (0..2).map(plain)));
    let hasty = plan.begin(now, 0, false).unwrap();
    assert!(hasty.timeout > Duration::from_micros(4), "{hasty:?}");
}

#[test]
fn two_black_holes_leave_time_for_the_third_provider() {
    let (mut plan, mut now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    assert!(offer(&mut plan, (0..3).map(plain)));
    for _ in 0..2 {
        let tried = plan.begin(now, 0, false).unwrap();
        now += tried.timeout;
        plan.failed(tried, Executed::Unknown, true);
        assert_eq!(plan.next(now), Step::Choose);
    }
    let last = plan.begin(now, 0, false).unwrap();
    assert!(last.timeout > Duration::from_millis(1600), "{last:?}");
}

#[test]
fn a_lookup_takes_its_share_of_the_time_that_is_left() {
    let (plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    assert_eq!(plan.lookup_timeout(now), Duration::from_secs(2));
    let later = now + Duration::from_secs(4);
    assert_eq!(plan.lookup_timeout(later), Duration::from_millis(400));
    assert_eq!(plan.lookup_timeout(now + FIVE_SECONDS * 2), Duration::ZERO);
}

#[test]
fn a_node_is_tried_again_only_at_a_new_address_and_if_it_executed_nothing() {
    for (executed, port, eligible) in [
        (Executed::No, 0, false),
        (Executed::No, 1, true),
        (Executed::Unknown, 1, false),
        (Executed::Yes, 1, false),
    ] {
        let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
        assert!(offer(&mut plan, [plain(0)]));
        let tried = plan.begin(now, 0, false).unwrap();
        plan.failed(tried, executed, false);
        let again = [provider(0, port, Delivery::AtLeastOnce)];
        let eligible_again = offer(&mut plan, again);
        assert_eq!(eligible_again, eligible, "{executed:?} at port {port}");
    }
}

#[test]
fn a_record_can_be_stricter_than_the_call_but_not_laxer() {
    for (call, record) in [
        (Delivery::AtMostOnce, Delivery::AtLeastOnce),
        (Delivery::AtLeastOnce, Delivery::AtMostOnce),
    ] {
        let (mut plan, now) = plan(FIVE_SECONDS, 3, call);
        offer(&mut plan, [0, 1].map(|node| provider(node, 0, record)));
        let tried = plan.begin(now, 0, false).unwrap();
        plan.failed(tried, Executed::Unknown, false);
        assert_eq!(plan.next(now), Step::GiveUp(GiveUp::PerhapsExecuted));
    }
}

#[test]
fn a_call_that_may_run_once_goes_on_when_nothing_was_executed() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtMostOnce);
    assert!(offer(&mut plan, (0..2).map(plain)));
    let tried = plan.begin(now, 0, false).unwrap();
    plan.failed(tried, Executed::No, false);
    assert_eq!(plan.next(now), Step::Choose);
}

#[test]
fn a_call_that_may_run_once_waits_for_a_connected_provider_until_its_deadline() {
    let third = FIVE_SECONDS / 3 - TIMER;
    for (delivery, connected, timeout) in [
        (Delivery::AtMostOnce, true, FIVE_SECONDS),
        (Delivery::AtMostOnce, false, third),
        (Delivery::AtLeastOnce, true, third),
    ] {
        let (mut plan, now) = plan(FIVE_SECONDS, 3, delivery);
        assert!(offer(&mut plan, (0..3).map(plain)));
        let tried = plan.begin(now, 0, connected).unwrap();
        assert_eq!(tried.timeout, timeout);
    }
}

#[test]
fn an_attempt_that_had_all_the_time_ends_the_call_when_it_times_out() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    offer(&mut plan, [plain(0)]);
    let tried = plan.begin(now, 0, false).unwrap();
    plan.failed(tried, Executed::Unknown, true);
    let a_moment_early = now + FIVE_SECONDS - Duration::from_millis(1);
    assert_eq!(plan.next(a_moment_early), Step::GiveUp(GiveUp::OutOfTime));
}

#[test]
fn a_connected_node_is_tried_first_and_found_addresses_of_it_after() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    let found = plain(0);
    let node_id = found.node_id();
    plan.offer_node(Contact::new(node_id, []));
    assert_eq!(plan.next(now), Step::TryNode(node_id));
    let tried = plan.begin_node(now, node_id);
    plan.failed(tried, Executed::No, false);
    assert!(matches!(plan.next(now), Step::Refresh(_)));
    plan.forbid_refresh();
    assert!(offer(&mut plan, [found]));
    assert_eq!(plan.next(now), Step::Choose);
}

#[test]
fn only_those_that_are_wanted_are_tried_and_say_how_strict_they_are() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    let strict = provider(0, 0, Delivery::AtMostOnce);
    let found: Arc<[Provider]> = [strict, plain(1), plain(2)].into();
    let unwanted = found[0].node_id();
    assert!(plan.offer(found, |provider| provider.node_id() != unwanted));
    let tried = plan.begin(now, 0, false).unwrap();
    assert_eq!(tried.contact, plain(1).contact());
    plan.failed(tried, Executed::Unknown, false);
    assert_eq!(plan.next(now), Step::Choose, "who is not wanted has no say");
}

#[test]
fn a_node_that_is_named_twice_is_tried_once() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    let again = provider(0, 1, Delivery::AtLeastOnce);
    assert!(offer(&mut plan, [plain(0), again]));
    let tried = plan.begin(now, 0, false).unwrap();
    plan.failed(tried, Executed::No, false);
    assert_eq!(plan.untried().len(), 0);
}

#[test]
fn an_index_out_of_range_begins_nothing() {
    let (mut plan, now) = plan(FIVE_SECONDS, 3, Delivery::AtLeastOnce);
    offer(&mut plan, [plain(0)]);
    assert_eq!(plan.begin(now, 1, false), None);
    assert_eq!(plan.next_number(), 1);
    assert_eq!(plan.untried().len(), 1);
}

/// How one attempt goes.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// Which of the candidates is chosen, modulo their number.
    choice: usize,
    executed: Executed,
    /// Percent of its timeout that it takes; at 100 it times out.
    takes_percent: u32,
}

#[derive(Debug, Clone)]
struct Scenario {
    timeout: Duration,
    max_attempts: u8,
    delivery: Delivery,
    first: Vec<Provider>,
    refreshed: Vec<Provider>,
    fates: Vec<Fate>,
}

fn any_provider() -> impl Strategy<Value = Provider> {
    // One record in ten forbids repetition, else nearly every plan would end by it.
    (0..NODES, 0..PORTS, 0..10).prop_map(|(node, port, strict)| {
        let delivery = match strict {
            0 => Delivery::AtMostOnce,
            _ => Delivery::AtLeastOnce,
        };
        provider(node, port, delivery)
    })
}

fn any_fate() -> impl Strategy<Value = Fate> {
    let executed = prop_oneof![Just(Executed::No), Just(Executed::Unknown)];
    let takes_percent = prop_oneof![Just(0), Just(100), 0..100_u32];
    (any::<usize>(), executed, takes_percent).prop_map(|(choice, executed, takes_percent)| Fate {
        choice,
        executed,
        takes_percent,
    })
}

fn any_scenario() -> impl Strategy<Value = Scenario> {
    let delivery = prop_oneof![
        4 => Just(Delivery::AtLeastOnce),
        1 => Just(Delivery::AtMostOnce),
    ];
    // An answer has one record per provider.
    let providers = || {
        proptest::collection::vec(any_provider(), 0..8).prop_map(|mut providers| {
            let mut seen = Vec::new();
            providers.retain(|provider| {
                let is_new = !seen.contains(&provider.node_id());
                seen.push(provider.node_id());
                is_new
            });
            providers
        })
    };
    let fates = proptest::collection::vec(any_fate(), 8);
    (
        1..6_000_u64,
        1..6_u8,
        delivery,
        providers(),
        providers(),
        fates,
    )
        .prop_map(
            |(millis, max_attempts, delivery, first, refreshed, fates)| Scenario {
                timeout: Duration::from_millis(millis),
                max_attempts,
                delivery,
                first,
                refreshed,
                fates,
            },
        )
}

/// What happened so far, as the rules see it.
struct History {
    now: Instant,
    deadline: Instant,
    tried: Vec<(Provider, Executed, bool)>,
    offered: Vec<Provider>,
    refreshes: u32,
}

impl History {
    /// Written without a look at how the plan does it.
    fn may_try(&self, candidate: &Provider) -> bool {
        self.tried
            .iter()
            .filter(|(provider, ..)| provider.node_id() == candidate.node_id())
            .all(|(provider, executed, _)| {
                *executed == Executed::No && provider.addresses() != candidate.addresses()
            })
    }

    /// The nodes that are left to try.
    fn left(&self) -> usize {
        let mut nodes: Vec<NodeId> = self
            .offered
            .iter()
            .filter(|provider| self.may_try(provider))
            .map(Provider::node_id)
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len()
    }

    fn may_run_once_and_perhaps_has(&self, call: Delivery) -> bool {
        let strict = call == Delivery::AtMostOnce
            || self
                .offered
                .iter()
                .any(|provider| provider.delivery() == Delivery::AtMostOnce);
        strict && self.tried.iter().any(|(_, e, _)| *e != Executed::No)
    }
}

fn tell(plan: &mut Plan, history: &mut History, found: &[Provider]) {
    offer(plan, found.iter().cloned());
    let expected = found.iter().filter(|provider| history.may_try(provider));
    assert!(plan.untried().eq(expected));
    // A record that is not taken still says how strict its service is.
    history.offered.extend_from_slice(found);
}

fn attempt(plan: &mut Plan, history: &mut History, scenario: &Scenario) {
    let fate = scenario.fates[history.tried.len()];
    let index = fate.choice % plan.untried().len();
    let chosen = plan.untried().nth(index).unwrap().clone();
    assert!(history.may_try(&chosen), "tried twice");
    let left = plan.untried().len();
    let allowed = usize::from(scenario.max_attempts) - history.tried.len();
    let tried = plan.begin(history.now, index, false).unwrap();
    assert_eq!(tried.contact, chosen.contact());
    assert_eq!(usize::from(tried.number), history.tried.len() + 1);
    let shares = u32::try_from(left.min(allowed)).unwrap();
    let share = (history.deadline - history.now) / shares;
    let early = match shares {
        1 => Duration::ZERO,
        _ => TIMER.min(share / 10),
    };
    assert_eq!(tried.timeout, share - early);

    let timed_out = fate.takes_percent == 100;
    history.now += tried.timeout * fate.takes_percent / 100;
    assert!(history.now <= history.deadline);
    history
        .tried
        .push((chosen, fate.executed, timed_out && shares == 1));
    plan.failed(tried, fate.executed, timed_out);
}

fn check_end(reason: GiveUp, plan: &Plan, history: &History, scenario: &Scenario) {
    let spent = history.tried.len() == usize::from(scenario.max_attempts);
    let perhaps = history.may_run_once_and_perhaps_has(scenario.delivery);
    let late = history.now >= history.deadline || history.tried.last().is_some_and(|t| t.2);
    match reason {
        GiveUp::PerhapsExecuted => assert!(perhaps),
        GiveUp::OutOfTime => assert!(late && !perhaps),
        GiveUp::AttemptsSpent => assert!(spent && plan.untried().len() > 0 && !perhaps),
        GiveUp::UsedUp => {
            assert!(plan.untried().len() == 0 && !late && !perhaps);
            assert!(spent || (history.refreshes == 1 && history.left() == 0));
        }
    }
}

proptest! {
    #[test]
    fn every_plan_keeps_the_rules_and_ends(scenario in any_scenario()) {
        let (mut plan, now) = plan(scenario.timeout, scenario.max_attempts, scenario.delivery);
        let mut history = History {
            now,
            deadline: now + scenario.timeout,
            tried: Vec::new(),
            offered: Vec::new(),
            refreshes: 0,
        };
        tell(&mut plan, &mut history, &scenario.first);
        let mut ended = None;
        for _ in 0..usize::from(scenario.max_attempts) + 2 {
            match plan.next(history.now) {
                Step::Choose => attempt(&mut plan, &mut history, &scenario),
                Step::Refresh(timeout) => {
                    prop_assert!(timeout <= (history.deadline - history.now) * 2 / 5);
                    prop_assert_eq!(plan.untried().len(), 0);
                    history.refreshes += 1;
                    history.now += timeout;
                    plan.forbid_refresh();
                    tell(&mut plan, &mut history, &scenario.refreshed);
                }
                Step::TryNode(_) => prop_assert!(false, "no node is offered"),
                Step::GiveUp(reason) => {
                    ended = Some(reason);
                    break;
                }
            }
        }
        prop_assert!(history.refreshes <= 1);
        prop_assert!(history.tried.len() <= usize::from(scenario.max_attempts));
        check_end(ended.expect("the plan ends"), &plan, &history, &scenario);
    }
}
