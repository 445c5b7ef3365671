//! What the computer is asked to do, one order after the other, and what was acknowledged of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dice::Dice;

/// A command of the tool about one execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Submit,
    SubmitHeld,
    HoldStep,
    Release,
    Stop,
    /// Waits for the end: the end is acknowledged.
    Wait,
    /// Acknowledges the entry of the outbox.
    Acknowledge,
    Purge,
}

/// What executions go through, as far as that needs no Podman.
const LIVES: [&[Verb]; 5] = [
    &[Verb::SubmitHeld, Verb::Stop, Verb::Wait, Verb::Acknowledge, Verb::Purge],
    &[Verb::Submit, Verb::HoldStep],
    &[Verb::SubmitHeld, Verb::Stop, Verb::Wait, Verb::Purge],
    &[Verb::SubmitHeld, Verb::Release],
    &[Verb::SubmitHeld, Verb::Stop, Verb::Wait],
];
/// Executions whose orders alternate, so that a cut finds several half done.
const AT_ONCE: usize = 3;
/// Steps of an execution: enough that some executions fill a segment of the journal.
const STEPS: usize = 12;

/// One execution.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// What was acknowledged, in order.
    pub(crate) done: Vec<Verb>,
    /// What was asked for when the power went.
    pub(crate) doubtful: Option<Verb>,
}

impl Known {
    pub(crate) fn did(&self, verb: Verb) -> bool {
        self.done.contains(&verb)
    }

    /// Whether it was done or may have been.
    pub(crate) fn may_have(&self, verb: Verb) -> bool {
        self.did(verb) || self.doubtful == Some(verb)
    }

    pub(crate) fn was_submitted(&self) -> bool {
        self.did(Verb::Submit) || self.did(Verb::SubmitHeld)
    }

    /// The name of its bundle among the orders.
    fn file(&self) -> String {
        self.bundle.file_name().expect("a name").to_string_lossy().into_owned()
    }
}

/// One order: the execution, by its number, and the verb.
#[derive(Debug, Clone, Copy)]
struct Order {
    of: usize,
    verb: Verb,
}

/// Everything that one disk has seen.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) known: Vec<Known>,
    /// Of the present session.
    orders: Vec<Order>,
    pub(crate) acknowledged: usize,
}

impl Flight {
    /// Packs bundles for a session of so many executions and puts their orders in turn.
    pub(crate) fn plan(&mut self, folder: &Path, executions: usize, dice: &mut Dice) {
        self.orders.clear();
        self.acknowledged = 0;
        let first = self.known.len();
        let turn = usize::try_from(dice.below(LIVES.len() as u64)).expect("small");
        for number in first..first + executions {
            let (id, bundle) = pack(folder, number);
            self.known.push(Known { id, bundle, done: Vec::new(), doubtful: None });
        }
        for from in (0..executions).step_by(AT_ONCE) {
            let few: Vec<usize> = (from..executions.min(from + AT_ONCE)).collect();
            let longest = LIVES.iter().map(|life| life.len()).max().unwrap_or(0);
            for round in 0..longest {
                for number in &few {
                    let verb = LIVES[(number + turn) % LIVES.len()].get(round);
                    self.orders.extend(verb.map(|verb| Order { of: first + number, verb: *verb }));
                }
            }
        }
    }

    /// How many orders the session has.
    pub(crate) fn orders(&self) -> usize {
        self.orders.len()
    }

    /// The session as a script.
    pub(crate) fn script(&self) -> String {
        let line = |(number, order): (usize, &Order)| {
            let known = &self.known[order.of];
            let (id, bundle) = (&known.id, format!("/run/orders/{}", known.file()));
            let command = match order.verb {
                Verb::Submit => format!("submit {bundle}"),
                Verb::SubmitHeld => format!("submit --hold {bundle}"),
                Verb::HoldStep => format!("hold {id}.S1"),
                Verb::Release => format!("release {id}"),
                Verb::Stop => format!("stop {id}"),
                Verb::Wait => format!("wait {id} --timeout 200s"),
                Verb::Acknowledge => format!("downlink ack {id}"),
                Verb::Purge => format!("purge {id}"),
            };
            format!("try {number} perigee {command}\n")
        };
        self.orders.iter().enumerate().map(line).collect::<String>() + "echo '@ done'\n"
    }

