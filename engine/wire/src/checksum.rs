//! The checksum of content that travels where nothing else protects it.

use xxhash_rust::xxh3::Xxh3;

/// Of content that comes piece by piece (XXH3, 64 bits). It finds what goes wrong, not who wants it to.
pub struct Checksum(Box<Xxh3>);

impl Default for Checksum {
    fn default() -> Self {
        Self(Box::new(Xxh3::new()))
    }
}

impl Checksum {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of all bytes so far.
    pub fn value(&self) -> u64 {
        self.0.digest()
    }
}
