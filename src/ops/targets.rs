//! The live side of the model map's targets: how fit each is, and how many retries each provider can bear.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tower::retry::budget::{Budget, TpsBudget};

use crate::config::snapshot::{ModelMap, Target};
use crate::policy::health::{Fitness, Health};

/// How long an answered request buys retries.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Retries in a second that are free: a provider with little traffic gets some too.
const FREE_RETRIES_PER_SECOND: u32 = 1;

/// What is kept of all targets, by [`Target::slot`], and of their providers.
#[derive(Debug, Default)]
pub struct Targets {
    slots: Vec<Slot>,
    budgets: BTreeMap<String, Arc<TpsBudget>>,
    share: f64,
}

/// One target.
#[derive(Debug)]
pub struct Slot {
    /// The provider's name.
    pub provider: String,
    /// The model's id there.
    pub model: String,
    /// How fit it is.
    pub health: Arc<Health>,
}

impl Targets {
    /// The targets of another model map: those that are in both keep their state.
    #[must_use]
    pub fn renewed(&self, map: &ModelMap) -> Self {
        let known: HashMap<(&str, &str), &Arc<Health>> = self.slots.iter().map(|slot| ((slot.provider.as_str(), slot.model.as_str()), &slot.health)).collect();
        let slot = |(provider, model): &(String, String)| Slot {
            provider: provider.clone(),
            model: model.clone(),
            health: known.get(&(provider.as_str(), model.as_str())).map(|health| Arc::clone(health)).unwrap_or_default(),
        };
        let share = map.routing.retry.budget;
        // Equal bits: the operator's own number.
        let same = share.to_bits() == self.share.to_bits();
        let budget = |name: &String| {
            let known = self.budgets.get(name).filter(|_| same);
            (name.clone(), known.cloned().unwrap_or_else(|| Arc::new(fresh_budget(share))))
        };
        Targets { slots: map.slots.iter().map(slot).collect(), budgets: map.providers.keys().map(budget).collect(), share }
    }

    /// The state of a target; `None` for a model that no line of the map knows.
    #[must_use]
    pub fn health(&self, target: &Target) -> Option<&Arc<Health>> {
        Some(&self.slots.get(target.slot?)?.health)
    }

    /// Whether a target may be asked before those that rest.
    #[must_use]
    pub fn is_fit(&self, target: &Target, now: Instant) -> bool {
        self.health(target).is_none_or(|health| health.fitness(now).takes_requests())
    }

    /// Notes that a provider is asked, which buys it a share of a retry.
    pub fn asked(&self, provider: &str) {
        if let Some(budget) = self.budgets.get(provider) {
            budget.deposit();
        }
    }

    /// Takes a retry from a provider's budget, if there is one.
    #[must_use]
    pub fn may_retry(&self, provider: &str) -> bool {
        self.budgets.get(provider).is_some_and(|budget| budget.withdraw())
    }

    /// Every target with its state.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = (&Slot, Fitness)> {
        self.slots.iter().map(move |slot| (slot, slot.health.fitness(now)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share has no use for more digits")]
fn fresh_budget(share: f64) -> TpsBudget {
    TpsBudget::new(BUDGET_WINDOW, FREE_RETRIES_PER_SECOND, share as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::snapshot::Cooldown;
    use crate::policy::health::{Role, Verdict};

    fn map(models: &str, budget: f64) -> ModelMap {
        let text = format!(
            "providers: {{ a: {{ type: openai, base_url: 'http://127.0.0.1:1' }}, b: {{ type: openai, base_url: 'http://127.0.0.1:2' }} }}\n\
             models: {models}\nrouting: {{ default_provider: a, retry: {{ budget: {budget} }} }}"
        );
        config::parse("", &text, &|_| None).unwrap_or_else(|errors| panic!("{errors}")).models
    }

    #[test]
    fn a_target_keeps_its_state_wherever_it_stands_in_the_next_map() {
        let old = Targets::default().renewed(&map("{ one: { a: x }, two: { b: y, a: x } }", 0.2));
        assert_eq!(old.slots.len(), 2, "one state for one model at one provider");
        let rules = Cooldown { failures: 1, within: BUDGET_WINDOW, rate: 0.0, rest: BUDGET_WINDOW, most: BUDGET_WINDOW };
        let now = Instant::now();
        old.slots[0].health.end(now, &rules, Role::Regular, Verdict::Failed(None));
        let new = old.renewed(&map("{ zero: { b: z }, two: { b: y, a: x } }", 0.2));
        let resting = |targets: &Targets| {
            let resting = targets.states(now).filter(|(_, fitness)| !fitness.takes_requests());
            resting.map(|(slot, _)| format!("{}:{}", slot.provider, slot.model)).collect::<Vec<_>>()
        };
        assert_eq!((resting(&old), resting(&new)), (vec!["a:x".to_owned()], vec!["a:x".to_owned()]));
    }

    #[test]
    fn retries_are_a_share_of_what_was_asked() {
        let targets = Targets::default().renewed(&map("{ one: { a: x } }", 0.2));
        let taken = |targets: &Targets| (0..1000).filter(|_| targets.may_retry("a")).count();
        let free = taken(&targets);
        assert!(free <= 10, "{free}");
        (0..100).for_each(|_| targets.asked("a"));
        let bought = taken(&targets);
        assert!((19..=21).contains(&bought), "{bought}");
        assert!(!targets.may_retry("nobody"));
    }
}
