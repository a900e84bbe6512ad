//! A lookup beside a naive oracle, under operations in any order.

use super::*;

/// What happens to a lookup. Peers are named by a number that is taken modulo how many there are.
#[derive(Debug, Clone)]
enum Operation {
    /// One of those who were asked answers: on time, late, again, or after it has failed.
    Answer {
        of: usize,
        names: Vec<u8>,
        provides: bool,
    },
    /// Somebody answers, asked or not.
    Stranger { peer: u8, names: Vec<u8> },
    /// The request to one of those who were asked fails, or has failed already.
    Failure { of: usize },
    /// The time of one slot is over, or of one that is held no more.
    SlotRelease { of: usize },
    /// Milliseconds pass.
    Pass(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || prop_oneof![9 => 0..PEERS, 1 => Just(LOCAL)];
    let names = move || prop::collection::vec(name(), 0..12);
    prop_oneof![
        6 => (any::<usize>(), names(), prop::bool::weighted(0.1)).prop_map(
            |(of, names, provides)| Operation::Answer { of, names, provides }
        ),
        1 => (0..PEERS, names()).prop_map(|(peer, names)| Operation::Stranger { peer, names }),
        2 => any::<usize>().prop_map(|of| Operation::Failure { of }),
        2 => any::<usize>().prop_map(|of| Operation::SlotRelease { of }),
        1 => (1..800_u64).prop_map(Operation::Pass),
    ]
}

/// What a lookup should know, kept without any cleverness.
struct Oracle {
    known: BTreeSet<u8>,
    states: BTreeMap<u8, State>,
    order: Vec<u8>,
    witnesses: usize,
    /// Slots besides the first, because peers are slow.
    extra: usize,
    /// Answers since the last progress.
    fruitless: usize,
}

impl Oracle {
    fn new(seeds: &BTreeSet<u8>) -> Self {
        Self {
            known: seeds.clone(),
            states: BTreeMap::new(),
            order: Vec::new(),
            witnesses: 0,
            extra: 0,
            fruitless: 0,
        }
    }

    fn asks(&mut self, peer: u8) {
        assert_ne!(peer, LOCAL, "asks itself");
        assert!(self.known.contains(&peer), "asks somebody unheard of");
        let before = self.states.insert(peer, State::Asked);
        assert_eq!(before, None, "asks a peer twice");
        self.order.push(peer);
        let bound = if self.fruitless >= ALPHA || self.witnesses >= MIN_WITNESSES {
            WIDEST * ALPHA
        } else {
            ALPHA + self.extra
        };
        assert!(self.count(State::Asked) <= bound, "too many in flight");
    }

    fn is_awaited(&self, peer: u8) -> bool {
        matches!(self.states.get(&peer), Some(State::Asked | State::Slow))
    }

    fn answers(&mut self, peer: u8, names: &[u8], provides: bool) {
        if self.is_awaited(peer) {
            self.states.insert(peer, State::Answered);
            self.extra = self.extra.saturating_sub(1);
            self.witnesses += usize::from(provides);
            let mut progress = provides && self.witnesses <= MIN_WITNESSES;
            for name in names.iter().take(K).filter(|name| **name != LOCAL) {
                let is_new = self.known.insert(*name);
                let closest = by_distance(self.known.iter().copied());
                progress |= is_new && closest.iter().take(K).any(|known| known == name);
            }
            self.fruitless = if progress { 0 } else { self.fruitless + 1 };
        }
    }

    fn fails(&mut self, peer: u8) {
        if self.is_awaited(peer) {
            self.states.insert(peer, State::Failed);
        }
    }

    fn releases_slot(&mut self, peer: u8) {
        if self.states.get(&peer) == Some(&State::Asked) {
            self.states.insert(peer, State::Slow);
            self.extra = (self.extra + 1).min((WIDEST - 1) * ALPHA);
        }
    }

    fn count(&self, state: State) -> usize {
        self.states
            .values()
            .filter(|known| **known == state)
            .count()
    }

    fn is(&self, peer: u8, state: State) -> bool {
        self.states.get(&peer) == Some(&state)
    }

