//! How a plan looks.

use ewulf_core::plan::{Blocker, Change, Difference, Effect, Ladder, LadderRung, Plan, Sign};
use ewulf_core::quantity::Money;
use ewulf_core::spec::Market;

use super::Style;
use super::table::Table;

/// Renders a plan for people: a line a change, totals, price, what is in the way.
pub fn render(plan: &Plan, style: Style) -> String {
    let mut text = String::new();
    if plan.changes.is_empty() && plan.blockers.is_empty() {
        text.push_str(&format!("Cluster {} is as specified: nothing to do.\n", style.bold(plan.cluster.as_str())));
    } else {
        text.push_str(&format!("Cluster {}\n\n", style.bold(plan.cluster.as_str())));
        text.push_str(&changes(&plan.changes, style));
        text.push('\n');
    }
    for ladder in plan.ladders.iter().filter(|_| !plan.changes.is_empty()) {
        text.push_str(&rungs(ladder, style));
        text.push('\n');
    }
    for (list, heading) in [(&plan.warnings, style.yellow("warning:")), (&plan.blockers, style.red("blocked:"))] {
        for Blocker { address, message, hint } in list {
            text.push_str(&format!("{heading} {address}: {message}\n  {} {hint}\n", style.cyan("hint:")));
        }
    }
    if !plan.changes.is_empty() {
        text.push_str(&totals(plan));
        text.push('\n');
        for paced in &plan.paced {
            text.push_str(&format!("Pacing: {paced}.\n"));
        }
    }
    text
}

fn changes(changes: &[Change], style: Style) -> String {
    let mut table = Table::new(["", "ADDRESS", "WHAT", "WHY"]);
    let mut details = Vec::new();
    for change in changes {
        let mut why = change.reason.to_string();
        if matches!(change.sign, Sign::Update | Sign::Replace) || change.effect != Effect::InPlace {
            why = format!("{why}; {}", change.effect);
        }
        table.row([sign(change.sign, style), change.address.to_string(), change.summary.clone(), why]);
        details.push(change.details.iter().map(difference).collect::<Vec<_>>());
    }
    // Details stand below the line they belong to; the first line is the heading.
    let rendered = table.render(style, None);
    let mut lines = rendered.lines();
    let mut text = lines.next().map(|heading| format!("  {heading}\n")).unwrap_or_default();
    for (line, details) in lines.zip(details) {
        text.push_str(&format!("  {line}\n"));
        for detail in details {
            text.push_str(&format!("       {}\n", style.dim(&detail)));
        }
    }
    text
}

/// The rungs of a group's ladder, each with its price; an arrow points at the one that is taken.
fn rungs(ladder: &Ladder, style: Style) -> String {
    let Ladder { group, count, least, chosen, rungs, .. } = ladder;
    let number = if least < count { format!("{least} to {count}") } else { format!("all {count} or none") };
    let mut table = Table::new(["", ">RUNG", "TYPE", "MARKET", "ZONE", "TRIED", ">PRICE PER HOUR", ""]);
    for (position, rung) in rungs.iter().enumerate() {
        let LadderRung { pool, within, price_per_hour, is_refused, obstacle } = rung;
        let ceiling = if pool.market == Market::Spot && price_per_hour.is_some() { "at most " } else { "" };
        let note = match (obstacle, is_refused) {
            (Some(obstacle), _) => style.yellow(&format!("out of reach: {obstacle}")),
            (None, true) => style.yellow("no room"),
            (None, false) => String::new(),
        };
        table.row([
            if *chosen == Some(position) { style.green("→") } else { String::new() },
            (position + 1).to_string(),
            pool.instance_type.clone(),
            pool.market.to_string(),
            pool.zone.clone(),
            within.map_or_else(|| "once".to_owned(), |within| format!("for {within}")),
            format!("{ceiling}{}", price(*price_per_hour)),
            note,
        ]);
    }
    let lines: Vec<String> = table.render(style, None).lines().map(|line| format!("  {}\n", line.trim_end())).collect();
    format!("Capacity of {}: {number}, on the first rung with room\n\n{}", style.bold(group.as_str()), lines.concat())
}

fn sign(sign: Sign, style: Style) -> String {
    let symbol = sign.symbol().to_string();
    match sign {
        Sign::Create => style.green(&symbol),
        Sign::Update | Sign::Replace => style.yellow(&symbol),
        Sign::Delete => style.red(&symbol),
    }
}

fn difference(difference: &Difference) -> String {
    let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    format!("{}: {} → {}", difference.attribute, side(&difference.from), side(&difference.to))
}

/// One sentence with the counts, one with the price.
fn totals(plan: &Plan) -> String {
    let totals = plan.totals();
    format!(
        "Plan: {} to create, {} to change, {} to replace, {} to remove.\nPrice per hour: {} → {}.",
        totals.create,
        totals.update,
        totals.replace,
        totals.delete,
        price(plan.price_before),
        price(plan.price_after),
    )
}

/// A price to a hundredth of a cent, or that nobody knows it.
pub fn price(price: Option<Money>) -> String {
    price.map_or_else(|| "unknown".to_owned(), |money| format!("${:.4}", money.as_dollars()))
}
