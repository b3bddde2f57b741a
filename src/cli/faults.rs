//! `ewulf local faults`: lets the local cloud go wrong, by rules or at once.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ewulf_cloud::control::{self, ControlError};
use ewulf_cloud::faults::{Fault, Market, Plan, Rule, Service, When};
use ewulf_cloud::lifecycle;
use ewulf_core::diagnostics::{Diagnostics, Span};
use ewulf_core::yaml::{self, Node, Problem};
use serde_json::{Value, json};

use super::failure::{Exit, Failure, Kind, Outcome};
use super::session::Session;
use crate::ui::{Table, text};

/// Lets the local cloud go wrong as EC2 does, and worse
///
/// A rule says which calls meet what. Chance comes from the rules' seed, so the same calls meet the same faults again.
/// Rules stay until they are cleared, also when the cloud ends and comes up again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ewulf local faults load faults.yaml
  ewulf local faults add lost --action RunInstances --count 1
  ewulf local faults list
  ewulf local faults journal -n 20
  ewulf local faults node kill demo-compute-1
  ewulf local faults clear")]
pub struct Faults {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Shows the rules, and how often each was asked and struck
    #[command(after_help = "Examples:\n  ewulf local faults list\n  ewulf local faults list --json")]
    List,
    /// Adds a rule, or replaces the one with its id
    ///
    /// FAULT is a name, or a name with details as YAML. Before the call: internal-error, unavailable, throttled, deny,
    /// hang, reset, error, delay. After it took effect: lost, hang-after, error-after. Limits: throttle, capacity,
    /// quota. Consistency: lag, profile-lag, name-taken, invocation-lag, lingering-interfaces. Instances:
    /// launch-failure, slow-launch, slow-boot, failed-boot, late-registration, impaired, spot-interruption. Commands:
    /// undeliverable, delivery-timed-out.
    #[command(after_help = "\
Examples:
  ewulf local faults add lost --nth-mutating 7
  ewulf local faults add throttle --id limits
  ewulf local faults add 'delay: {seconds: 0.05}'
  ewulf local faults add 'capacity: {left: 3}' --type 'c7i.*' --zone us-east-1a --market spot
  ewulf local faults add internal-error --action 'Describe*' --probability 0.1
  ewulf local faults add 'error: {code: PendingVerification}' --action RunInstances")]
    Add(Add),
    /// Replaces all rules by those of a YAML or JSON file
    #[command(after_help = "Examples:\n  ewulf local faults load faults.yaml")]
    Load { file: PathBuf },
    /// Removes rules; without ids all of them, and the journal with them
    #[command(after_help = "Examples:\n  ewulf local faults clear\n  ewulf local faults clear rule-1 limits")]
    Clear { ids: Vec<String> },
    /// Shows the calls that changed something or met a fault, oldest first
    #[command(after_help = "\
Examples:
  ewulf local faults journal -n 20
  ewulf local faults journal --json | jq '.calls[] | select(.rules != [])'")]
    Journal {
        /// Only the last calls
        #[arg(short = 'n', long, value_name = "COUNT")]
        last: Option<usize>,
    },
    /// Makes trouble for one running node, now
    Node(OneNode),
}

