//! How long graphs take on clusters as the planner places their tasks: `rain-sim makespan`.

pub mod error;
pub mod graph_file;
pub mod options;
pub mod rows;
pub mod table;

use crate::makespan::error::MakespanError;
use crate::makespan::graph_file::read_graphs;
use crate::makespan::options::Options;
use crate::makespan::rows::{MIB, row};
use crate::makespan::table::{BestKnown, CsvFile, Summary};
use rain_planner::cluster::Cluster;

/// Computes and writes a row for each graph, cluster, bandwidth, scheduler and seed. What is printed goes to `print`, line by line.
///
/// # Errors
/// When a file cannot be read or written, or a graph or a cluster is wrong. Whatever can be checked is checked before anything is planned.
pub fn run(options: &Options, mut print: impl FnMut(&str)) -> Result<(), MakespanError> {
    let graphs = read_graphs(&options.graphs)?;
    let mut clusters = Vec::new();
    for shape in &options.clusters {
        for bandwidth in &options.bandwidth {
            let cpus = vec![shape.cpus; shape.governors];
            let cluster = Cluster::new(cpus, bandwidth * MIB)
                .map_err(|source| MakespanError::Cluster { name: shape.to_string(), source })?;
            for graph in &graphs {
                let wrong = |source| MakespanError::Graph { path: graph.path.clone(), source };
                cluster.fits(&graph.graph).map_err(wrong)?;
            }
            clusters.push((shape, *bandwidth, cluster));
        }
    }
    let best = options.best.as_deref().map(BestKnown::read).transpose()?;
    let mut csv = options.csv.as_deref().map(CsvFile::create).transpose()?;
    let mut summary = Summary::new(best);
    for graph in &graphs {
        for (shape, bandwidth, cluster) in &clusters {
            for scheduler in &options.scheduler {
                for seed in 0..scheduler.seeds(options.seeds) {
                    let row = row(graph, &shape.to_string(), *bandwidth, cluster, *scheduler, seed, options);
                    match &mut csv {
                        Some(csv) => csv.add(&row)?,
                        None => print(&row.to_string()),
                    }
                    summary.add(&row);
                }
            }
        }
    }
    if let Some(csv) = csv {
        csv.close()?;
    }
    summary.lines().iter().for_each(|line| print(line));
    Ok(())
}
