//! Why a server or a governor ended.

use crate::governor::GovernorError;
use rain_data::StoreError;
use rain_transport::clients::PollError;

/// Why a server or a governor ended.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error(transparent)]
    Governor(#[from] GovernorError),
    #[error("cannot use the working directory: {0}")]
    Store(#[from] StoreError),
    /// The transport's own words.
    #[error("{0}")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot serve clients: {0}")]
    Clients(#[from] PollError),
}