#[derive(Debug, Args)]
struct Add {
    fault: String,
    #[arg(long)]
    id: Option<String>,
    /// ec2, ssm, sts or ebs
    #[arg(long)]
    service: Option<String>,
    /// An action; `*` stands for any letters
    #[arg(long)]
    action: Option<String>,
    /// An instance type; `*` stands for any letters
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    #[arg(long)]
    zone: Option<String>,
    /// on-demand or spot
    #[arg(long)]
    market: Option<String>,
    /// An instance's id or name, or any value in the call; `*` stands for any letters
    #[arg(long)]
    resource: Option<String>,
    /// Let so many calls pass first
    #[arg(long, value_name = "COUNT")]
    after_calls: Option<u64>,
    /// Only the changing call of this number, as the journal counts
    #[arg(long, value_name = "NUMBER")]
    nth_mutating: Option<u64>,
    /// From 0 to 1
    #[arg(long, value_name = "CHANCE")]
    probability: Option<f64>,
    /// Strike so often, then rest
    #[arg(long)]
    count: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ewulf local faults node kill demo-compute-1
  ewulf local faults node freeze i-0123456789abcdef0
  ewulf local faults node lossy 10.42.0.11 --percent 20
  ewulf local faults node interrupt demo-spot-1 --notice 10")]
struct OneNode {
    #[command(subcommand)]
    trouble: Trouble,
}

/// NODE is an instance's id, its `Name` tag or its address.
#[derive(Debug, Subcommand)]
enum Trouble {
    /// Ends it at once, as a machine that fails
    #[command(after_help = "Examples:\n  ewulf local faults node kill demo-compute-1")]
    Kill { node: String },
    /// Powers it off from inside
    #[command(after_help = "Examples:\n  ewulf local faults node power-off demo-compute-1")]
    PowerOff { node: String },
    /// Stops all its processes where they are
    #[command(after_help = "Examples:\n  ewulf local faults node freeze i-0123456789abcdef0")]
    Freeze { node: String },
    /// Lets frozen processes go on
    #[command(after_help = "Examples:\n  ewulf local faults node thaw i-0123456789abcdef0")]
    Thaw { node: String },
    /// Pulls its network cable
    #[command(after_help = "Examples:\n  ewulf local faults node cut 10.42.0.17")]
    Cut { node: String },
    /// Plugs its network cable in again
    #[command(after_help = "Examples:\n  ewulf local faults node join 10.42.0.17")]
    Join { node: String },
    /// Drops some of its packets, in and out
    #[command(after_help = "Examples:\n  ewulf local faults node lossy demo-compute-0 --percent 20")]
    Lossy {
        node: String,
        /// How many of a hundred; 0 ends it
        #[arg(long, default_value_t = 10)]
        percent: u8,
    },
    /// Delays what it sends, where the kernel can
    #[command(after_help = "Examples:\n  ewulf local faults node slow demo-compute-0 --milliseconds 50")]
    Slow {
        node: String,
        /// By how much; 0 ends it
        #[arg(long, default_value_t = 100)]
        milliseconds: u32,
    },
    /// Fills the volume that is mounted somewhere in it
    #[command(after_help = "Examples:\n  ewulf local faults node fill demo-master --path /shared --leave-mib 10")]
    Fill {
        node: String,
        /// Where the volume is mounted
        #[arg(long, default_value = "/shared")]
        path: String,
        /// How many MiB to leave
        #[arg(long, default_value_t = 0)]
        leave_mib: u64,
    },
    /// Takes a spot instance back, with notice
    #[command(after_help = "Examples:\n  ewulf local faults node interrupt demo-spot-1 --notice 10")]
    Interrupt {
        node: String,
        /// Seconds between notice and end
        #[arg(long, default_value_t = 120.0)]
        notice: f64,
    },
}

impl Faults {
    /// Whether an interrupt may end it at any point.
    pub fn only_reads(&self) -> bool {
        matches!(self.act, Act::List | Act::Journal { .. })
    }

