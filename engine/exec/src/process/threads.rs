//! How many threads the libraries of a child start.

use super::Environment;

/// Variables from which libraries take the size of their thread pools; some would start a thread for each cpu of the machine.
/// The Python executor has the same list (`python/rain/executor/threads.py`).
const VARIABLES: [&str; 8] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
];

impl Environment {
    /// Has libraries use `cpus` threads, except where the environment says something else already.
    pub(crate) fn limit_threads(&mut self, cpus: u32) {
        let cpus = cpus.to_string();
        for name in VARIABLES {
            self.add_default(name, &cpus);
        }
    }
}
