//! Messages that are decoded while their claims are still to be verified.

use std::num::NonZeroUsize;

use macula_core::codec::DecodeError;
use macula_core::{Contact, ProviderRecord, RecordError, Signed, Timestamp, Withdrawal};

use super::{
    InboundRequest, InboundResponse, WireClaim, WireClaims, WireRequest, WireResponse, decode,
};
use crate::message::{ProvidersAnswer, Request, Response};

/// Turns signed bytes into the claims that they are.
///
/// It costs far more than all else that is done with a message, so that it may be worth to do it
/// elsewhere, or to remember what was verified.
pub trait Verify {
    /// Checks the structure and the signature of a record.
    ///
    /// # Errors
    /// What [`ProviderRecord::verify`] says.
    fn record(&self, signed: Signed) -> Result<ProviderRecord, RecordError>;

    /// Checks the structure and the signature of a withdrawal.
    ///
    /// # Errors
    /// What [`Withdrawal::verify`] says.
    fn withdrawal(&self, signed: Signed) -> Result<Withdrawal, RecordError>;
}

/// Verifies every claim on the spot.
#[derive(Debug, Clone, Copy, Default)]
pub struct EveryTime;

impl Verify for EveryTime {
    fn record(&self, signed: Signed) -> Result<ProviderRecord, RecordError> {
        ProviderRecord::verify(signed)
    }

    fn withdrawal(&self, signed: Signed) -> Result<Withdrawal, RecordError> {
        Withdrawal::verify(signed)
    }
}

/// A request whose claims are still to be verified.
pub struct UnverifiedRequest(Asked);

enum Asked {
    Plain(Request),
    Store(WireClaims),
    Withdraw(WireClaims),
}

impl UnverifiedRequest {
    /// Decodes a request.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let asked = match decode(bytes)? {
            WireRequest::Ping => Asked::Plain(Request::Ping),
            WireRequest::FindNode { key } => Asked::Plain(Request::FindNode { key }),
            WireRequest::FindProviders { key, want } => Asked::Plain(Request::FindProviders {
                key,
                want: NonZeroUsize::new(want.into()).ok_or(DecodeError::Malformed)?,
            }),
            WireRequest::Store { records } => Asked::Store(records),
            WireRequest::Withdraw { withdrawals } => Asked::Withdraw(withdrawals),
        };
        Ok(Self(asked))
    }

    /// What has to be verified.
    pub fn claims(&self) -> impl Iterator<Item = &Signed> {
        let claims = match &self.0 {
            Asked::Plain(_) => None,
            Asked::Store(claims) | Asked::Withdraw(claims) => Some(claims),
        };
        claims.into_iter().flat_map(signed)
    }

    /// Verifies the claims and checks their times. One that is not valid spoils only itself.
    pub fn verify(self, now: Timestamp, verify: &dyn Verify) -> InboundRequest {
        let mut refused = Vec::new();
        let request = match self.0 {
            Asked::Plain(request) => request,
            Asked::Store(claims) => Request::Store {
                records: valid(claims, |claim| claim.into_record(now, verify), &mut refused),
            },
            Asked::Withdraw(claims) => Request::Withdraw {
                withdrawals: valid(
                    claims,
                    |claim| claim.into_withdrawal(now, verify),
                    &mut refused,
                ),
            },
        };
        InboundRequest { request, refused }
    }
}

/// A response whose claims are still to be verified.
pub struct UnverifiedResponse(Answered);

enum Answered {
    Plain(Response),
    Providers {
        records: WireClaims,
        withdrawals: WireClaims,
        closer: Vec<Contact>,
    },
}

impl UnverifiedResponse {
    /// Decodes a response.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no response.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let answered = match decode(bytes)? {
            WireResponse::Pong => Answered::Plain(Response::Pong),
            WireResponse::Nodes { closer } => Answered::Plain(Response::Nodes {
                closer: closer.into_vec(),
            }),
            WireResponse::Providers {
                records,
                withdrawals,
                closer,
            } => Answered::Providers {
                records,
                withdrawals,
                closer: closer.into_vec(),
            },
            WireResponse::Stored { outcomes } => Answered::Plain(Response::Stored {
                outcomes: outcomes.into_vec(),
            }),
            WireResponse::Refused => Answered::Plain(Response::Refused),
        };
        Ok(Self(answered))
    }

    /// What has to be verified.
    pub fn claims(&self) -> impl Iterator<Item = &Signed> {
        let claims = match &self.0 {
            Answered::Plain(_) => None,
            Answered::Providers {
                records,
                withdrawals,
                ..
            } => Some(signed(records).chain(signed(withdrawals))),
        };
        claims.into_iter().flatten()
    }

    /// Verifies the claims and checks their times. One that is not valid spoils only itself.
    pub fn verify(self, now: Timestamp, verify: &dyn Verify) -> InboundResponse {
        let mut refused = Vec::new();
        let response = match self.0 {
            Answered::Plain(response) => response,
            Answered::Providers {
                records,
                withdrawals,
                closer,
            } => Response::Providers(ProvidersAnswer {
                records: valid(
                    records,
                    |claim| claim.into_record(now, verify),
                    &mut refused,
                ),
                withdrawals: valid(
                    withdrawals,
                    |claim| claim.into_withdrawal(now, verify),
                    &mut refused,
                ),
                closer,
            }),
        };
        InboundResponse {
            response,
            refused: refused.len(),
        }
    }
}

fn signed(claims: &WireClaims) -> impl Iterator<Item = &Signed> {
    claims.iter().map(|claim| &claim.signed)
}

fn valid<T>(
    claims: WireClaims,
    check: impl Fn(WireClaim) -> Result<T, RecordError>,
    refused: &mut Vec<usize>,
) -> Vec<T> {
    let mut valid = Vec::with_capacity(claims.len());
    for (position, claim) in claims.into_vec().into_iter().enumerate() {
        match check(claim) {
            Ok(live) => valid.push(live),
            Err(_) => refused.push(position),
        }
    }
    valid
}
