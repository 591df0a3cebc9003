//! Random graphs, and what a sequential run makes of them.

use crate::content::{Content, Data, Plan};
use crate::random::Random;
use crate::resources::draw_requests;
use crate::truth::{ObjectFacts, TaskFacts};
use rain_model::graph::{Column, DataType, Kind, OutputSpec};
use rain_model::id::NONE;
use rain_server::{NewConstant, Submission};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What graphs are drawn from.
#[derive(Clone, Debug)]
pub struct Draws {
    /// Widest task, cpus.
    pub cpus: u32,
    /// Some tasks ask for more than cpus.
    pub resources: bool,
    pub fails: u64,
    pub hangs: u64,
    pub fails_for_good: u64,
    /// Most constants of a submit, and how often one is kept.
    pub constants: u64,
    pub keeps_constants: u64,
    /// How often a task takes long.
    pub slow: u64,
    /// Each submit goes on with what the one before has kept.
    pub continues: bool,
    /// How often one submit follows another at once.
    pub bursts: u64,
}

/// What has to be known of a kind to use it again.
#[derive(Clone, Debug)]
pub struct KindFacts {
    pub kind: Kind,
    pub forgotten: bool,
}

/// A submit with what its client expects of it.
pub struct Drawn {
    pub submission: Submission<Data>,
    pub tasks: Vec<TaskFacts>,
    pub objects: Vec<ObjectFacts>,
    /// Cpus of the widest of its new kinds.
    pub cpus: u32,
}

fn draw_kind(random: &mut Random, draws: &Draws) -> Kind {
    let task_type = match random.below(10) {
        0..3 => "buildin/noop",
        3..6 => "buildin/work",
        _ => "py/call",
    };
    let output = |n| OutputSpec { label: format!("o{n}"), data_type: DataType::Blob, content_type: None };
    let outputs = [0, 1, 1, 1, 2][random.below(5) as usize];
    let cpus = if random.chance(150) { random.between(1, u64::from(draws.cpus)) as u32 } else { 1 };
    let asks = draws.resources && random.chance(350);
    Kind {
        cpus,
        resources: if asks { draw_requests(random, cpus) } else { Vec::new() },
        outputs: (0..outputs).map(output).collect(),
        retries: if random.chance(500) { random.between(1, 4) as u32 } else { 0 },
        timeout: (task_type != "buildin/noop" && random.chance(120))
            .then(|| Duration::from_millis(random.between(50, 2000))),
        priority: if random.chance(200) { random.between(0, 4) as i32 - 2 } else { 0 },
        ..Kind::new(task_type)
    }
}

fn draw_plan(random: &mut Random, kind: &Kind, draws: &Draws) -> Plan {
    let is_noop = kind.method() == "noop";
    let micros = match random.below(10) {
        _ if is_noop => 0,
        _ if random.chance(draws.slow) => random.between(30_000, 400_000),
        0..5 => random.between(1, 300),
        _ => random.between(300, 30_000),
    };
    let mut attempts = |rate: u64| {
        let most = u64::from(kind.retries);
        if !is_noop && most > 0 && random.chance(rate) { random.between(1, most) as u32 } else { 0 }
    };
    let mut failures = attempts(draws.fails);
    let hangs = attempts(draws.hangs).min(kind.retries - failures.min(kind.retries));
    if !is_noop && random.chance(draws.fails_for_good) {
        failures = kind.retries + 1;
    }
    let size = if random.chance(100) { 1 << 20 } else { random.between(1, 1000) as u32 };
    Plan { nonce: random.draw() as u32, micros: micros as u32, failures, hangs, size }
}

/// The inputs of task `place` of a graph of some shape, of what can be read: `earlier` are constants, and what tasks make, of
/// earlier submits.
fn draw_inputs(
    random: &mut Random,
    shape: u64,
    place: usize,
    readable: &[u32],
    made: &[u32],
    earlier: &[Vec<u32>; 2],
) -> Vec<u32> {
    let last = made.last().copied();
    match shape {
        // Flat.
        0 => Vec::new(),
        // A chain.
        1 => last.into_iter().collect(),
        // A reduction of all that was made recently.
        2 => match random.below(4) {
            0 => made.iter().rev().take(8).copied().collect(),
            _ => Vec::new(),
        },
        // Everybody reads the same.
        3 => readable.first().copied().into_iter().collect(),
        // Constants, and what was just made or an earlier submit has kept.
        4 => {
            let constants = &readable[..readable.len().min(4)];
            let others = &readable[readable.len() - readable.len().min(6)..];
            let one = random.pick(constants).copied().into_iter();
            one.chain(random.pick(others).copied().filter(|_| random.chance(500))).collect()
        }
        // Each goes on with something of an earlier submit.
        5 if earlier.iter().any(|objects| !objects.is_empty()) => {
            earlier.iter().filter_map(|objects| objects.get(place % objects.len().max(1)).copied()).collect()
        }
        // Every second one reads a constant, the others nothing.
        6 => random.pick(&readable[..readable.len().min(4)]).copied().filter(|_| place % 2 == 1).into_iter().collect(),
        _ => (0..random.below(4)).filter_map(|_| random.pick(readable).copied()).collect(),
    }
}

