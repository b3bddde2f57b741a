//! What became of a run's members, as one table: a row for each, and over the folds of each set of arguments.

use std::collections::{BTreeMap, BTreeSet};

use ewulf_core::names::OptionName;
use ewulf_core::spec::{Argument, Arguments, JobManifest, Member, Scalar, Sweep};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::failure::FailureFacts;
use super::{JobFailure, Outcome, Plan, Status};

/// Names of scores by which sets are compared, the first that a summary has; less is better for all of them.
const SCORES: [&str; 2] = ["rmse", "mae"];

/// All members of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepResult {
    /// The field of the summaries by which sets are compared, such as `scores.rmse`; none if there is no known score.
    pub compared_by: Option<String>,
    /// In the order of their numbers.
    pub members: Vec<MemberResult>,
    /// One for each set of arguments, in the order of the manifest.
    pub sets: Vec<SetResult>,
}

/// How one member ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberResult {
    #[serde(flatten)]
    pub member: Member,
    /// None if it was not run to its end.
    pub outcome: Option<Outcome>,
    /// From its start to its end, all attempts.
    pub seconds: Option<f64>,
    pub attempts: u32,
    /// Addresses of the nodes that it ran on.
    pub nodes: Vec<String>,
    pub failure: Option<JobFailure>,
    /// Numbers, texts and yes-or-nos of its summary.json, inner ones by their path with dots.
    pub summary: Map<String, Value>,
}

/// What the members of one set of arguments came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetResult {
    pub arguments: Arguments,
    /// Members of it: one, or one for each fold.
    pub members: u32,
    /// Those that succeeded, which alone count for what follows.
    pub succeeded: u32,
    /// Mean seconds of a member.
    pub seconds: Option<f64>,
    /// The numbers of the summaries, by name.
    pub numbers: BTreeMap<String, Statistic>,
}

/// A number of several members.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    pub mean: f64,
    /// Standard deviation of the sample (divided by one less than their number); none for one member alone.
    pub deviation: Option<f64>,
}

impl Statistic {
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, deviation })
    }
}

/// One line of `members.jsonl`, as the runner wrote it.
#[derive(Debug, Deserialize)]
struct Record {
    member: u32,
    group: usize,
    outcome: Outcome,
    seconds: f64,
    attempts: u32,
    failure: Option<FailureFacts>,
    #[serde(default)]
    summary: Map<String, Value>,
}

