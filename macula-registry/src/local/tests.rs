//! Local services under threads, and the end of their handlers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

fn name() -> ServiceName {
    "app.echo".parse().unwrap()
}

#[test]
fn handler_ends_with_its_registration_and_the_last_call_that_uses_it() {
    let locals = Locals::new(2, 0, Events::new());
    let (first, second) = (Arc::new(()), Arc::new(()));
    let register = |handler: &Arc<()>| {
        let handler = Arc::clone(handler);
        locals.register(name(), handler, AdvertiseOptions::default())
    };
    register(&first).unwrap();
    let call = locals.service(&name()).unwrap();
    register(&second).unwrap();
    assert_eq!(Arc::strong_count(&first), 2);
    drop(call);
    assert_eq!(Arc::strong_count(&first), 1);
    assert!(locals.remove(&name(), None).is_some());
    assert_eq!(Arc::strong_count(&second), 1);
    assert_eq!((locals.service(&name()), locals.len()), (None, 0));
    register(&second).unwrap();
    locals.close();
    assert_eq!(Arc::strong_count(&second), 1);
}

#[test]
fn service_that_is_being_replaced_is_never_missed() {
    const REPLACEMENTS: u64 = 10_000;
    let locals = Locals::new(1, 0, Events::new());
    let replace = || locals.register(name(), (), AdvertiseOptions::default());
    replace().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..REPLACEMENTS {
                replace().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let mut latest = 0;
        while !is_over.load(Ordering::Relaxed) {
            let generation = locals.service(&name()).unwrap().generation();
            assert!(generation >= latest);
            latest = generation;
        }
    });
    assert_eq!(
        locals.service(&name()).unwrap().generation(),
        REPLACEMENTS + 1
    );
}

#[test]
fn lookup_waits_for_nobody_who_registers() {
    let locals = Locals::new(1, 0, Events::new());
    locals
        .register(name(), (), AdvertiseOptions::default())
        .unwrap();
    let _held = locals.lock();
    assert!(locals.service(&name()).is_some());
}
