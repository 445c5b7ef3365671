//! What a name means: pinned when it is first known, held over restarts, loaded once more from the bundle.

use perigee::bundle::document::OnFailure;
use perigee::plan::{Needs, PlannedStep, Retry, Terms, Work};
use perigee::reason::{Name, Reason};
use perigee::sequence::event::Report;
use perigee::sequence::image::{Image, Lost, Reload};
use perigee::sequence::state::{JobState, Verdict};
use perigee::sequence::{AttemptId, Effect, Event, Record};

use super::jobs::{Rig, after, id, plain, prepares};
use super::plans::{IN_BUNDLE, execution, full_name, job, load, step};

const OWN: &str = "localhost/t/app:1";

fn from(image: &str, container: &str) -> Report {
    Report::Prepared { container: container.to_owned(), image: Image { name: OWN.to_owned(), id: image.to_owned() } }
}

fn lost(seen: Reload) -> Report {
    let image = Image { name: OWN.to_owned(), id: IN_BUNDLE.to_owned() };
    Report::ImageLost(Box::new(Lost { image, seen, reason: Reason::new(Name::ImageMissing, "it is gone") }))
}

/// A step of a pod with the own image.
fn own(index: usize, terms: Terms) -> PlannedStep {
    let jobs = vec![job(u8::try_from(index).expect("few"), None, 61)];
    PlannedStep { terms, ..step(index, OnFailure::Continue, 360, Work::PodRun { jobs }) }
}

fn loading(index: usize) -> PlannedStep {
    step(index, OnFailure::Continue, 360, Work::Errand(load()))
}

fn loaded(rig: &mut Rig, now: u64, step: usize, image: &str) -> Vec<Effect> {
    let made = Some(Image { name: OWN.to_owned(), id: image.to_owned() });
    rig.feed(now, Event::ErrandEnded { execution: execution(1), step, result: Ok(None), made }).effects
}

fn message(rig: &Rig, id: AttemptId) -> String {
    let verdict = rig.known().steps[id.step].jobs[id.job].verdict();
    verdict.and_then(Verdict::reason).map(|reason| reason.message.clone()).unwrap_or_default()
}

#[test]
fn another_attempt_from_another_image_is_never_launched_and_not_tried_again() {
    let terms = Terms { retry: Retry { times: 3, ..Retry::default() }, ..Terms::default() };
    let (mut rig, _) = Rig::new(vec![own(0, terms)]);
    rig.tell(1, id(0, 0, 1), from("a", "c1"));
    rig.tell(1, id(0, 0, 1), Report::Started);
    assert_eq!(rig.known().steps[0].jobs[0].image.as_deref(), Some("a"));
    rig.end(2, id(0, 0, 1), 1);
    assert_eq!(prepares(&rig.feed(3, Event::TimePassed(Default::default())).effects), Vec::new());
    assert!(rig.known().steps[0].jobs[0].attempt == 2, "its second attempt is being prepared");
    let effects = rig.tell(4, id(0, 0, 2), from("b", "c2"));
    assert!(matches!(effects.as_slice(), [Effect::Clear(..)]), "{effects:?}");
    assert_eq!(rig.job_reason(0, 0), Some(Name::ImageChanged));
    let said = message(&rig, id(0, 0, 2));
    assert!(said.contains(OWN) && said.contains("was a ") && said.contains("is b now"), "{said}");
    assert_eq!(rig.known().steps[0].jobs[0].image, None, "that attempt ran nothing");
}

#[test]
fn a_step_that_makes_the_name_anew_ends_what_it_meant() {
    let steps = vec![
        own(0, Terms::default()),
        after(0, Needs::Ended, loading(1)),
        after(1, Needs::Ended, own(2, Terms::default())),
    ];
    let (mut rig, _) = Rig::new(steps);
    rig.tell(1, id(0, 0, 1), from("a", "c1"));
    rig.tell(1, id(0, 0, 1), Report::Started);
    rig.end(2, id(0, 0, 1), 0);
    assert_eq!(prepares(&loaded(&mut rig, 3, 1, "b")), [(2, 0, 1)]);
    rig.tell(4, id(2, 0, 1), from("b", "c2"));
    assert!(matches!(rig.job(2, 0), JobState::Launching { .. }));
}

#[test]
fn what_a_load_has_made_is_known_before_the_first_pod_is_made_of_it() {
    let (mut rig, _) = Rig::new(vec![loading(0), after(0, Needs::Ended, own(1, Terms::default()))]);
    loaded(&mut rig, 1, 0, "a");
    rig.tell(2, id(1, 0, 1), from("b", "c"));
    assert_eq!(rig.job_reason(1, 0), Some(Name::ImageChanged));
}

#[test]
fn a_lost_image_of_the_bundle_is_loaded_again_once_for_all_that_start_together() {
    let mut group =
        [after(0, Needs::Ended, own(1, Terms::default())), after(0, Needs::Ended, own(2, Terms::default()))];
    group.iter_mut().for_each(|step| step.group = Some(1));
    let [first, second] = group;
    let steps = vec![loading(0), first, second, after(2, Needs::Ended, own(3, Terms::default()))];
    let (mut rig, _) = Rig::new(steps);
    loaded(&mut rig, 1, 0, IN_BUNDLE);
    let asked = rig.feed(2, Event::Reported(id(1, 0, 1), lost(Reload::Unused)));
    assert!(matches!(&asked.records[..], [one] if matches!(one.record, Record::ImageReloading { .. })), "{asked:?}");
    assert_eq!(prepares(&asked.effects), [(1, 0, 1)]);
    let late = rig.feed(2, Event::Reported(id(2, 0, 1), lost(Reload::Unused)));
    assert_eq!((late.records.len(), prepares(&late.effects)), (0, vec![(2, 0, 1)]), "it looked before");
    rig.tell(3, id(1, 0, 1), from(IN_BUNDLE, "c1"));
    let late = rig.feed(3, Event::Reported(id(2, 0, 1), lost(Reload::Asked { step: 1, job: 0 })));
    assert_eq!((late.records.len(), prepares(&late.effects)), (0, vec![(2, 0, 1)]), "it looked before");
    rig.tell(3, id(2, 0, 1), from(IN_BUNDLE, "c2"));
    for step in [1, 2] {
        rig.tell(4, id(step, 0, 1), Report::Started);
        rig.end(5, id(step, 0, 1), 0);
    }
    rig.tell(6, id(3, 0, 1), lost(Reload::Used));
    assert_eq!(rig.job_reason(3, 0), Some(Name::ImageMissing), "once");
    let said = message(&rig, id(3, 0, 1));
    assert!(said.contains("it is gone; it was loaded again from images/app.tar of the bundle once already"), "{said}");
}

#[test]
fn a_lost_image_that_did_not_come_with_the_bundle_fails_its_job() {
    let (mut rig, _) = Rig::new(vec![plain(0, Terms::default()), after(0, Needs::Ended, plain(1, Terms::default()))]);
    rig.run(1, id(0, 0, 1));
    rig.end(2, id(0, 0, 1), 0);
    let image = Image { name: full_name("python:3.10"), id: "i".to_owned() };
    let reason = Reason::new(Name::ImageMissing, "it is gone");
    rig.tell(3, id(1, 0, 1), Report::ImageLost(Box::new(Lost { image, seen: Reload::Unused, reason })));
    assert_eq!(rig.job_reason(1, 0), Some(Name::ImageMissing));
    let said = message(&rig, id(1, 0, 1));
    assert!(said.contains("it did not come with the bundle"), "{said}");
}
