//! The arithmetic of the benchmark (`tests/bench/`). It measures with `make bench`; here nothing is timed.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    reason = "includes a part of the benchmark; a test says what it expects"
)]

#[path = "bench/figures.rs"]
mod figures;

use figures::{Goal, Row, Series, number, ratio, table};

#[test]
fn median_lies_in_the_middle_whatever_the_order() {
    assert_eq!(Series::of([3.0, 1.0, 2.0]).median(), Some(2.0));
    assert_eq!(Series::of([4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
    assert_eq!(Series::of([7.0]).median(), Some(7.0));
    assert_eq!(Series::of([]).median(), None);
}

#[test]
fn parts_of_a_series_are_taken_in_proportion() {
    let hundred = Series::of((0..=100).map(f64::from));
    assert_eq!((hundred.at(0.0), hundred.at(0.1), hundred.at(0.99)), (Some(0.0), Some(10.0), Some(99.0)));
    assert_eq!(hundred.at(1.0), Some(100.0));
    assert_eq!(Series::of([1.0, 2.0]).at(0.25), Some(1.25));
}

#[test]
fn few_values_show_their_whole_spread_and_many_the_middle_of_it() {
    assert_eq!(Series::of([1.0, 2.0, 30.0]).shown(), "**2.00** (1.00–30.0, n=3)");
    assert_eq!(Series::of((0..=100).map(f64::from)).shown(), "**50.0** (10.0–90.0, n=101)");
    assert_eq!(Series::of([5.0]).shown(), "5.00");
    assert_eq!(Series::default().shown(), "not measured");
}

#[test]
fn numbers_show_about_three_digits() {
    assert_eq!([0.0, 0.1234, 1.234, 12.34, 1234.5].map(number), ["0.00", "0.123", "1.23", "12.3", "1234"]);
}

#[test]
fn ratio_compares_medians_and_is_nothing_without_them() {
    assert_eq!(ratio(&Series::of([30.0, 10.0, 20.0]), &Series::of([10.0])), Some(2.0));
    assert_eq!(ratio(&Series::of([1.0]), &Series::default()), None);
    assert_eq!(ratio(&Series::of([1.0]), &Series::of([0.0])), None);
}

#[test]
fn a_row_says_which_goals_are_reached_and_how_the_machine_was() {
    let mut row = Row::of("gap, ms", Series::of([20.0]))
        .beside("fast", Series::of([30.0]))
        .beside("slow", Series::of([80.0]))
        .goal(Goal::AtMost(20.0))
        .goal(Goal::Ahead(2.0))
        .goal(Goal::Within(0.5));
    assert_eq!(
        row.markdown(),
        "| gap, ms | 20.0 | fast 30.0: 1.50×; slow 80.0: 4.00× | ≤ 20.0; ≥ 2.00× ahead of the best; \
         ≤ 0.500 × fast (is 0.667) | yes; no; no | quiet |"
    );
    row.loaded(Some(1.25));
    assert!(row.markdown().ends_with("| loaded (1.2 cores busy) |"), "{}", row.markdown());
    let alone = Row::of("size, MB", Series::of([4.0]));
    assert_eq!(table(&[alone]).lines().count(), 3);
}

#[test]
fn what_counts_the_whole_machine_is_not_told_of_a_busy_one() {
    let row = || {
        Row::of("time, ms", Series::of([3.0])).beside("other", Series::of([6.0])).goal(Goal::Within(0.8)).of_machine()
    };
    let (mut quiet, mut busy) = (row(), row());
    quiet.loaded(None);
    assert_eq!(quiet, row());
    busy.loaded(Some(0.9));
    let shown = "| time, ms | not measured | other not measured | ≤ 0.800 × other | ? | loaded (0.9 cores busy) |";
    assert_eq!(busy.markdown(), shown);
}

#[test]
fn a_goal_without_a_measurement_is_neither_reached_nor_missed() {
    let row = Row::of("gap, ms", Series::default()).goal(Goal::AtMost(20.0)).goal(Goal::Ahead(15.0));
    assert_eq!(row.markdown(), "| gap, ms | not measured |  | ≤ 20.0; ≥ 15.0× ahead of the best | ?; ? | quiet |");
}
