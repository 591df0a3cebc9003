//! Who may talk to the server: the check of a connection's first request.

use rain_protocol::client::{Hello, RequestError};
use rain_protocol::msgpack::PROTOCOL_VERSION;
use subtle::ConstantTimeEq;

/// Checks a `hello`; `token` is what must be shown (`None`: the peer is known already).
pub(super) fn check(hello: &Hello, token: Option<&str>) -> Result<(), RequestError> {
    if hello.version != PROTOCOL_VERSION {
        let theirs = hello.version;
        return Err(RequestError::protocol(format!(
            "this server speaks protocol version {PROTOCOL_VERSION}, the client version {theirs}: use a client and a \
             server of the same release"
        )));
    }
    if let Some(token) = token
        && (token.is_empty() || !is_equal(token, hello.token.as_deref().unwrap_or_default()))
    {
        return Err(RequestError::protocol(
            "the token is missing or wrong: it is in access.json in the server's runtime directory",
        ));
    }
    if let Some(python) = &hello.python
        && (!python.starts_with('/') || python.contains('\0'))
    {
        return Err(RequestError::protocol(format!("python is not an absolute path: {python:?}")));
    }
    Ok(())
}

/// Compares without telling by its time where two texts of one length differ.
fn is_equal(token: &str, shown: &str) -> bool {
    token.as_bytes().ct_eq(shown.as_bytes()).into()
}
