//! A naive board: containers that do what effects ask of them and live out their fates.

use std::collections::BTreeMap;

use perigee::bundle::{ExecutionId, Hostname};
use perigee::plan::{Errand, Work};
use perigee::reason::{Name, Reason};
use perigee::sequence::effect::Disposal;
use perigee::sequence::event::Report;
use perigee::sequence::image::{Image, Lost, Pin, Reload};
use perigee::sequence::state::{Exit, Logs, Signal};
use perigee::sequence::{AttemptId, Board, Effect, Event, Execution};

use super::plans::{Answer, End, Fate, Fates, IN_BUNDLE, Start, full_name};

/// Every container that was ever made, and what the driver has yet to say.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) fates: Fates,
    pub(crate) containers: BTreeMap<AttemptId, Container>,
    /// The ids of the images that are gone (`None`) or whose tag was moved.
    pub(crate) images: BTreeMap<String, Option<String>>,
    /// What the driver knows and has not said yet.
    pub(crate) answers: Vec<Event>,
}

/// One container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) hostname: Hostname,
    /// The id of the image that it was made from.
    pub(crate) image: String,
    pub(crate) condition: Condition,
    /// How often a process was started in it.
    pub(crate) starts: u32,
    /// How its process ended, also after its removal.
    pub(crate) last_exit: Option<Exit>,
    fate: Fate,
    watched: bool,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Initialised,
    /// Its process lives, until it ends by itself.
    Running(u64),
    Exited(Exit),
    /// Its process is frozen, with so much of its life to come.
    Frozen(u64),
    /// It has ended and is kept until the execution is purged.
    Kept,
    /// A boot ended it; how it would have ended nobody knows.
    PowerCut,
    /// Removed by somebody else.
    Stolen,
    Removed,
}

impl World {
    /// Carries out one effect.
    pub(crate) fn perform(&mut self, effect: &Effect, board: &Board, now: u64) {
        match effect {
            Effect::Prepare(attempt) => self.prepare(*attempt, board),
            Effect::Launch(group) => group.iter().for_each(|(attempt, name)| self.launch(*attempt, name, now)),
            Effect::Watch(attempt, _) => {
                self.containers.get_mut(attempt).expect("only what was launched is watched").watched = true;
                self.notice(*attempt);
            }
            Effect::Signal(attempt, _, signal) => self.signal(*attempt, *signal),
            Effect::Pause(group) => group.iter().for_each(|(attempt, _)| self.freeze(*attempt, now)),
            Effect::Resume(group) => group.iter().for_each(|(attempt, _)| self.thaw(*attempt, now)),
            Effect::Read { execution, step } => self.read(*execution, *step, board),
            Effect::Purge(_) => {}
            Effect::Clear(attempt, disposal) => {
                if let Some(container) = self.containers.get_mut(attempt) {
                    container.condition = match disposal {
                        Disposal::Remove => Condition::Removed,
                        Disposal::Keep => Condition::Kept,
                    };
                }
                self.say(*attempt, Report::Cleared(Logs::default()));
            }
            Effect::Errand { execution, step } => {
                let mut made = None;
                let work = board.live.get(execution).map(|known| &known.plan.steps[*step].work);
                if let Some(Work::Errand(Errand::ImageLoad(load))) = work {
                    made = Some(Image { name: full_name(&load.image), id: IN_BUNDLE.to_owned() });
                }
                let result = match self.fates.transfers[&(*execution, *step)] {
                    Answer::Good => Ok(None),
                    Answer::Bad => Err(Reason::new(Name::TransferError, "no such file")),
                    Answer::Silence => return,
                };
                let made = made.filter(|_| result.is_ok());
                self.images.extend(made.iter().map(|image| (image.name.clone(), Some(image.id.clone()))));
                self.answers.push(Event::ErrandEnded { execution: *execution, step: *step, result, made });
            }
            Effect::Report(execution) => {
                self.answers.push(Event::Filed(*execution));
            }
        }
    }

    fn say(&mut self, attempt: AttemptId, report: Report) {
        self.answers.push(Event::Reported(attempt, report));
    }

