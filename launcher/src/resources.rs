//! What governors have beside cpus: what was said, and what is found on the machine.

use clap::{Args, ValueEnum};
use rain_model::resources::{Amount, MEMORY, ResourceError, Supplies, Supply, check_supplies};
use serde::{Deserialize, Serialize};

/// The resource of the GPUs that are found.
const GPUS: &str = "gpus";

/// Options of whatever starts governors.
#[derive(Debug, Clone, Default, Args)]
pub struct ResourceArgs {
    /// What tasks can ask for: so much of something (licence=3, memory=16GiB), or things that are told apart (gpus=[0,1]); may be given
    /// several times. Governors on one machine divide it
    #[arg(long = "resource", value_name = "NAME=AMOUNT")]
    pub resources: Vec<String>,
    /// Whether GPUs are looked for: detect, or none [default: detect]
    #[arg(long, value_enum, value_name = "WHICH")]
    pub gpus: Option<Gpus>,
}

/// Which GPUs a governor has, beside those that `--resource` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Gpus {
    /// Those that are found.
    Detect,
    /// None: tasks see what the governor sees, and nobody counts it.
    None,
}

/// What is wrong with what was said.
#[derive(Debug, thiserror::Error)]
pub enum ResourcePlanError {
    #[error("--resource={0}: say NAME=AMOUNT, as licence=3 or memory=16GiB, or NAME=[LABEL,LABEL], as gpus=[0,1]")]
    Form(String),
    #[error("--resource={0}: {1}")]
    Wrong(String, ResourceError),
    #[error("--resource={0}: {1} was said before")]
    Twice(String, String),
    #[error("{0}")]
    All(#[from] ResourceError),
}

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePlan {
    pub said: Supplies,
    pub without_gpus: bool,
}

impl ResourcePlan {
    /// Checks what was typed, which goes before what a file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(args: &ResourceArgs, file: Supplies) -> Result<Self, ResourcePlanError> {
        let mut typed = Supplies::new();
        for text in &args.resources {
            let (name, value) = text.split_once('=').ok_or_else(|| ResourcePlanError::Form(text.clone()))?;
            let (name, value) = (name.trim(), value.trim());
            let supply = parse_supply(value).ok_or_else(|| ResourcePlanError::Form(text.clone()))?;
            check_supplies(&[(name.to_owned(), supply.clone())].into())
                .map_err(|error| ResourcePlanError::Wrong(text.clone(), error))?;
            if typed.insert(name.to_owned(), supply).is_some() {
                return Err(ResourcePlanError::Twice(text.clone(), name.to_owned()));
            }
        }
        let mut said = file;
        said.extend(typed);
        check_supplies(&said)?;
        Ok(Self { said, without_gpus: args.gpus == Some(Gpus::None) })
    }

    /// What one of the governors of this machine has: `parts` are the numbers of their cpus, `own` the place of its own.
    pub fn supplies(&self, parts: &[usize], own: usize) -> Supplies {
        let mut all = self.said.clone();
        if !all.contains_key(MEMORY)
            && let Some(bytes) = rain_topology::memory_bytes()
        {
            all.insert(MEMORY.to_owned(), Supply::Amount(Amount::whole(bytes)));
        }
        if self.without_gpus {
            all.remove(GPUS);
        } else if !all.contains_key(GPUS) {
            let labels = rain_topology::gpus();
            if !labels.is_empty() {
                all.insert(GPUS.to_owned(), Supply::Indexed(labels));
            }
        }
        let mut shared: Supplies =
            all.into_iter().filter_map(|(name, supply)| Some((name, part_of(supply, parts, own)?))).collect();
        if let Err(error) = check_supplies(&shared) {
            tracing::warn!("what was found on this machine cannot be used: {error}");
            shared.retain(|name, _| self.said.contains_key(name));
        }
        shared
    }

    /// What was typed, as options of `rain governor`.
    pub fn options(args: &ResourceArgs) -> Vec<String> {
        let said = args.resources.iter().map(|resource| format!("--resource={resource}"));
        said.chain((args.gpus == Some(Gpus::None)).then(|| "--gpus=none".to_owned())).collect()
    }
}

