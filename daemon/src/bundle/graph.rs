//! The order of the steps of a sequence: what each waits for, and which of them may be alive together.
//!
//! Ground and board ask the same questions of it, so that what one takes the other takes.
//! Must not: know what a step does.

use std::collections::{BTreeMap, BTreeSet};

use super::StepId;
use super::flow::{Edge, Mode};
use super::names::did_you_mean;

/// A step, as far as order matters.
#[derive(Debug, Clone)]
pub struct Knot<'a> {
    /// Its name.
    pub id: &'a StepId,
    /// What it says that it waits for.
    pub after: Option<&'a [Edge]>,
    /// The step whose output its condition looks at.
    pub when: Option<&'a StepId>,
    /// The step whose output its jobs come from.
    pub pieces: Option<&'a StepId>,
    /// How many units it has.
    pub units: Units,
    /// Index of the first step of its merge group; its own when it is alone.
    pub head: usize,
}

/// How many units a step has: jobs, or gangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// So many.
    Known(usize),
    /// As many as an output will ask for.
    Asked,
    /// It runs no pods.
    Errand,
    /// It could not be read.
    Unread,
}

/// Something wrong in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where in its step.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Flaw {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), hint: hint.into() }
    }
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Index of the other step.
    pub step: usize,
    /// Until when.
    pub tie: Tie,
}

/// What of the other step is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Its end: the order of the list.
    Ended,
    /// Its success.
    Success,
    /// The success of its unit at the same position.
    Each,
    /// Its output.
    Output,
}

/// What each step waits for. Every index in it is one of a step.
#[derive(Debug, Clone)]
pub struct Graph {
    links: Vec<Vec<Link>>,
}

impl Graph {
    /// Ties steps together, and everything that is wrong with that, by index of the step.
    #[must_use]
    pub fn tie(knots: &[Knot<'_>]) -> (Self, Vec<(usize, Flaw)>) {
        let mut index = BTreeMap::new();
        for (step, knot) in knots.iter().enumerate() {
            index.entry(knot.id).or_insert(step);
        }
        let mut weaver = Weaver { knots, index, links: vec![Vec::new(); knots.len()], flaws: Vec::new() };
        for step in 0..knots.len() {
            weaver.order(step);
            weaver.condition(step);
            weaver.pieces(step);
        }
        weaver.cycles();
        (Self { links: weaver.links }, weaver.flaws)
    }

    /// What a step waits for.
    #[must_use]
    pub fn links(&self, step: usize) -> &[Link] {
        self.links.get(step).map(Vec::as_slice).unwrap_or_default()
    }

    /// Pairs of steps, the later one first, that may be alive together and share one of these things.
    #[must_use]
    pub fn clashes<T: Ord + Clone>(&self, of: &[Vec<T>]) -> Vec<(usize, usize, T)> {
        let before = Before::of(&self.links);
        let mut holders: BTreeMap<&T, Vec<usize>> = BTreeMap::new();
        let mut clashes: Vec<(usize, usize, T)> = Vec::new();
        for (step, things) in of.iter().enumerate() {
            let mut met = BTreeSet::new();
            for thing in things {
                let known = holders.entry(thing).or_default();
                let other = known.iter().find(|other| **other != step && !before.ordered(**other, step));
                if let Some(other) = other
                    && met.insert(*other)
                {
                    clashes.push((step, *other, thing.clone()));
                }
                known.push(step);
            }
        }
        clashes
    }
}

struct Weaver<'a> {
    knots: &'a [Knot<'a>],
    index: BTreeMap<&'a StepId, usize>,
    links: Vec<Vec<Link>>,
    flaws: Vec<(usize, Flaw)>,
}

impl<'a> Weaver<'a> {
    fn flaw(&mut self, step: usize, field: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) {
        self.flaws.push((step, Flaw::new(field, message, hint)));
    }

    fn grouped(&self, step: usize) -> bool {
        let head = self.knots[step].head;
        head != step || self.knots.get(step + 1).is_some_and(|next| next.head == head)
    }

