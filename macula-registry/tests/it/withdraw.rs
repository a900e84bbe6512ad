//! Unadvertising: the handler first, then the record, whatever the DHT does.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use macula_core::Withdrawal;
use macula_dht::{DhtError, MemoryDht};
use macula_registry::{
    AdvertiseError, AdvertiseOptions, Advertisement, AdvertisementState, Registry, RegistryConfig,
    ResolveError,
};

use crate::node::{Node, TestClock, address, identity, in_time, name, pass, settle, ttl};
use crate::scripted::{Script, ScriptedDht};

fn slow(latency_secs: u64) -> Script {
    Script {
        latency: Duration::from_secs(latency_secs),
        ..Script::default()
    }
}

fn deaf() -> Script {
    Script {
        withdraw: Some(DhtError::Unreachable),
        ..Script::default()
    }
}

#[tokio::test(start_paused = true)]
async fn handler_is_gone_before_the_record_is_withdrawn() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    dht.set(slow(1));
    let registry = node.registry.clone();
    let unadvertising = tokio::spawn(async move { registry.unadvertise(&name("app.echo")).await });
    settle().await;
    assert!(node.registry.local(&name("app.echo")).is_none());
    assert!(!unadvertising.is_finished());
    assert_eq!(in_time(unadvertising).await.unwrap(), Ok(true));
    assert_eq!(advertisement.state(), AdvertisementState::Withdrawn);
    assert!(!node.unadvertise("app.echo").await);
    assert!(!in_time(advertisement.withdraw()).await.unwrap());
    assert_eq!(dht.withdrawals().len(), 1);
    assert_eq!(node.registry.stats().publish.withdrawn, 1);
}

