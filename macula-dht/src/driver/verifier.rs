//! Verifies claims of peers: once each, and off the node's own thread when they are many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use macula_core::{Claim, ProviderRecord, RecordError, Signed, WallClock, Withdrawal};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::recent::Recent;
use crate::message::wire::{
    InboundRequest, InboundResponse, UnverifiedRequest, UnverifiedResponse, Verify,
};

/// Signatures that are checked on the spot: fewer than handing them over costs.
const MAX_INLINE: usize = 4;

/// Messages of each kind whose signatures are checked at once elsewhere. Others wait: of requests no
/// more than the endpoint admits, of responses no more than this node asked for.
const AT_ONCE: usize = 1;

/// Verified claims that are remembered, at the least, for about 8 KiB each at the most. The same
/// record comes with the answer of each of its holders.
const REMEMBERED: usize = 1024;

/// Verifies, remembers what was verified, and counts both.
pub(super) struct Verifier {
    clock: WallClock,
    known: Mutex<Recent<Signed, Claim>>,
    requests: Arc<Semaphore>,
    /// Apart, so that a flood of claims to be held makes no find wait.
    responses: Arc<Semaphore>,
    checked: AtomicU64,
    recognised: AtomicU64,
    handed_over: AtomicU64,
}

impl Verifier {
    pub(super) fn new(clock: WallClock) -> Self {
        Self {
            clock,
            known: Mutex::new(Recent::new(REMEMBERED)),
            requests: Arc::new(Semaphore::new(AT_ONCE)),
            responses: Arc::new(Semaphore::new(AT_ONCE)),
            checked: AtomicU64::new(0),
            recognised: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
        }
    }

    /// Verifies the claims of a request; `None` when the runtime ends.
    pub(super) async fn request(
        self: &Arc<Self>,
        request: UnverifiedRequest,
    ) -> Option<InboundRequest> {
        if self.is_quick(request.claims()) {
            return Some(request.verify((self.clock)(), &**self));
        }
        let verify = move |verifier: &Self| request.verify((verifier.clock)(), verifier);
        self.hand_over(&self.requests, verify).await
    }

    /// Verifies the claims of a response; `None` when the runtime ends.
    pub(super) async fn response(
        self: &Arc<Self>,
        response: UnverifiedResponse,
    ) -> Option<InboundResponse> {
        if self.is_quick(response.claims()) {
            return Some(response.verify((self.clock)(), &**self));
        }
        let verify = move |verifier: &Self| response.verify((verifier.clock)(), verifier);
        self.hand_over(&self.responses, verify).await
    }

    /// How many signatures were checked.
    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// How many claims had been verified before.
    pub(super) fn recognised(&self) -> u64 {
        self.recognised.load(Ordering::Relaxed)
    }

    /// How many messages were handed over to another thread.
    pub(super) fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    fn is_quick<'a>(&self, mut claims: impl Iterator<Item = &'a Signed>) -> bool {
        let Some(first) = claims.next() else {
            return true;
        };
        let known = self.known();
        let unknown = std::iter::once(first)
            .chain(claims)
            .filter(|signed| !known.contains(signed));
        unknown.take(MAX_INLINE + 1).count() <= MAX_INLINE
    }

    async fn hand_over<T: Send + 'static>(
        self: &Arc<Self>,
        turns: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(turns).acquire_owned().await.ok()?;
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        let verifier = Arc::clone(self);
        let verified = spawn_blocking(move || {
            let verified = work(&verifier);
            drop(turn);
            verified
        });
        verified.await.ok()
    }

    fn recall(&self, signed: &Signed) -> Option<Claim> {
        let claim = self.known().get(signed).map(|claim| claim.clone());
        self.recognised
            .fetch_add(claim.is_some().into(), Ordering::Relaxed);
        claim
    }

    fn remember(&self, signed: &Signed, claim: Claim) {
        self.known().insert(signed.clone(), claim);
    }

    fn known(&self) -> MutexGuard<'_, Recent<Signed, Claim>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verify for Verifier {
    fn record(&self, signed: Signed) -> Result<ProviderRecord, RecordError> {
        if let Some(Claim::Record(record)) = self.recall(&signed) {
            return Ok(record);
        }
        self.checked.fetch_add(1, Ordering::Relaxed);
        let record = ProviderRecord::verify(signed)?;
        self.remember(record.signed(), record.clone().into());
        Ok(record)
    }

    fn withdrawal(&self, signed: Signed) -> Result<Withdrawal, RecordError> {
        if let Some(Claim::Withdrawal(withdrawal)) = self.recall(&signed) {
            return Ok(withdrawal);
        }
        self.checked.fetch_add(1, Ordering::Relaxed);
        let withdrawal = Withdrawal::verify(signed)?;
        self.remember(withdrawal.signed(), withdrawal.clone().into());
        Ok(withdrawal)
    }
}