    /// The step of this name, unless it is unknown or starts together with this one.
    fn find(&mut self, step: usize, wanted: &StepId, field: &str) -> Option<usize> {
        let Some(found) = self.index.get(wanted).copied() else {
            let names = self.index.keys().map(|id| id.as_str());
            let hint = match did_you_mean(wanted.as_str(), names) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "name a step of this operation by its id".to_owned(),
            };
            self.flaw(step, field, format!("there is no step `{wanted}`"), hint);
            return None;
        };
        if found == step {
            self.flaw(step, field, format!("step `{wanted}` would wait for itself"), "name another step");
            return None;
        }
        if self.knots[found].head == self.knots[step].head {
            let message = format!("step `{wanted}` is in the same merge group, which starts together");
            self.flaw(step, field, message, "name another step, or remove `merge`");
            return None;
        }
        Some(found)
    }

    /// The order of the list, or what replaces it. The members of a group wait for the same.
    fn order(&mut self, step: usize) {
        let knots = self.knots;
        let head = knots[step].head;
        let Some(edges) = knots[head].after else {
            if head != step && knots[step].after.is_some() {
                let hint = "write it at the first member, for all of them";
                self.flaw(step, "flow.after", "only a later member of its merge group has an `after`", hint);
            }
            let before = head.checked_sub(1).map(|last| knots[last].head..head).unwrap_or_default();
            self.links[step].extend(before.map(|step| Link { step, tie: Tie::Ended }));
            return;
        };
        if head != step {
            if knots[step].after.is_some_and(|own| own != edges) {
                let hint = "write it at the first member only, or alike at all of them";
                self.flaw(step, "flow.after", "differs from that of the first member of its merge group", hint);
            }
            let links = self.links[head].iter().filter(|link| link.tie != Tie::Output).copied().collect();
            self.links[step] = links;
            return;
        }
        let mut seen = BTreeSet::new();
        for (i, edge) in edges.iter().enumerate() {
            let field = format!("flow.after[{i}]");
            let Some(found) = self.find(step, &edge.step, &format!("{field}.step")) else { continue };
            if !seen.insert(found) {
                self.flaw(step, format!("{field}.step"), format!("step `{}` is there twice", edge.step), "keep one");
                continue;
            }
            let tie = match edge.mode {
                Mode::All => Tie::Success,
                Mode::Each => self.each(step, found, &format!("{field}.mode")),
            };
            self.links[step].push(Link { step: found, tie });
        }
    }

    fn each(&mut self, step: usize, found: usize, field: &str) -> Tie {
        let (here, there) = (&self.knots[step], &self.knots[found]);
        let unequal = |message: String| (message, "give both as many, or use mode all");
        let (message, hint) = match (here.units, there.units) {
            (Units::Unread, _) | (_, Units::Unread) => return Tie::Each,
            (Units::Known(mine), Units::Known(theirs)) if mine == theirs => {
                return if self.grouped(step) { Tie::Success } else { Tie::Each };
            }
            (Units::Known(mine), Units::Known(theirs)) => unequal(format!(
                "`{}` has {theirs} and `{}` has {mine}, but each pairs them by position",
                there.id, here.id
            )),
            (Units::Errand, _) => unequal(format!("each pairs jobs, and `{}` runs none", here.id)),
            (_, Units::Errand) => unequal(format!("each pairs jobs, and `{}` runs none", there.id)),
            (Units::Asked, Units::Asked | Units::Known(_)) | (Units::Known(_), Units::Asked) => {
                let asked = if here.units == Units::Asked { here.id } else { there.id };
                (format!("each pairs jobs, and how many `{asked}` has is known only later"), "use mode all")
            }
        };
        self.flaw(step, field, message, hint);
        Tie::Success
    }

    fn condition(&mut self, step: usize) {
        const FIELD: &str = "flow.when.step";
        let Some(wanted) = self.knots[step].when else { return };
        let Some(found) = self.find(step, wanted, FIELD) else { return };
        let waited = self.links[step].iter().any(|link| link.step == found);
        if !waited && found > self.knots[step].head {
            let message = format!("step `{wanted}` comes later and is not among what it waits for");
            self.flaw(step, FIELD, message, "add it to `after`");
            return;
        }
        self.one_output(step, found, FIELD);
        self.links[step].push(Link { step: found, tie: Tie::Output });
    }

    fn pieces(&mut self, step: usize) {
        const FIELD: &str = "pod_run.jobs.from_output.step";
        let Some(wanted) = self.knots[step].pieces else { return };
        let Some(found) = self.find(step, wanted, FIELD) else { return };
        let only = [Edge { step: wanted.clone(), mode: Mode::All }];
        if self.knots[step].after != Some(only.as_slice()) {
            let message = format!("`{wanted}` must be all that it waits for, with mode all");
            self.flaw(step, FIELD, message, format!("write `after: [{wanted}]`, or leave `after` out"));
        }
        self.one_output(step, found, FIELD);
        self.links[step].push(Link { step: found, tie: Tie::Output });
    }

    fn one_output(&mut self, step: usize, found: usize, field: &str) {
        let source = &self.knots[found];
        let has = match source.units {
            Units::Known(1) | Units::Unread => return,
            Units::Known(many) => format!("has {many} of them"),
            Units::Asked => "may have several".to_owned(),
            Units::Errand => "runs none".to_owned(),
        };
        let message = format!("the output of one job is looked at, and `{}` {has}", source.id);
        self.flaw(step, field, message, "name a pod.run task with one job");
    }

    /// Reports every circle of steps that wait for each other, each once.
    fn cycles(&mut self) {
        let mut left: BTreeSet<usize> = (0..self.links.len()).collect();
        loop {
            self.strip(&mut left);
            let Some(first) = left.first().copied() else { return };
            let mut path = vec![first];
            let cycle = loop {
                let last = path[path.len() - 1];
                let Some(next) = self.links[last].iter().map(|link| link.step).find(|step| left.contains(step)) else {
                    break Vec::new();
                };
                if let Some(at) = path.iter().position(|step| *step == next) {
                    break path.split_off(at);
                }
                path.push(next);
            };
            self.cycle(&cycle);
            left.remove(&first);
            left.retain(|step| !cycle.contains(step));
        }
    }

    /// Takes out whatever waits for none of those left, until all of them do.
    fn strip(&self, left: &mut BTreeSet<usize>) {
        loop {
            let before = left.len();
            for step in left.clone() {
                if !self.links[step].iter().any(|link| left.contains(&link.step)) {
                    left.remove(&step);
                }
            }
            if left.len() == before {
                return;
            }
        }
    }

    fn cycle(&mut self, cycle: &[usize]) {
        let Some(at) = (0..cycle.len()).min_by_key(|at| cycle[*at]) else { return };
        let path: Vec<usize> = cycle[at..].iter().chain(&cycle[..=at]).copied().collect();
        let names: Vec<&str> = path.iter().map(|step| self.knots[*step].id.as_str()).collect();
        let message = format!("the steps wait for each other: {}", names.join(" -> "));
        let by_list = path.iter().find(|step| self.knots[self.knots[**step].head].after.is_none());
        let hint = match by_list {
            Some(step) => {
                let id = self.knots[*step].id;
                format!("`{id}` waits for what stands before it in the list; `after: []` makes it wait for nothing")
            }
            None => "take one of these dependencies out".to_owned(),
        };
        self.flaw(path[0], "flow.after", message, hint);
    }
}

