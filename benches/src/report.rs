//! The table and the JSON rows.

use std::path::Path;

use crate::Result;
use crate::args::Options;
use crate::catalog::Goal;
use crate::groups::Row;

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.value? / self.raw?)
    }

    fn met(&self) -> Option<bool> {
        let value = self.value?;
        match self.metric.goal {
            Goal::AtLeast(goal) => Some(value >= goal),
            Goal::AtMost(goal) => Some(value <= goal),
            Goal::TimesRaw(goal) => Some(self.ratio()? <= goal),
            Goal::None => None,
        }
    }

    /// Its figure as it is written there.
    fn goal(&self, figure: fn(f64) -> String) -> Option<String> {
        match self.metric.goal {
            Goal::AtLeast(goal) => Some(format!(">= {}", figure(goal))),
            Goal::AtMost(goal) => Some(format!("<= {}", figure(goal))),
            Goal::TimesRaw(goal) => Some(format!("<= {goal} x raw")),
            Goal::None => None,
        }
    }
}

/// Three or four digits that count, thousands apart.
fn figure(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_string();
    }
    match value.abs() {
        0.0 => "0".to_string(),
        x if x >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) && !out.ends_with('-') {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        x if x >= 100.0 => trim(format!("{value:.0}")),
        x if x >= 10.0 => trim(format!("{value:.1}")),
        x if x >= 1.0 => trim(format!("{value:.2}")),
        _ => trim(format!("{value:.3}")),
    }
}

fn trim(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

pub(crate) fn print(rows: &[Row], options: &Options) {
    let head = ["metric", "value", "unit", "min - max", "raw", "ratio", "goal", "", "ray"];
    let mut lines: Vec<Vec<String>> = vec![head.map(String::from).to_vec()];
    let or_dash = |value: Option<f64>| value.map_or("-".to_string(), figure);
    for row in rows {
        let spread = if row.value.is_some() && row.min != row.max {
            format!("{} - {}", figure(row.min), figure(row.max))
        } else {
            "-".to_string()
        };
        lines.push(vec![
            row.metric.name.to_string(),
            row.value.map_or("not measured".to_string(), figure),
            row.metric.unit.to_string(),
            spread,
            or_dash(row.raw),
            or_dash(row.ratio()),
            row.goal(figure).unwrap_or("-".to_string()),
            row.met().map_or("", |met| if met { "ok" } else { "MISS" }).to_string(),
            or_dash(row.ray),
        ]);
    }
    let widths: Vec<usize> =
        (0..head.len()).map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0)).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
            if matches!(at, 0 | 2 | 6 | 7) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    if options.quick {
        println!("A smoke run: these figures mean nothing.");
    }
}

/// `{"metric", "value", "unit", "raw", "ray", "goal"}`, for programs: a figure has no commas.
fn json(row: &Row) -> serde_json::Value {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    serde_json::json!({
        "metric": row.metric.name,
        "value": finite(row.value),
        "unit": row.metric.unit,
        "raw": finite(row.raw),
        "ray": finite(row.ray),
        "goal": row.goal(|goal| goal.to_string()),
    })
}

/// One object a row.
pub(crate) fn write_json(rows: &[Row], path: &Path) -> Result<()> {
    let rows: Vec<_> = rows.iter().map(json).collect();
    let text = serde_json::to_string_pretty(&rows)? + "\n";
    if path == Path::new("-") {
        print!("{text}");
    } else {
        std::fs::write(path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::METRICS;

    /// Each row has the same six keys, whatever was measured, and figures that a program reads.
    #[test]
    fn rows_are_for_programs() {
        for metric in METRICS {
            let row = Row { metric, value: Some(1234567.5), min: 1.0, max: f64::NAN, raw: None, ray: Some(f64::NAN) };
            let json = json(&row);
            let mut keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["goal", "metric", "raw", "ray", "unit", "value"]);
            assert_eq!((&json["value"], json["raw"].is_null(), json["ray"].is_null()), (&1234567.5.into(), true, true));
            assert!(json["metric"].is_string() && json["unit"].is_string(), "{json}");
            match metric.goal {
                Goal::AtLeast(goal) => assert_eq!(json["goal"], format!(">= {goal}")),
                Goal::AtMost(goal) => assert_eq!(json["goal"], format!("<= {goal}")),
                Goal::TimesRaw(goal) => assert_eq!(json["goal"], format!("<= {goal} x raw")),
                Goal::None => assert!(json["goal"].is_null(), "{json}"),
            }
            assert!(!json["goal"].to_string().contains(','), "{json}");
        }
    }
}