impl SweepResult {
    /// Reads what the runner wrote of a run's members; those that it wrote nothing of have no outcome.
    pub(super) fn read(plan: &Plan, lines: &[u8]) -> Self {
        // A line that a killed runner has not finished is no record.
        let records = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Record>(line).ok());
        let unknown = |member| MemberResult {
            member,
            outcome: None,
            seconds: None,
            attempts: 0,
            nodes: Vec::new(),
            failure: None,
            summary: Map::new(),
        };
        let mut members: Vec<MemberResult> = plan.manifest.members().into_iter().map(unknown).collect();
        for record in records {
            if let Some(member) = members.get_mut((record.member as usize).wrapping_sub(1)) {
                member.take(plan, record);
            }
        }
        let compared_by = score(&members);
        let sets = members.chunk_by(|one, next| one.member.set == next.member.set).map(SetResult::of).collect();
        Self { compared_by, members, sets }
    }

    /// How many members succeeded.
    pub fn succeeded(&self) -> usize {
        self.members.iter().filter(|member| member.outcome == Some(Outcome::Succeeded)).count()
    }

    /// The sets of arguments, best first; where no score is known, in order.
    pub fn ranking(&self) -> Vec<&SetResult> {
        let mut sets: Vec<&SetResult> = self.sets.iter().collect();
        if let Some(name) = &self.compared_by {
            let score = |set: &SetResult| set.numbers.get(name).map_or(f64::INFINITY, |number| number.mean);
            sets.sort_by(|one, other| score(one).total_cmp(&score(other)));
        }
        sets
    }

    /// A row for each member, as CSV: `sweep.csv`.
    ///
    /// A field of the summaries that is named like a column before it begins with `summary.`, an option with `args.`.
    pub fn members_csv(&self, manifest: &JobManifest) -> String {
        let options = swept(manifest);
        let fields = in_order(self.members.iter().flat_map(|member| member.summary.keys()));
        let mut columns = Columns::new(&["member", "fold", "outcome", "seconds", "attempts", "nodes", "failure"]);
        let option_names: Vec<String> = options.iter().map(|option| columns.name("args", option.as_str())).collect();
        let field_names = fields.iter().map(|field| columns.name("summary", field));
        let mut heading = vec!["member".to_owned()];
        heading.extend(option_names);
        heading.extend(["fold", "outcome", "seconds", "attempts", "nodes", "failure"].map(str::to_owned));
        heading.extend(field_names);
        let rows = self.members.iter().map(|result| {
            let mut row = vec![result.member.number.to_string()];
            row.extend(options.iter().map(|option| argument_text(manifest, &result.member.arguments, option)));
            row.push(result.member.fold.map(|fold| fold.to_string()).unwrap_or_default());
            row.push(result.outcome.map_or_else(|| "not run".to_owned(), |outcome| outcome.to_string()));
            row.push(result.seconds.map(|seconds| format!("{seconds:.3}")).unwrap_or_default());
            row.extend([result.attempts.to_string(), result.nodes.join(" ")]);
            row.push(result.failure.as_ref().map(ToString::to_string).unwrap_or_default());
            row.extend(fields.iter().map(|field| result.summary.get(field.as_str()).map(value_text).unwrap_or_default()));
            row
        });
        csv(std::iter::once(heading).chain(rows))
    }

    /// A row for each set of arguments, with mean and standard deviation of every number over its folds, as CSV: `folds.csv`.
    pub fn folds_csv(&self, manifest: &JobManifest) -> String {
        let options = swept(manifest);
        let fields: BTreeSet<&String> = self.sets.iter().flat_map(|set| set.numbers.keys()).collect();
        let mut columns = Columns::new(&["folds", "succeeded", "seconds.mean"]);
        let mut heading: Vec<String> = options.iter().map(|option| columns.name("args", option.as_str())).collect();
        heading.extend(["folds", "succeeded", "seconds.mean"].map(str::to_owned));
        for field in &fields {
            heading.extend(["mean", "deviation"].map(|kind| columns.name("summary", &format!("{field}.{kind}"))));
        }
        let rows = self.sets.iter().map(|set| {
            let mut row: Vec<String> = options.iter().map(|option| argument_text(manifest, &set.arguments, option)).collect();
            row.extend([set.members.to_string(), set.succeeded.to_string()]);
            row.push(set.seconds.map(|seconds| format!("{seconds:.3}")).unwrap_or_default());
            for field in &fields {
                let number = set.numbers.get(*field);
                row.push(number.map(|number| number.mean.to_string()).unwrap_or_default());
                row.push(number.and_then(|number| number.deviation).map(|value| value.to_string()).unwrap_or_default());
            }
            row
        });
        csv(std::iter::once(heading).chain(rows))
    }
}

impl MemberResult {
    fn take(&mut self, plan: &Plan, record: Record) {
        self.outcome = Some(record.outcome);
        (self.seconds, self.attempts, self.summary) = (Some(record.seconds), record.attempts, record.summary);
        let Some(group) = plan.groups.get(record.group) else { return };
        self.nodes = group.nodes.iter().map(|node| node.address.clone()).collect();
        if record.outcome != Outcome::Succeeded {
            let facts = record.failure.unwrap_or_default();
            let status = Status { outcome: Some(record.outcome), exit: Some(facts.exit), ..Status::default() };
            self.failure = Some(JobFailure::explain(&plan.of_group(group), &status, &facts, &[]));
        }
    }
}

