//! A session's graph on a governor: the pool's own, and beside it a ledger of claims that says when one is given up too often, or
//! content is there that nobody needs.

use crate::content::{Content, Data};
use rain_pool::{Cancelled, SessionGraph};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See above.
#[derive(Default)]
pub struct Graph {
    pool: SessionGraph<Data>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    claims: BTreeMap<u32, u32>,
    there: BTreeSet<u32>,
    /// The first mistake.
    wrong: Option<String>,
    /// A fault that is put back: tasks that are cancelled while they wait keep their claims.
    keeps_inputs: bool,
}

impl Ledger {
    fn is_wrong(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    /// Gives a claim up; false when there is none.
    fn give_up(&mut self, object: u32) -> bool {
        match self.claims.get_mut(&object) {
            Some(1) => {
                self.claims.remove(&object);
                self.there.remove(&object);
            }
            Some(claims) => *claims -= 1,
            None => return false,
        }
        true
    }
}

impl Graph {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has tasks that are cancelled while they wait keep their claims.
    pub fn keep_inputs(&self) {
        self.ledger().keeps_inputs = true;
    }

    /// The first mistake that was made with it.
    pub fn take_wrong(&self) -> Option<String> {
        self.ledger().wrong.take()
    }

    /// The content of an object on which somebody has a claim.
    pub fn value(&self, object: u32) -> Option<Content> {
        let is_claimed = self.ledger().claims.contains_key(&object);
        if is_claimed { self.pool.value(object).map(|content| **content) } else { None }
    }

    /// Objects on which there are claims, and how many.
    pub fn claims(&self) -> BTreeMap<u32, u32> {
        self.ledger().claims.clone()
    }

    /// Bytes of the content that is there; an error when the pool and the ledger differ.
    pub fn bytes(&self) -> Result<u64, String> {
        let mut bytes = 0;
        for object in &self.ledger().there {
            let content =
                self.pool.value(*object).ok_or_else(|| format!("object {object} is claimed and not there"))?;
            bytes += u64::from(content.size);
        }
        Ok(bytes)
    }
}

impl rain_governor::Graph for Graph {
    type Content = Data;

    fn claim(&self, object: u32) {
        *self.ledger().claims.entry(object).or_default() += 1;
        self.pool.claim(object);
    }

    fn link(&self, task: u32, inputs: &[u32], first_edge: u32) -> bool {
        self.pool.link(task, inputs, first_edge)
    }

    fn supply(&self, object: u32, content: Data, ready: impl FnMut(u32)) {
        let mut ledger = self.ledger();
        if !ledger.claims.contains_key(&object) {
            return ledger.is_wrong(format!("nobody has a claim on object {object}, which is supplied"));
        }
        // What a producer makes that is run again may still be there.
        ledger.there.insert(object);
        ledger.give_up(object);
        drop(ledger);
        self.pool.supply(object, content, ready);
    }

    fn release(&self, object: u32) {
        let mut ledger = self.ledger();
        if !ledger.give_up(object) {
            return ledger.is_wrong(format!("object {object} is released more often than it was claimed"));
        }
        drop(ledger);
        self.pool.release(object);
    }

    fn unpin(&self, object: u32) -> Option<Data> {
        if self.ledger().give_up(object) { self.pool.unpin(object) } else { None }
    }

    fn share(&self, object: u32) -> Option<Data> {
        self.pool.share(object)
    }

    fn cancel(&self) {
        self.pool.cancel();
    }

    fn is_cancelled(&self) -> bool {
        self.pool.is_cancelled()
    }

    fn cancel_task(&self, task: u32, unbegun: bool) -> Cancelled {
        match self.pool.cancel_task(task, unbegun) {
            Cancelled::Waiting if self.ledger().keeps_inputs => Cancelled::Unknown,
            cancelled => cancelled,
        }
    }

    fn task_is_cancelled(&self, task: u32) -> bool {
        self.pool.task_is_cancelled(task)
    }

    fn begin(&self, task: u32) -> bool {
        self.pool.begin(task)
    }

    fn put_back(&self, task: u32) {
        self.pool.put_back(task);
    }

    fn set_over(&self, task: u32) {
        self.pool.set_over(task);
    }

    fn has_begun(&self, task: u32) -> bool {
        self.pool.has_begun(task)
    }

    fn is_ready(&self, task: u32) -> bool {
        self.pool.is_ready(task)
    }

    fn is_done_with(&self, task: u32) -> bool {
        self.pool.is_done_with(task)
    }

    fn unlink(&self, task: u32, edges: Range<u32>) {
        self.pool.unlink(task, edges);
    }

    fn forget(&self, tasks: impl IntoIterator<Item = (u32, Range<u32>)>, objects: impl IntoIterator<Item = u32>) {
        self.pool.forget(tasks, objects);
    }
}
