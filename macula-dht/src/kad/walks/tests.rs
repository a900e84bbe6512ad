use macula_core::{
    Delivery, Distance, Extensions, Metadata, NodeId, ProviderRecord, Realm, RecordDraft,
    SecretKey, Timestamp,
};

use super::super::region::Reach;
use super::*;
use crate::kad::{KadConfig, Local};
use crate::message::LiveRecord;

fn contact() -> Contact {
    let address = "10.0.0.1:4433".parse().unwrap();
    Contact::new(NodeId::from_bytes([1; 32]), [address])
}

fn record(service: &str) -> LiveRecord {
    let draft = RecordDraft {
        realm: Realm::default(),
        service: service.parse().unwrap(),
        addresses: contact().addresses,
        metadata: Metadata::new(),
        delivery: Delivery::AtLeastOnce,
        seq: 1,
        issued_at: Timestamp::default(),
        ttl: macula_core::MIN_TTL,
        extensions: Extensions::default(),
    };
    let record = ProviderRecord::sign(&SecretKey::from_bytes(&[2; 32]), draft).unwrap();
    let life = record.ttl();
    LiveRecord { record, life }
}

#[test]
fn wait_in_vain_counts_though_neighbourhoods_have_become_deeper_meanwhile() {
    let now = tokio::time::Instant::now().into_std();
    let local = Local {
        node_id: NodeId::from_bytes([0; 32]),
        serves: false,
    };
    let mut machine = Kademlia::new(KadConfig::default(), local, 1).unwrap();
    // So few that any walk may do for all keys.
    machine.handle_reached(now, contact());
    let operation = machine.announce(now, vec![record("a.one"), record("a.two")]);
    let target = machine.publications[&operation].placements[0].key();
    let waiting = |machine: &Kademlia| machine.publications[&operation].placements[1].clone();
    assert_eq!(waiting(&machine).stage, Stage::NeedsWalk);

    let mut closest = [0; 32];
    closest[31] = 1;
    let reach = Reach::Within(Distance::from_bytes(closest));
    let deep = Region::new(Key::from_bytes([0; 32]), now, reach, Vec::new());
    machine.regions.remember(now, deep);
    for _ in 0..2 {
        assert!(waiting(&machine).may_wait());
        machine.share_walk(&target, None);
    }
    assert!(!waiting(&machine).may_wait(), "the waits do not count");
}
