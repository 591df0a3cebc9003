//! What access files have for connections over the network: certificates.

use rain_transport_tcp::peer::identity::{Cluster, Credentials};
use serde::{Deserialize, Serialize};

/// The part of an access file that is for connections over the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsAccess {
    /// The cluster's authority, PEM text.
    pub authority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Pair>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<Pair>,
}

/// A certificate and its key, PEM texts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(..)")
    }
}

impl From<&Credentials> for Pair {
    fn from(credentials: &Credentials) -> Self {
        Self { certificate: credentials.certificate.clone(), key: credentials.key.clone() }
    }
}

impl From<Pair> for Credentials {
    fn from(pair: Pair) -> Self {
        Self { certificate: pair.certificate, key: pair.key }
    }
}

impl TlsAccess {
    /// For clients of a server that takes no governors.
    pub fn for_clients(cluster: &Cluster) -> Self {
        Self { governor: None, ..Self::new(cluster) }
    }

    /// For clients and governors of a cluster.
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            authority: cluster.authority.clone(),
            client: Some((&cluster.client).into()),
            governor: Some((&cluster.governor).into()),
        }
    }
}
