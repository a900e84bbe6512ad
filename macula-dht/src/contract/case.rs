//! One case: a network, a service, and the few verbs that all cases are told in.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use macula_core::{
    Addresses, Delivery, Extensions, Key, MIN_TTL, Metadata, NodeId, ProviderRecord, Realm,
    RecordDraft, ServiceName, Withdrawal, WithdrawalDraft,
};

use crate::contract::{Broken, Member, Network, SETTLE};
use crate::{AnnounceReport, DhtError, FindOptions, Found, Scope, WithdrawReport, Withdrawn};

/// A network and the service whose providers the case is about.
pub(super) struct Case {
    network: Network,
    realm: Realm,
    service: ServiceName,
}

/// What a case, or a step of it, comes to.
pub(super) type Checked<T = ()> = Result<T, Broken>;

/// A member of the network, by its part in the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    First,
    Second,
    Third,
    Reader,
}

impl Who {
    pub(super) const ALL: [Self; 4] = [Self::First, Self::Second, Self::Third, Self::Reader];
}

/// What a find is expected to show of a provider: who, and which sequence number.
pub(super) type Expected = (Who, u64);

impl Case {
    pub(super) fn new(network: Network) -> Checked<Self> {
        Ok(Self {
            network,
            realm: Realm::default(),
            service: name("contract.service")?,
        })
    }

    pub(super) fn key(&self) -> Key {
        Key::of_service(&self.realm, &self.service)
    }