#[tokio::test(start_paused = true)]
async fn withdrawn_service_is_found_no_more_and_a_later_one_is_found_again() {
    let clock = TestClock::new();
    let dht = MemoryDht::new(clock.wall_clock());
    let config = RegistryConfig::default;
    let provider = Node::with(1, dht.clone(), clock.clone(), config());
    let caller = Node::with(2, dht, clock, config());
    for _ in 0..3 {
        let kept = provider.advertise("app.echo").await;
        assert!(caller.resolve_anew("app.echo").await.is_ok());
        assert!(provider.unadvertise("app.echo").await);
        let found = caller.resolve_anew("app.echo").await;
        assert_eq!(found, Err(ResolveError::NotFound));
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn unadvertise_succeeds_without_a_dht_and_withdraws_once_it_is_back() {
    let dht = ScriptedDht::new(deaf());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    assert!(node.unadvertise("app.echo").await);
    assert!(node.registry.local(&name("app.echo")).is_none());
    pass(2).await;
    assert!(dht.withdrawals().len() >= 2);
    assert_eq!(node.registry.stats().publish.withdrawn, 0);
    dht.set(Script::default());
    pass(60).await;
    assert_eq!(node.registry.stats().publish.withdrawn, 1);
    let tried = dht.withdrawals().len();
    pass(1000).await;
    assert_eq!(dht.withdrawals().len(), tried);
}

#[tokio::test(start_paused = true)]
async fn withdrawal_is_given_up_after_a_few_retries() {
    let dht = ScriptedDht::new(deaf());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    assert!(node.unadvertise("app.echo").await);
    pass(3600).await;
    assert_eq!(dht.withdrawals().len(), 6);
    assert_eq!(node.registry.stats().publish.withdrawals_given_up, 1);
}

#[tokio::test(start_paused = true)]
async fn withdrawal_that_nobody_heard_of_is_tried_again_without_the_rest_of_its_batch() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let heard = node.advertise("app.heard").await;
    let unheard = node.advertise("app.unheard").await;
    let key = dht.announces()[1].1.key();
    dht.set(Script {
        nobody_hears_of_the_withdrawal_of: Some(key),
        ..Script::default()
    });
    drop((heard, unheard));
    settle().await;
    assert_eq!(node.registry.stats().publish.withdrawn, 1);
    dht.set(Script::default());
    pass(60).await;
    assert_eq!(node.registry.stats().publish.withdrawn, 2);
    let batches = dht.withdrawals();
    let batches: Vec<_> = batches
        .iter()
        .map(|(_, batch)| batch.iter().map(Withdrawal::key).collect::<Vec<_>>())
        .collect();
    assert_eq!(batches.len(), 2, "{batches:?}");
    assert_eq!((batches[0].len(), &batches[1]), (2, &vec![key]));
}

#[tokio::test(start_paused = true)]
async fn dropped_advertisement_withdraws_in_the_background() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    // A thread without a runtime: dropping neither blocks nor panics there.
    std::thread::spawn(move || drop(advertisement))
        .join()
        .unwrap();
    assert!(node.registry.local(&name("app.echo")).is_none());
    settle().await;
    assert_eq!(dht.withdrawals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn handler_may_own_the_advertisement_of_another_service() {
    type Owner = Arc<Mutex<Option<Advertisement>>>;
    let dht = ScriptedDht::new(Script::default());
    let identity = identity(1, &TestClock::new(), || address(1));
    let registry = Registry::<Owner>::new(identity, dht.clone(), RegistryConfig::default());
    let registry = registry.unwrap();
    let advertise = |text: &str| {
        let owner = Owner::default();
        let options = AdvertiseOptions::default();
        let advertised = registry.advertise(name(text), owner.clone(), options);
        async move { (owner, in_time(advertised).await.unwrap()) }
    };
    let (owner, outer) = advertise("app.outer").await;
    let (_, inner) = advertise("app.inner").await;
    *owner.lock().unwrap() = Some(inner);
    drop(owner);
    assert!(in_time(outer.withdraw()).await.unwrap());
    settle().await;
    assert!(registry.locals().is_empty());
    let withdrawals = dht.withdrawals();
    let withdrawn = withdrawals.iter().map(|(_, batch)| batch.len());
    assert_eq!(withdrawn.sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn abandoned_advertise_withdraws() {
    let dht = ScriptedDht::new(slow(5));
    let node = Node::new(1, dht.clone());
    let advertise = node.advertise("app.echo");
    assert!(
        tokio::time::timeout(Duration::from_secs(1), advertise)
            .await
            .is_err()
    );
    assert!(node.registry.local(&name("app.echo")).is_none());
    settle().await;
    assert_eq!(dht.withdrawals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn detached_advertisement_stays() {
    let node = Node::new(1, ScriptedDht::new(Script::default()));
    node.advertise("app.echo").await.detach();
    pass(1000).await;
    assert!(node.registry.local(&name("app.echo")).is_some());
    assert!(node.unadvertise("app.echo").await);
}

#[tokio::test(start_paused = true)]
async fn service_that_is_no_longer_listed_is_withdrawn() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _listed = node.advertise("app.echo").await;
    let unlisted = AdvertiseOptions {
        listed: false,
        ..AdvertiseOptions::default()
    };
    let _unlisted = node.advertise_with("app.echo", unlisted).await;
    settle().await;
    assert_eq!(dht.withdrawals().len(), 1);
    assert!(node.registry.local(&name("app.echo")).is_some());
}

#[tokio::test(start_paused = true)]
async fn clock_that_goes_back_breaks_neither_refresh_nor_withdrawal() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let _kept = node.advertise("app.echo").await;
    node.clock.jump(-3_600_000);
    pass(500).await;
    node.clock.jump(86_400_000);
    pass(500).await;
    node.clock.jump(-86_400_000);
    pass(500).await;
    let announces = dht.announces();
    assert!((7..=8).contains(&announces.len()));
    assert!(announces.is_sorted_by(|(_, a), (_, b)| a.seq() < b.seq()));
    assert!(node.unadvertise("app.echo").await);
    let withdrawal = &dht.withdrawals()[0].1[0];
    for (_, record) in announces {
        assert!(record.seq() <= withdrawal.seq());
        assert!(record.issued_at().saturating_add(record.ttl()) < withdrawal.until());
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_withdrawn_in_batches_and_for_good() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    for index in 0..200 {
        node.advertise(&format!("app.service_{index}"))
            .await
            .detach();
    }
    in_time(node.registry.withdraw_all()).await;
    assert!(node.registry.locals().is_empty());
    let batches: Vec<usize> = dht.withdrawals().iter().map(|(_, w)| w.len()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 200);
    assert!(batches.len() <= 4, "{batches:?}");
    let options = AdvertiseOptions::default();
    let refused = node
        .registry
        .advertise(name("app.late"), "handler", options);
    assert_eq!(in_time(refused).await.unwrap_err(), AdvertiseError::Closed);
    in_time(node.registry.withdraw_all()).await;
    assert_eq!(dht.withdrawals().len(), batches.len());
}

#[tokio::test(start_paused = true)]
async fn draining_takes_no_longer_than_the_withdraw_timeout() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    for index in 0..5000 {
        let service = name(&format!("app.service_{index}"));
        let unheard = ttl(300);
        let advertised = node.registry.advertise(service, "handler", unheard);
        advertised.await.unwrap().detach();
    }
    dht.set(slow(3600));
    let started_at = tokio::time::Instant::now();
    in_time(node.registry.withdraw_all()).await;
    let timeout = RegistryConfig::default().withdraw_timeout;
    assert!(started_at.elapsed() <= timeout + Duration::from_millis(10));
    assert_eq!(node.registry.stats().publish.withdrawals_given_up, 5000);
}

#[tokio::test(start_paused = true)]
async fn dropped_registry_leaves_no_task_and_no_refresh_behind() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    drop(node);
    settle().await;
    assert_eq!(Arc::strong_count(&dht), 1);
    pass(3600).await;
    assert_eq!(dht.announces().len(), 1);
    assert_eq!(advertisement.state(), AdvertisementState::Withdrawn);
    assert!(!in_time(advertisement.withdraw()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_a_withdrawal_that_a_dropped_handle_has_begun() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let advertisement = node.advertise("app.echo").await;
    dht.set(slow(1));
    drop(advertisement);
    in_time(node.registry.withdraw_all()).await;
    assert_eq!(dht.withdrawals().len(), 1);
    assert_eq!(node.registry.stats().publish.withdrawn, 1);
}

#[tokio::test(start_paused = true)]
async fn draining_is_bounded_when_the_runtime_of_the_registry_stands_still() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dht = ScriptedDht::new(Script::default());
    let started = std::thread::spawn(move || {
        let started = runtime.block_on(async {
            let node = Node::new(1, dht);
            let dropped = node.advertise("app.dropped").await;
            let kept = node.advertise("app.kept").await;
            (node, dropped, kept)
        });
        // Kept, and never run again.
        std::mem::forget(runtime);
        started
    });
    let (node, dropped, _kept) = started.join().unwrap();
    drop(dropped);
    in_time(node.registry.withdraw_all()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_published_before_is_withdrawn_with_an_advertisement_that_never_signed() {
    let dht = ScriptedDht::new(Script::default());
    let node = Node::new(1, dht.clone());
    let first = node.advertise("app.echo").await;
    let published = dht.announces()[0].1.seq();
    {
        let options = AdvertiseOptions::default();
        let second = node.registry.advertise(name("app.echo"), "newer", options);
        tokio::pin!(second);
        // Polled once, and given up before its task could run.
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(
                second.as_mut().poll(cx).is_pending()
            ))
            .await
        );
    }
    settle().await;
    assert_eq!(dht.announces().len(), 1);
    let withdrawals = dht.withdrawals();
    assert_eq!(withdrawals.len(), 1, "the record of old is withdrawn");
    assert_eq!(withdrawals[0].1[0].seq(), published);
    assert_eq!(first.state(), AdvertisementState::Withdrawn);
}
