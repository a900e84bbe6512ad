//! Carrying out what happens to nodes and what their machines ask for.

use std::time::{Duration, Instant};

use macula_core::DialTarget;
use macula_dht::kad::{Kademlia, Outbound, Output};
use macula_dht::message::{Request, Response};

use super::links::End;
use super::{Network, Outcome};
use crate::event::{Carried, Event, Purpose, What};
use crate::identity;
use crate::population::Role;

impl Network {
    pub(super) fn play(&mut self, Event { to, what }: Event) {
        match what {
            What::Request(request) => self.play_request(to, *request),
            What::Response(response) => self.play_response(to, *response),
            What::Reached { peer, purpose } => self.play_reached(to, peer, purpose),
            What::Wake => self.wake(to),
            What::Leave { life } => self.leave(to, life),
            What::Arrive => self.arrive(to),
        }
    }

    fn play_request(&mut self, to: usize, carried: Carried<Request>) {
        let Carried {
            from,
            life,
            request_id,
            body,
            ..
        } = carried;
        let Some(response) = self.response_of(to, from, body) else {
            self.traffic.to_the_dead += 1;
            return;
        };
        let asker = End { node: from, life };
        let connects = self.links.arrived(self.now, [asker, self.end(to)]);
        // The probe by which a node makes sure of whoever connects to it is not played.
        if connects && self.nodes[from].life() == life {
            self.reach(to, from);
        }
        self.traffic.responses += 1;
        let what = What::Response(Box::new(Carried {
            from: to,
            life,
            connects,
            request_id,
            body: response,
        }));
        let delay = self.links.delay((to, from), &mut self.rng);
        self.deliver_message((to, from), delay, what);
    }

    fn response_of(&mut self, node: usize, asker: usize, request: Request) -> Option<Response> {
        if let Role::Liar(lies) = self.nodes[node].role() {
            return self.lie(node, lies, request);
        }
        let asker = self.nodes[asker].node_id();
        self.tell(node, |machine, now| machine.answer(now, asker, request))
    }

    fn play_response(&mut self, to: usize, carried: Carried<Response>) {
        if self.nodes[to].life() != carried.life || !self.is_alive(to) {
            self.traffic.to_the_dead += 1;
            return;
        }
        let ends = [self.end(to), self.end(carried.from)];
        self.links.arrived(self.now, ends);
        if carried.connects {
            self.reach(to, carried.from);
        }
        let (request_id, response) = (carried.request_id, carried.body);
        self.tell(to, |machine, now| {
            machine.handle_response(now, request_id, response);
        });
    }

    fn end(&self, node: usize) -> End {
        let life = self.nodes[node].life();
        End { node, life }
    }

    fn play_reached(&mut self, node: usize, peer: usize, purpose: Purpose) {
        let ends = [self.end(node), self.end(peer)];
        self.links.arrived(self.now, ends);
        self.reach(node, peer);
        self.reach(peer, node);
        if purpose == Purpose::Join {
            self.tell(node, Kademlia::join);
        }
    }

    /// Tells a node that it has reached a peer, if one can.
    fn reach(&mut self, node: usize, peer: usize) {
        if self.is_alive(peer) && self.nodes[peer].role().is_reachable() {
            let contact = self.nodes[peer].contact().clone();
            self.tell(node, |machine, now| machine.handle_reached(now, contact));
        }
    }

    fn wake(&mut self, node: usize) {
        let now = self.instant();
        if self.nodes[node].woken(now, self.now) {
            self.tell(node, Kademlia::handle_timeout);
        } else {
            self.arm(node);
        }
    }

    /// The one way in which anything is told to a machine: afterwards its outputs are carried
    /// out and its timer is set. `None` when the node is dead.
    pub(super) fn tell<R>(
        &mut self,
        node: usize,
        verb: impl FnOnce(&mut Kademlia, Instant) -> R,
    ) -> Option<R> {
        let now = self.instant();
        let machine = self.nodes.get_mut(node)?.machine_mut()?;
        let said = verb(machine, now);
        if self.checker.is_due() {
            machine.check_invariants();
        }
        while let Some(output) = self.next_output(node) {
            self.carry_out(node, output);
        }
        self.arm(node);
        Some(said)
    }

    fn next_output(&mut self, node: usize) -> Option<Output> {
        self.nodes[node].machine_mut()?.poll_output()
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Send(outbound) => self.carry_request(node, outbound),
            Output::Dial(target) => self.dial(node, &target, Purpose::Maintain),
            Output::Done { operation, result } => {
                self.deadlines.end(node, operation, self.now);
                self.outcomes.push(Outcome {
                    node,
                    operation,
                    result,
                    at: self.now,
                });
            }
        }
    }

    fn carry_request(&mut self, node: usize, outbound: Outbound) {
        self.traffic.requests += 1;
        self.nodes[node].sent_mut().count(&outbound.request);
        self.traffic.pings += u64::from(outbound.request == Request::Ping);
        // Whom a liar made up does not answer.
        let Some(to) = self.index_of(&outbound.to) else {
            self.traffic.to_the_dead += 1;
            return;
        };
        let what = What::Request(Box::new(Carried {
            from: node,
            life: self.nodes[node].life(),
            connects: false,
            request_id: outbound.request_id,
            body: outbound.request,
        }));
        let ends = [self.end(node), self.end(to)];
        let delay = self.links.request_delay(self.now, ends, &mut self.rng);
        self.deliver_message((node, to), delay, what);
    }

    pub(super) fn dial(&mut self, node: usize, target: &DialTarget, purpose: Purpose) {
        self.traffic.dials += 1;
        let there = identity::index_of_target(target)
            .filter(|peer| *peer != node && self.is_alive(*peer))
            .filter(|peer| self.nodes[*peer].role().is_reachable())
            .filter(|peer| match target {
                DialTarget::Pinned { node_id, .. } => *node_id == self.nodes[*peer].node_id(),
                DialTarget::FirstUse { .. } => true,
            });
        let Some(peer) = there else {
            self.traffic.to_the_dead += 1;
            return;
        };
        let there = self.links.delay((node, peer), &mut self.rng);
        let back = self.links.delay((peer, node), &mut self.rng);
        let round_trip = there.zip(back).map(|(there, back)| there + back);
        self.deliver(round_trip, node, What::Reached { peer, purpose });
    }

    /// As [`deliver`](Self::deliver), once or twice.
    fn deliver_message(&mut self, link: (usize, usize), delay: Option<Duration>, what: What) {
        if let Some(delay) = delay
            && let Some(later) = self.links.echo(link, &mut self.rng)
        {
            self.traffic.duplicated += 1;
            self.deliver(Some(delay + later), link.1, what.clone());
        }
        self.deliver(delay, link.1, what);
    }

    fn deliver(&mut self, delay: Option<Duration>, to: usize, what: What) {
        match delay {
            Some(delay) => self.queue.push(self.now + delay, Event { to, what }),
            None => self.traffic.lost += 1,
        }
    }

    fn arm(&mut self, node: usize) {
        if let Some(at) = self.nodes[node].arm(self.epoch, self.now) {
            let what = What::Wake;
            self.queue.push(at, Event { to: node, what });
        }
    }
}
