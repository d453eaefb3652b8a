//! The figures of all attacks, a row for each: the medians of the rounds, the longest wait of all
//! rounds, and all failures.

use super::load::stats::Series;
use super::stage::Outcome;

/// The row of one attack.
#[derive(Default)]
struct Row {
    name: String,
    p99: [Series; 3],
    logins: [Series; 3],
    longest: Series,
    said: usize,
    failed: usize,
    greeted: usize,
    newcomers: usize,
    cpu: Series,
    rss: [Series; 3],
    descriptors: [Series; 3],
    recovery: Series,
    note: String,
    wrong: bool,
}

impl Row {
    fn add(&mut self, outcome: Outcome) {
        for (series, times) in self.p99.iter_mut().zip(&outcome.chat) {
            series.add(times.percentile(0.99) / 1e3);
            self.said += times.succeeded() + times.failed;
            self.failed += times.failed;
        }
        for (series, times) in self.logins.iter_mut().zip(&outcome.logins) {
            series.add(times.percentile(0.99) / 1e3);
        }
        self.longest.add(outcome.chat[1].max() / 1e3);
        self.greeted += outcome.newcomers.0;
        self.newcomers += outcome.newcomers.1;
        self.cpu.add(outcome.cpu);
        for (place, body) in outcome.body.iter().enumerate() {
            self.rss[place].add(body.rss_mib);
            self.descriptors[place].add(body.descriptors as f64);
        }
        let recovery = outcome.recovery.map(|time| time.as_secs_f64());
        self.recovery.add(recovery.unwrap_or(f64::INFINITY));
        match outcome.note {
            // Of several rounds' words the last stand, unless one went wrong.
            Ok(note) if !self.wrong => self.note = note,
            Ok(_) => {}
            Err(why) => {
                self.note = format!("WRONG: {why}");
                self.wrong = true;
            }
        }
    }

    fn cells(&self) -> Vec<String> {
        let three = |series: &[Series; 3], digits: usize| {
            let medians = series.each_ref().map(Series::median);
            medians.map(|value| format!("{value:.digits$}")).join(" / ")
        };
        vec![
            self.name.clone(),
            three(&self.p99, 2),
            three(&self.logins, 2),
            format!("{:.1}", self.longest.max()),
            format!("{} of {}", self.said - self.failed, self.said),
            format!("{} of {}", self.greeted, self.newcomers),
            format!("{:.0} %", self.cpu.median()),
            three(&self.rss, 1),
            three(&self.descriptors, 0),
            format!("{:.2}", self.recovery.max()),
            self.note.clone(),
        ]
    }
}

/// The rows of all attacks.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    skipped: Vec<String>,
}

impl Table {
    /// Adds the result of one attack, or why it can't be run.
    pub(crate) fn add(&mut self, name: &str, outcome: Result<Outcome, String>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(why) => return self.skipped.push(format!("{name}: skipped: {why}")),
        };
        let known = self.rows.iter().position(|row| row.name == name);
        let place = known.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                ..Row::default()
            });
            self.rows.len() - 1
        });
        self.rows[place].add(outcome);
    }

    /// Whether no message was lost and no step of a chat failed.
    pub(crate) fn is_fine(&self) -> bool {
        self.rows.iter().all(|row| !row.wrong && row.failed == 0)
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let head = [
            "attack",
            "chat p99 ms before / during / after",
            "login p99 ms before / during / after",
            "longest ms",
            "messages ok",
            "newcomers greeted",
            "server CPU of a core",
            "RSS MiB before / peak / after",
            "descriptors before / most / after",
            "recovered s",
            "the attack",
        ];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max();
        let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
        println!();
        for (number, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            println!("| {} |", cells.join(" | "));
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                println!("| {} |", rules.join(" | "));
            }
        }
        for skipped in &self.skipped {
            println!("{skipped}");
        }
    }
}