    fn prepare(&mut self, attempt: AttemptId, board: &Board) {
        let Some(execution) = board.live.get(&attempt.execution) else { return };
        let fate = self.fates.jobs[&(attempt.execution, attempt.step, attempt.job)].clone();
        let hostname = execution.plan.steps[attempt.step].jobs()[attempt.job].hostname.clone();
        let answer = fate.prepare;
        let old = self.containers.get(&attempt);
        assert!(old.is_none_or(|old| old.starts == 0), "{attempt:?} is prepared again after it has run");
        let image = match self.image(&attempt, execution) {
            Ok(image) => image,
            Err(report) if answer == Answer::Good => return self.say(attempt, report),
            Err(_) => Image { name: String::new(), id: String::new() },
        };
        if answer != Answer::Bad {
            let condition = Condition::Initialised;
            let made = Container {
                hostname,
                image: image.id.clone(),
                condition,
                starts: 0,
                last_exit: None,
                fate,
                watched: false,
            };
            self.containers.insert(attempt, made);
        }
        match answer {
            Answer::Good => self.say(attempt, Report::Prepared { container: container_id(&attempt), image }),
            Answer::Bad => {
                self.containers.remove(&attempt);
                self.say(attempt, Report::NotPrepared(Reason::new(Name::ImageMissing, "no such image")));
            }
            Answer::Silence => {}
        }
    }

    /// The image that a name means now, whatever it meant before: to notice is the engine's part. Only what is gone is
    /// told by itself, and loaded again when the engine says so.
    fn image(&mut self, attempt: &AttemptId, execution: &Execution) -> Result<Image, Report> {
        let job = &execution.plan.steps[attempt.step].jobs()[attempt.job];
        let name = full_name(&job.pod.image);
        let known = execution.images.get(&job.node, &name);
        let stored = self.images.entry(name.clone()).or_insert_with(|| Some("first".to_owned()));
        if stored.is_none() && matches!(known, Some(Pin { reload: Reload::Asked { .. }, .. })) {
            *stored = Some(IN_BUNDLE.to_owned());
        }
        let reason = Reason::new(Name::ImageMissing, "no such image");
        match (stored.clone(), known) {
            (Some(id), _) => Ok(Image { name, id }),
            (None, None) => Err(Report::NotPrepared(reason)),
            (None, Some(pin)) => {
                let image = Image { name, id: pin.id.clone() };
                Err(Report::ImageLost(Box::new(Lost { image, seen: pin.reload, reason })))
            }
        }
    }

    /// A container that has run is never started again: the driver says what it knows of it.
    fn launch(&mut self, attempt: AttemptId, name: &str, now: u64) {
        assert_eq!(name, container_id(&attempt), "the container that was prepared is the one to launch");
        let container = self.containers.get_mut(&attempt).expect("only what was prepared is launched");
        if container.condition != Condition::Initialised {
            let heard = container.fate.start == Start::Lives && container.starts > 0;
            return if heard {
                self.say(attempt, Report::Started)
            };
        }
        if matches!(container.fate.start, Start::Lives | Start::LivesInSilence) {
            container.starts += 1;
            container.condition = Condition::Running(now + container.fate.runs_ms);
        }
        match container.fate.start {
            Start::Lives => self.say(attempt, Report::Started),
            Start::Refused => self.say(attempt, Report::NotStarted(Reason::new(Name::PortInUse, "taken"))),
            Start::Lost => {
                container.condition = Condition::Stolen;
                self.say(attempt, Report::Lost);
            }
            Start::LivesInSilence | Start::Silence => {}
        }
    }

    fn freeze(&mut self, attempt: AttemptId, now: u64) {
        let container = self.containers.get_mut(&attempt).expect("only what was launched is frozen");
        match container.condition {
            Condition::Running(_) if container.fate.runs_ms.is_multiple_of(7) => {
                self.say(attempt, Report::NotPaused(Reason::new(Name::StartError, "no freezer")));
            }
            Condition::Running(until) => {
                container.condition = Condition::Frozen(until.saturating_sub(now));
                self.say(attempt, Report::Paused);
            }
            Condition::Frozen(_) => self.say(attempt, Report::Paused),
            Condition::Initialised
            | Condition::Exited(_)
            | Condition::Kept
            | Condition::PowerCut
            | Condition::Stolen
            | Condition::Removed => {}
        }
    }

