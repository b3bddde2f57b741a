//! The table of a run's members, best first.

use std::path::Path;

use ewulf_core::spec::JobManifest;

use crate::job::{SetResult, Statistic, SweepResult, argument_text, swept};
use crate::ui::{Table, text};

use super::failure::Failure;
use super::session::Session;

/// Rows that a person looks through; the files have all of them.
const ROWS: usize = 30;
/// Columns of numbers that fit beside the arguments.
const NUMBERS: usize = 4;

/// Prints what the sets of arguments came to.
pub fn show(session: &Session, manifest: &JobManifest, sweep: &SweepResult, folder: &Path) -> Result<(), Failure> {
    session.screen.print_table(&table(manifest, sweep))?;
    let more = sweep.sets.len().saturating_sub(ROWS);
    let file = folder.join("sweep.csv");
    if more > 0 {
        session.screen.print_line(&format!("{more} more are in {}.", file.display()))?;
    }
    session.screen.print_line("")?;
    Ok(())
}

fn table(manifest: &JobManifest, sweep: &SweepResult) -> Table {
    let (options, numbers) = (swept(manifest), numbers(manifest, sweep));
    let mut headings: Vec<String> = options.iter().map(|option| option.as_str().to_uppercase()).collect();
    headings.extend(numbers.iter().map(|field| format!(">{}", field.to_uppercase())));
    headings.extend([">MEMBER TIME", "OUTCOME"].map(str::to_owned));
    let mut table = Table::of_columns(headings);
    for set in sweep.ranking().into_iter().take(ROWS) {
        let mut row: Vec<String> =
            options.iter().map(|option| text::printable(&argument_text(manifest, &set.arguments, option))).collect();
        row.extend(numbers.iter().map(|field| set.numbers.get(field).map(|number| number_text(*number)).unwrap_or_default()));
        row.push(set.seconds.map(text::seconds).unwrap_or_default());
        row.push(outcome(set));
        table.row(row);
    }
    table
}

fn outcome(set: &SetResult) -> String {
    match (set.members, set.succeeded) {
        (members, succeeded) if members == succeeded => "succeeded".to_owned(),
        (1, _) => "did not succeed".to_owned(),
        (members, succeeded) => format!("{succeeded} of {members} folds succeeded"),
    }
}

/// The numbers worth a column: what sets are compared by and its neighbours, else whatever differs from set to set.
fn numbers(manifest: &JobManifest, sweep: &SweepResult) -> Vec<String> {
    let parent = |field: &str| field.rsplit_once('.').map(|(parent, _)| parent.to_owned());
    let is_argument =
        |field: &str| field.parse().is_ok_and(|option| manifest.args.contains_key(&option) || swept(manifest).contains(&option));
    let mut fields: Vec<String> = sweep.compared_by.iter().cloned().collect();
    for field in sweep.sets.iter().flat_map(|set| set.numbers.keys()) {
        let values = || sweep.sets.iter().filter_map(|set| set.numbers.get(field));
        let differs = values()
            .zip(values().skip(1))
            .any(|(one, other)| one.mean != other.mean || one.deviation.is_some_and(|deviation| deviation > 0.0));
        let is_near = sweep.compared_by.as_ref().is_none_or(|best| parent(best) == parent(field));
        if differs && is_near && !is_argument(field) && !fields.contains(field) && fields.len() < NUMBERS {
            fields.push(field.clone());
        }
    }
    fields
}

/// A mean with its deviation: `0.91234 ± 0.00021`.
fn number_text(number: Statistic) -> String {
    match number.deviation {
        Some(deviation) => format!("{} ± {}", plain(number.mean), plain(deviation)),
        None => plain(number.mean),
    }
}

/// Six digits, which are more than a score of a sample says.
fn plain(value: f64) -> String {
    let size = value.abs();
    match value {
        0.0 => "0".to_owned(),
        _ if value.fract() == 0.0 && size < 1e12 => format!("{value:.0}"),
        _ if (1e-3..1e6).contains(&size) => {
            let whole = if size < 1.0 { 1 } else { size.log10() as usize + 1 };
            format!("{value:.*}", 6_usize.saturating_sub(whole))
        }
        _ => format!("{value:.4e}"),
    }
}

#[cfg(test)]
mod tests {
    use ewulf_core::spec::load_job;
    use serde_json::{Value, json};

    use super::*;
    use crate::ui::Style;

    fn shown(keys: &str, sets: Value, compared_by: Value) -> String {
        let text = format!("job: x\ncluster: demo\nkernel: svd\n{keys}");
        let manifest = load_job("x.yaml", text.as_bytes()).unwrap().spec;
        let sweep = serde_json::from_value(json!({"compared_by": compared_by, "members": [], "sets": sets})).unwrap();
        table(&manifest, &sweep).render(Style::new(false), None)
    }

    #[test]
    fn the_best_set_comes_first_with_mean_and_deviation_over_its_folds() {
        let set = |factors: u32, rmse: f64, succeeded: u32| {
            json!({"arguments": {"factors": factors}, "members": 3, "succeeded": succeeded, "seconds": 2.5, "numbers": {
                "epochs": {"mean": 20.0, "deviation": 0.0},
                "scores.rmse": {"mean": rmse, "deviation": 0.001234},
                "scores.mae": {"mean": 0.7, "deviation": 0.01},
            }})
        };
        assert_eq!(
            shown(
                "sweep: {grid: {factors: [20, 50]}}\nfolds: 3\n",
                json!([set(20, 0.95, 3), set(50, 0.912346, 2)]),
                json!("scores.rmse")
            ),
            "FACTORS        SCORES.RMSE         SCORES.MAE  MEMBER TIME  OUTCOME\n\
             50       0.91235 ± 0.00123  0.70000 ± 0.01000        2.5 s  2 of 3 folds succeeded\n\
             20       0.95000 ± 0.00123  0.70000 ± 0.01000        2.5 s  succeeded\n"
        );
    }

    #[test]
    fn without_a_score_the_numbers_that_differ_are_shown_in_order() {
        let set = |seed: u32, hits: f64| {
            json!({"arguments": {"seed": seed}, "members": 1, "succeeded": 1, "seconds": 1.0, "numbers": {
                "hits": {"mean": hits}, "ranks": {"mean": 2.0}, "seed": {"mean": seed},
            }})
        };
        let failed = json!({"arguments": {"seed": 3}, "members": 1, "succeeded": 0, "seconds": null, "numbers": {}});
        assert_eq!(
            shown("sweep: {grid: {seed: [1, 2, 3]}}\n", json!([set(1, 785_401.0), set(2, 785_398.0), failed]), Value::Null),
            "SEED    HITS  MEMBER TIME  OUTCOME\n1     785401        1.0 s  succeeded\n2     785398        1.0 s  succeeded\n\
             3                          did not succeed\n"
        );
    }

    #[test]
    fn numbers_keep_six_digits_whatever_their_size() {
        let shown = [0.0, 20.0, 0.9123456, 4.712_388_9, 12_345.678_9, 0.000_012_345_6, 1.5e9, -2.5].map(plain);
        assert_eq!(shown, ["0", "20", "0.91235", "4.71239", "12345.7", "1.2346e-5", "1500000000", "-2.50000"]);
    }
}
