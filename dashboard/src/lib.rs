//! What a server does, or has done, over HTTP: a page for browsers, and the API behind it for programs.
//!
//! One thread with a small runtime of its own, and a few that ask [`Views`]. Who shows the token may look; see [`guard`].

mod api;
mod asking;
mod guard;
mod live;
mod live_views;
mod log_views;
mod metrics;
mod pages;
mod patience;
mod refusal;
mod server_views;
mod views;

use asking::Asking;
use guard::Guard;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
pub use live_views::LiveViews;
pub use log_views::LogViews;
use patience::Patience;
pub use server_views::{AskStatus, ServerViews};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
pub use views::{Control, Question, ViewError, Views, view};

/// Connections at the same time; past it the oldest is dropped.
const CONNECTIONS_MAX: usize = 64;
/// How long a request may take to come.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long a browser may take nothing of what it is sent.
const STALLED_TIME_MAX: Duration = REQUEST_TIME_MAX;
/// Threads that ask the views; each is there only while it has something to do, and a few seconds longer.
const ASKING_THREADS_MAX: usize = 4;
/// How long accepting rests after an error, such as a lack of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    #[error("port {port} of {ip} is taken: choose another one with --http-listen=PORT (0: any free one)", ip = .0.ip(), port = .0.port())]
    PortTaken(SocketAddr),
    #[error("cannot listen for browsers on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the thread for browsers: {0}")]
    Thread(#[source] io::Error),
}

/// Listens on `address`; if that port is taken and `or_another` is set, on another one.
///
/// # Errors
/// When the port is taken or the system refuses.
pub fn listen(address: SocketAddr, or_another: bool) -> Result<TcpListener, DashboardError> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && or_another => {
            let any = SocketAddr::new(address.ip(), 0);
            TcpListener::bind(any).map_err(|error| DashboardError::Listen(any, error))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(DashboardError::PortTaken(address)),
        bound => bound.map_err(|error| DashboardError::Listen(address, error)),
    }
}

/// Serves browsers on a thread of its own, until the process ends. Returns the address of the page, with the token in it.
///
/// # Errors
/// When the system gives no thread.
pub fn serve(listener: TcpListener, token: &str, views: Arc<dyn Views>) -> Result<String, DashboardError> {
    let address = listener.local_addr().map_err(DashboardError::Thread)?;
    listener.set_nonblocking(true).map_err(DashboardError::Thread)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(ASKING_THREADS_MAX)
        .build()
        .map_err(DashboardError::Thread)?;
    let guard = Guard::new(token, address.port());
    let page = format!("http://{}/?token={token}", shown(address));
    let run = move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => accept(listener, pages::router(guard, Asking::new(views))).await,
                Err(error) => tracing::error!("browsers are not served: {error}"),
            }
        });
    };
    std::thread::Builder::new().name("dashboard".to_owned()).spawn(run).map_err(DashboardError::Thread)?;
    Ok(page)
}

/// An address that can be opened on this machine.
fn shown(address: SocketAddr) -> SocketAddr {
    let loopback: std::net::IpAddr =
        if address.is_ipv6() { std::net::Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() };
    if address.ip().is_unspecified() { SocketAddr::new(loopback, address.port()) } else { address }
}

async fn accept(listener: tokio::net::TcpListener, router: axum::Router) {
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!("cannot accept a browser: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS_MAX
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let service = TowerToHyperService::new(router.clone());
        let socket = TokioIo::new(Patience::new(socket, STALLED_TIME_MAX));
        let serve = tokio::spawn(async move {
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIME_MAX);
            // A browser that goes away, or is none, is no error of ours.
            let _ = builder.serve_connection(socket, service).await;
        });
        connections.push_back(serve.abort_handle());
    }
}

#[cfg(test)]
mod tests;
