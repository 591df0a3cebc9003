//! A log as one page that needs nothing else, to be sent to somebody.

use crate::answers::{Counts, SessionDetail, Status, Stream, Throughput};
use crate::error::LogError;
use crate::log::Log;
use crate::questions::{Page, StreamQuery, TaskQuery, ThroughputQuery};
use crate::views::rfc3339;
use std::fmt::Write;

/// The page up to its title. Its policy lets nothing be loaded or run.
const HEAD: &str = include_str!("report_head.html");
const STYLE: &str = include_str!("report.css");
/// Sessions that are shown in detail, and failed tasks of each.
const SESSIONS_MAX: u32 = 50;
const FAILURES_MAX: u32 = 10;
/// Groups of a session.
const GROUPS_MAX: usize = 40;
/// Columns and rows of the task stream.
const WIDTH: u32 = 1200;
const SLOTS_MAX: usize = 64;
const ROW: usize = 14;
/// Names in the legend.
const LEGEND_MAX: usize = 20;
/// Height of the curve of throughput.
const CURVE: f64 = 120.0;

impl Log {
    /// The whole as a page of HTML.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn report(&self) -> Result<String, LogError> {
        let status = self.status()?;
        let mut page = String::new();
        let title = status.server.name.clone().unwrap_or_else(|| status.server.address.clone());
        let _ = write!(
            page,
            "{HEAD}<title>Rain: {0}</title><style>{STYLE}</style></head><body><h1>Rain: {0}</h1>",
            escaped(&title)
        );
        head(&mut page, &status);
        if let Some(stream) = self.stream(&StreamQuery { width: Some(WIDTH), ..StreamQuery::default() })? {
            task_stream(&mut page, &stream);
        }
        let points = ThroughputQuery { points: Some(240), ..ThroughputQuery::default() };
        if let Some(throughput) = self.throughput(&points)? {
            curve(&mut page, &throughput);
        }
        let sessions = self.sessions(&Page { limit: Some(SESSIONS_MAX), ..Page::default() })?;
        for session in &sessions.sessions {
            if let Some(detail) = self.session(session.id)? {
                self.section(&mut page, &detail)?;
            }
        }
        if sessions.next.is_some() {
            let _ = write!(page, "<p class=\"dim\">There are older sessions that are not shown.</p>");
        }
        self.governor_table(&mut page)?;
        page.push_str("</body></html>\n");
        Ok(page)
    }

    fn section(&self, page: &mut String, detail: &SessionDetail) -> Result<(), LogError> {
        let session = &detail.session;
        let name = if session.name.is_empty() { String::new() } else { format!(": {}", escaped(&session.name)) };
        let state = if session.state == "failed" { "<span class=\"failed\">failed</span>" } else { &session.state };
        let _ = write!(
            page,
            "<h2>Session {}{name}</h2><p class=\"dim\">{state}, {} tasks, {} of work, {} of objects</p>",
            session.id,
            count(session.tasks.total()),
            lasting(session.seconds),
            bytes(session.bytes)
        );
        if let Some(error) = &detail.error_text {
            let _ = write!(page, "<pre class=\"failed\">{}</pre>", escaped(error));
        }
        page.push_str(
            "<div class=\"scroll\"><table><tr><th>tasks named</th><th class=\"number\">tasks</th><th class=\"number\">finished</th>\
             <th class=\"number\">failed</th><th class=\"number\">work</th><th>progress</th></tr>",
        );
        for group in detail.groups.iter().take(GROUPS_MAX) {
            let _ = write!(
                page,
                "<tr><td style=\"padding-left:{}rem\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
                0.6 + 1.2 * f64::from(group.depth - 1),
                escaped(group.name.rsplit('/').next().unwrap_or_default()),
                count(group.tasks.total()),
                count(group.tasks.finished),
                count(group.tasks.failed),
                lasting(group.seconds),
                progress(&group.tasks)
            );
        }
        page.push_str("</table></div>");
        let left_out = detail.groups.len().saturating_sub(GROUPS_MAX) as u64 + detail.groups_left_out;
        if left_out > 0 {
            let _ = write!(page, "<p class=\"dim\">and {left_out} more names</p>");
        }
        let failed = TaskQuery { state: Some("failed".to_owned()), limit: Some(FAILURES_MAX), ..TaskQuery::default() };
        for row in self.tasks(session.id, &failed)?.into_iter().flat_map(|tasks| tasks.tasks) {
            let Some(task) = self.task(session.id, row.id)? else { continue };
            let error = task.error.unwrap_or_default();
            if detail.error_text.as_ref().is_none_or(|text| !text.contains(&error)) {
                let _ = write!(
                    page,
                    "<p class=\"failed\">Task {} {} has failed</p><pre>{}</pre>",
                    row.id,
                    escaped(&row.name),
                    escaped(&error)
                );
            }
        }
        Ok(())
    }

    fn governor_table(&self, page: &mut String) -> Result<(), LogError> {
        page.push_str(
            "<h2>Governors</h2><div class=\"scroll\"><table><tr><th class=\"number\">governor</th><th>host</th><th>state</th>\
             <th class=\"number\">cpus</th><th class=\"number\">tasks</th><th class=\"number\">work</th></tr>",
        );
        for governor in self.governors()?.governors {
            let _ = write!(
                page,
                "<tr><td class=\"number\">{}</td><td>{}</td><td>{} {}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
                 <td class=\"number\">{}</td></tr>",
                governor.id,
                escaped(&governor.host),
                escaped(&governor.state),
                escaped(governor.reason.as_deref().unwrap_or_default()),
                governor.cpus,
                count(governor.tasks),
                lasting(governor.seconds)
            );
        }
        page.push_str("</table></div>");
        Ok(())
    }
}

