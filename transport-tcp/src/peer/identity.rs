//! Who belongs to a cluster: certificates made at the server's start, and what TLS makes of them.
//!
//! A server makes an authority that nobody else has, has it sign one certificate for itself, one for all governors and
//! one for all clients, and forgets the authority's key. The server and governors know each other's and the clients'
//! certificates as bytes: whoever shows another one is refused, whatever it says about itself.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What TLS calls the protocol of clients (`docs/protocol.md`).
pub const CLIENT_PROTOCOL: &[u8] = b"rain/1";
/// What TLS calls the protocol in which clients fetch content over connections of their own.
pub const CONTENT_PROTOCOL: &[u8] = b"rain-content/1";
/// What TLS calls the protocol between the server and governors.
pub const PEER_PROTOCOL: &[u8] = b"rain-peer/1";

const SERVER_NAME: &str = "server.rain";
const GOVERNOR_NAME: &str = "governor.rain";
const CLIENT_NAME: &str = "client.rain";

/// How long certificates hold unless something else is said; a server that runs longer has to be started again.
const LIFETIME: Duration = Duration::from_secs(2 * 365 * 24 * 3600);
/// Certificates hold from so long ago, for clocks that differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot make certificates: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot read a certificate or key: {0}")]
    Read(#[from] rustls::pki_types::pem::Error),
    #[error("cannot use a certificate or key: {0}")]
    Use(#[from] rustls::Error),
    #[error("cannot check certificates: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// A certificate and its private key, both PEM texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// All certificates of a cluster, as the server makes them.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The authority's certificate, PEM text; its key is forgotten.
    pub authority: String,
    pub server: Credentials,
    pub governor: Credentials,
    pub client: Credentials,
}

impl Cluster {
    /// A new cluster.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new() -> Result<Self, IdentityError> {
        Self::lasting(SystemTime::now(), LIFETIME)
    }

    /// A cluster whose certificates hold for `lifetime` from `start` on.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn lasting(start: SystemTime, lifetime: Duration) -> Result<Self, IdentityError> {
        let times = |params: &mut CertificateParams| {
            params.not_before = time::OffsetDateTime::from(start - CLOCK_SKEW_MAX.min(lifetime));
            params.not_after = time::OffsetDateTime::from(start + lifetime);
        };
        let authority_key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Rain cluster");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        times(&mut params);
        let authority = params.self_signed(&authority_key)?.pem();
        let issuer = rcgen::Issuer::new(params, authority_key);
        let issue = |name: &str, uses: Vec<ExtendedKeyUsagePurpose>| -> Result<Credentials, IdentityError> {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = uses;
            times(&mut params);
            Ok(Credentials { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
        };
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        Ok(Self {
            server: issue(SERVER_NAME, vec![ServerAuth])?,
            // Governors also accept connections of each other.
            governor: issue(GOVERNOR_NAME, vec![ServerAuth, ClientAuth])?,
            client: issue(CLIENT_NAME, vec![ClientAuth])?,
            authority,
        })
    }
}

/// What an accepted connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Governor,
    Client,
}

/// The server's or a governor's side of TLS.
#[derive(Clone)]
pub struct PeerTls {
    accept: Arc<ServerConfig>,
    dial: Option<Arc<ClientConfig>>,
    governor: CertificateDer<'static>,
    /// For a governor: known once the server has told it.
    client: Option<CertificateDer<'static>>,
}

impl PeerTls {
    /// For the server: accepts governors and clients.
    ///
    /// # Errors
    /// When the certificates are unusable.
    pub fn server(cluster: &Cluster) -> Result<Self, IdentityError> {
        Ok(Self {
            accept: accept_config(
                &cluster.authority,
                &cluster.server,
                &[PEER_PROTOCOL, CLIENT_PROTOCOL, CONTENT_PROTOCOL],
            )?,
            dial: None,
            governor: certificate(&cluster.governor)?,
            client: Some(certificate(&cluster.client)?),
        })
    }

    /// For a server whose governors come another way: accepts clients.
    ///
    /// # Errors
    /// When the certificates are unusable.
    pub fn for_clients(cluster: &Cluster) -> Result<Self, IdentityError> {
        let accept = accept_config(&cluster.authority, &cluster.server, &[CLIENT_PROTOCOL, CONTENT_PROTOCOL])?;
        Ok(Self { accept, ..Self::server(cluster)? })
    }

