//! How many units and jobs a pod_run step has, and what they are called: the arithmetic that ground and board share.
//!
//! Must not: make jobs; `plan` does.

use super::Hostname;
use super::document::{PodRunDocument, StepDocument};
use super::flow::{Array, Jobs};
use super::graph::Units;
use super::limits::JOBS;

impl Array {
    /// Its values of `TASK_ID`.
    pub fn ids(self) -> impl Iterator<Item = u32> {
        (self.begin..=self.end).step_by(self.step.max(1) as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        let span = usize::try_from(self.end.saturating_sub(self.begin)).unwrap_or(usize::MAX);
        if self.begin > self.end { 0 } else { span / self.step.max(1) as usize + 1 }
    }
}

impl Jobs {
    /// How many units they are.
    #[must_use]
    pub fn units(&self) -> Units {
        match (&self.array, &self.from_output) {
            (Some(array), _) => Units::Known(array.count()),
            (None, Some(_)) => Units::Asked,
            (None, None) if self.commands.is_empty() => Units::Known(1),
            (None, None) => Units::Known(self.commands.len()),
        }
    }

    /// How many jobs each unit has.
    #[must_use]
    pub fn members(&self) -> usize {
        self.gang.as_ref().map_or(1, |gang| gang.workers as usize + 1)
    }

    /// Whether several of its units may be alive at once.
    #[must_use]
    pub fn overlap(&self) -> bool {
        let several = match self.units() {
            Units::Known(count) => count > 1,
            Units::Asked => true,
            Units::Errand | Units::Unread => false,
        };
        several && self.max_parallel != Some(1)
    }
}

/// How many units a step has.
#[must_use]
pub fn units(step: &StepDocument) -> Units {
    match &step.pod_run {
        None => Units::Errand,
        Some(run) => run.jobs.as_ref().map_or(Units::Known(1), Jobs::units),
    }
}

/// Jobs that are known before anything runs, and the limit of each step whose jobs an output asks for: what is left
/// of the limit of an execution, in equal parts.
#[must_use]
pub fn allotment<'a>(steps: impl Iterator<Item = &'a StepDocument>) -> (usize, usize) {
    let (mut known, mut asking) = (0_usize, 0_usize);
    for run in steps.filter_map(|step| step.pod_run.as_ref()) {
        let members = run.jobs.as_ref().map_or(1, Jobs::members);
        match run.jobs.as_ref().map_or(Units::Known(1), Jobs::units) {
            Units::Known(count) => known = known.saturating_add(count.saturating_mul(members)),
            Units::Asked => asking += 1,
            Units::Errand | Units::Unread => {}
        }
    }
    (known, JOBS.saturating_sub(known).checked_div(asking).unwrap_or(0))
}

/// The hostnames of a step's jobs, `limit` of them when an output asks for them.
#[must_use]
pub fn hostnames(run: &PodRunDocument, limit: usize) -> Vec<String> {
    let base = &run.pod;
    let Some(jobs) = &run.jobs else { return vec![base.to_string()] };
    let units: Vec<String> = match (&jobs.array, jobs.units()) {
        (Some(array), _) => array.ids().take(JOBS).map(|id| format!("{base}-{id}")).collect(),
        (None, Units::Asked) => (0..limit).map(|item| format!("{base}-{item}")).collect(),
        (None, Units::Known(_) | Units::Errand | Units::Unread) if jobs.commands.is_empty() => vec![base.to_string()],
        (None, Units::Known(_) | Units::Errand | Units::Unread) => {
            (0..jobs.commands.len().min(JOBS)).map(|item| format!("{base}-{item}")).collect()
        }
    };
    let Some(gang) = &jobs.gang else { return units };
    let members = |unit: &String| {
        let workers = (0..gang.workers.min(super::limits::WORKERS)).map(|i| format!("-worker-{i}"));
        workers.chain(["-launcher".to_owned()]).map(|suffix| format!("{unit}{suffix}")).collect::<Vec<_>>()
    };
    units.iter().flat_map(members).collect()
}

/// The name of the workers' pod in the manifest of a gang.
#[must_use]
pub fn workers_pod(launcher: &Hostname) -> String {
    format!("{launcher}-worker")
}

/// Replaces `${1}` by a piece and `${item}` by its position: what stands in the piece is not looked at again.
#[must_use]
pub fn filled(command: &str, pieces: &[&str], item: usize) -> String {
    let mut text = String::new();
    let mut rest = command;
    while let Some((before, name, after)) = placeholder(rest) {
        text.push_str(before);
        match name.parse::<usize>() {
            Ok(number) if (1..=pieces.len()).contains(&number) => text.push_str(pieces[number - 1]),
            _ if name == "item" => text.push_str(&item.to_string()),
            _ => text.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// The numbers that a command's placeholders name, in order; `${NAME}` is the shell's own.
#[must_use]
pub fn numbers(command: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = command;
    while let Some((_, name, after)) = placeholder(rest) {
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_digit()) {
            found.push(name);
        }
        rest = after;
    }
    found
}

/// What stands before the next `${name}`, its name, and what stands behind it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_piece_is_not_filled_again() {
        assert_eq!(
            filled("echo ${1} ${item} ${2} ${3} $HOME ${x}", &["${item}", "b"], 7),
            "echo ${item} 7 b ${3} $HOME ${x}"
        );
        assert_eq!(filled("${", &[], 0), "${");
        assert_eq!(filled("${1", &["a"], 0), "${1");
    }

    #[test]
    fn placeholders_with_numbers_are_ours_and_all_others_the_shells() {
        assert_eq!(numbers("${1} $2 ${HOME} ${12} ${0} ${} ${item} ${3"), ["1", "12", "0"]);
    }

    #[test]
    fn an_array_counts_from_begin_to_end_by_step() {
        let array = |begin, end, step| Array { begin, end, step };
        let table = [
            (array(1, 7, 3), vec![1, 4, 7]),
            (array(0, 5, 2), vec![0, 2, 4]),
            (array(3, 3, 1), vec![3]),
            (array(4, 3, 1), vec![]),
            (array(u32::MAX - 1, u32::MAX, 1), vec![u32::MAX - 1, u32::MAX]),
        ];
        for (array, ids) in table {
            assert_eq!((array.ids().collect::<Vec<_>>(), array.count()), (ids.clone(), ids.len()), "{array:?}");
        }
    }
}
