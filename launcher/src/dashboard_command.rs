//! `rain dashboard`, which shows the log of a run that is over, or of one that goes on elsewhere.

use crate::address::AddressError;
use crate::cli::DashboardArgs;
use crate::http::{HttpError, HttpPlan};
use crate::terminal::say;
use rain_dashboard::LogViews;
use rain_events::LogError;
use std::convert::Infallible;
use std::path::PathBuf;

/// Why a log is not shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error("{}: {source}", .path.display())]
    Log { path: PathBuf, source: LogError },
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Serves the pages over a log until a signal ends this process.
///
/// # Errors
/// When there is no log that can be read, or the port is taken.
pub fn run(args: &DashboardArgs) -> Result<Infallible, ShowError> {
    let plan = HttpPlan::new(args.http_listen.as_deref())?;
    let views = LogViews::new(args.logdir.clone());
    views.check().map_err(|source| ShowError::Log { path: args.logdir.clone(), source })?;
    let page = plan.serve_log(views)?;
    say(&format!("look  {page}\nCtrl-C ends it; the log stays as it is.\n"));
    loop {
        std::thread::park();
    }
}
