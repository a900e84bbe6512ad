//! The first message on every connection, in an encoding that never changes.
//!
//! A hello is a sequence of entries: a tag of one byte, a length of two (big-endian), a value.
//! Unknown tags are skipped, so that later versions can say more; a known tag comes at most once.

use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut as _, Bytes, BytesMut};
use macula_core::{Addresses, MAX_ADDRESSES, Realm};

use super::peer::Role;
use crate::CloseCode;

/// What a node says of itself before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: Versions,
    pub(super) realm: Realm,
    pub(super) role: Role,
    /// Where it says it listens; an unspecified IP stands for the one it is reached at.
    pub(super) listening: Addresses,
    /// Bits for what is optional; none is defined yet.
    pub(super) capabilities: u64,
    /// Where the dialler has dialled the node it talks to.
    pub(super) dialled: Option<SocketAddr>,
    pub(super) purpose: Purpose,
}

/// The protocol versions that a node speaks, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) min: u16,
    pub(super) max: u16,
}

impl Versions {
    /// What this version of the code speaks.
    pub(super) const OWN: Self = Self { min: 1, max: 1 };

    fn meet(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For requests.
    Requests,
    /// Only to see whether the address works; closed after the hello.
    Probe,
}

/// The bytes are no hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hello")]
pub(super) struct BadHello;

impl Hello {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        let mut versions = [0; 4];
        versions[..2].copy_from_slice(&self.versions.min.to_be_bytes());
        versions[2..].copy_from_slice(&self.versions.max.to_be_bytes());
        put(&mut out, Tag::Versions, &versions);
        put(&mut out, Tag::Realm, self.realm.as_str().as_bytes());
        put(&mut out, Tag::Role, &[u8::from(self.role == Role::Client)]);
        let mut listening = Vec::new();
        for addr in self.listening.iter() {
            put_address(&mut listening, *addr);
        }
        put(&mut out, Tag::Listening, &listening);
        put(
            &mut out,
            Tag::Capabilities,
            &self.capabilities.to_be_bytes(),
        );
        if let Some(dialled) = self.dialled {
            let mut value = Vec::new();
            put_address(&mut value, dialled);
            put(&mut out, Tag::Dialled, &value);
        }
        if self.purpose == Purpose::Probe {
            put(&mut out, Tag::Purpose, &[1]);
        }
        out.freeze()
    }

    pub(super) fn decode(input: &[u8]) -> Result<Self, BadHello> {
        if input.len() > MAX_HELLO_BYTES {
            return Err(BadHello);
        }
        let mut draft = Draft::default();
        let mut rest = input;
        while !rest.is_empty() {
            let tag = take(&mut rest, 1)?[0];
            let len = u16::from_be_bytes(array(take(&mut rest, 2)?)?);
            let value = take(&mut rest, usize::from(len))?;
            draft.read(tag, value)?;
        }
        draft.finish()
    }

    /// Whether two nodes can talk; the code to refuse with otherwise.
    pub(super) fn check(&self, other: &Self) -> Result<(), CloseCode> {
        if !self.versions.meet(other.versions) {
            return Err(CloseCode::WrongVersion);
        }
        if self.realm != other.realm {
            return Err(CloseCode::WrongRealm);
        }
        Ok(())
    }
}

/// What has been read so far.
#[derive(Default)]
struct Draft {
    versions: Option<Versions>,
    realm: Option<Realm>,
    role: Option<Role>,
    listening: Option<Addresses>,
    capabilities: Option<u64>,
    dialled: Option<SocketAddr>,
    purpose: Option<Purpose>,
}