    fn thaw(&mut self, attempt: AttemptId, now: u64) {
        let container = self.containers.get_mut(&attempt).expect("only what was launched is thawed");
        if let Condition::Frozen(left) = container.condition {
            container.condition = Condition::Running(now + left);
        }
        if matches!(container.condition, Condition::Running(_)) {
            self.say(attempt, Report::Resumed);
        }
    }

    fn read(&mut self, execution: ExecutionId, step: usize, board: &Board) {
        let Some(known) = board.live.get(&execution) else { return };
        let said = self.fates.outputs.get(&(execution, step)).cloned();
        let said = said.ok_or_else(|| Reason::new(Name::OutputUnusable, "not text"));
        let outputs = known.plan.steps[step].sources().into_iter().map(|source| (source, said.clone())).collect();
        self.answers.push(Event::OutputRead { execution, step, outputs });
    }

    fn signal(&mut self, attempt: AttemptId, signal: Signal) {
        let container = self.containers.get_mut(&attempt).expect("only what was launched is told to end");
        if let Condition::Frozen(left) = container.condition {
            container.condition = Condition::Running(left);
        }
        if !matches!(container.condition, Condition::Running(_)) {
            return;
        }
        let code = match signal {
            Signal::Term => container.fate.on_term,
            Signal::Kill => Some(137),
        };
        if let Some(code) = code {
            container.exit(Exit { code, oom: false, cpu_ms: None });
            self.notice(attempt);
        }
    }

    /// Processes whose time has come end.
    pub(crate) fn pass(&mut self, now: u64) {
        let over = |container: &Container| matches!(container.condition, Condition::Running(until) if until <= now);
        let ended: Vec<AttemptId> = self.containers.iter().filter(|(_, c)| over(c)).map(|(id, _)| *id).collect();
        for attempt in ended {
            let container = self.containers.get_mut(&attempt).expect("listed above");
            match container.fate.end {
                End::Lost => container.condition = Condition::Stolen,
                End::Exited | End::Silence => {
                    container.exit(Exit { code: container.fate.code, oom: container.fate.oom, cpu_ms: None });
                }
            }
            self.notice(attempt);
        }
    }

    fn notice(&mut self, attempt: AttemptId) {
        let container = &self.containers[&attempt];
        if !container.watched || container.fate.end == End::Silence {
            return;
        }
        match &container.condition {
            Condition::Exited(exit) => self.say(attempt, Report::Exited(exit.clone())),
            Condition::Stolen | Condition::Removed => self.say(attempt, Report::Lost),
            Condition::Initialised
            | Condition::Running(_)
            | Condition::Frozen(_)
            | Condition::Kept
            | Condition::PowerCut => {}
        }
    }

    /// When the next process ends by itself.
    pub(crate) fn next_end(&self) -> Option<u64> {
        let until = |container: &Container| match container.condition {
            Condition::Running(until) => Some(until),
            Condition::Initialised
            | Condition::Frozen(_)
            | Condition::Kept
            | Condition::Exited(_)
            | Condition::PowerCut
            | Condition::Stolen
            | Condition::Removed => None,
        };
        self.containers.values().filter_map(until).min()
    }

    /// The daemon dies: nobody watches, and what was known and not said is forgotten.
    pub(crate) fn daemon_died(&mut self) {
        self.answers.clear();
        self.containers.values_mut().for_each(|container| container.watched = false);
    }

    /// The board boots: no process survives, and nothing is initialised any more.
    pub(crate) fn board_booted(&mut self) {
        self.daemon_died();
        self.containers.retain(|_, container| container.condition != Condition::Initialised);
        for container in self.containers.values_mut() {
            if matches!(container.condition, Condition::Running(_) | Condition::Frozen(_)) {
                container.condition = Condition::PowerCut;
            }
        }
    }
}

impl Container {
    fn exit(&mut self, exit: Exit) {
        self.last_exit = Some(exit.clone());
        self.condition = Condition::Exited(exit);
    }

    /// Whether it stands in nobody's way any more.
    pub(crate) fn gone(&self) -> bool {
        matches!(self.condition, Condition::Removed | Condition::Stolen | Condition::Kept)
    }
}

/// The id Podman would give.
fn container_id(attempt: &AttemptId) -> String {
    format!("{}.{}.{}.{}", attempt.execution.short(), attempt.step, attempt.job, attempt.attempt)
}
