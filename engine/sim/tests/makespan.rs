//! `rain-sim makespan`: its table, and what it says of wrong input.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn rain_sim(arguments: &[&str], directory: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rain-sim"));
    command.arg("makespan").args(arguments).current_dir(directory).output().expect("rain-sim starts")
}

/// Two maps, read by one task; the first two take 2 s, the last 1 s, and what moves is 64 MiB.
const GATHER: &str = r#"{"name": "gather", "tasks": [
    {"duration_s": 2, "cpus": 1, "inputs": [], "outputs": [{"id": 10, "size_bytes": 67108864}], "expected_s": 3},
    {"duration_s": 2, "cpus": 1, "inputs": [], "outputs": [{"id": 11, "size_bytes": 67108864}]},
    {"duration_s": 1, "cpus": 1, "inputs": [10, 11], "outputs": []}]}"#;

fn folder(graphs: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::create_dir(folder.path().join("graphs")).expect("a folder in it");
    for (name, text) in graphs {
        fs::write(folder.path().join("graphs").join(name), text).expect("a graph is written");
    }
    folder
}

const HEADER: &str = "graph,split,cluster,bandwidth_mib_s,netmodel,scheduler,makespan_s,scheduler_wall_s,sim_wall_s,\
    transferred_mib,lb_critical_path_s,lb_work_s";

/// Rows without the times that planning took.
fn rows(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("the table was written");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(HEADER));
    let without_times = |line: &str| {
        let mut cells: Vec<&str> = line.split(',').collect();
        cells.drain(7..9);
        cells.join(",")
    };
    lines.map(without_times).collect()
}

#[test]
fn rows_have_the_columns_of_the_reference() {
    let folder = folder(&[("gather.json", GATHER), ("notes.txt", "no graph")]);
    let with = ["--graphs", "graphs", "--replays", "50", "--seeds", "2", "--csv", "out.csv", "--clusters", "2x1,1x2"];
    let output =
        rain_sim(&[&with[..], &["--bandwidth", "64,512.5", "--scheduler", "plan,learned"]].concat(), folder.path());
    assert!(output.status.success(), "{output:?}");
    // On two governors, running both maps on one takes as long as moving an object at 64 MiB/s does, and longer than at 512.5 MiB/s.
    let expected = [
        "gather,open,2x1,64,maxmin,rain-s0,4.0000,64.0,3.0000,2.5000",
        "gather,open,2x1,64,maxmin,rain-s1,4.0000,64.0,3.0000,2.5000",
        "gather,open,2x1,64,maxmin,rain-learned,4.0000,64.0,3.0000,2.5000",
        "gather,open,2x1,512.5,maxmin,rain-s0,3.1249,64.0,3.0000,2.5000",
        "gather,open,2x1,512.5,maxmin,rain-s1,3.1249,64.0,3.0000,2.5000",
        "gather,open,2x1,512.5,maxmin,rain-learned,3.1249,64.0,3.0000,2.5000",
        "gather,open,1x2,64,maxmin,rain-s0,3.0000,0.0,3.0000,2.5000",
        "gather,open,1x2,64,maxmin,rain-s1,3.0000,0.0,3.0000,2.5000",
        "gather,open,1x2,64,maxmin,rain-learned,3.0000,0.0,3.0000,2.5000",
        "gather,open,1x2,512.5,maxmin,rain-s0,3.0000,0.0,3.0000,2.5000",
        "gather,open,1x2,512.5,maxmin,rain-s1,3.0000,0.0,3.0000,2.5000",
        "gather,open,1x2,512.5,maxmin,rain-learned,3.0000,0.0,3.0000,2.5000",
    ];
    assert_eq!(rows(&folder.path().join("out.csv")), expected);
    let printed = String::from_utf8(output.stdout).expect("text");
    let names: Vec<&str> = printed.lines().skip(1).map(|line| line.split("n=").next().unwrap_or(line).trim()).collect();
    let groups = ["1x2 @512.5", "1x2 @64", "2x1 @512.5", "2x1 @64", "all"]
        .map(|group| [format!("rain {group}"), format!("rain-learned {group}")]);
    let mut groups = groups.concat();
    groups.sort();
    assert_eq!(names, groups, "{printed}");
}