    pub async fn run(self, session: &Session) -> Outcome {
        match self.act {
            Act::List => {
                let answer = call(session, "ListFaults", json!({})).await?;
                show_rules(session, &answer)?;
            }
            Act::Add(add) => {
                let rule = add.rule()?;
                let answer = call(session, "AddFault", to_value(&rule)?).await?;
                let sentence = format!("Rule {} is at work.", answer["id"].as_str().unwrap_or_default());
                tell(session, &answer, &sentence)?;
            }
            Act::Load { file } => {
                let plan = load(&file)?;
                let answer = call(session, "SetFaults", to_value(&plan)?).await?;
                let verb = if plan.rules.len() == 1 { "is" } else { "are" };
                let sentence = format!("{} {verb} at work.", text::count(plan.rules.len() as u64, "rule"));
                tell(session, &answer, &sentence)?;
            }
            Act::Clear { ids } if ids.is_empty() => {
                let answer = call(session, "ClearFaults", json!({})).await?;
                tell(session, &answer, "No rule is at work any more.")?;
            }
            Act::Clear { ids } => {
                let mut answer = Value::Null;
                for id in &ids {
                    answer = call(session, "RemoveFault", json!({ "id": id })).await?;
                }
                tell(session, &answer, &format!("Removed {}.", text::enumerate(&ids)))?;
            }
            Act::Journal { last } => {
                let input = last.map_or_else(|| json!({}), |last| json!({ "last": last }));
                let answer = call(session, "GetJournal", input).await?;
                show_journal(session, &answer)?;
            }
            Act::Node(OneNode { trouble }) => {
                let (node, trouble, done) = trouble.input();
                let answer = call(session, "DisturbNode", json!({ "node": node, "trouble": trouble })).await?;
                let id = answer["node"].as_str().unwrap_or_default();
                tell(session, &answer, &format!("Node {node} ({id}) {done}."))?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Trouble {
    /// The node, the trouble on the wire, and how a sentence about it ends.
    fn input(self) -> (String, Value, &'static str) {
        match self {
            Self::Kill { node } => (node, json!("kill"), "is killed"),
            Self::PowerOff { node } => (node, json!("power-off"), "powers off"),
            Self::Freeze { node } => (node, json!("freeze"), "is frozen"),
            Self::Thaw { node } => (node, json!("thaw"), "goes on"),
            Self::Cut { node } => (node, json!("cut"), "is cut off"),
            Self::Join { node } => (node, json!("join"), "is back on its network"),
            Self::Lossy { node, percent } => (node, json!({ "lossy": { "percent": percent } }), "loses packets as asked"),
            Self::Slow { node, milliseconds } => {
                (node, json!({ "slow": { "milliseconds": milliseconds } }), "sends as slowly as asked")
            }
            Self::Fill { node, path, leave_mib } => {
                (node, json!({ "fill": { "path": path, "leave_mib": leave_mib } }), "has a full disk")
            }
            Self::Interrupt { node, notice } => (node, json!({ "interrupt": { "notice": notice } }), "has its notice"),
        }
    }
}

impl Add {
    /// The rule that the command line describes.
    fn rule(self) -> Result<Rule, Failure> {
        let fault: Fault = {
            let node = read("FAULT", &self.fault)?;
            let wrapped: Rule = rule_of("FAULT", &self.fault, &node, json!({ "fault": node.to_json() }))?;
            wrapped.fault
        };
        let word = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        Ok(Rule {
            id: self.id.unwrap_or_default(),
            service: word("--service", self.service).map(parse::<Service>).transpose()?,
            action: self.action,
            when: When {
                instance_type: self.instance_type,
                zone: self.zone,
                market: word("--market", self.market).map(parse::<Market>).transpose()?,
                resource: self.resource,
                after_calls: self.after_calls,
                nth_mutating: self.nth_mutating,
            },
            probability: self
                .probability
                .map(|chance| chance.try_into().map_err(|message: String| Failure::invalid(format!("--probability: {message}"))))
                .transpose()?,
            count: self.count,
            fault,
        })
    }
}

/// Reads one word of a fixed set.
fn parse<T: serde::de::DeserializeOwned>((name, value): (String, String)) -> Result<T, Failure> {
    serde_json::from_value(Value::String(value)).map_err(|error| Failure::invalid(format!("{name}: {error}")))
}

/// Reads a file of rules; every rule that says nothing is told with its place.
fn load(path: &Path) -> Result<Plan, Failure> {
    let name = path.to_string_lossy();
    let source = std::fs::read_to_string(path)
        .map_err(|error| Failure::invalid(format!("file {name}: cannot be read")).caused_by(Some(&error)))?;
    let node = read(&name, &source)?;
    let mut frame = node.to_json();
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    if let Some(list) = frame.get_mut("rules") {
        *list = json!([]);
    }
    for item in node.get("rules").map(Node::items).unwrap_or_default() {
        match serde_json::from_value::<Rule>(item.to_json()) {
            Ok(rule) => rules.push(rule),
            Err(error) => problems.push(Problem::new(item.span, format!("this is no rule: {error}"))),
        }
    }
    let mut plan = match serde_json::from_value::<Plan>(frame) {
        Ok(plan) => plan,
        Err(error) => {
            problems.push(Problem::new(Span::START, format!("this is no list of rules: {error}")));
            Plan::default()
        }
    };
    plan.rules = rules;
    if let Err(error) = plan.name_rules() {
        problems.push(Problem::new(node.span_at("/rules"), error.to_string()));
    }
    if problems.is_empty() { Ok(plan) } else { Err(wrong(&name, &source, problems)) }
}

fn read(name: &str, source: &str) -> Result<Node, Failure> {
    yaml::read(source).map_err(|problems| wrong(name, source, problems))
}

fn rule_of(name: &str, source: &str, node: &Node, value: Value) -> Result<Rule, Failure> {
    serde_json::from_value(value).map_err(|error| {
        let problem = Problem::new(node.span, format!("this is no fault: {error}"));
        wrong(name, source, vec![problem]).hint("ewulf local faults add --help")
    })
}

fn wrong(name: &str, source: &str, problems: Vec<Problem>) -> Failure {
    let list = problems.into_iter().map(|problem| problem.into_error(name)).collect();
    Failure::from(Diagnostics::new(name, source, list))
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::of(Kind::Failed, &error))
}

/// Asks the local cloud for one of its own actions; it must be up.
async fn call(session: &Session, action: &str, input: Value) -> Result<Value, Failure> {
    let state = session.local_state();
    let Some(running) = lifecycle::status(&state).await?.running else {
        return Err(Failure::new(Kind::Failed, "the local cloud is down").hint("sudo ewulf local up"));
    };
    control::call(&state, &running.endpoint, action, &input).await.map_err(|error| {
        let kind = match &error {
            ControlError::Refused { .. } => Kind::InvalidInput,
            _ => Kind::Failed,
        };
        let failure = Failure::of(kind, &error);
        match error {
            ControlError::Refused { code, .. } if code.starts_with("InvalidNode.") => failure.hint("ewulf local status"),
            ControlError::Store(_) => failure.hint("its key is readable by the user who started it: use the same user, or sudo"),
            _ => failure,
        }
    })
}

/// Says what was done.
fn tell(session: &Session, answer: &Value, sentence: &str) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.print_json(answer)?;
    } else {
        session.screen.print_line(sentence)?;
    }
    Ok(())
}

fn show_rules(session: &Session, answer: &Value) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.print_json(answer)?;
        return Ok(());
    }
    let rules = answer["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        session.screen.print_line("No rule is at work.")?;
        return Ok(());
    }
    session.screen.print_line(&format!("Seed: {}", answer["seed"]))?;
    let mut table = Table::new(["ID", "CALLS", "WHEN", "FAULT", "ASKED", "STRUCK"]);
    for rule in rules {
        let word = |name: &str| rule[name].as_str().unwrap_or("*").to_owned();
        let calls = format!("{} {}", word("service"), word("action"));
        let mut when: Vec<String> = [("probability", &rule["probability"]), ("count", &rule["count"])]
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let conditions = rule["when"].as_object().into_iter().flatten();
        when.extend(conditions.map(|(name, value)| format!("{} {}", name.replace('_', " "), plain(value))));
        table.row([
            word("id"),
            calls,
            when.join(", "),
            plain(&rule["fault"]),
            rule["asked"].to_string(),
            rule["struck"].to_string(),
        ]);
    }
    session.screen.print_table(&table)?;
    Ok(())
}

