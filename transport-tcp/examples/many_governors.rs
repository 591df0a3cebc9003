//! Joins a server with many governors, all in this process, and says how long that took and what it cost the server.
//!
//!     rain server --listen=127.0.0.1:0 --access=FILE &
//!     cargo run --release -p rain-transport-tcp --example many_governors -- FILE [COUNT]

use rain_protocol::peer::{FromGovernor, Message};
use rain_transport::{Peer, Transport};
use rain_transport_tcp::peer::TcpTransport;
use rain_transport_tcp::peer::identity::{Credentials, PeerTls};
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn resident_bytes(pid: &str) -> Result<u64, AnyError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? * 1024)
}

fn join(server: SocketAddr, tls: PeerTls) -> Result<TcpTransport<Vec<u8>>, AnyError> {
    let (_, mut end) = TcpTransport::join(&[server], TcpListener::bind("127.0.0.1:0")?, tls, (), None)?;
    end.send(Peer::Server, Message::FromGovernor(FromGovernor::Joined { cpus: 1, resources: Default::default() }));
    Ok(end)
}

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("give the access file of a server")?;
    let count: usize = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let access: serde_json::Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let governor = &access["tls"]["governor"];
    let credentials = Credentials { certificate: text(&governor["certificate"]), key: text(&governor["key"]) };
    let tls = PeerTls::governor(&text(&access["tls"]["authority"]), &credentials)?;
    let server: SocketAddr = text(&access["tcp"]).parse()?;
    let pid = access["pid"].to_string();
    let before = resident_bytes(&pid)?;
    let start = Instant::now();
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let tls = tls.clone();
            std::thread::spawn(move || join(server, tls))
        })
        .collect();
    let ends: Result<Vec<_>, AnyError> =
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect();
    let ends = ends?;
    let taken = start.elapsed();
    let more = resident_bytes(&pid)?.saturating_sub(before) / count as u64;
    println!(
        "{} governors joined in {:.2} s; {} KiB a governor in the server",
        ends.len(),
        taken.as_secs_f64(),
        more >> 10
    );
    Ok(())
}
