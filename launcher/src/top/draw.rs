//! A snapshot on a terminal of any size, without colours.

use super::snapshot::{LATE, Snapshot};
use crate::seen_command::{counts, governor_row, session_row};
use crate::status::{ago, cell, duration, line, list};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Paragraph;
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

const KEYS: &str = "q ends it   up/down another session   right/left groups below";
/// Lines above the tables.
const HEAD_LINES: u16 = 3;
/// Lines that a table takes at least: a head, and a row.
const TABLE_LINES_MIN: u16 = 2;

/// A table, cut to the lines that there are.
struct Table {
    head: String,
    rows: Vec<String>,
    /// The row that is looked at.
    chosen: Option<usize>,
}

impl Table {
    fn new(title: &str, rows: &[Value], columns: &[&str], chosen: Option<usize>) -> Self {
        let mut text = String::new();
        list(&mut text, title, rows, columns);
        let mut lines = text.lines().skip_while(|line| line.is_empty()).map(str::to_owned);
        let head = lines.next().unwrap_or_else(|| format!("{title}: none"));
        Self { head, rows: lines.collect(), chosen }
    }

    /// Lines that show all of it, and an empty one.
    fn height(&self) -> u16 {
        u16::try_from(self.rows.len() + 2).unwrap_or(u16::MAX)
    }

    /// As much as there is room for, around the chosen row; the last line says how much is not shown.
    fn draw(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = usize::from(area.height).saturating_sub(1);
        let all = self.rows.len();
        let shown = match room {
            room if all <= room => all,
            0 | 1 => room,
            room => room - 1,
        };
        let first = self.chosen.map_or(0, |row| (row + 1).saturating_sub(shown)).min(all - shown);
        let mut lines = vec![Line::styled(self.head.as_str(), Style::new().add_modifier(Modifier::BOLD))];
        for (number, row) in self.rows.iter().enumerate().skip(first).take(shown) {
            let style =
                if self.chosen == Some(number) { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
            lines.push(Line::styled(row.as_str(), style));
        }
        if shown < all && room > 1 {
            lines.push(Line::raw(format!("and {} more", all - shown)));
        }
        frame.render_widget(Paragraph::new(Text::from(lines)), area);
    }
}

/// Draws what came `age` ago.
pub fn draw(frame: &mut Frame<'_>, shown: &Snapshot, age: Duration) {
    let area = frame.area();
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(HEAD_LINES), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    frame.render_widget(Paragraph::new(head_lines(shown)), head);
    let tables = [governors(shown), sessions(shown), groups(shown)];
    let heights = shared(body.height, tables.each_ref().map(Table::height));
    let areas: [Rect; 3] = Layout::vertical(heights.map(Constraint::Length)).areas(body);
    for (table, area) in tables.iter().zip(areas) {
        // The line between two tables is the last one of each.
        table
            .draw(frame, Rect { height: area.height.saturating_sub(u16::from(area.height > TABLE_LINES_MIN)), ..area });
    }
    let late = format!("no answer for {} s   q ends it", age.as_secs());
    let last = if age > LATE { late.as_str() } else { KEYS };
    frame.render_widget(Paragraph::new(last).style(Style::new().add_modifier(Modifier::REVERSED)), foot);
}

/// Divides lines among tables: nobody has more than it needs, and what is left goes to those who need more in equal parts.
fn shared(lines: u16, needs: [u16; 3]) -> [u16; 3] {
    let mut given = [0; 3];
    let mut left = lines;
    while left > 0 && (0..3).any(|table| given[table] < needs[table]) {
        for table in 0..3 {
            if left > 0 && given[table] < needs[table] {
                given[table] += 1;
                left -= 1;
            }
        }
    }
    given
}

fn head_lines(shown: &Snapshot) -> Text<'static> {
    let status = &shown.status;
    let now = status["time"].as_f64().unwrap_or_default();
    let server = &status["server"];
    let mut first = format!("Rain {} on {}", cell(&server["version"]), cell(&server["address"]));
    if let Some(started) = server["started"].as_f64() {
        let _ = write!(first, ", since {}", ago(now - started));
    }
    let _ = write!(first, ", governors: {}, cpus: {}", cell(&status["governors"]), cell(&status["cpus"]));
    let mut second = "tasks: ".to_owned();
    counts(&mut second, &status["tasks"]);
    let sessions = &status["sessions"];
    let mut third = format!(
        "sessions: {} open, {} failed, {} closed; ",
        cell(&sessions["open"]),
        cell(&sessions["failed"]),
        cell(&sessions["closed"]),
    );
    match (status["log"].is_null(), status["log"]["error"].as_str()) {
        (true, _) => third += "no event log: as it is just now",
        (_, Some(error)) => third = format!("no event log: {}", line(error)),
        _ => {
            let _ = write!(third, "{:.1} tasks a second", status["rate"].as_f64().unwrap_or_default());
            if let Some(left) = status["time_left"].as_f64() {
                let _ = write!(third, ", {} left", duration(left));
            }
        }
    }
    Text::from(vec![
        Line::styled(first, Style::new().add_modifier(Modifier::BOLD)),
        Line::raw(second),
        Line::raw(third),
    ])
}

fn governors(shown: &Snapshot) -> Table {
    let rows: Vec<Value> = shown.governors.iter().map(governor_row).collect();
    Table::new(
        "governor",
        &rows,
        &["id", "host", "state", "cpus", "running", "load", "memory", "tasks", "reason"],
        None,
    )
}

