//! Who may look: a page of a stranger's in the same browser may not, and neither may another user of the machine.
//!
//! A request names this server by an address or as `localhost`, so that no foreign name that leads here (DNS rebinding)
//! is of use; comes from a page of this server, if from any; and shows the token: in a cookie that the link with the token
//! sets, or as a bearer token.

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};
use std::net::IpAddr;
use subtle::ConstantTimeEq;

/// What a request has to show.
#[derive(Clone)]
pub(crate) struct Guard {
    token: String,
    /// Cookies do not know ports: each server has one of its own.
    cookie: String,
}

impl Guard {
    pub(crate) fn new(token: &str, port: u16) -> Self {
        Self { token: token.to_owned(), cookie: format!("rain-{port}") }
    }

    pub(crate) fn is_token(&self, shown: &str) -> bool {
        shown.as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    /// The value of `Set-Cookie` for a browser that has shown the token.
    pub(crate) fn set_cookie(&self) -> String {
        format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie, self.token)
    }

    /// Whether the request shows the token.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let bearer = text(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let cookies = text(headers, COOKIE).unwrap_or_default().split(';');
        let mut named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
        let cookie = named.find(|(name, _)| *name == self.cookie).map(|(_, value)| value);
        [bearer, cookie].into_iter().flatten().any(|shown| self.is_token(shown))
    }
}

/// Whether the request is meant for this server, and does not come from a page of another one.
pub(crate) fn is_for_us(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, HOST) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let own_page = text(headers, ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host));
    (is_address || name.eq_ignore_ascii_case("localhost")) && own_page && headers.get_all(HOST).iter().count() == 1
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