impl SetResult {
    /// Adds up members that differ by their fold alone; there is at least one.
    fn of(members: &[MemberResult]) -> Self {
        let good: Vec<&MemberResult> = members.iter().filter(|member| member.outcome == Some(Outcome::Succeeded)).collect();
        let seconds: Vec<f64> = good.iter().filter_map(|member| member.seconds).collect();
        let mut numbers: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (field, value) in good.iter().flat_map(|member| &member.summary) {
            if let Some(value) = value.as_f64() {
                numbers.entry(field.clone()).or_default().push(value);
            }
        }
        let statistics = numbers.into_iter().filter_map(|(field, values)| Some((field, Statistic::of(&values)?)));
        Self {
            arguments: members[0].member.arguments.clone(),
            members: members.len() as u32,
            succeeded: good.len() as u32,
            seconds: Statistic::of(&seconds).map(|seconds| seconds.mean),
            numbers: statistics.collect(),
        }
    }
}

/// The field that members are compared by: the first that ends in the name of a score.
fn score(members: &[MemberResult]) -> Option<String> {
    let fields = in_order(
        members.iter().flat_map(|member| member.summary.iter().filter(|(_, value)| value.is_number()).map(|(field, _)| field)),
    );
    let named = |name: &&str| fields.iter().find(|field| field.rsplit('.').next() == Some(name)).cloned();
    SCORES.iter().find_map(named)
}

/// The options that differ between members, by name.
pub fn swept(manifest: &JobManifest) -> Vec<OptionName> {
    let options: BTreeSet<&OptionName> = match &manifest.sweep {
        Some(Sweep::Grid(grid)) => grid.keys().collect(),
        Some(Sweep::List(list)) => list.iter().flat_map(|arguments| arguments.keys()).collect(),
        None => BTreeSet::new(),
    };
    options.into_iter().cloned().collect()
}

/// The value of an option for one set of arguments: its own or the job's; empty if it has neither.
pub fn argument_text(manifest: &JobManifest, arguments: &Arguments, option: &OptionName) -> String {
    match arguments.get(option).or_else(|| manifest.args.get(option)) {
        Some(Argument::One(value)) => value.to_string(),
        Some(Argument::Many(values)) => values.iter().map(Scalar::to_string).collect::<Vec<_>>().join(" "),
        None => String::new(),
    }
}

/// Texts without repetitions, in the order in which they come first.
fn in_order<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.filter(|text| seen.insert(*text)).cloned().collect()
}

fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Names of columns, no two of them the same.
struct Columns(BTreeSet<String>);

