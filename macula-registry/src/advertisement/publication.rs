//! What one advertisement has signed so far, and how it is doing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use macula_core::{
    Addresses, CLOCK_SKEW, Extensions, ProviderRecord, RecordDraft, RecordError, Sequence,
    ServiceName, Timestamp, Withdrawal, WithdrawalDraft,
};
use tokio::sync::watch;

use super::numbers::Numbers;
use super::{AdvertiseOptions, AdvertisementState};
use crate::event::Events;
use crate::{Identity, RegistryEvent};

/// The claims of one advertisement.
///
/// Invariant: once it is closed nothing more is signed, so the withdrawal, which retracts the
/// last number that was signed, retracts everything, also what is still under way.
pub(crate) struct Publication {
    name: ServiceName,
    options: AdvertiseOptions,
    generation: u64,
    claims: Mutex<Claims>,
    state: watch::Sender<AdvertisementState>,
    events: Events,
}

struct Claims {
    is_closed: bool,
    sequence: Sequence,
    signed: Option<Signed>,
}

/// What was signed before an advertisement began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    /// Numbers go on after this one.
    pub(crate) last_seq: u64,
    /// What the advertisement in whose place this one comes has signed: now this one's to retract.
    pub(crate) signed: Option<Signed>,
}

/// What was signed up to now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed {
    seq: u64,
    expires_at: Timestamp,
}

impl Publication {
    pub(crate) fn new(
        name: ServiceName,
        options: AdvertiseOptions,
        generation: u64,
        past: Past,
        events: Events,
    ) -> Self {
        let state = if options.listed {
            AdvertisementState::Publishing
        } else {
            AdvertisementState::Unlisted
        };
        Self {
            name,
            options,
            generation,
            claims: Mutex::new(Claims {
                is_closed: false,
                sequence: Sequence::after(past.last_seq),
                signed: past.signed,
            }),
            state: watch::Sender::new(state),
            events,
        }
    }

    pub(crate) fn name(&self) -> &ServiceName {
        &self.name
    }

    pub(crate) fn options(&self) -> &AdvertiseOptions {
        &self.options
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn state(&self) -> watch::Receiver<AdvertisementState> {
        self.state.subscribe()
    }

    pub(crate) fn latest_state(&self) -> AdvertisementState {
        *self.state.borrow()
    }

    /// Changes the state and tells what comes of the one before, in one step, so that events come
    /// in the order of the states; not once it is withdrawn: that one is final.
    pub(crate) fn change_state(
        &self,
        state: AdvertisementState,
        event: impl FnOnce(AdvertisementState) -> RegistryEvent,
    ) {
        self.state.send_if_modified(|current| {
            let before = *current;
            if before == AdvertisementState::Withdrawn {
                return false;
            }
            *current = state;
            self.events.tell(event(before));
            before != state
        });
    }

    /// Signs a record with a new number and the time of just now; `None` once closed.
    pub(super) fn sign(
        &self,
        identity: &Identity,
        numbers: &Numbers,
        addresses: Addresses,
    ) -> Option<Result<ProviderRecord, RecordError>> {
        let now = (identity.clock)();
        let mut claims = self.claims();
        if claims.is_closed {
            return None;
        }
        let seq = claims.sequence.next(numbers.clock(now));
        let expires_at = now.saturating_add(self.options.ttl);
        let latest = claims.signed.map_or(expires_at, |s| s.expires_at);
        claims.signed = Some(Signed {
            seq,
            expires_at: expires_at.max(latest),
        });
        drop(claims);
        numbers.used(seq, now);
        let draft = draft(identity, &self.name, &self.options, addresses);
        Some(ProviderRecord::sign(
            &identity.secret_key,
            RecordDraft {
                seq,
                issued_at: now,
                ..draft
            },
        ))
    }

    /// Signs nothing from now on; answers the last number that was signed, zero if none.
    pub(crate) fn close(&self) -> u64 {
        let mut claims = self.claims();
        claims.is_closed = true;
        // In the same step, so that an attempt that can sign no more finds it withdrawn.
        self.change_state(AdvertisementState::Withdrawn, |_| {
            let service = self.name.clone();
            RegistryEvent::Withdrawn { service }
        });
        claims.signed.map_or(0, |s| s.seq)
    }

    /// What was signed up to now; final once closed.
    pub(crate) fn signed(&self) -> Option<Signed> {
        self.claims().signed
    }

    /// The last number that was signed up to now.
    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.signed().map(|signed| signed.seq)
    }

    /// Whether nothing is signed any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.claims().is_closed
    }

    /// Signs the retraction of everything that was signed, which is nothing more once closed;
    /// `None` if there is nothing to retract.
    pub(crate) fn withdrawal(
        &self,
        identity: &Identity,
    ) -> Option<Result<Withdrawal, RecordError>> {
        let Signed { seq, expires_at } = self.claims().signed?;
        let draft = WithdrawalDraft {
            realm: identity.realm.clone(),
            service: self.name.clone(),
            seq,
            until: expires_at.saturating_add(CLOCK_SKEW),
        };
        Some(Withdrawal::sign(&identity.secret_key, draft))
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record of the service, its number and its time still to be filled in.
pub(crate) fn draft(
    identity: &Identity,
    name: &ServiceName,
    options: &AdvertiseOptions,
    addresses: Addresses,
) -> RecordDraft {
    RecordDraft {
        realm: identity.realm.clone(),
        service: name.clone(),
        addresses,
        metadata: options.metadata.clone(),
        delivery: options.delivery,
        seq: 0,
        issued_at: Timestamp::default(),
        ttl: options.ttl,
        extensions: Extensions::default(),
    }
}
