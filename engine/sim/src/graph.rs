//! A session's graph on a governor: the pool's own, and beside it a ledger of claims that says when one is given up too often, or
//! content is there that nobody needs.

use crate::content::{Content, Data};
use rain_pool::{Cancelled, SessionGraph};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// See above. The messages of errors are for `Violation`.
#[derive(Default)]
pub struct Graph {
    pool: SessionGraph<Data>,
    claims: BTreeMap<u32, u32>,
    there: BTreeSet<u32>,
}

impl Graph {
    /// Adds a claim.
    pub fn claim(&mut self, object: u32) {
        *self.claims.entry(object).or_default() += 1;
        self.pool.claim(object);
    }

    /// Gives one up.
    pub fn release(&mut self, object: u32) -> Result<(), String> {
        self.give_up(object)?;
        self.pool.release(object);
        Ok(())
    }

    fn give_up(&mut self, object: u32) -> Result<(), String> {
        match self.claims.get_mut(&object) {
            Some(1) => {
                self.claims.remove(&object);
                self.there.remove(&object);
                Ok(())
            }
            Some(claims) => {
                *claims -= 1;
                Ok(())
            }
            None => Err(format!("object {object} is released more often than it was claimed")),
        }
    }

    /// Gives up one of the server's claims, which it may name after the object is gone.
    pub fn unpin(&mut self, object: u32) {
        if self.give_up(object).is_ok() {
            self.pool.unpin(object);
        }
    }

    /// Puts content in place; returns the tasks that are ready now.
    pub fn supply(&mut self, object: u32, content: Data) -> Result<Vec<u32>, String> {
        if !self.claims.contains_key(&object) {
            return Err(format!("nobody has a claim on object {object}, which is supplied"));
        }
        if !self.there.insert(object) {
            return Err(format!("object {object} is supplied twice"));
        }
        self.give_up(object)?;
        let mut ready = Vec::new();
        self.pool.supply(object, content, |task| ready.push(task));
        Ok(ready)
    }

    /// Links a task; whether it is ready.
    pub fn link(&mut self, task: u32, inputs: &[u32], first_edge: u32) -> bool {
        self.pool.link(task, inputs, first_edge)
    }

    /// The content of an object on which somebody has a claim.
    pub fn value(&self, object: u32) -> Option<Content> {
        if self.claims.contains_key(&object) { self.pool.value(object).map(|content| **content) } else { None }
    }

    /// The same as it is handed out.
    pub fn share(&self, object: u32) -> Option<Data> {
        self.pool.share(object)
    }

    /// Says that nothing more of the session is to be run.
    pub fn cancel(&self) {
        self.pool.cancel();
    }

    /// Whether a task, or all of them, must not be run.
    pub fn is_cancelled(&self, task: u32) -> bool {
        self.pool.is_cancelled() || self.pool.task_is_cancelled(task)
    }

    /// See `SessionGraph::cancel_task`.
    pub fn cancel_task(&self, task: u32, unbegun: bool) -> Cancelled {
        self.pool.cancel_task(task, unbegun)
    }

    /// See `SessionGraph::begin`.
    pub fn begin(&self, task: u32) -> bool {
        self.pool.begin(task)
    }

    /// See `SessionGraph::put_back`.
    pub fn put_back(&self, task: u32) {
        self.pool.put_back(task);
    }

    /// See `SessionGraph::has_begun`.
    pub fn has_begun(&self, task: u32) -> bool {
        self.pool.has_begun(task)
    }

    /// See `SessionGraph::is_ready`.
    pub fn is_ready(&self, task: u32) -> bool {
        self.pool.is_ready(task)
    }

    /// See `SessionGraph::set_over`.
    pub fn set_over(&self, task: u32) {
        self.pool.set_over(task);
    }

    /// See `SessionGraph::is_done_with`.
    pub fn is_done_with(&self, task: u32) -> bool {
        self.pool.is_done_with(task)
    }

    /// See `SessionGraph::unlink`.
    pub fn unlink(&self, task: u32, edges: Range<u32>) {
        self.pool.unlink(task, edges);
    }

    /// See `SessionGraph::forget`.
    pub fn forget(&self, tasks: impl IntoIterator<Item = (u32, Range<u32>)>, objects: impl IntoIterator<Item = u32>) {
        self.pool.forget(tasks, objects);
    }

    /// Objects on which there are claims, and how many.
    pub fn claims(&self) -> &BTreeMap<u32, u32> {
        &self.claims
    }

    /// Bytes of the content that is there; an error when the pool and the ledger differ.
    pub fn bytes(&self) -> Result<u64, String> {
        let mut bytes = 0;
        for object in &self.there {
            let content =
                self.pool.value(*object).ok_or_else(|| format!("object {object} is claimed and not there"))?;
            bytes += u64::from(Arc::clone(content).size);
        }
        Ok(bytes)
    }
}