    /// For a governor: connects to the server and to governors, and accepts governors; clients, too, once it knows what they show.
    ///
    /// # Errors
    /// When the certificates are unusable.
    pub fn governor(authority: &str, credentials: &Credentials) -> Result<Self, IdentityError> {
        Ok(Self {
            accept: accept_config(authority, credentials, &[PEER_PROTOCOL, CONTENT_PROTOCOL])?,
            dial: Some(dial_config(authority, credentials, PEER_PROTOCOL)?),
            governor: certificate(credentials)?,
            client: None,
        })
    }

    /// What clients show, as bytes.
    pub(super) fn client_certificate(&self) -> Option<&[u8]> {
        self.client.as_ref().map(|certificate| certificate.as_ref())
    }

    /// For a governor: clients show this.
    pub(super) fn know_client(&mut self, certificate: Option<Vec<u8>>) {
        self.client = certificate.map(CertificateDer::from);
    }

    pub(super) fn accept(&self) -> Result<rustls::Connection, rustls::Error> {
        rustls::ServerConnection::new(self.accept.clone()).map(Into::into)
    }

    pub(super) fn dial(&self, to_server: bool) -> Result<rustls::Connection, rustls::Error> {
        let Some(config) = &self.dial else {
            return Err(rustls::Error::General("a server connects to nobody".to_owned()));
        };
        let name = server_name(if to_server { SERVER_NAME } else { GOVERNOR_NAME })?;
        rustls::ClientConnection::new(config.clone(), name).map(Into::into)
    }

    /// What the other side of an accepted connection is, once its handshake is over; an error says why it is refused.
    pub(super) fn role(&self, connection: &rustls::Connection) -> Result<Role, &'static str> {
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let shows = |certificate: &CertificateDer<'_>| shown.is_some_and(|shown| shown == certificate);
        let shows_client = self.client.as_ref().is_some_and(shows);
        match connection.alpn_protocol() {
            Some(protocol) if protocol == PEER_PROTOCOL && shows(&self.governor) => Ok(Role::Governor),
            Some(protocol) if protocol != PEER_PROTOCOL && shows_client => Ok(Role::Client),
            Some(protocol) if protocol == PEER_PROTOCOL && shows_client => {
                Err("it shows a client's credentials, but wants to be a governor")
            }
            Some(protocol) if protocol != PEER_PROTOCOL && shows(&self.governor) => {
                Err("it shows a governor's credentials, but wants to be a client")
            }
            _ => Err("it shows no credentials of this cluster"),
        }
    }
}

/// TLS for a connection of a client to the server.
///
/// # Errors
/// When the certificates are unusable.
pub fn client_connection(
    authority: &str,
    credentials: &Credentials,
) -> Result<rustls::ClientConnection, IdentityError> {
    let config = dial_config(authority, credentials, CLIENT_PROTOCOL)?;
    Ok(rustls::ClientConnection::new(config, server_name(SERVER_NAME)?)?)
}

/// TLS for a connection of a client to a governor.
#[cfg(test)]
pub(super) fn content_connection(
    authority: &str,
    credentials: &Credentials,
    protocol: &[u8],
) -> Result<rustls::ClientConnection, IdentityError> {
    let config = dial_config(authority, credentials, protocol)?;
    Ok(rustls::ClientConnection::new(config, server_name(GOVERNOR_NAME)?)?)
}

fn server_name(name: &'static str) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(name).map_err(|error| rustls::Error::General(error.to_string()))
}

fn certificate(credentials: &Credentials) -> Result<CertificateDer<'static>, IdentityError> {
    Ok(CertificateDer::from_pem_slice(credentials.certificate.as_bytes())?)
}

fn key(credentials: &Credentials) -> Result<PrivateKeyDer<'static>, IdentityError> {
    Ok(PrivateKeyDer::from_pem_slice(credentials.key.as_bytes())?)
}

fn roots(authority: &str) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    Ok(Arc::new(roots))
}

fn accept_config(
    authority: &str,
    credentials: &Credentials,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, IdentityError> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(credentials)?], key(credentials)?)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // No tickets: every connection shows its certificate.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn dial_config(
    authority: &str,
    credentials: &Credentials,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, IdentityError> {
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider.clone()).build()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(vec![certificate(credentials)?], key(credentials)?)?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
