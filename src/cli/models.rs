//! `adit models`: what is believed of each model of the map, and why.

use std::path::Path;
use std::process::ExitCode;

use super::{EXIT_USAGE, complain, say};
use crate::chat::capability::Capabilities;
use crate::config;
use crate::config::snapshot::Model;

/// Prints what is believed of models.
pub(super) fn models(config: Option<&Path>, names: &[String]) -> ExitCode {
    let snapshot = match config::load_from_process(config) {
        Ok(snapshot) => snapshot,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let map = &snapshot.models;
    let mut out = String::new();
    if names.is_empty() {
        map.models.iter().for_each(|model| capabilities(model, &mut out));
    }
    for name in names {
        match map.find(name) {
            Some(model) => capabilities(model, &mut out),
            None => believed(name, &Capabilities::find(name), None, &mut out),
        }
    }
    say(out.trim_end());
    ExitCode::SUCCESS
}

/// What is believed of the targets of a model.
fn capabilities(model: &Model, out: &mut String) {
    for target in &model.targets {
        let title = format!("{} → {}: {}", model.name, target.provider.name, target.model);
        believed(&title, &Capabilities::find(target.family_id()), Some(&target.capabilities), out);
    }
}

/// The row of the table for a model, and how the map's word differs from it.
fn believed(title: &str, row: &(&'static str, Capabilities), overridden: Option<&Capabilities>, out: &mut String) {
    use std::fmt::Write as _;
    let (pattern, table) = row;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{title}\n  row: {pattern}");
    let table = table.describe();
    let own = overridden.map_or_else(|| table.clone(), Capabilities::describe);
    for ((name, value), (_, of_table)) in own.iter().zip(&table) {
        let source = if value == of_table { String::new() } else { format!("   # models.yaml; the table says {of_table}") };
        let _ = writeln!(out, "  {name}: {value}{source}");
    }
    out.push('\n');
}