impl Draft {
    fn read(&mut self, tag: u8, value: &[u8]) -> Result<(), BadHello> {
        match Tag::from_wire(tag) {
            Some(Tag::Versions) => set(&mut self.versions, read_versions(value)?),
            Some(Tag::Realm) => set(&mut self.realm, read_realm(value)?),
            Some(Tag::Role) => set(&mut self.role, read_role(value)?),
            Some(Tag::Listening) => set(&mut self.listening, read_addresses(value)?),
            Some(Tag::Capabilities) => {
                set(&mut self.capabilities, u64::from_be_bytes(array(value)?))
            }
            Some(Tag::Dialled) => set(&mut self.dialled, read_address(value)?),
            Some(Tag::Purpose) => set(&mut self.purpose, read_purpose(value)?),
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<Hello, BadHello> {
        Ok(Hello {
            versions: self.versions.ok_or(BadHello)?,
            realm: self.realm.ok_or(BadHello)?,
            role: self.role.ok_or(BadHello)?,
            listening: self.listening.unwrap_or_default(),
            capabilities: self.capabilities.unwrap_or_default(),
            dialled: self.dialled,
            purpose: self.purpose.unwrap_or(Purpose::Requests),
        })
    }
}

/// Numbers that never change their meaning.
#[derive(Clone, Copy)]
enum Tag {
    Versions = 1,
    Realm = 2,
    Role = 3,
    Listening = 4,
    Capabilities = 5,
    Dialled = 6,
    Purpose = 7,
}

impl Tag {
    fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Versions,
            2 => Self::Realm,
            3 => Self::Role,
            4 => Self::Listening,
            5 => Self::Capabilities,
            6 => Self::Dialled,
            7 => Self::Purpose,
            _ => return None,
        })
    }
}

fn put(out: &mut BytesMut, tag: Tag, value: &[u8]) {
    out.put_u8(tag as u8);
    // Every value written here is far below the limit of the whole.
    out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
    out.put_slice(value);
}

fn put_address(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), BadHello> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadHello),
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], BadHello> {
    rest.split_off(..count).ok_or(BadHello)
}

fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], BadHello> {
    value.try_into().map_err(|_| BadHello)
}

fn read_versions(value: &[u8]) -> Result<Versions, BadHello> {
    let [a, b, c, d] = array(value)?;
    let versions = Versions {
        min: u16::from_be_bytes([a, b]),
        max: u16::from_be_bytes([c, d]),
    };
    if versions.min > versions.max {
        return Err(BadHello);
    }
    Ok(versions)
}

fn read_realm(value: &[u8]) -> Result<Realm, BadHello> {
    let text = std::str::from_utf8(value).map_err(|_| BadHello)?;
    text.parse().map_err(|_| BadHello)
}

fn read_role(value: &[u8]) -> Result<Role, BadHello> {
    match value {
        [0] => Ok(Role::Server),
        [1] => Ok(Role::Client),
        _ => Err(BadHello),
    }
}

fn read_purpose(value: &[u8]) -> Result<Purpose, BadHello> {
    match value {
        [0] => Ok(Purpose::Requests),
        [1] => Ok(Purpose::Probe),
        _ => Err(BadHello),
    }
}

fn read_addresses(mut value: &[u8]) -> Result<Addresses, BadHello> {
    let mut addresses = Vec::new();
    while !value.is_empty() {
        if addresses.len() == MAX_ADDRESSES {
            return Err(BadHello);
        }
        addresses.push(next_address(&mut value)?);
    }
    Ok(addresses.into_iter().collect())
}

fn read_address(mut value: &[u8]) -> Result<SocketAddr, BadHello> {
    let address = next_address(&mut value)?;
    if value.is_empty() {
        Ok(address)
    } else {
        Err(BadHello)
    }
}

fn next_address(rest: &mut &[u8]) -> Result<SocketAddr, BadHello> {
    let ip = match take(rest, 1)? {
        [4] => IpAddr::from(array::<4>(take(rest, 4)?)?),
        [6] => IpAddr::from(array::<16>(take(rest, 16)?)?),
        _ => return Err(BadHello),
    };
    let port = u16::from_be_bytes(array(take(rest, 2)?)?);
    Ok(SocketAddr::new(ip.to_canonical(), port))
}

/// The longest hello that is looked at.
pub(super) const MAX_HELLO_BYTES: usize = 1024;

#[cfg(test)]
mod tests;