fn head(page: &mut String, status: &Status) {
    let end = status.server.ended.unwrap_or(status.time);
    let _ = write!(
        page,
        "<p class=\"dim\">Rain {} at {}, {}; began {}, {} long</p><div class=\"cards\">",
        escaped(&status.server.version),
        escaped(&status.server.address),
        match status.state {
            crate::answers::LogState::Running => "runs",
            crate::answers::LogState::Finished => "has ended in order",
            crate::answers::LogState::Broken => "has ended without a word",
        },
        &rfc3339(status.server.started)[..19].replace('T', " "),
        lasting(end - status.server.started)
    );
    let tasks = status.tasks;
    let cards = [
        ("tasks", count(tasks.total())),
        ("finished", count(tasks.finished)),
        ("failed", count(tasks.failed)),
        ("cancelled", count(tasks.cancelled + tasks.lost)),
        ("not over", count(tasks.open())),
        ("cpus", count(status.cpus)),
    ];
    for (what, number) in cards {
        let _ = write!(page, "<div class=\"card\"><b>{number}</b>{what}</div>");
    }
    page.push_str("</div>");
    if status.log.folded_tasks > 0 {
        let _ = write!(
            page,
            "<p class=\"dim\">Of {} tasks only the numbers were kept.</p>",
            count(status.log.folded_tasks)
        );
    }
}

fn task_stream(page: &mut String, stream: &Stream) {
    let slots = &stream.slots[..stream.slots.len().min(SLOTS_MAX)];
    if slots.is_empty() {
        return;
    }
    let height = slots.len() * ROW + 20;
    let _ = write!(
        page,
        "<h2>What each worker did</h2><svg viewBox=\"-90 0 {} {height}\" role=\"img\" aria-label=\"task stream\">",
        WIDTH + 95
    );
    for (row, slot) in slots.iter().enumerate() {
        let y = row * ROW + 2;
        let _ = write!(page, "<text x=\"-86\" y=\"{}\">{} / {}</text>", y + 10, slot.governor, slot.slot);
        for bar in &slot.bars {
            let name = stream.names.get(bar.2 as usize).map_or("", String::as_str);
            let fill = if bar.3 == 0 || bar.3 == 1 { colour(name) } else { "var(--bad)".to_owned() };
            let _ = write!(
                page,
                "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{fill}\" opacity=\"{:.2}\"><title>{}: {} tasks</title></rect>",
                bar.0,
                bar.1 - bar.0 + 1,
                ROW - 3,
                0.3 + 0.7 * f64::from(bar.7) / 100.0,
                escaped(name),
                bar.4
            );
        }
    }
    let _ = write!(
        page,
        "<text x=\"0\" y=\"{0}\">0</text><text x=\"{WIDTH}\" y=\"{0}\" text-anchor=\"end\">{1}</text></svg><div class=\"legend\">",
        height - 5,
        lasting(stream.to - stream.from)
    );
    for name in stream.names.iter().take(LEGEND_MAX) {
        let _ = write!(page, "<span><i style=\"background:{}\"></i>{}</span>", colour(name), escaped(name));
    }
    page.push_str("</div>");
    if stream.slots.len() > SLOTS_MAX {
        let _ = write!(page, "<p class=\"dim\">and {} more workers</p>", stream.slots.len() - SLOTS_MAX);
    }
}

fn curve(page: &mut String, throughput: &Throughput) {
    let rates = throughput.finished.iter().map(|finished| *finished as f64 / throughput.step);
    let rates: Vec<f64> = rates.collect();
    let most = rates.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let across = f64::from(WIDTH) / rates.len() as f64;
    let _ = write!(
        page,
        "<h2>Tasks a second</h2><svg viewBox=\"-90 0 {} {}\" role=\"img\" aria-label=\"tasks a second\"><path d=\"M0 {CURVE}",
        WIDTH + 95,
        CURVE + 10.0
    );
    for (place, rate) in rates.iter().enumerate() {
        let y = CURVE - rate / most * (CURVE - 10.0);
        let _ = write!(page, "L{:.1} {y:.1}H{:.1}", place as f64 * across, (place + 1) as f64 * across);
    }
    let _ = write!(
        page,
        "L{WIDTH} {CURVE}Z\" fill=\"var(--good)\" opacity=\"0.7\"/><text x=\"-86\" y=\"14\">{}</text></svg>",
        count(most.round() as u64)
    );
}

fn progress(tasks: &Counts) -> String {
    let all = tasks.total().max(1) as f64;
    let part = |count: u64| 100.0 * count as f64 / all;
    format!(
        "<div class=\"bar\"><i class=\"done\" style=\"width:{:.1}%\"></i><i class=\"wrong\" style=\"width:{:.1}%\"></i>\
         <i class=\"rest\" style=\"width:{:.1}%\"></i></div>",
        part(tasks.finished),
        part(tasks.failed),
        part(tasks.cancelled + tasks.lost)
    )
}

/// A colour for a name, always the same one.
fn colour(name: &str) -> String {
    // FNV-1a: names that differ little get colours that differ much.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("hsl({} {}% {}%)", hash % 360, 50 + hash / 360 % 25, 45 + hash / 9000 % 15)
}

/// Text that a page shows as it is. What would turn the direction of writing, or is no character, is shown as such.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A number with its thousands apart.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds for people.
fn lasting(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Bytes for people.
fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