/// Draws a submit. `kinds` of the session grow by its new ones; `kept` are objects of earlier submits that it may read.
pub fn draw(
    random: &mut Random,
    draws: &Draws,
    kinds: &mut Vec<KindFacts>,
    first_task: u32,
    objects_before: &[ObjectFacts],
    kept: &[u32],
) -> Drawn {
    let before = kinds.len();
    for _ in 0..random.between(u64::from(kinds.is_empty()), 3) {
        kinds.push(KindFacts { kind: draw_kind(random, draws), forgotten: false });
    }
    let mut usable: Vec<u32> = (0..kinds.len() as u32).filter(|kind| !kinds[*kind as usize].forgotten).collect();
    if usable.is_empty() {
        kinds.push(KindFacts { kind: draw_kind(random, draws), forgotten: false });
        usable.push(kinds.len() as u32 - 1);
    }
    let base = objects_before.len() as u32;
    let mut objects: Vec<ObjectFacts> = Vec::new();
    let mut constants = Vec::new();
    let mut keep = Vec::new();
    let mut tasks: Vec<TaskFacts> = Vec::new();
    for _ in 0..random.between(0, draws.constants) {
        let content = Content { value: random.draw(), size: random.between(1, 1000) as u32 };
        let object = base + objects.len() as u32;
        objects.push(ObjectFacts {
            content,
            producer: NONE,
            kept: random.chance(draws.keeps_constants),
            forgotten: false,
            gone: false,
        });
        constants.push(NewConstant {
            object,
            content_type: None,
            size: u64::from(content.size),
            data: Arc::new(content),
        });
    }
    let mut readable: Vec<u32> = (base..base + objects.len() as u32).chain(kept.iter().copied()).collect();
    let mut made = Vec::new();
    let is_constant = |object: &u32| objects_before[*object as usize].producer == NONE;
    let (earlier_constants, earlier_made) = kept.iter().copied().partition::<Vec<u32>, _>(is_constant);
    let earlier = [earlier_constants, earlier_made];
    let (shape, keeps) = match draws.continues {
        true if earlier.iter().all(|objects| !objects.is_empty()) && random.chance(700) => (5, 900),
        true => (6, 900),
        false => (random.below(8), random.between(0, 600)),
    };
    let (mut kind, mut input_count, mut inputs, mut first_output, mut configs) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let count = if random.chance(100) { random.between(30, 80) } else { random.between(1, 24) };
    for place in 0..count as u32 {
        let number = random.pick(&usable).copied().unwrap_or_default();
        let of = &kinds[number as usize].kind;
        let plan = draw_plan(random, of, draws);
        let reads = draw_inputs(random, shape, place as usize, &readable, &made, &earlier);
        let content = |object: &u32| match object.checked_sub(base) {
            None => objects_before[*object as usize].content,
            Some(place) => objects[place as usize].content,
        };
        let read: Vec<Content> = reads.iter().map(content).collect();
        let outputs = of.outputs.len() as u32;
        let first = base + objects.len() as u32;
        for index in 0..outputs {
            let kept = random.chance(keeps);
            let content = plan.output(read.iter().copied(), index);
            objects.push(ObjectFacts { content, producer: first_task + place, kept, forgotten: false, gone: false });
            readable.push(first + index);
            made.push(first + index);
        }
        kind.push(number);
        input_count.push(reads.len() as u32);
        inputs.extend(&reads);
        first_output.push(if outputs == 0 { NONE } else { first });
        configs.push(ByteBuf::from(plan.encode()));
        tasks.push(TaskFacts {
            plan,
            inputs: reads,
            outputs: first..first + outputs,
            cpus: of.cpus,
            retries: of.retries,
            ended: 0,
            failures: 0,
            hangs: 0,
            cancelled: false,
            forgotten: false,
        });
    }
    keep.extend((base..).zip(&objects).filter(|(_, object)| object.kept).map(|(object, _)| object));
    let new: Vec<Kind> = kinds[before..].iter().map(|facts| facts.kind.clone()).collect();
    let submission = Submission {
        kinds: new.clone(),
        count: count as u32,
        kind: Column::Each(kind.into()),
        input_count: Column::Each(input_count.into()),
        inputs: inputs.into(),
        first_output: Column::Each(first_output.into()),
        configs: configs.into(),
        config: Column::Each((0..count as u32).collect()),
        user: BTreeMap::new(),
        constants,
        keep,
    };
    Drawn { submission, tasks, objects, cpus: new.iter().map(|kind| kind.cpus).max().unwrap_or(1) }
}