#[test]
fn makespans_are_compared_with_the_best_known() {
    let folder = folder(&[("gather.json", GATHER)]);
    let best = "graph,cluster,bandwidth_mib_s,best_known_s\ngather,2x1,64,2.0\n";
    fs::write(folder.path().join("best.csv"), best).expect("a table is written");
    let with = ["--graphs", "graphs/gather.json", "--clusters", "2x1,8x1", "--bandwidth", "64", "--scheduler", "list"];
    let output = rain_sim(&[&with[..], &["--best", "best.csv"]].concat(), folder.path());
    let printed = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = printed.lines().collect();
    assert!(lines[0].starts_with("gather,open,2x1,64,maxmin,rain-list,4.0000,"), "{printed}");
    assert!(lines[1].starts_with("gather,open,8x1,64,maxmin,rain-list,4.0000,"), "{printed}");
    assert_eq!(lines[2], "geometric means of makespan / best known:");
    let words: Vec<&str> = lines[3].split_whitespace().take(5).collect();
    assert_eq!(words, ["rain-list", "2x1", "@64", "n=1", "2.0000"], "{printed}");
    assert_eq!(lines.last(), Some(&"1 rows have no best known makespan to compare with"));
}

#[test]
fn wrong_input_is_said() {
    let circle = r#"{"tasks": [{"duration_s": 1, "cpus": 1, "inputs": [0], "outputs": [{"id": 0, "size_bytes": 1}]}]}"#;
    let negative = r#"{"tasks": [{"duration_s": -1, "cpus": 1, "inputs": [], "outputs": []}]}"#;
    let wide = r#"{"tasks": [{"duration_s": 1, "cpus": 9, "inputs": [], "outputs": []}]}"#;
    let no_cpus = r#"{"tasks": [{"duration_s": 1, "inputs": [], "outputs": []}]}"#;
    let folder = folder(&[("gather.json", GATHER)]);
    for (name, text) in
        [("circle", circle), ("negative", negative), ("wide", wide), ("no_cpus", no_cpus), ("text", "?")]
    {
        fs::write(folder.path().join(format!("{name}.json")), text).expect("a graph is written");
    }
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    fs::write(folder.path().join("best.csv"), "graph,cluster,makespan_s\n").expect("a table is written");
    let good = ["--graphs", "graphs", "--replays", "5"];
    let cases: [(&[&str], &str); 12] = [
        (&["--graphs", "nowhere"], "nowhere: cannot be read: No such file or directory"),
        (&["--graphs", "empty"], "empty: has no file that ends in .json"),
        (&["--graphs", "text.json"], "text.json: is no graph: expected value"),
        (&["--graphs", "no_cpus.json"], "no_cpus.json: is no graph: task 0: missing field `cpus`"),
        (&["--graphs", "circle.json"], "circle.json: tasks wait for each other in a circle; task 0 is one of them"),
        (&["--graphs", "negative.json"], "negative.json: task 0: its duration is -1"),
        (&["--graphs", "wide.json"], "wide.json: task 0 asks for 9 cpus, and the largest governor has 4"),
        (&[&good[..], &["--csv", "nowhere/out.csv"]].concat(), "nowhere/out.csv: cannot be written: No such file"),
        (&[&good[..], &["--best", "best.csv"]].concat(), "best.csv: line 1: no column is called bandwidth_mib_s"),
        (
            &[&good[..], &["--clusters", "8by4"]].concat(),
            "invalid value '8by4' for '--clusters <CLUSTERS>': GOVERNORSxCPUS is wanted",
        ),
        (
            &[&good[..], &["--bandwidth", "0"]].concat(),
            "invalid value '0' for '--bandwidth <BANDWIDTH>': a number above zero is wanted",
        ),
        (&[&good[..], &["--plan-time", "nan"]].concat(), "a number above zero is wanted"),
    ];
    for (arguments, expected) in cases {
        let output = rain_sim(arguments, folder.path());
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