/// For each step, the steps that have ended before it starts, as bits.
struct Before {
    firm: Vec<Vec<u64>>,
}

impl Before {
    fn of(links: &[Vec<Link>]) -> Self {
        let words = links.len().div_ceil(64);
        let mut any = vec![vec![0_u64; words]; links.len()];
        let mut firm = any.clone();
        let mut open: Vec<usize> = links.iter().map(Vec::len).collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); links.len()];
        for (step, of) in links.iter().enumerate() {
            of.iter().for_each(|link| dependents[link.step].push(step));
        }
        let mut ready: Vec<usize> = (0..links.len()).filter(|step| open[*step] == 0).collect();
        while let Some(step) = ready.pop() {
            for link in &links[step] {
                // With `each`, a unit may start while others of the step before it are alive.
                let mut all = any[link.step].clone();
                all[link.step / 64] |= 1 << (link.step % 64);
                let ended = if link.tie == Tie::Each { firm[link.step].clone() } else { all.clone() };
                any[step].iter_mut().zip(&all).for_each(|(mine, theirs)| *mine |= theirs);
                firm[step].iter_mut().zip(&ended).for_each(|(mine, theirs)| *mine |= theirs);
            }
            for dependent in &dependents[step] {
                open[*dependent] -= 1;
                if open[*dependent] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        Self { firm }
    }

    fn ordered(&self, a: usize, b: usize) -> bool {
        let before = |a: usize, b: usize| self.firm[b][a / 64] & (1 << (a % 64)) != 0;
        before(a, b) || before(b, a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> StepId {
        text.parse().expect("legal")
    }

    fn edges(text: &str) -> Option<Vec<Edge>> {
        let mode = |mark: Option<&str>| if mark == Some("each") { Mode::Each } else { Mode::All };
        let edge = |word: &str| {
            let mut parts = word.split(':');
            Edge { step: id(parts.next().expect("a name")), mode: mode(parts.next()) }
        };
        (text != "-").then(|| text.split_whitespace().map(edge).collect())
    }

    /// Steps as `(name, after, units)`; `-` is the order of the list.
    fn tied(steps: &[(&str, &str, usize)]) -> (Graph, Vec<String>) {
        let ids: Vec<StepId> = steps.iter().map(|step| id(step.0)).collect();
        let after: Vec<Option<Vec<Edge>>> = steps.iter().map(|step| edges(step.1)).collect();
        let knots: Vec<Knot<'_>> = (0..steps.len())
            .map(|head| Knot {
                id: &ids[head],
                after: after[head].as_deref(),
                when: None,
                pieces: None,
                units: Units::Known(steps[head].2),
                head,
            })
            .collect();
        let (graph, flaws) = Graph::tie(&knots);
        (graph, flaws.into_iter().map(|(step, flaw)| format!("{step} {}: {}", flaw.field, flaw.message)).collect())
    }

    #[test]
    fn circles_are_told_once_each_from_their_first_step() {
        let steps = [
            ("a", "b", 1),
            ("b", "a", 1),
            ("free", "", 1),
            ("c", "e", 1),
            ("d", "c", 1),
            ("e", "d free", 1),
            ("behind", "e", 1),
        ];
        let circle = |step, path| format!("{step} flow.after: the steps wait for each other: {path}");
        assert_eq!(tied(&steps).1, [circle(0, "a -> b -> a"), circle(3, "c -> e -> d -> c")]);
    }

    #[test]
    fn the_order_of_the_list_takes_part_in_circles() {
        let (_, flaws) = tied(&[("a", "b", 1), ("b", "-", 1)]);
        assert_eq!(flaws, ["0 flow.after: the steps wait for each other: a -> b -> a"]);
    }

    #[test]
    fn only_steps_that_may_be_alive_together_clash() {
        let steps = [("a", "", 2), ("b", "a:each", 2), ("c", "b", 1), ("d", "", 1), ("e", "d c", 1)];
        let (graph, flaws) = tied(&steps);
        assert_eq!(flaws, Vec::<String>::new());
        let clash = |first: usize, second: usize| {
            let mut of = vec![Vec::new(); steps.len()];
            (of[first], of[second]) = (vec!["x"], vec!["x"]);
            !graph.clashes(&of).is_empty()
        };
        let pairs =
            [(0, 1, true), (0, 2, false), (1, 2, false), (0, 3, true), (2, 3, true), (0, 4, false), (3, 4, false)];
        for (first, second, expected) in pairs {
            assert_eq!(clash(first, second), expected, "{} {}", steps[first].0, steps[second].0);
        }
    }

    #[test]
    fn a_thousand_steps_in_a_row_and_in_a_circle_are_judged_at_once() {
        let names: Vec<String> = (0..1000).map(|i| format!("s{i}")).collect();
        let mut steps: Vec<(&str, &str, usize)> = names.iter().map(|name| (name.as_str(), "-", 1)).collect();
        let (graph, flaws) = tied(&steps);
        assert_eq!(flaws, Vec::<String>::new());
        assert!(graph.clashes(&vec![vec!["same"]; 1000]).is_empty());
        steps[0].1 = "s999";
        assert_eq!(tied(&steps).1.len(), 1);
    }
}
