//! What the driver adds to what its state machine tells the event log.

use rain_data::Object;
use rain_events::EventLog;
use rain_events::answers::LogStatus;
use rain_events::seconds_since_1970;
use rain_model::id::GovernorId;
use rain_protocol::log::LogEntry;
use rain_protocol::peer::{Message, TaskSet, ToGovernor};
use rain_server::{Effects, Server};
use rain_transport::{Place, Transport};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a clock is trusted to go as fast as the other one.
const CLOCK_TRUSTED: Duration = Duration::from_secs(10);

/// The event log, if there is one, and the time of day without asking for it each time.
pub(super) struct Logging {
    log: Option<EventLog>,
    /// A moment, as both clocks showed it.
    origin: (Instant, f64),
}

impl Logging {
    /// Has the machine tell what happens if there is a log.
    pub(super) fn new(log: Option<EventLog>, machine: &mut Server<Arc<Object>>) -> Self {
        if log.is_some() {
            machine.set_logged();
        }
        Self { log, origin: (Instant::now(), seconds_since_1970()) }
    }

    /// How writing goes; `None`: there is no log.
    pub(super) fn status(&self) -> Option<LogStatus> {
        self.log.as_ref().map(|log| log.handle().status())
    }

    fn time(&mut self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.origin.0);
        if passed > CLOCK_TRUSTED {
            self.origin = (Instant::now(), seconds_since_1970());
            return self.origin.1;
        }
        self.origin.1 + passed.as_secs_f64()
    }

    /// Notes what the machine tells of an event that happened at `now`.
    #[inline]
    pub(super) fn take<T: Transport<Arc<Object>>>(
        &mut self,
        now: Instant,
        effects: &mut Effects<Arc<Object>>,
        transport: &T,
    ) {
        if self.log.is_none() {
            drop(effects.drain_log());
            return;
        }
        let time = self.time(now);
        let Some(log) = &mut self.log else { return };
        for mut entry in effects.drain_log() {
            if let LogEntry::GovernorJoined { governor, host, .. } = &mut entry {
                *host = host_of(*governor, transport);
            }
            log.note(time, entry);
        }
    }

    /// Notes what a message tells a governor to run and to bring, at `now`.
    pub(super) fn hand_out(
        &mut self,
        now: Instant,
        governor: GovernorId,
        message: &Message<Arc<Object>>,
        machine: &Server<Arc<Object>>,
    ) {
        let (Message::ToGovernor(ToGovernor::Run(run)), true) = (message, self.log.is_some()) else { return };
        let time = self.time(now);
        let Some(log) = &mut self.log else { return };
        if !matches!(&run.tasks, TaskSet::Some(tasks) if tasks.is_empty()) {
            let (session, batch, tasks) = (run.session, run.batch.clone(), run.tasks.clone());
            log.note(time, LogEntry::Assigned { session, governor, batch, tasks });
        }
        if !run.remote.is_empty() {
            let from = run.remote.iter().filter_map(|input| Some((input.object, *input.holders.first()?)));
            let objects = from.map(|(object, holder)| (object, holder, machine.size_of(run.session, object))).collect();
            log.note(time, LogEntry::Moved { session: run.session, to: governor, objects });
        }
    }

    /// Hands what was noted to the log's thread.
    pub(super) fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }
}

/// The machine of a governor.
pub(super) fn host_of<T: Transport<Arc<Object>>>(governor: GovernorId, transport: &T) -> String {
    match transport.place_of(governor) {
        Some(Place { ip: Some(ip), .. }) => ip.to_string(),
        _ => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
    }
}
