//! Programs that have all rights of root: a program of its own, as this is said once for a whole process.

mod fixture;

use fixture::{Fixture, assert_says, failed};
use rain_data::INLINE_BYTES_MAX;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Execute<'a> {
    args: [&'a str; 3],
    inputs: [Input<'a>; 1],
}

#[derive(Serialize)]
struct Input<'a> {
    path: &'a str,
}

#[test]
fn what_root_changes_with_all_its_rights_is_found_out() {
    rain_exec::keep_capabilities();
    let fixture = Fixture::new();
    let input = Arc::new(fixture.store.blob(vec![b'x'; 2 * INLINE_BYTES_MAX], None).unwrap());
    let config = Execute { args: ["sh", "-c", "echo bad >>in"], inputs: [Input { path: "in" }] };
    let run = || failed(fixture.run("buildin/execute", &config, std::slice::from_ref(&input), &[])).message;
    if nix::unistd::geteuid().is_root() {
        assert_says(&run(), &["input 0 was changed while this task ran"]);
        assert_says(&run(), &["input 0 cannot be read"]);
    } else {
        assert_says(&run(), &["ermission denied"]);
    }
}
