//! What this machine is called.

/// The name of this machine, which can be a part of a file's name.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty() && !name.contains('/')).unwrap_or_else(|| "localhost".to_owned())
}