impl Columns {
    fn new(names: &[&str]) -> Self {
        Self(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn name(&mut self, kind: &str, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.0.insert(name.clone()) {
            name = format!("{kind}.{name}");
        }
        name
    }
}

/// Writes rows as CSV (RFC 4180), with line feeds.
fn csv(rows: impl Iterator<Item = Vec<String>>) -> String {
    let cell = |text: &String| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    rows.map(|row| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::tests::{cluster, manifest};
    use super::*;

    fn result(keys: &str, records: &[Value]) -> (Plan, SweepResult) {
        let plan = Plan::new(&manifest(keys), &cluster(&[2, 2]), Timestamp::UNIX_EPOCH, 1).unwrap();
        let lines: Vec<u8> = records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect();
        let result = SweepResult::read(&plan, &lines);
        (plan, result)
    }

    fn good(member: u32, summary: Value) -> Value {
        json!({"member": member, "group": 0, "outcome": "succeeded", "seconds": 1.5, "attempts": 1, "summary": summary})
    }

    const LIST: &str = "{args: {seed: 7}, sweep: {list: [{factors: 20}, {factors: 50, seed: 8}, {note: 'a, \"b\"'}]}, split: 2}";

    #[test]
    fn every_member_has_a_row_however_it_ended() {
        let failed = json!({"member": 2, "group": 1, "outcome": "failed", "seconds": 0.25, "attempts": 2, "failure":
            {"step": null, "exit": 2, "lines": [], "ranks": [{"rank": 1, "status": 2, "host": "x", "lines": ["bad option"]}]}});
        let (plan, result) = result(LIST, &[failed, good(1, json!({"seed": 7, "scores.rmse": 0.9, "kernel": "svd"}))]);
        assert_eq!(
            result.members_csv(&plan.manifest),
            "member,factors,note,seed,fold,outcome,seconds,attempts,nodes,failure,summary.seed,scores.rmse,kernel\n\
             1,20,,7,,succeeded,1.500,1,node/master,,7,0.9,svd\n\
             2,50,,8,,failed,0.250,2,node/compute/0,rank 1 on node/compute/0 ended with status 2,,,\n\
             3,,\"a, \"\"b\"\"\",7,,not run,,0,,,,,\n"
        );
        assert_eq!(result.members[1].failure.as_ref().unwrap().lines, ["bad option"]);
        let failure = JobFailure::of_members(Outcome::Failed, &result);
        assert_eq!(
            failure.message,
            "2 of 3 members did not succeed; member 2 (--factors 50 --seed 8): rank 1 on node/compute/0 ended with status 2"
        );
        assert_eq!((failure.node.as_deref(), failure.exit), (Some("node/compute/0"), Some(2)));
    }

    #[test]
    fn folds_of_a_set_are_added_up_and_sets_ranked_by_their_score() {
        let rmse = |member, value: f64| good(member, json!({"scores.rmse": value, "scores.mae": value / 2.0}));
        let failed =
            json!({"member": 5, "group": 0, "outcome": "timed-out", "seconds": 9.0, "attempts": 1, "failure": {"exit": 1}});
        let keys = "{sweep: {grid: {factors: [20, 50]}}, folds: 3}";
        let (plan, result) = result(keys, &[rmse(1, 1.0), rmse(2, 2.0), rmse(3, 3.0), rmse(4, 0.5), failed, rmse(6, 1.0)]);
        assert_eq!(result.compared_by.as_deref(), Some("scores.rmse"));
        assert_eq!(
            result.folds_csv(&plan.manifest),
            "factors,folds,succeeded,seconds.mean,scores.mae.mean,scores.mae.deviation,scores.rmse.mean,scores.rmse.deviation\n\
             20,3,3,1.500,1,0.5,2,1\n\
             50,3,2,1.500,0.375,0.1767766952966369,0.75,0.3535533905932738\n"
        );
        let best: Vec<String> = result.ranking().iter().map(|set| set.numbers["scores.rmse"].mean.to_string()).collect();
        assert_eq!(best, ["0.75", "2"]);
        assert_eq!(result.succeeded(), 5);
    }

    #[test]
    fn a_set_without_a_score_comes_last_and_one_member_has_no_deviation() {
        let (_, result) =
            result("{sweep: {grid: {seed: [1, 2, 3]}}}", &[good(3, json!({"rmse": 0.5})), good(2, json!({"rmse": 0.4}))]);
        let sets: Vec<String> = result.ranking().iter().map(|set| format!("{:?}", set.numbers.get("rmse"))).collect();
        let shown = |mean: f64| format!("{:?}", Some(&Statistic { mean, deviation: None }));
        assert_eq!(sets, [shown(0.4), shown(0.5), "None".to_owned()]);
    }

    #[test]
    fn a_table_reads_back_from_its_json_and_torn_or_foreign_lines_are_no_members() {
        let (plan, result) =
            result(LIST, &[good(1, json!({"x": true})), json!({"member": 0}), good(9, json!({})), json!("torn")]);
        assert_eq!(result.succeeded(), 1);
        let text = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<SweepResult>(&text).unwrap(), result);
        assert_eq!(SweepResult::read(&plan, b"{\"member\": 1, \"gro").succeeded(), 0);
    }
}
