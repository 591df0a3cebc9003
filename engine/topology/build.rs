//! hwlocality-sys asks pkg-config for the libraries of a *static* hwloc, so `-ludev` reaches the linker although only
//! libhwloc.so, which names its own libraries, is linked. An empty archive satisfies it where libudev's development
//! files are not installed; where they are, they come first.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_HWLOC").is_some()
        && let Some(directory) = env::var_os("OUT_DIR")
    {
        let directory = Path::new(&directory);
        fs::write(directory.join("libudev.a"), "!<arch>\n")?;
        println!("cargo:rustc-link-search=native={}", directory.display());
    }
    Ok(())
}
