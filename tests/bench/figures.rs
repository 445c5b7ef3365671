//! Arithmetic of what was measured: medians, spread, ratios, goals; and the table that shows them.
//!
//! Must not: measure.

/// Values of one kind, in order of size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series(Vec<f64>);

impl Series {
    /// Of values in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value below which a part of all lies, between two values in proportion; nothing without values.
    pub fn at(&self, part: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let place = part.clamp(0.0, 1.0) * last as f64;
        let (below, above) = (self.0[place.floor() as usize], self.0[place.ceil() as usize]);
        Some(below + (above - below) * place.fract())
    }

    /// The middle.
    pub fn median(&self) -> Option<f64> {
        self.at(0.5)
    }

    /// The median, the spread (all of it for few values, else the middle eight tenths), and how many.
    pub fn shown(&self) -> String {
        const FEW: usize = 10;
        let Some(median) = self.median() else { return "not measured".to_owned() };
        let outer = if self.count() < FEW { 0.0 } else { 0.1 };
        let (Some(low), Some(high)) = (self.at(outer), self.at(1.0 - outer)) else { return number(median) };
        match self.count() {
            1 => number(median),
            count => format!("**{}** ({}–{}, n={count})", number(median), number(low), number(high)),
        }
    }
}

/// A number with about three digits that count.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match () {
        () if size >= 100.0 => format!("{value:.0}"),
        () if size >= 10.0 => format!("{value:.1}"),
        () if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        () => format!("{value:.3}"),
    }
}

/// How often one median goes into another.
pub fn ratio(of: &Series, to: &Series) -> Option<f64> {
    let (of, to) = (of.median()?, to.median()?);
    (to > 0.0).then_some(of / to)
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most so much.
    AtMost(f64),
    /// The best of the others takes at least so many times as long.
    Ahead(f64),
    /// At most so many times what the first of the others takes.
    Within(f64),
}

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What was measured, with its unit.
    pub measure: String,
    /// Ours.
    pub ours: Series,
    /// What was measured beside it, in the same run.
    pub others: Vec<(&'static str, Series)>,
    /// What is to be reached.
    pub goals: Vec<Goal>,
    /// Whether it counts what the whole machine does: on a busy one that says nothing.
    pub of_machine: bool,
    /// How many processors were busy with something else, if the machine was not quiet.
    pub load: Option<f64>,
}

impl Row {
    /// A row that nothing is beside.
    pub fn of(measure: impl Into<String>, ours: Series) -> Self {
        Self { measure: measure.into(), ours, ..Self::default() }
    }

    /// Beside it.
    pub fn beside(mut self, name: &'static str, other: Series) -> Self {
        self.others.push((name, other));
        self
    }

    /// To be reached.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// Of the whole machine.
    pub fn of_machine(mut self) -> Self {
        self.of_machine = true;
        self
    }

    /// Notes that the machine was busy with something else; what counts all of it is then not measured.
    pub fn loaded(&mut self, busy: Option<f64>) {
        self.load = busy;
        if self.of_machine && busy.is_some() {
            self.ours = Series::default();
            self.others.iter_mut().for_each(|(_, other)| *other = Series::default());
        }
    }

    /// Whether a goal is reached, where that can be said, and how it reads.
    fn judged(&self, goal: Goal) -> (Option<bool>, String) {
        match goal {
            Goal::AtMost(most) => (self.ours.median().map(|ours| ours <= most), format!("≤ {}", number(most))),
            Goal::Ahead(least) => {
                let ratios = self.others.iter().filter_map(|(_, other)| ratio(other, &self.ours));
                let best = ratios.min_by(f64::total_cmp);
                (best.map(|best| best >= least), format!("≥ {}× ahead of the best", number(least)))
            }
            Goal::Within(most) => {
                let first = self.others.first();
                let found = first.and_then(|(_, other)| ratio(&self.ours, other));
                let name = first.map_or("", |(name, _)| name);
                let shown = found.map(|found| format!(" (is {})", number(found))).unwrap_or_default();
                (found.map(|found| found <= most), format!("≤ {} × {name}{shown}", number(most)))
            }
        }
    }

    /// As a line of Markdown.
    pub fn markdown(&self) -> String {
        let others = self.others.iter().map(|(name, other)| {
            let times = ratio(other, &self.ours).map(|times| format!(": {}×", number(times))).unwrap_or_default();
            format!("{name} {}{times}", other.shown())
        });
        let judged: Vec<_> = self.goals.iter().map(|goal| self.judged(*goal)).collect();
        let reached = judged.iter().map(|(reached, _)| match reached {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        });
        let load = self.load.map_or_else(|| "quiet".to_owned(), |busy| format!("loaded ({busy:.1} cores busy)"));
        format!(
            "| {} | {} | {} | {} | {} | {load} |",
            self.measure,
            self.ours.shown(),
            others.collect::<Vec<_>>().join("; "),
            judged.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("; "),
            reached.collect::<Vec<_>>().join("; "),
        )
    }
}

/// All rows, to be pasted.
pub fn table(rows: &[Row]) -> String {
    let head = "| measure | Perigee | beside it, in the same run (× = how many times ours) | goal | reached | machine |\n\
                | --- | --- | --- | --- | --- | --- |";
    let lines: Vec<String> = rows.iter().map(Row::markdown).collect();
    format!("{head}\n{}", lines.join("\n"))
}
