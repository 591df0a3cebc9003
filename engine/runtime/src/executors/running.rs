//! An executor process that runs.

use crate::session::SessionTable;
use rain_exec::{ExecutorEvent, ExecutorProcess, Interrupt};
use rain_topology::CpuId;
use std::time::Duration;

/// Kinds that an executor may know before forgotten ones are looked for.
const KINDS_MIN: usize = 64;

/// An executor process with what its next user has to know of it.
pub(crate) struct Running {
    pub(crate) process: ExecutorProcess,
    /// The session whose call it had last.
    session: Option<u32>,
    /// Whether the process has answered a call.
    pub(crate) has_answered: bool,
    /// The cpus that it is bound to, if that is known.
    cpus: Vec<CpuId>,
    /// How many sessions had been closed when it was last looked at for kinds of those.
    pub(super) closes: u64,
    /// How many kinds were left when it was last looked at for forgotten ones.
    kinds_left: usize,
}

impl Running {
    pub(super) fn new(process: ExecutorProcess) -> Self {
        Self { process, session: None, has_answered: false, cpus: Vec::new(), closes: 0, kinds_left: 0 }
    }

    /// Prepares the process for a call of a session that is to run on these cpus (none: wherever it is).
    pub(crate) fn begin(&mut self, session: u32, cpus: &[CpuId]) {
        let is_other_session = self.session != Some(session);
        // What one that is new has written tells why it does not start.
        if is_other_session && self.session.replace(session).is_some() {
            self.process.begin_session();
        }
        // A task may have bound its process to other cpus.
        if !cpus.is_empty() && (is_other_session || self.cpus != cpus) {
            match rain_topology::pin_process(self.process.pid(), cpus) {
                Ok(()) => self.cpus = cpus.to_vec(),
                Err(error) => tracing::warn!("executor {} is not pinned: {error}", self.process.pid()),
            }
        }
    }

    /// Lets the executor forget kinds of sessions that are closed; false if it cannot be told.
    pub(super) fn forget_closed(&mut self, sessions: &SessionTable, closes: u64) -> bool {
        if self.closes == closes {
            return true;
        }
        self.closes = closes;
        let mut next = 0;
        while let Some(kind) = self.process.knows_from(next) {
            let session = (kind >> 32) as u32;
            if sessions.get(session).is_none() {
                self.process.forget(kinds_of(session));
            }
            let Some(following) = session.checked_add(1) else { break };
            next = u64::from(following) << 32;
        }
        self.process.flush().is_ok()
    }

    /// Lets the executor forget kinds that their client has forgotten, when it knows twice as many as were left the last time:
    /// so that costs, on the whole, a constant time a kind.
    pub(super) fn forget_kinds(&mut self, sessions: &SessionTable) {
        if self.process.kinds_known() <= KINDS_MIN.max(2 * self.kinds_left) {
            return;
        }
        self.process.forget_if(|kind| {
            let session = sessions.get((kind >> 32) as u32);
            session.is_none_or(|session| !session.has_kind(kind as u32))
        });
        self.kinds_left = self.process.kinds_known();
    }

    /// Whether it has ended or asked not to be used any more, while it was idle.
    pub(super) fn is_over(&mut self, interrupt: &Interrupt) -> bool {
        let mut events = Vec::new();
        if let Err(error) = self.process.wait(interrupt, Some(Duration::ZERO), &mut events) {
            tracing::warn!("an idle executor has ended: {error}");
            return true;
        }
        let reason = events.into_iter().find_map(|event| match event {
            ExecutorEvent::Returned { reason, .. } => reason,
            _ => None,
        });
        if let Some(reason) = &reason {
            tracing::debug!("executor {} is not used again: {reason}", self.process.pid());
        }
        reason.is_some()
    }
}

/// Ids of all kinds of a session.
fn kinds_of(session: u32) -> std::ops::RangeInclusive<u64> {
    let first = u64::from(session) << 32;
    first..=first | u64::from(u32::MAX)
}
