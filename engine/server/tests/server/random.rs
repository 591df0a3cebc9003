//! Random graphs on simulated governors: every task runs exactly once, after its inputs are where it runs, whatever order
//! tasks finish in; in the end every pin has been given back.

use crate::{Harness, cases, submission};
use proptest::prelude::*;
use rain_model::id::{GovernorId, NONE};
use rain_protocol::peer::{RemoteInput, Run, TaskSet, ToGovernor};
use rain_server::{Command, Reply};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct Governor {
    /// Tasks it has been given and has not run, with their inputs and output.
    tasks: BTreeMap<u32, (Vec<u32>, Option<u32>)>,
    /// Objects that are there.
    objects: BTreeSet<u32>,
    pinned: BTreeSet<u32>,
}

struct World {
    governors: Vec<Governor>,
    ran: BTreeSet<u32>,
}

impl World {
    fn take(&mut self, h: &mut Harness) {
        for (number, message) in h.take_messages() {
            match message {
                ToGovernor::Run(run) => self.take_run(number as usize, &run),
                ToGovernor::Unpin { objects, .. } => {
                    for object in objects {
                        let governor = &mut self.governors[number as usize];
                        assert!(governor.pinned.remove(&object), "object {object} was not pinned on {number}");
                        governor.objects.remove(&object);
                    }
                }
                // Not answered here; `cluster` does.
                ToGovernor::GiveBack { .. } => {}
                ToGovernor::OpenSession(_) | ToGovernor::CloseSession(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn take_run(&mut self, number: usize, run: &Run<u64>) {
        for RemoteInput { object, holders, .. } in &run.remote {
            let there = |from: &GovernorId| self.governors[from.0 as usize].objects.contains(object);
            assert!(holders.iter().any(there), "{object} is not on {holders:?}");
            self.governors[number].objects.insert(*object);
            self.governors[number].pinned.insert(*object);
        }
        let governor = &mut self.governors[number];
        governor.objects.extend(run.constants.iter().map(|(object, _)| *object));
        for object in &run.pins {
            assert!(governor.pinned.insert(*object), "object {object} is pinned twice on {number}");
        }
        let tasks: Vec<u32> = match &run.tasks {
            TaskSet::All => run.batch.tasks().collect(),
            TaskSet::Some(tasks) => tasks.clone(),
        };
        for task in tasks {
            assert!(!self.ran.contains(&task), "task {task} ran before");
            let what = (run.batch.inputs(task).to_vec(), run.batch.outputs(task).next());
            assert!(self.governors[number].tasks.insert(task, what).is_none(), "task {task} is sent twice");
        }
    }

    /// Runs one task that can run; false when none is left anywhere.
    fn step(&mut self, h: &mut Harness, session: rain_model::id::SessionId, draw: usize) -> bool {
        let ready: Vec<(usize, u32)> = self
            .governors
            .iter()
            .enumerate()
            .flat_map(|(number, governor)| {
                let there = |inputs: &[u32]| inputs.iter().all(|object| governor.objects.contains(object));
                governor
                    .tasks
                    .iter()
                    .filter(move |(_, (inputs, _))| there(inputs))
                    .map(move |(task, _)| (number, *task))
            })
            .collect();
        if ready.is_empty() {
            let stuck: Vec<_> = self.governors.iter().flat_map(|g| g.tasks.keys()).collect();
            assert!(stuck.is_empty(), "tasks {stuck:?} can never run");
            return false;
        }
        let (number, task) = ready[draw % ready.len()];
        let governor = &mut self.governors[number];
        let (_, output) = governor.tasks.remove(&task).expect("it is ready");
        assert!(self.ran.insert(task), "task {task} runs twice");
        governor.objects.extend(output);
        h.finish(number as u32, session, &[task], output.as_slice());
        self.take(h);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_runs_once_after_its_inputs(
        shape in proptest::collection::vec((proptest::collection::vec(any::<prop::sample::Index>(), 0..4), any::<bool>()), 1..60),
        constants in 0u32..4,
        kept in proptest::collection::vec(any::<bool>(), 64),
        cpus in proptest::collection::vec(1u32..4, 1..4),
        draws in proptest::collection::vec(any::<usize>(), 60),
    ) {
        let mut h = Harness::new(&cpus);
        let session = h.new_session();
        // Constants are objects 0 .. constants; then each task that makes an object makes the next.
        let mut objects = constants;
        let mut inputs: Vec<Vec<u32>> = Vec::new();
        let mut outputs: Vec<u32> = Vec::new();
        for (reads, makes) in &shape {
            inputs.push(reads.iter().filter(|_| objects > 0).map(|r| r.index(objects as usize) as u32).collect());
            outputs.push(if *makes { objects } else { NONE });
            objects += u32::from(*makes);
        }
        let tasks: Vec<(&[u32], u32)> = inputs.iter().map(Vec::as_slice).zip(outputs).collect();
        let constants: Vec<u32> = (0..constants).collect();
        let keep: Vec<u32> = (0..objects).filter(|object| kept[*object as usize]).collect();
        h.done(Command::Submit { session, submission: submission(&tasks, &constants, &keep) });
        let all = h.request(Command::WaitAll { session });
        let mut world = World { governors: cpus.iter().map(|_| Governor::default()).collect(), ran: BTreeSet::new() };
        world.take(&mut h);
        let mut draws = draws.into_iter();
        while world.step(&mut h, session, draws.next().unwrap_or(0)) {}
        prop_assert_eq!(world.ran.len(), tasks.len());
        prop_assert!(matches!(h.take_reply(all), Some(Reply::Done)));
        for object in &keep {
            let request = h.request(Command::Fetch { session, object: *object, direct: false });
            prop_assert!(h.take_reply(request).is_none());
            match h.take_messages().as_slice() {
                [(governor, ToGovernor::Fetch { object: asked, .. })] => {
                    prop_assert_eq!(asked, object);
                    prop_assert!(world.governors[*governor as usize].objects.contains(object));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        if !keep.is_empty() {
            h.done(Command::Unkeep { session, objects: keep });
            world.take(&mut h);
        }
        let pinned: Vec<_> = world.governors.iter().flat_map(|governor| &governor.pinned).collect();
        prop_assert!(pinned.is_empty(), "still pinned: {:?}", pinned);
        h.assert_nothing_left();
    }
}
