//! Tables: rows into a file, the best known makespans out of one, and how the two compare.

use crate::makespan::error::MakespanError;
use crate::makespan::rows::{COLUMNS, Row};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file of rows.
#[derive(Debug)]
pub struct CsvFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl CsvFile {
    /// Begins a file with the names of the columns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<Self, MakespanError> {
        let file = File::create(path).map_err(|source| MakespanError::Write { path: path.to_owned(), source })?;
        let mut csv = Self { path: path.to_owned(), file: BufWriter::new(file) };
        csv.line(COLUMNS)?;
        Ok(csv)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &Row) -> Result<(), MakespanError> {
        self.line(&row.to_string())
    }

    /// Sees that all rows are in the file.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn close(mut self) -> Result<(), MakespanError> {
        self.file.flush().map_err(|source| MakespanError::Write { path: self.path.clone(), source })
    }

    fn line(&mut self, line: &str) -> Result<(), MakespanError> {
        writeln!(self.file, "{line}").map_err(|source| MakespanError::Write { path: self.path.clone(), source })
    }
}

/// The best makespans that are known, by graph, cluster and bandwidth.
#[derive(Debug)]
pub struct BestKnown(BTreeMap<(String, String, String), f64>);

impl BestKnown {
    /// Reads a table with the columns `graph`, `cluster`, `bandwidth_mib_s` and `best_known_s`.
    ///
    /// # Errors
    /// When it cannot be read, lacks a column or has something else than a number.
    pub fn read(path: &Path) -> Result<Self, MakespanError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| MakespanError::Read { path: path.to_owned(), source })?;
        let wrong =
            |line: usize, reason: String| MakespanError::Table { path: path.to_owned(), line: line + 1, reason };
        let mut lines = text.lines().enumerate();
        let names: Vec<&str> = lines.next().map_or(Vec::new(), |(_, line)| line.split(',').collect());
        let column = |wanted: &str| {
            let found = names.iter().position(|name| *name == wanted);
            found.ok_or_else(|| wrong(0, format!("no column is called {wanted}")))
        };
        let key = [column("graph")?, column("cluster")?, column("bandwidth_mib_s")?];
        let best = column("best_known_s")?;
        let mut known = BTreeMap::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let cells: Vec<&str> = line.split(',').collect();
            let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
            let seconds = cell(best).parse().map_err(|_| wrong(number, format!("`{}` is no number", cell(best))))?;
            known.insert((cell(key[0]).to_owned(), cell(key[1]).to_owned(), cell(key[2]).to_owned()), seconds);
        }
        Ok(Self(known))
    }
}

/// Ratios of one group of rows.
#[derive(Clone, Debug, Default)]
struct Ratios {
    logarithms: f64,
    count: usize,
    worst: f64,
    worst_row: String,
    plan_time: f64,
    plan_time_max: f64,
}

impl Ratios {
    fn add(&mut self, ratio: f64, row: &Row) {
        self.logarithms += ratio.ln();
        self.count += 1;
        self.plan_time += row.scheduler_wall;
        self.plan_time_max = self.plan_time_max.max(row.scheduler_wall);
        if ratio > self.worst {
            self.worst = ratio;
            self.worst_row = format!("{} {} {}", row.graph, row.cluster, row.bandwidth);
        }
    }

    fn line(&self, name: &str) -> String {
        format!(
            "{name:<34} n={:<4} {:.4}  worst {:.3} ({})  plan time mean {:.3} s, max {:.3} s",
            self.count,
            (self.logarithms / self.count as f64).exp(),
            self.worst,
            self.worst_row,
            self.plan_time / self.count as f64,
            self.plan_time_max
        )
    }
}

/// Geometric means of makespans over the best known ones, or without these over the lower bound.
#[derive(Debug)]
pub struct Summary {
    best: Option<BestKnown>,
    groups: BTreeMap<String, Ratios>,
    unknown: usize,
}

impl Summary {
    pub fn new(best: Option<BestKnown>) -> Self {
        Self { best, groups: BTreeMap::new(), unknown: 0 }
    }

    /// Takes a row in.
    pub fn add(&mut self, row: &Row) {
        let best = match &self.best {
            None => Some(row.critical_path.max(row.work)),
            Some(BestKnown(known)) => {
                known.get(&(row.graph.clone(), row.cluster.clone(), row.bandwidth.to_string())).copied()
            }
        };
        let Some(best) = best else {
            self.unknown += 1;
            return;
        };
        let ratio = if best > 0.0 { row.makespan / best } else { 1.0 };
        let scheduler = row.scheduler.rsplit_once("-s").map_or(row.scheduler.as_str(), |(name, _)| name);
        for group in [format!("{scheduler} all"), format!("{scheduler} {} @{}", row.cluster, row.bandwidth)] {
            self.groups.entry(group).or_default().add(ratio, row);
        }
    }

    /// What to print.
    pub fn lines(&self) -> Vec<String> {
        let what = if self.best.is_some() { "best known" } else { "lower bound (no transfers)" };
        let mut lines = vec![format!("geometric means of makespan / {what}:")];
        lines.extend(self.groups.iter().map(|(name, ratios)| ratios.line(name)));
        if self.unknown > 0 {
            lines.push(format!("{} rows have no best known makespan to compare with", self.unknown));
        }
        lines
    }
}
