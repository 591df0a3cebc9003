//! A log as a trace that Perfetto and `chrome://tracing` show: one track a slot, in the JSON format of trace events.

use crate::chunk::decode_tasks;
use crate::error::LogError;
use crate::log::{Log, Reader};
use crate::views::stream::Namer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;

/// The track of a governor's machine beside those of its workers.
const MACHINE: u32 = 0;

impl Log {
    /// Writes the log, or one session of it, as trace events.
    ///
    /// # Errors
    /// When the log cannot be read, there is no such session, or `out` takes nothing.
    pub fn write_trace(&self, session: Option<u32>, out: &mut dyn Write) -> Result<(), LogError> {
        self.read(|reader| {
            if let Some(session) = session
                && !reader.has_session(session)?
            {
                return Err(LogError::Request(format!("there is no session {session} in this log")));
            }
            let mut trace = Trace { out, is_first: true, slots: BTreeSet::new() };
            trace.out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")?;
            trace.tasks(reader, session)?;
            trace.attempts(reader, session)?;
            trace.machines(reader)?;
            trace.names(reader)?;
            trace.out.write_all(b"\n]}\n")?;
            Ok(trace.out.flush()?)
        })
    }
}

struct Trace<'a> {
    out: &'a mut dyn Write,
    is_first: bool,
    /// Governors and their workers that have run something.
    slots: BTreeSet<(u32, u32)>,
}

impl Trace<'_> {
    fn put(&mut self, event: &Value) -> Result<(), LogError> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b",\n")?;
        }
        Ok(serde_json::to_writer(&mut self.out, event).map_err(std::io::Error::from)?)
    }

    /// Something that a slot has done, in microseconds.
    fn slice(
        &mut self,
        slot: (u32, u32),
        name: &str,
        (start, duration): (f64, f64),
        about: Value,
    ) -> Result<(), LogError> {
        self.slots.insert(slot);
        let (governor, worker) = slot;
        self.put(&json!({
            "ph": "X", "name": name, "cat": "task", "pid": governor + 1, "tid": worker + 1, "ts": start, "dur": duration,
            "args": about,
        }))
    }

    fn tasks(&mut self, reader: &mut Reader, wanted: Option<u32>) -> Result<(), LogError> {
        let sessions: Vec<u32> = {
            let text = "SELECT id FROM sessions WHERE ?1 IS NULL OR id = ?1 ORDER BY id";
            let mut statement = reader.connection.prepare_cached(text)?;
            let rows = statement.query_map([wanted], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for session in sessions {
            let mut namer = Namer::new(reader, session)?;
            let mut last = 0;
            // Chunk by chunk, so that a large log does not have to fit into memory.
            loop {
                let text = "SELECT id, count, tasks FROM chunks JOIN chunk_data USING (id) WHERE session = ?1 AND id > ?2 \
                            ORDER BY id LIMIT 1";
                let mut tasks = Vec::new();
                {
                    let mut statement = reader.connection.prepare_cached(text)?;
                    let mut rows = statement.query(rusqlite::params![session, last])?;
                    let Some(row) = rows.next()? else { break };
                    last = row.get::<_, i64>(0)?;
                    let data: Vec<u8> = row.get(2)?;
                    decode_tasks(&data, row.get(1)?, |task| tasks.push(task))?;
                }
                for task in tasks {
                    let name = reader.string(namer.name(task.task))?;
                    let slot = (task.slot.governor, task.slot.worker);
                    let times = (task.start as f64, task.duration as f64 / 1e3);
                    self.slice(slot, &name, times, json!({"session": session, "task": task.task}))?;
                }
            }
        }
        Ok(())
    }

    fn attempts(&mut self, reader: &mut Reader, wanted: Option<u32>) -> Result<(), LogError> {
        let text = "SELECT session, task, governor, worker, start, duration, time, message FROM attempts \
                    WHERE start IS NOT NULL AND (?1 IS NULL OR session = ?1) ORDER BY id";
        let mut statement = reader.connection.prepare_cached(text)?;
        let mut rows = statement.query([wanted])?;
        while let Some(row) = rows.next()? {
            let slot = (row.get(2)?, row.get::<_, Option<u32>>(3)?.unwrap_or_default());
            let (start, time): (f64, f64) = (row.get(4)?, row.get(6)?);
            let duration = row.get::<_, Option<f64>>(5)?.map_or(time - start, |duration| duration / 1e3).max(0.0);
            let (session, task): (u32, u32) = (row.get(0)?, row.get(1)?);
            let about = json!({"session": session, "task": task, "error": row.get::<_, String>(7)?});
            self.slice(slot, "failed attempt", (start, duration), about)?;
        }
        Ok(())
    }

    fn machines(&mut self, reader: &Reader) -> Result<(), LogError> {
        let text = "SELECT governor, time, load, memory, net_in, net_out FROM samples ORDER BY time";
        let mut statement = reader.connection.prepare_cached(text)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (pid, time): (u32, i64) = (row.get::<_, u32>(0)? + 1, row.get(1)?);
            let counters = [
                ("cpu", json!({"percent": row.get::<_, f64>(2)? * 100.0})),
                ("memory", json!({"MiB": row.get::<_, f64>(3)? / f64::from(1 << 20)})),
                ("network", json!({"in MB/s": row.get::<_, f64>(4)? / 1e6, "out MB/s": row.get::<_, f64>(5)? / 1e6})),
            ];
            for (name, values) in counters {
                self.put(&json!({"ph": "C", "name": name, "pid": pid, "tid": MACHINE, "ts": time, "args": values}))?;
            }
        }
        Ok(())
    }

    fn names(&mut self, reader: &Reader) -> Result<(), LogError> {
        let mut statement = reader.connection.prepare_cached("SELECT id, host FROM governors ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, host): (u32, String) = (row.get(0)?, row.get(1)?);
            let name = format!("governor {id} on {host}");
            self.put(&json!({"ph": "M", "name": "process_name", "pid": id + 1, "args": {"name": name}}))?;
        }
        for (governor, worker) in std::mem::take(&mut self.slots) {
            let about = json!({"name": format!("worker {worker}")});
            self.put(
                &json!({"ph": "M", "name": "thread_name", "pid": governor + 1, "tid": worker + 1, "args": about}),
            )?;
        }
        Ok(())
    }
}
