//! What an end says of itself.

/// The name of this host, for people.
pub(super) fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// A number that nobody can guess.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    // Without it nobody comes back, which is safe.
    if filled.is_ok() { u64::from_le_bytes(bytes) } else { u64::MAX }
}
