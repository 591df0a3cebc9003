//! Tasks that were given more than cpus: they begin when nobody else has any of it, and their processes are told what it is.

use super::shared::{WorkerShared, plain_failure};
use super::{Route, Worker};
use crate::executors::Granted;
use crate::session::Session;
use rain_governor::{Again, Hold};
use rain_model::graph::Batch;
use rain_model::resources::{Grant, Part, Supplies, Supply};
use rain_pool::{Pool, ReadyTask};
use rain_topology::CpuId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The resource whose labels are told to CUDA and ROCm.
const GPUS: &str = "gpus";
/// What they read.
const VISIBLE: [&str; 2] = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];
/// Says everything that a task was given, as JSON.
const RESOURCES: &str = "RAIN_RESOURCES";

/// Variables of tasks that were given cpus alone, on a governor that has this: GPUs that it counts are for those that ask.
pub(crate) fn without_grant(supplies: &Supplies) -> Vec<(String, String)> {
    if supplies.contains_key(GPUS) {
        return VISIBLE.map(|name| (name.to_owned(), String::new())).into();
    }
    Vec::new()
}

/// What a process is told of a grant.
fn granted(grant: &Grant, supplies: &Supplies) -> Granted {
    let mut environment = without_grant(supplies);
    let mut json = format!("{{\"cpus\": {}", grant.cpus);
    let mut places = BTreeSet::new();
    for (name, part) in &grant.parts {
        let value = match (part, supplies.get(name)) {
            (Part::Indexed(shares), Some(Supply::Indexed(labels))) => {
                places.extend(shares.iter().map(|(place, _)| (name.clone(), *place)));
                let of = |(place, _): &(u32, _)| labels.get(*place as usize).map(String::as_str);
                let given: Vec<&str> = shares.iter().filter_map(of).collect();
                if name == GPUS {
                    environment.iter_mut().for_each(|(_, value)| *value = given.join(","));
                    environment.extend(device_order(&given));
                }
                format!("[{}]", given.iter().map(|label| json_label(label)).collect::<Vec<_>>().join(", "))
            }
            (part, _) => part.total().to_string(),
        };
        json.push_str(&format!(", \"{name}\": {value}"));
    }
    json.push('}');
    environment.push((RESOURCES.to_owned(), json));
    Granted { environment, places }
}

/// Numbers that were found by this program count GPUs by their places on the bus, which is not what CUDA does by itself.
fn device_order(labels: &[&str]) -> Option<(String, String)> {
    let is_said = ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"].iter().any(|name| std::env::var_os(name).is_some());
    let are_numbers = labels.iter().all(|label| label.parse::<u32>().is_ok());
    (!is_said && are_numbers).then(|| ("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned()))
}

/// A label as JSON: a number if it is written as one. Labels have nothing that JSON would escape.
fn json_label(label: &str) -> String {
    let is_number = label.parse::<u32>().is_ok_and(|number| number.to_string() == label);
    if is_number { label.to_owned() } else { format!("\"{label}\"") }
}

/// Queues tasks again that could not have what they were given.
pub(crate) fn queue_again(pool: &Arc<Pool>) -> Again {
    let pool = pool.clone();
    Arc::new(move |tasks: Vec<ReadyTask>| {
        let mut queueing = pool.queueing();
        tasks.into_iter().for_each(|task| queueing.add(task, 1));
    })
}

impl Worker {
    /// Runs a task that asks for more than cpus, or has workers gather for it.
    pub(super) fn run_granted(&mut self, session: &Arc<Session>, batch: &Arc<Batch>, task: ReadyTask) {
        let Some(grant) = session.grant(task.task()) else {
            let message = "it was sent here without the resources that it asks for; this is a bug in Rain".to_owned();
            return self.settling().fail(session, batch, task.task(), plain_failure(message));
        };
        if grant.cpus > 1 {
            self.gather_for(task, grant.cpus, session, batch);
        } else {
            self.run_holding(&grant, session, batch, task, &[]);
        }
    }

    /// Runs a task that was given this, on these cpus if they are not the worker's own. It is queued again if others have some of it.
    pub(super) fn run_holding(
        &mut self,
        grant: &Arc<Grant>,
        session: &Arc<Session>,
        batch: &Arc<Batch>,
        task: ReadyTask,
        cpus: &[CpuId],
    ) {
        let WorkerShared { holdings, again, config, .. } = &*self.shared;
        let Some(hold) = Hold::take(holdings, task, grant.clone(), again.clone()) else { return };
        let granted = Arc::new(granted(grant, &config.resources));
        match self.route(session, batch.kind(task.task())) {
            Route::Executor(key) => {
                let key = Arc::new(key.with_grant(grant.cpus, granted));
                self.run_on_executor(&key, session, batch, task, cpus, Some(hold));
            }
            route => self.run_in_place(route, session, batch, task, &granted.environment),
        }
        session.drop_grant(task.task());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rain_model::resources::Amount;

    #[test]
    fn processes_are_told_what_they_were_given_and_nothing_else() {
        let indexed = |labels: &[&str]| Supply::Indexed(labels.iter().map(|label| (*label).to_owned()).collect());
        let supplies = Supplies::from([
            ("gpus".to_owned(), indexed(&["0", "GPU-ab", "7"])),
            ("licence".to_owned(), Supply::Amount(Amount::whole(3))),
        ]);
        let half = Amount::from_number(0.5).unwrap();
        let parts = [
            ("gpus".to_owned(), Part::Indexed(vec![(1, Amount::ONE), (2, half)])),
            ("licence".to_owned(), Part::Amount(half)),
        ];
        let told = granted(&Grant { cpus: 2, parts: parts.clone().into() }, &supplies);
        let value = |told: &Granted, name: &str| {
            told.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        for name in VISIBLE {
            assert_eq!(value(&told, name).as_deref(), Some("GPU-ab,7"));
        }
        let json = r#"{"cpus": 2, "gpus": ["GPU-ab", 7], "licence": 0.5}"#;
        assert_eq!(value(&told, RESOURCES).as_deref(), Some(json));
        assert_eq!(told.places, [("gpus".to_owned(), 1), ("gpus".to_owned(), 2)].into());
        let [_, licence] = parts;
        let told = granted(&Grant { cpus: 1, parts: [licence].into() }, &supplies);
        assert_eq!(value(&told, "CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        assert_eq!(without_grant(&Supplies::new()), []);
    }
}