    /// Whether the closest have answered, as far as they have not let us down.
    fn has_heard_the_closest(&self) -> bool {
        let closest = by_distance(self.known.iter().copied());
        let has_failed = |peer: u8| self.is(peer, State::Failed) || self.is(peer, State::Slow);
        let is_found = self.witnesses >= MIN_WITNESSES;
        let breadth = if is_found { REPLICATION } else { K };
        let mut hopeful = closest
            .into_iter()
            .filter(|peer| !has_failed(*peer))
            .take(breadth);
        hopeful.all(|peer| self.is(peer, State::Answered))
    }

    /// Whether enough of the closest have answered.
    fn proves_absence(&self) -> bool {
        let closest = by_distance(self.known.iter().copied());
        let closest = &closest[..closest.len().min(REPLICATION)];
        let heard = closest
            .iter()
            .filter(|peer| self.is(**peer, State::Answered));
        heard.count() >= closest.len().min(QUORUM)
    }

    fn check_end(&self, found: &Found, in_time: bool) {
        let outcome = if self.witnesses > 0 {
            FindOutcome::Found
        } else if in_time && self.proves_absence() {
            FindOutcome::Absent
        } else {
            FindOutcome::Inconclusive
        };
        assert_eq!(found.outcome, outcome);
        assert!(!in_time || self.has_heard_the_closest(), "ended early");
        assert_eq!(found.requests, self.order.len());
        let traced = found.trace.iter().map(|hop| hop.peer.as_bytes()[0]);
        assert_eq!(traced.collect::<Vec<_>>(), self.order);
    }
}

fn apply(lookup: &mut Lookup, oracle: &mut Oracle, now: &mut Instant, operation: Operation) {
    let pick = |oracle: &Oracle, of: usize| {
        let count = oracle.order.len();
        (count > 0).then(|| oracle.order[of % count])
    };
    match operation {
        Operation::Answer {
            of,
            names,
            provides,
        } => {
            let Some(peer) = pick(oracle, of) else { return };
            let claims = if provides { vec![record(1)] } else { vec![] };
            lookup.handle_answer(*now, &node_id(peer), claims, &contacts(&names));
            oracle.answers(peer, &names, provides);
        }
        Operation::Stranger { peer, names } => {
            lookup.handle_answer(*now, &node_id(peer), vec![], &contacts(&names));
            oracle.answers(peer, &names, false);
        }
        Operation::Failure { of } => {
            let Some(peer) = pick(oracle, of) else { return };
            lookup.handle_failure(*now, &node_id(peer));
            oracle.fails(peer);
        }
        Operation::SlotRelease { of } => {
            let Some(peer) = pick(oracle, of) else { return };
            lookup.release_slot(&node_id(peer));
            oracle.releases_slot(peer);
        }
        Operation::Pass(millis) => *now += Duration::from_millis(millis),
    }
}

/// Asks whom the lookup wants asked; whether it is over.
fn drain(lookup: &mut Lookup, oracle: &mut Oracle, now: Instant) -> bool {
    loop {
        lookup.check_invariants();
        match lookup.poll(now) {
            Step::Ask(contact) => oracle.asks(contact.node_id.as_bytes()[0]),
            Step::Wait => return false,
            Step::Done => return true,
        }
    }
}

proptest! {
    #[test]
    fn lookup_agrees_with_a_naive_oracle_whatever_happens_and_in_whichever_order(
        operations in prop::collection::vec(operation(), 0..120),
        seeds in prop::collection::btree_set(0..PEERS, 1..8),
    ) {
        let mut now = now();
        let deadline = now + TIMEOUT;
        let seed_list: Vec<u8> = seeds.iter().copied().collect();
        let mut lookup = seeking(now, 9, &seed_list);
        let mut oracle = Oracle::new(&seeds);
        let mut is_over = drain(&mut lookup, &mut oracle, now);
        for operation in operations {
            if is_over {
                break;
            }
            apply(&mut lookup, &mut oracle, &mut now, operation);
            is_over = drain(&mut lookup, &mut oracle, now);
        }
        if !is_over {
            now = now.max(deadline);
            prop_assert_eq!(lookup.poll(now), Step::Done, "runs past its deadline");
        }
        oracle.check_end(&lookup.found(now).unwrap(), lookup.converged || now < deadline);
    }
}
