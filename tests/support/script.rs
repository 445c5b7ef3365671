//! The shortest executions there are, put into a ledger as the loop does.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    reason = "each test program includes this file and uses its part of it; a test says what it expects"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use perigee::bundle::document::{OnFailure, OperationInfo};
use perigee::bundle::{ExecutionId, StepId};
use perigee::ledger::{Boot, Ledger, LedgerError};
use perigee::plan::{Errand, Plan, PlannedStep, Terms, Transfer, Work};
use perigee::sequence::{Board, Event, apply, decide};
use perigee::time::{BootTime, Timestamp};

pub fn boot(id: &str) -> Boot {
    Boot { id: id.to_owned(), offset_ms: 7 }
}

pub fn now() -> Timestamp {
    Timestamp { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(1000) }
}

pub fn id(n: u32) -> ExecutionId {
    format!("0198c0de-0000-7000-8000-{n:012}").parse().expect("a UUID")
}

/// One uplink step: the shortest execution there is.
pub fn plan(n: u32) -> Arc<Plan> {
    let transfer = Transfer {
        node: "mpu".parse().expect("a name"),
        volume: "payload".parse().expect("a name"),
        claim: "client1.payload".to_owned(),
        sources: vec![],
        destination: String::new(),
    };
    let step = PlannedStep {
        id: "UP".parse::<StepId>().expect("a name"),
        on_failure: OnFailure::Stop,
        timeout_seconds: 300,
        group: None,
        after: vec![],
        terms: Terms::default(),
        work: Work::Errand(Errand::Uplink(transfer)),
    };
    Arc::new(Plan {
        execution: id(n),
        tenant: "client1".parse().expect("a name"),
        operation: OperationInfo {
            id: "test".parse().expect("a name"),
            revision: None,
            namespace: None,
            system: None,
            description: None,
            labels: BTreeMap::new(),
        },
        stop_grace_seconds: 30,
        parallelism: None,
        look_ahead: true,
        steps: vec![step],
    })
}

/// Decides, commits, applies and reflects, as the loop does.
pub fn happen(ledger: &mut Ledger, board: &mut Board, event: Event) {
    try_happen(ledger, board, event).expect("committed and reflected");
}

/// The same. What is committed is applied, also when the index fails.
pub fn try_happen(ledger: &mut Ledger, board: &mut Board, event: Event) -> Result<(), LedgerError> {
    let decision = decide(board, event, now()).expect("legal");
    let committed = ledger.commit(&decision.records)?;
    let ended: Vec<_> = decision.records.iter().filter_map(|recorded| apply(board, recorded).expect("fits")).collect();
    ledger.reflect(committed, &decision.records, &ended)
}

/// What happens to an execution from its acceptance to its end.
pub fn life(n: u32) -> [Event; 3] {
    [
        Event::Submitted { plan: plan(n), held: false },
        Event::ErrandEnded { execution: id(n), step: 0, result: Ok(None), made: None },
        Event::Filed(id(n)),
    ]
}

pub fn accept(ledger: &mut Ledger, board: &mut Board, n: u32) {
    happen(ledger, board, Event::Submitted { plan: plan(n), held: false });
}

pub fn finish(ledger: &mut Ledger, board: &mut Board, n: u32) {
    happen(ledger, board, Event::ErrandEnded { execution: id(n), step: 0, result: Ok(None), made: None });
    happen(ledger, board, Event::Filed(id(n)));
}