    /// Takes note of something that was said; a refusal fails the test.
    pub(crate) fn hear(&mut self, line: &str) {
        assert!(!line.starts_with("no "), "an order was refused: {line}\n{}", self.script());
        if let Some(number) = line.strip_prefix("ack ") {
            let number: usize = number.parse().expect("a number");
            assert_eq!(number, self.acknowledged, "acknowledged out of turn");
            self.acknowledged = number + 1;
        }
    }

    /// The power is gone: what was acknowledged holds, the order after it is doubtful.
    pub(crate) fn settle(&mut self) {
        for (number, order) in self.orders.iter().enumerate() {
            let known = &mut self.known[order.of];
            if number < self.acknowledged {
                known.done.push(order.verb);
            } else if number == self.acknowledged {
                known.doubtful = Some(order.verb);
            }
        }
        self.orders.clear();
    }

    /// The same flight as it was when only so many orders of the present session had been acknowledged.
    pub(crate) fn until(&self, acknowledged: usize) -> Self {
        let copy = |known: &Known| Known {
            id: known.id.clone(),
            bundle: known.bundle.clone(),
            done: known.done.clone(),
            doubtful: known.doubtful,
        };
        let known = self.known.iter().map(copy).collect();
        let mut flight = Self { known, orders: self.orders.clone(), acknowledged };
        flight.settle();
        flight
    }

    /// What was purged last: its bundle is brought again.
    pub(crate) fn purged(&self) -> Option<&Known> {
        self.known.iter().rfind(|known| known.did(Verb::Purge))
    }

    /// What is done after the start, before everything is told.
    pub(crate) fn after_start(&self) -> String {
        let on_the_way = self.known.iter().filter(|known| known.did(Verb::Stop) && !known.may_have(Verb::Purge));
        let ids: Vec<&str> = on_the_way.filter(|known| !known.did(Verb::Wait)).map(|known| known.id.as_str()).collect();
        let mut script = String::new();
        if !ids.is_empty() {
            script.push_str(&format!("document ended perigee -o json wait {} --timeout 200s\n", ids.join(" ")));
        }
        if let Some(known) = self.purged() {
            script.push_str(&format!("again {} /run/orders/{}\n", known.id, known.file()));
        }
        script
    }

    /// The bundles that a script needs.
    pub(crate) fn files(&self) -> Vec<&Path> {
        self.known.iter().map(|known| known.bundle.as_path()).collect()
    }
}

/// Packs an operation; returns the id of its execution and the bundle.
fn pack(folder: &Path, number: usize) -> (String, PathBuf) {
    let step = |step: usize| {
        format!(
            "- {{id: S{step}, type: dphi.space.cg2.pod.run, pod_name: p{step}, image: {{name: busybox, tag: \"1\"}}, \
             command: [/bin/true], args: [], volume: payload}}\n"
        )
    };
    let operation = folder.join("operation.yaml");
    let steps: String = (0..STEPS).map(step).collect();
    std::fs::write(&operation, format!("id: cut\ntasks:\n{steps}")).expect("room");
    let bundle = folder.join(format!("{number}.bundle"));
    let packed = Command::new(env!("CARGO_BIN_EXE_perigee"))
        .arg("pack")
        .arg(&operation)
        .args(["--tenant", "client1", "-o"])
        .arg(&bundle)
        .output()
        .expect("perigee runs");
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    (String::from_utf8_lossy(&packed.stdout).trim().to_owned(), bundle)
}