/// The part of one of several governors, in proportion to their cpus; `None` if there is nothing for it.
fn part_of(supply: Supply, parts: &[usize], own: usize) -> Option<Supply> {
    let all = parts.iter().sum::<usize>().max(1) as u128;
    let before = parts[..own].iter().sum::<usize>() as u128;
    let until = before + parts.get(own).copied().unwrap_or_default() as u128;
    let range = |number: u64| {
        let at = |cpus: u128| (u128::from(number) * cpus / all) as u64;
        at(before)..at(until)
    };
    match supply {
        supply if parts.len() < 2 => Some(supply),
        Supply::Indexed(labels) => {
            let range = range(labels.len() as u64);
            let labels: Vec<String> =
                labels.into_iter().skip(range.start as usize).take((range.end - range.start) as usize).collect();
            (!labels.is_empty()).then_some(Supply::Indexed(labels))
        }
        Supply::Amount(amount) => {
            let range = range(amount.wholes());
            (range.end > range.start).then(|| Supply::Amount(Amount::whole(range.end - range.start)))
        }
    }
}

/// Reads an amount, or labels in brackets.
fn parse_supply(text: &str) -> Option<Supply> {
    let Some(inner) = text.strip_prefix('[') else { return parse_amount(text).map(Supply::Amount) };
    let inner = inner.strip_suffix(']')?.trim();
    let labels = inner.split(',').map(|label| label.trim().to_owned()).filter(|_| !inner.is_empty());
    Some(Supply::Indexed(labels.collect()))
}

/// Reads a number, or one of bytes with a unit.
pub fn parse_amount(text: &str) -> Option<Amount> {
    const UNITS: [(&str, u64); 14] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
        ("T", 1 << 40),
        ("B", 1),
    ];
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.map_or((text, None), |(number, bytes)| (number.trim_end(), Some(bytes)));
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    match bytes {
        None => Amount::from_number(number),
        Some(bytes) => Amount::from_number((number * bytes as f64).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(said: &[&str]) -> Result<ResourcePlan, String> {
        let resources = said.iter().map(|text| (*text).to_owned()).collect();
        let file = Supplies::from([("licence".to_owned(), Supply::Amount(Amount::whole(9)))]);
        ResourcePlan::new(&ResourceArgs { resources, gpus: None }, file).map_err(|error| error.to_string())
    }

    fn labels(labels: &[&str]) -> Supply {
        Supply::Indexed(labels.iter().map(|label| (*label).to_owned()).collect())
    }

    #[test]
    fn amounts_and_labels_are_read() {
        let said = plan(&["licence=3", "gpus=[0, GPU-1a]", "memory=1.5GiB", "scratch=2TB", "share=0.5"]).unwrap().said;
        let amount = |name: &str| match &said[name] {
            Supply::Amount(amount) => amount.number(),
            Supply::Indexed(_) => f64::NAN,
        };
        assert_eq!(["licence", "memory", "scratch", "share"].map(amount), [3.0, 1.5 * 1073741824.0, 2e12, 0.5]);
        assert_eq!(said["gpus"], labels(&["0", "GPU-1a"]));
        for (text, part) in [
            ("licence", "NAME=AMOUNT"),
            ("licence=", "NAME=AMOUNT"),
            ("licence=-1", "NAME=AMOUNT"),
            ("licence=many", "NAME=AMOUNT"),
            ("licence=0", "NAME=AMOUNT"),
            ("licence=1e9", "NAME=AMOUNT"),
            ("gpus=[0,1", "NAME=AMOUNT"),
            ("gpus=[]", "nothing of"),
            ("gpus=[0,0]", "twice"),
            ("cpus=4", "of their own"),
            ("my gpu=4", "cannot be the name"),
            ("memory=[0]", "bytes"),
            ("memory=99999999TiB", "NAME=AMOUNT"),
        ] {
            let error = plan(&[text]).expect_err(text);
            assert!(error.contains(part) && error.contains(text), "{text}: {error}");
        }
        assert!(plan(&["a=1", "a=2"]).unwrap_err().contains("before"));
    }

    #[test]
    fn governors_of_one_machine_divide_what_there_is() {
        let plan = plan(&["gpus=[a,b,c]", "memory=1000", "licence=1"]).unwrap();
        let parts: Vec<Supplies> = (0..2).map(|own| plan.supplies(&[2, 2], own)).collect();
        assert_eq!([&parts[0]["gpus"], &parts[1]["gpus"]], [&labels(&["a"]), &labels(&["b", "c"])]);
        let memory = Supply::Amount(Amount::whole(500));
        assert_eq!([&parts[0]["memory"], &parts[1]["memory"]], [&memory, &memory]);
        assert_eq!([parts[0].contains_key("licence"), parts[1].contains_key("licence")], [false, true]);
        assert_eq!(plan.supplies(&[7], 0), plan.said);
        let none = ResourcePlan { without_gpus: true, ..plan };
        assert!(!none.supplies(&[7], 0).contains_key("gpus"));
    }
}