    /// An ordinary record, before anything of it is changed.
    pub(super) fn draft(&self, seq: u64) -> RecordDraft {
        RecordDraft {
            realm: self.realm.clone(),
            service: self.service.clone(),
            addresses: Addresses::from_iter([SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))]),
            metadata: Metadata::new(),
            delivery: Delivery::AtLeastOnce,
            seq,
            issued_at: (self.network.clock)(),
            ttl: ORDINARY_TTL,
            extensions: Extensions::default(),
        }
    }

    pub(super) fn sign(&self, who: Who, draft: RecordDraft) -> Checked<ProviderRecord> {
        ProviderRecord::sign(&self.member(who).secret_key, draft)
            .or_else(|error| broken(format!("the suite's own record cannot be signed: {error}")))
    }

    /// An ordinary withdrawal, before anything of it is changed.
    pub(super) fn withdrawal_draft(&self, seq: u64) -> WithdrawalDraft {
        WithdrawalDraft {
            realm: self.realm.clone(),
            service: self.service.clone(),
            seq,
            until: (self.network.clock)().saturating_add(ORDINARY_TTL),
        }
    }

    pub(super) fn sign_withdrawal(&self, who: Who, draft: WithdrawalDraft) -> Checked<Withdrawal> {
        Withdrawal::sign(&self.member(who).secret_key, draft)
            .or_else(|error| broken(format!("the suite's own withdrawal fails: {error}")))
    }

    /// Announces whatever it is, and leaves the outcome to the case.
    pub(super) async fn try_announce(
        &self,
        who: Who,
        records: Vec<ProviderRecord>,
    ) -> Result<AnnounceReport, DhtError> {
        self.member(who).dht.announce(records).await
    }

    /// Announces one record, which has to find a holder.
    pub(super) async fn announce_record(&self, who: Who, record: ProviderRecord) -> Checked {
        match self.try_announce(who, vec![record]).await {
            Ok(report) => ensure(report.records.len() == 1, "not one entry for one record")
                .and_then(|()| {
                    let holders = report.records.iter().map(|announced| announced.holders);
                    ensure(holders.sum::<usize>() > 0, "announced, but nobody holds it")
                }),
            Err(error) => broken(format!("announce by {who:?} failed: {error}")),
        }
    }

    /// Signs and announces an ordinary record.
    pub(super) async fn announce(&self, who: Who, seq: u64) -> Checked<ProviderRecord> {
        let record = self.sign(who, self.draft(seq))?;
        self.announce_record(who, record.clone()).await?;
        Ok(record)
    }

    /// Announces something old again: it may be taken or refused, but must not fail otherwise.
    pub(super) async fn replay(&self, who: Who, record: &ProviderRecord) -> Checked {
        match self.try_announce(who, vec![record.clone()]).await {
            Ok(_) | Err(DhtError::Rejected) => Ok(()),
            Err(error) => broken(format!("replay by {who:?} failed: {error}")),
        }
    }

    /// Signs a withdrawal and tells the network.
    pub(super) async fn withdraw(&self, who: Who, seq: u64) -> Checked<Withdrawal> {
        let withdrawal = self.sign_withdrawal(who, self.withdrawal_draft(seq))?;
        self.withdraw_again(who, &withdrawal).await?;
        Ok(withdrawal)
    }

    /// Tells the network a withdrawal, for the first time or not.
    pub(super) async fn withdraw_again(&self, who: Who, withdrawal: &Withdrawal) -> Checked {
        let report = self.withdraw_all(who, vec![withdrawal.clone()]).await?;
        let is_told: Vec<_> = report.withdrawals.iter().map(Withdrawn::is_told).collect();
        ensure(
            is_told == [true],
            format!("one withdrawal came to {report:?}"),
        )
    }

    /// Tells the network these withdrawals.
    pub(super) async fn withdraw_all(
        &self,
        who: Who,
        withdrawals: Vec<Withdrawal>,
    ) -> Checked<WithdrawReport> {
        let report = self.member(who).dht.withdraw(withdrawals).await;
        report.or_else(|error| broken(format!("withdraw by {who:?} failed: {error}")))
    }

    pub(super) async fn find_with(
        &self,
        who: Who,
        key: Key,
        options: FindOptions,
    ) -> Checked<Found> {
        let found = self.member(who).dht.find(key, options).await;
        found.or_else(|error| broken(format!("find by {who:?} failed: {error}")))
    }

    /// Looks for the case's providers.
    pub(super) async fn find(&self, who: Who) -> Checked<Found> {
        self.find_with(who, self.key(), options(Scope::Network))
            .await
    }

    /// One find by this member shows exactly these providers.
    pub(super) async fn sees(&self, who: Who, expected: &[Expected]) -> Checked {
        let found = self.find(who).await?;
        self.shows(who, &found, expected)
    }

    /// Within [`SETTLE`], a find by this member shows exactly these providers.
    pub(super) async fn comes_to_see(&self, who: Who, expected: &[Expected]) -> Checked {
        let mut last = self.sees(who, expected).await;
        let mut waited = Duration::ZERO;
        while last.is_err() && waited < SETTLE {
            self.pass(POLL).await;
            waited += POLL;
            last = self.sees(who, expected).await;
        }
        last
    }

    /// After [`SETTLE`], every member's first find shows exactly these providers.
    pub(super) async fn settles_to(&self, expected: &[Expected]) -> Checked {
        self.pass(SETTLE).await;
        for who in Who::ALL {
            self.sees(who, expected).await?;
        }
        Ok(())
    }

    /// Whether a find shows exactly these providers, each once.
    pub(super) fn shows(&self, who: Who, found: &Found, expected: &[Expected]) -> Checked {
        let mut seen: Vec<(NodeId, u64)> = found
            .providers
            .iter()
            .map(|provider| (provider.record.provider(), provider.record.seq()))
            .collect();
        let mut wanted: Vec<(NodeId, u64)> = expected
            .iter()
            .map(|&(who, seq)| (self.member(who).secret_key.node_id(), seq))
            .collect();
        seen.sort_unstable();
        wanted.sort_unstable();
        ensure(
            seen == wanted,
            format!("{who:?} sees {seen:?} and not {expected:?}, as {wanted:?}"),
        )
    }

    /// Lets time pass.
    pub(super) async fn pass(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn member(&self, who: Who) -> &Member {
        let [first, second, third, reader] = &self.network.members;
        match who {
            Who::First => first,
            Who::Second => second,
            Who::Third => third,
            Who::Reader => reader,
        }
    }
}

/// Wants more providers than any case has, so that a find looks everywhere.
pub(super) fn options(scope: Scope) -> FindOptions {
    FindOptions {
        want: WANT,
        timeout: FIND_TIMEOUT,
        scope,
        trace: false,
    }
}

pub(super) fn name(text: &str) -> Checked<ServiceName> {
    text.parse()
        .or_else(|error| broken(format!("the suite's own name {text}: {error}")))
}

pub(super) fn ensure(kept: bool, otherwise: impl Into<String>) -> Checked {
    if kept { Ok(()) } else { broken(otherwise) }
}

pub(super) fn broken<T>(finding: impl Into<String>) -> Checked<T> {
    Err(Broken {
        case: "",
        finding: finding.into(),
    })
}

/// Long enough to outlive every case that is not about expiry.
const ORDINARY_TTL: Duration = Duration::from_secs(300);

/// As short as records get.
pub(super) const SHORT_TTL: Duration = MIN_TTL;

const FIND_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const PORT: u16 = 4433;
const WANT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