fn sessions(shown: &Snapshot) -> Table {
    let now = shown.status["time"].as_f64().unwrap_or_default();
    let rows: Vec<Value> = shown.sessions.iter().map(|session| session_row(session, now)).collect();
    let columns = ["id", "name", "state", "waiting", "ready", "running", "finished", "failed", "age", "error"];
    let chosen = shown.sessions.iter().position(|session| session["id"].as_u64() == shown.session_id());
    Table::new("session", &rows, &columns, chosen)
}

/// The groups of names of the session that is looked at, as deep as they are unfolded.
fn groups(shown: &Snapshot) -> Table {
    let groups = shown.session.as_ref().and_then(|session| session["groups"].as_array());
    let title = format!("tasks of session {}", shown.session_id().map_or_else(|| "-".to_owned(), |id| id.to_string()));
    let rows: Vec<Value> = groups
        .into_iter()
        .flatten()
        .filter(|group| group["depth"].as_u64().unwrap_or_default() <= u64::from(shown.depth) + 1)
        .map(|group| {
            let mut row = group["tasks"].clone();
            let above = group["depth"].as_u64().unwrap_or_default().saturating_sub(1) as usize;
            let name = group["name"].as_str().unwrap_or_default();
            let last = name.rsplit('/').next().unwrap_or(name);
            row["id"] = json!(format!("{}{last}", "  ".repeat(above)));
            row["time"] = json!(group["seconds"].as_f64().map(duration));
            row
        })
        .collect();
    Table::new(&title, &rows, &["id", "waiting", "ready", "running", "finished", "failed", "cancelled", "time"], None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn example() -> Snapshot {
        let tasks =
            json!({"waiting": 5, "ready": 1, "running": 2, "finished": 300, "failed": 0, "cancelled": 0, "lost": 0});
        let governor = |id: u32| json!({"id": id, "host": format!("node{id}"), "state": "alive", "cpus": 4, "running": 2, "load": 0.5, "memory": 1.5e9, "tasks": 10, "reason": null});
        let session = |id: u32| json!({"id": id, "name": "iris\u{1b}[2J", "state": "open", "tasks": tasks, "created": 40.0, "error": null});
        let group = |name: &str, depth: u32| json!({"name": name, "depth": depth, "tasks": tasks, "seconds": 61.0});
        let mut chosen = session(2);
        chosen["groups"] = json!([group("main", 1), group("main/training", 2), group("plot", 1)]);
        Snapshot {
            status: json!({"time": 100.0, "server": {"version": "0.1.0", "address": "127.0.0.1:7210", "started": 40.0},
                "governors": 30, "cpus": 120, "tasks": tasks, "sessions": {"open": 20, "failed": 0, "closed": 1}, "rate": 12.34,
                "time_left": 90.0, "log": {"error": null}}),
            governors: (0..30).map(governor).collect(),
            sessions: (0..20).rev().map(session).collect(),
            session: Some(chosen),
            depth: 0,
        }
    }

    fn screen(shown: &Snapshot, width: u16, height: u16, age: u64) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, shown, Duration::from_secs(age))).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells: Vec<&str> = buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect();
        cells.chunks(usize::from(width)).map(|line| line.concat().trim_end().to_owned() + "\n").collect()
    }

    #[test]
    fn a_terminal_of_80_by_24_has_all_parts() {
        let text = screen(&example(), 80, 24, 0);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Rain 0.1.0 on 127.0.0.1:7210, since 1 min 0 s ago, governors: 30, cpus: 120");
        assert_eq!(lines[1], "tasks: 2 running, 1 ready, 5 waiting, 300 finished");
        assert_eq!(lines[2], "sessions: 20 open, 0 failed, 1 closed; 12.3 tasks a second, 1 min 30 s left");
        assert_eq!(lines[3], "governor  host    state  cpus  running  load  memory   tasks");
        assert!(text.contains("and 25 more") && text.contains("and 15 more"), "{text}");
        // The chosen session is in view.
        assert!(lines.iter().any(|line| line.starts_with("2        iris?[2J")), "{text}");
        assert!(text.contains("tasks of session 2") && text.contains("\nmain") && text.contains("\nplot"), "{text}");
        assert!(!text.contains("training"), "{text}");
        assert_eq!(lines[23], KEYS);
        let unfolded = screen(&Snapshot { depth: 1, ..example() }, 80, 24, 0);
        assert!(unfolded.contains("\n  training"), "{unfolded}");
    }

    #[test]
    fn any_size_is_drawn_and_late_answers_are_told() {
        for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 12), (300, 100)] {
            let text = screen(&example(), width, height, 0);
            assert_eq!(text.lines().count(), usize::from(height));
            screen(&Snapshot::default(), width, height, 9);
        }
        assert!(screen(&example(), 80, 24, 7).contains("no answer for 7 s"));
    }

    #[test]
    fn lines_go_to_those_who_need_them() {
        assert_eq!(shared(20, [3, 30, 30]), [3, 9, 8]);
        assert_eq!(shared(20, [3, 4, 5]), [3, 4, 5]);
        assert_eq!(shared(2, [3, 4, 5]), [1, 1, 0]);
        assert_eq!(shared(0, [3, 4, 5]), [0, 0, 0]);
    }
}
