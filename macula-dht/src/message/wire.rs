//! DHT messages as bytes: bounded, with an extension block, signatures checked on the way in.

use std::time::Duration;

use macula_core::codec::{self, BoundedVec, DecodeError, EncodeError};
use macula_core::{Contact, Extensions, Key, RecordError, Signed, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    LiveRecord, LiveWithdrawal, MAX_CLAIMS, MAX_CONTACTS, Request, Response, StoreOutcome,
};

mod unverified;

pub use unverified::{EveryTime, UnverifiedRequest, UnverifiedResponse, Verify};

/// The longest message of the DHT, in bytes: room for [`MAX_CLAIMS`] claims of each kind at their
/// largest.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundRequest {
    /// The request, without the claims that are not valid here and now.
    pub request: Request,
    /// Positions of those claims in what the peer sent, ascending.
    pub refused: Vec<usize>,
}

/// A response as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundResponse {
    /// The response, without the claims that are not valid here and now.
    pub response: Response,
    /// How many those were.
    pub refused: usize,
}

/// Encodes a request.
///
/// # Errors
/// [`EncodeError::TooLarge`] beyond [`MAX_MESSAGE_BYTES`].
pub fn encode_request(request: &Request) -> Result<Vec<u8>, EncodeError> {
    let body = match request {
        Request::Ping => WireRequest::Ping,
        Request::FindNode { key } => WireRequest::FindNode { key: *key },
        Request::FindProviders { key, want } => WireRequest::FindProviders {
            key: *key,
            want: u16::try_from(want.get()).unwrap_or(u16::MAX),
        },
        Request::Store { records } => WireRequest::Store {
            records: BoundedVec::truncating(records.iter().map(WireClaim::of_record)),
        },
        Request::Withdraw { withdrawals } => WireRequest::Withdraw {
            withdrawals: BoundedVec::truncating(withdrawals.iter().map(WireClaim::of_withdrawal)),
        },
    };
    encode(body)
}

/// Decodes a request and checks every signature and time in it.
///
/// # Errors
/// [`DecodeError`] when the bytes are no request. A claim that is not valid spoils only itself.
pub fn decode_request(bytes: &[u8], now: Timestamp) -> Result<InboundRequest, DecodeError> {
    let request = UnverifiedRequest::decode(bytes)?;
    Ok(request.verify(now, &EveryTime))
}

/// Encodes a response; `refused` are the positions of [`InboundRequest::refused`], whose outcomes
/// are put back where the peer expects them.
///
/// # Errors
/// [`EncodeError::TooLarge`] beyond [`MAX_MESSAGE_BYTES`].
pub fn encode_response(response: &Response, refused: &[usize]) -> Result<Vec<u8>, EncodeError> {
    let body = match response {
        Response::Pong => WireResponse::Pong,
        Response::Nodes { closer } => WireResponse::Nodes {
            closer: BoundedVec::truncating(closer.iter().cloned()),
        },
        Response::Providers(answer) => WireResponse::Providers {
            records: BoundedVec::truncating(answer.records.iter().map(WireClaim::of_record)),
            withdrawals: BoundedVec::truncating(
                answer.withdrawals.iter().map(WireClaim::of_withdrawal),
            ),
            closer: BoundedVec::truncating(answer.closer.iter().cloned()),
        },
        Response::Stored { outcomes } => WireResponse::Stored {
            outcomes: BoundedVec::truncating(with_refused(outcomes, refused)),
        },
        Response::Refused => WireResponse::Refused,
    };
    encode(body)
}

/// Decodes a response and checks every signature and time in it.
///
/// # Errors
/// [`DecodeError`] when the bytes are no response. A claim that is not valid spoils only itself.
pub fn decode_response(bytes: &[u8], now: Timestamp) -> Result<InboundResponse, DecodeError> {
    let response = UnverifiedResponse::decode(bytes)?;
    Ok(response.verify(now, &EveryTime))
}

/// A body with its extension block, whose unknown entries are skipped.
#[derive(Serialize, Deserialize)]
struct Message<T> {
    body: T,
    extensions: Extensions,
}

#[derive(Serialize, Deserialize)]
enum WireRequest {
    Ping,
    FindNode { key: Key },
    FindProviders { key: Key, want: u16 },
    Store { records: WireClaims },
    Withdraw { withdrawals: WireClaims },
}

#[derive(Serialize, Deserialize)]
enum WireResponse {
    Pong,
    Nodes {
        closer: BoundedVec<Contact, MAX_CONTACTS>,
    },
    Providers {
        records: WireClaims,
        withdrawals: WireClaims,
        closer: BoundedVec<Contact, MAX_CONTACTS>,
    },
    Stored {
        outcomes: BoundedVec<StoreOutcome, MAX_CLAIMS>,
    },
    Refused,
}

type WireClaims = BoundedVec<WireClaim, MAX_CLAIMS>;

/// Signed bytes and the remaining life that their sender states.
#[derive(Serialize, Deserialize)]
struct WireClaim {
    signed: Signed,
    remaining_millis: u64,
}

impl WireClaim {
    fn of_record(live: &LiveRecord) -> Self {
        Self::new(live.record.signed(), live.life)
    }

    fn of_withdrawal(live: &LiveWithdrawal) -> Self {
        Self::new(live.withdrawal.signed(), live.life)
    }

    fn new(signed: &Signed, life: Duration) -> Self {
        Self {
            signed: signed.clone(),
            remaining_millis: u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn stated_life(&self) -> Duration {
        Duration::from_millis(self.remaining_millis)
    }

    fn into_record(self, now: Timestamp, verify: &dyn Verify) -> Result<LiveRecord, RecordError> {
        let stated = self.stated_life();
        let record = verify.record(self.signed)?;
        let life = record.admit(now, stated)?;
        Ok(LiveRecord { record, life })
    }

    fn into_withdrawal(
        self,
        now: Timestamp,
        verify: &dyn Verify,
    ) -> Result<LiveWithdrawal, RecordError> {
        // No stated life: forgetting a withdrawal early would revive what it beats.
        let withdrawal = verify.withdrawal(self.signed)?;
        let life = withdrawal.admit(now)?;
        Ok(LiveWithdrawal { withdrawal, life })
    }
}

fn with_refused(outcomes: &[StoreOutcome], refused: &[usize]) -> Vec<StoreOutcome> {
    let mut all = outcomes.to_vec();
    for &position in refused {
        all.insert(position.min(all.len()), StoreOutcome::Refused);
    }
    all
}

fn encode<T: Serialize>(body: T) -> Result<Vec<u8>, EncodeError> {
    let extensions = Extensions::default();
    codec::encode(&Message { body, extensions }, MAX_MESSAGE_BYTES)
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    codec::decode::<Message<T>>(bytes, MAX_MESSAGE_BYTES).map(|message| message.body)
}
