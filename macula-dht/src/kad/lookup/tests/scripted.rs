//! Whole lookups in virtual time, among peers that follow scripts.

use super::*;

/// What a peer does when it is asked.
#[derive(Debug, Clone)]
struct Script {
    conduct: Conduct,
    /// Milliseconds until it does it.
    delay: u64,
    /// Whom it names: perhaps us, itself, the same twice, or more than it may.
    names: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Answers,
    AnswersTwice,
    Fails,
    IsSilent,
}

fn script() -> impl Strategy<Value = Script> {
    let conduct = prop_oneof![
        4 => Just(Conduct::Answers),
        1 => Just(Conduct::AnswersTwice),
        1 => Just(Conduct::Fails),
        1 => Just(Conduct::IsSilent),
    ];
    let name = prop_oneof![9 => 0..PEERS, 1 => Just(LOCAL)];
    (conduct, 1..500_u64, prop::collection::vec(name, 0..12)).prop_map(|(conduct, delay, names)| {
        Script {
            conduct,
            delay,
            names,
        }
    })
}

enum Event {
    Answer,
    Failure,
    SlotRelease,
}

/// Runs a lookup to its end.
struct Run {
    lookup: Lookup,
    asked: BTreeSet<u8>,
    answered: BTreeSet<u8>,
    silent: BTreeSet<u8>,
    took: Duration,
}

fn run(scripts: &[Script], seeds: &[u8]) -> Run {
    let started = now();
    let quest = Quest {
        want: Some(NonZeroUsize::MIN),
        ..quest(started)
    };
    let mut lookup = Lookup::new(started, quest, contacts(seeds));
    let mut now = started;
    let mut events = BTreeMap::new();
    let (mut asked, mut answered, mut silent) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    loop {
        match lookup.poll(now) {
            Step::Ask(contact) => {
                let peer = contact.node_id.as_bytes()[0];
                assert_ne!(peer, LOCAL, "asks itself");
                assert!(asked.insert(peer), "asks a peer twice");
                schedule(&mut events, now, peer, &scripts[usize::from(peer)]);
            }
            Step::Wait => {
                let next = events.first_key_value().map(|((at, ..), _)| *at);
                now = next.unwrap_or(lookup.deadline()).min(lookup.deadline());
                let Some(((_, peer, _), event)) = events.pop_first() else {
                    continue;
                };
                let node_id = node_id(peer);
                match event {
                    Event::Answer => {
                        let names = contacts(&scripts[usize::from(peer)].names);
                        lookup.handle_answer(now, &node_id, Vec::new(), &names);
                        answered.insert(peer);
                    }
                    Event::Failure => lookup.handle_failure(now, &node_id),
                    Event::SlotRelease => {
                        lookup.release_slot(&node_id);
                        silent.insert(peer);
                    }
                }
            }
            Step::Done => break,
        }
        lookup.check_invariants();
    }
    let took = now - started;
    Run {
        lookup,
        asked,
        answered,
        silent,
        took,
    }
}

fn schedule(
    events: &mut BTreeMap<(Instant, u8, u8), Event>,
    now: Instant,
    peer: u8,
    script: &Script,
) {
    let at = |millis: u64| now + Duration::from_millis(millis);
    match script.conduct {
        Conduct::Answers => drop(events.insert((at(script.delay), peer, 0), Event::Answer)),
        Conduct::AnswersTwice => {
            events.insert((at(script.delay), peer, 0), Event::Answer);
            events.insert((at(script.delay + 1), peer, 1), Event::Answer);
        }
        Conduct::Fails => drop(events.insert((at(script.delay), peer, 0), Event::Failure)),
        Conduct::IsSilent => {}
    }
    if script.conduct == Conduct::IsSilent || script.delay > SLOT_MILLIS {
        events.insert((at(SLOT_MILLIS), peer, 2), Event::SlotRelease);
    }
    // The machine fails every request in the end.
    events.insert((at(REQUEST_MILLIS), peer, 3), Event::Failure);
}

const SLOT_MILLIS: u64 = 300;
const REQUEST_MILLIS: u64 = 2000;

proptest! {
    #[test]
    fn lookup_keeps_its_bounds_and_ends_in_time_whatever_peers_do(
        scripts in prop::collection::vec(script(), usize::from(PEERS)),
        seeds in prop::collection::btree_set(0..PEERS, 0..8),
    ) {
        let seeds: Vec<u8> = seeds.into_iter().collect();
        let run = run(&scripts, &seeds);
        prop_assert!(run.took <= TIMEOUT);
        // All that it heard of from those it listened to, in order of distance.
        let heard = run.answered.iter();
        let mut named: BTreeSet<u8> = heard
            .flat_map(|peer| scripts[usize::from(*peer)].names.iter().copied().take(K))
            .chain(seeds)
            .collect();
        named.remove(&LOCAL);
        let named = by_distance(named);
        let usable = |peer: &u8| {
            scripts[usize::from(*peer)].conduct != Conduct::Fails
                && (run.answered.contains(peer) || !run.silent.contains(peer))
        };
        if run.lookup.converged {
            let closest = named.iter().copied().filter(usable).take(K);
            for peer in closest {
                prop_assert!(run.asked.contains(&peer), "ended without asking {peer}");
            }
        } else {
            prop_assert_eq!(run.took, TIMEOUT, "neither converged nor at the deadline");
        }
    }

    #[test]
    fn absence_is_claimed_only_when_enough_of_the_closest_answered(
        scripts in prop::collection::vec(script(), usize::from(PEERS)),
        seeds in prop::collection::btree_set(0..PEERS, 1..8),
    ) {
        let seeds: Vec<u8> = seeds.into_iter().collect();
        let run = run(&scripts, &seeds);
        let outcome = run.lookup.found(now()).unwrap().outcome;
        let asked = by_distance(run.asked.iter().copied());
        let closest = &asked[..asked.len().min(REPLICATION)];
        let heard = closest.iter().filter(|peer| run.answered.contains(peer)).count();
        if heard < closest.len().min(QUORUM) {
            prop_assert_eq!(outcome, FindOutcome::Inconclusive);
        }
    }
}

#[test]
fn silent_peer_delays_nothing_beyond_the_release_of_its_slot() {
    let answers = |names: Vec<u8>| Script {
        conduct: Conduct::Answers,
        delay: 10,
        names,
    };
    let mut scripts: Vec<Script> = (0..PEERS).map(|_| answers(vec![])).collect();
    scripts[0] = answers((1..6).collect());
    scripts[3].conduct = Conduct::IsSilent;
    let run = run(&scripts, &[0]);
    assert_eq!(run.asked.len(), 6);
    assert!(run.took <= Duration::from_millis(SLOT_MILLIS + 50));
}
