//! A line of output: one JSON object, which `bench/run.py` collects.

use serde::Serialize;

/// A measurement.
#[derive(Serialize)]
pub struct Row {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub runs: Vec<f64>,
}

impl Row {
    /// What was measured several times: its median counts.
    pub fn median(name: String, unit: &'static str, runs: Vec<f64>) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        Self { name, value: sorted[sorted.len() / 2], unit, runs }
    }

    /// What was measured once.
    pub fn one(name: String, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, runs: vec![value] }
    }
}

/// Prints a row.
pub fn print(row: &Row) {
    println!("{}", serde_json::to_string(row).expect("plain data"));
}
