//! Tables for people: aligned columns, no borders, so that they can be cut and searched.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};

use super::exit::{Exit, Failed};

/// Prints rows below a heading.
pub(super) fn print(out: &mut dyn Write, heading: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failed> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(heading);
    table.add_rows(rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        print_line(out, line.trim_end())?;
    }
    Ok(())
}

/// Text that a terminal only shows: what a tenant wrote must not move the operator's cursor or rename the window.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            // The form that JSON has for it, so that what is printed as JSON stays JSON.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Prints one line.
pub(super) fn print_line(out: &mut dyn Write, line: &str) -> Result<(), Failed> {
    match writeln!(out, "{}", plain(line)) {
        // Whoever reads has seen enough, as in `perigee list | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Failed::because(Exit::Fault, "failed to print", &error)),
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(out: &mut dyn Write, value: &impl serde::Serialize) -> Result<(), Failed> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Failed::because(Exit::Fault, "failed to print JSON", &error))?;
    print_line(out, &text)
}

/// A time for people, to the second, or a dash.
pub(super) fn time(at: Option<jiff::Timestamp>) -> String {
    let second = jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Trunc);
    match at.map(|at| at.round(second)) {
        Some(Ok(at)) => at.to_string(),
        Some(Err(_)) | None => "-".to_owned(),
    }
}

/// Text, or a dash.
pub(super) fn dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_wrote_is_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[31mb\u{7}\n\tc\u{9b}d"), r"a\u001b[31mb\u0007".to_owned() + "\n\tc" + r"\u009bd");
        let json = serde_json::to_string("\u{9b}\u{7f}\u{1b}").expect("JSON");
        assert_eq!(serde_json::from_str::<String>(&plain(&json)).expect("still JSON"), "\u{9b}\u{7f}\u{1b}");
        let mut out = Vec::new();
        print(&mut out, &["WHY"], vec![vec!["\u{1b}]0;title\u{7}".to_owned()]]).ok();
        assert!(!out.contains(&0x1b) && !out.contains(&7));
    }
}
