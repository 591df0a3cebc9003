//! `--http-listen`: where browsers are shown what the server does.

use crate::address::{self, AddressError};
use crate::reports::{Report, Reports};
use crate::runtime_dir::{self, Access, RuntimeDirError};
use crate::shown::Shown;
use rain_dashboard::{DashboardError, LogViews};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// Where a server is shown when nothing else is said.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Where to listen for browsers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpPlan {
    listen: SocketAddr,
    /// The user chose it: no other will do.
    chosen: bool,
}

/// Why browsers are not served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    #[error(transparent)]
    RuntimeDir(#[from] RuntimeDirError),
}

impl HttpPlan {
    /// What `--http-listen` says: PORT, ADDRESS or ADDRESS:PORT.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn new(text: Option<&str>) -> Result<Self, AddressError> {
        Ok(match text {
            Some(text) => Self { listen: address::parse_with("--http-listen", text, DEFAULT_LISTEN)?, chosen: true },
            None => Self { listen: DEFAULT_LISTEN, chosen: false },
        })
    }

    /// Serves browsers what `shown` answers, from now on; notes the address of the page in the access file to be, and reports it.
    ///
    /// # Errors
    /// When the port is taken, or the system refuses.
    pub fn serve(&self, shown: &Shown, access: &mut Access, reports: &mut Reports) -> Result<(), HttpError> {
        let listener = match rain_dashboard::listen(self.listen, !self.chosen) {
            // Nobody asked for it: Rain does without.
            Err(error) if !self.chosen => {
                tracing::warn!("{error}");
                let _ = reports.send(&Report::Note(format!("there is no dashboard: {error}")));
                return Ok(());
            }
            listener => listener?,
        };
        let token = runtime_dir::new_token()?;
        let page = rain_dashboard::serve(listener, &token, shown.views())?;
        shown.set_page(page.clone());
        if !self.listen.ip().is_loopback() {
            let note = "the dashboard is not encrypted, and other machines can reach it: its address is a secret";
            let _ = reports.send(&Report::Note(note.to_owned()));
        }
        let _ = reports.send(&Report::Dashboard(page.clone()));
        access.dashboard = Some(page);
        Ok(())
    }

    /// Serves browsers a log, without a server behind it; the address of the page.
    ///
    /// # Errors
    /// When the port is taken, or the system refuses.
    pub fn serve_log(&self, views: LogViews) -> Result<String, HttpError> {
        let listener = rain_dashboard::listen(self.listen, !self.chosen)?;
        let token = runtime_dir::new_token()?;
        Ok(rain_dashboard::serve(listener, &token, Arc::new(views))?)
    }
}
