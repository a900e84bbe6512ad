//! The node behind a command: its options, and how it says that it is ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use macula_client::{
    Client, ClientBuilder, ContactError, DialTarget, IdentityFile, NodeId, Realm, ServiceName,
};
use serde::Serialize;

use crate::exit::{Class, Failure};
use crate::output::Output;

/// Which network to enter, and as whom.
#[derive(Args, Clone)]
pub(crate) struct NetworkArgs {
    /// A node to enter the network by: the contact that it printed, or host:port to trust whoever
    /// answers there; can be given several times
    #[arg(long, value_name = "CONTACT", help_heading = NETWORK)]
    pub(crate) bootstrap: Vec<DialTarget>,
    /// The namespace of names: nodes of different realms do not see each other
    #[arg(long, default_value_t, help_heading = NETWORK)]
    realm: Realm,
    /// The file with the node's secret key, created when missing; without one the node is somebody
    /// new at every start
    #[arg(long, value_name = "FILE", help_heading = NETWORK)]
    identity: Option<PathBuf>,
}

/// Where to listen.
#[derive(Args)]
pub(crate) struct ListenArgs {
    /// The address to listen at: ip:port, where port 0 takes any
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:0", help_heading = NETWORK)]
    listen: SocketAddr,
    /// The address that others shall dial, when it is not the one listened at; can be given several
    /// times
    #[arg(long, value_name = "ADDR", help_heading = NETWORK)]
    advertise_address: Vec<SocketAddr>,
}

/// A node by its id, or by its contact: then it is a way into the network too.
#[derive(Debug, Clone)]
pub(crate) struct NamedNode {
    pub(crate) node_id: NodeId,
    contact: Option<DialTarget>,
}

impl FromStr for NamedNode {
    type Err = ContactError;

    fn from_str(text: &str) -> Result<Self, ContactError> {
        if !text.contains('@') {
            let node_id = text.parse().map_err(ContactError::BadNodeId)?;
            return Ok(Self {
                node_id,
                contact: None,
            });
        }
        match text.parse()? {
            contact @ DialTarget::Pinned { node_id, .. } => Ok(Self {
                node_id,
                contact: Some(contact),
            }),
            DialTarget::FirstUse { .. } => Err(ContactError::NoNodeId),
        }
    }
}

impl NetworkArgs {
    /// Enters the network by this node too, if it is known where that is.
    pub(crate) fn through(mut self, node: &NamedNode) -> Self {
        self.bootstrap.extend(node.contact.clone());
        self
    }

    /// A builder for a node of this network.
    pub(crate) fn builder(&self) -> Result<ClientBuilder, Failure> {
        let builder = Client::builder()
            .realm(self.realm.as_str())
            .bootstrap(self.bootstrap.iter().cloned());
        let Some(path) = &self.identity else {
            return Ok(builder);
        };
        let file = IdentityFile::open_or_create(path)
            .map_err(|error| Failure::of(Class::Usage, &error))?;
        Ok(builder.identity(file))
    }

    /// Starts a node that only dials.
    pub(crate) async fn connect_as_client(&self) -> Result<Client, Failure> {
        if self.bootstrap.is_empty() {
            return Err(Failure::usage(
                "give at least one --bootstrap to enter a network by",
            ));
        }
        Ok(self.builder()?.client_role().connect().await?)
    }

    /// Starts a node that listens.
    pub(crate) async fn connect_as_server(&self, listen: &ListenArgs) -> Result<Client, Failure> {
        let builder = self
            .builder()?
            .listen(listen.listen)
            .advertise_addresses(listen.advertise_address.iter().copied());
        Ok(builder.connect().await?)
    }
}

/// Reads something that a provider says about itself.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The line that a started node prints first.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    node: NodeId,
    /// `null` while no address is known that others could dial.
    contact: Option<String>,
}

/// Says that the node is ready, and how others reach it.
pub(crate) fn announce_ready(
    client: &Client,
    output: Output,
    serving: Option<&ServiceName>,
) -> Result<(), Failure> {
    let contact = client.contact();
    let contact = (!contact.addresses.is_empty()).then(|| contact.to_string());
    let ready = Ready {
        event: "ready",
        node: client.node_id(),
        contact,
    };
    output.result(&ready, || {
        let serving = serving.map(|name| format!(", serving {name}"));
        let serving = serving.unwrap_or_default();
        match &ready.contact {
            Some(contact) => format!("ready{serving}; others join with --bootstrap {contact}"),
            None => format!(
                "ready{serving} as {}, at an address that is not known yet: \
                 listen at a specific one, or give --advertise-address",
                ready.node
            ),
        }
    })
}

/// The heading of these options in the help.
const NETWORK: &str = "Network";