fn show_journal(session: &Session, answer: &Value) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.print_json(answer)?;
        return Ok(());
    }
    let calls = answer["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    if calls.is_empty() {
        session.screen.print_line("No call has changed anything or met a fault.")?;
        return Ok(());
    }
    let mut table = Table::new(["CALL", "TIME", "SERVICE", "ACTION", "END", "FAULTS"]);
    for call in calls {
        let word = |name: &str| call[name].as_str().unwrap_or_default().to_owned();
        let ordinal = call["ordinal"].as_u64().map(|number| number.to_string()).unwrap_or_default();
        let words = |name: &str| call[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        let met: Vec<String> =
            words("faults").iter().zip(words("rules")).map(|(fault, rule)| format!("{fault} ({rule})")).collect();
        table.row([ordinal, word("time"), word("service"), word("action"), word("code"), met.join(", ")]);
    }
    session.screen.print_table(&table)?;
    Ok(())
}

/// A value in few letters: texts without quotes, maps as in a file.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| match value {
                    Value::Object(inner) if !inner.is_empty() => format!("{name}: {{{}}}", plain(value)),
                    Value::Object(_) => name.clone(),
                    value => format!("{name}: {}", plain(value)),
                })
                .collect();
            members.join(", ")
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|failure| failure.diagnostics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_of_rules_is_read() {
        let plan = loaded(
            "seed: 7\nrules:\n  - fault: lost\n    when: {nth_mutating: 3}\n  - {id: slow, fault: {delay: {seconds: 0.05}}}\n",
        );
        let plan = plan.unwrap();
        assert_eq!((plan.seed, plan.rules.len(), plan.rules[0].id.as_str()), (7, 2, "rule-1"));
        let json = loaded(&serde_json::to_string_pretty(&plan).unwrap()).unwrap();
        assert_eq!(json, plan, "JSON is read as well");
    }

    #[test]
    fn every_wrong_rule_is_told_with_its_place() {
        let told = loaded("rules:\n  - fault: lost\n  - fault: losst\n  - {fault: delay}\n").unwrap_err();
        assert!(told.contains("faults.yaml:3:") && told.contains("unknown variant `losst`"), "{told}");
        assert!(told.contains("faults.yaml:4:") && told.contains("missing field `seconds`"), "{told}");
        let told = loaded("sed: 1\n").unwrap_err();
        assert!(told.contains("unknown field `sed`"), "{told}");
        let told = loaded("rules:\n  - {id: a, fault: lost}\n  - {id: a, fault: lost}\n").unwrap_err();
        assert!(told.contains("two rules have the id a"), "{told}");
    }

    #[test]
    fn faults_are_shown_as_they_are_written() {
        assert_eq!(plain(&json!("lost")), "lost");
        assert_eq!(plain(&json!({ "delay": { "seconds": 0.5 } })), "delay: {seconds: 0.5}");
        assert_eq!(plain(&json!({ "throttle": {} })), "throttle");
    }
}
