//! Whether a job may look at other channels, and what it becomes. Pure.
//!
//! A `RegionOfInterestCommand` counts channels from 0, and its `end` is behind the last one: `{start: 4, end: 7}` are the
//! channels that `POST /configure` calls 5, 6 and 7. A job keeps its streams, because its clients hold them open; so it
//! needs a channel for each, and what one stream shows becomes longer or shorter.

use std::ops::Range;

use crate::frame::View;
use crate::jobs::plan::JobPlan;
use crate::jobs::requests::facts::{Facts, Light};
use crate::jobs::requests::rules::line_fits_message;
use crate::refusal::{Fault, Refusal};

/// The job of `plan` with `wanted`, not empty, in place of its channels.
///
/// # Errors
/// Why it cannot have them.
pub fn change(plan: &JobPlan, wanted: Range<usize>, facts: &Facts) -> Result<JobPlan, Refusal> {
    let (count, streams) = (wanted.len(), plan.stream_count);
    if wanted.end > facts.channels {
        let highest = facts.channels;
        let msg = format!("{} is outside the fiber: it has {highest} channels, so end is at most that", wanted.end);
        return Err(Refusal::Fields(vec![Fault { field: "value.end".into(), msg, kind: "out_of_range" }]));
    }
    let found = || format!("start {} and end {} are {count} channels", wanted.start, wanted.end);
    if plan.view() == View::Single && count != 1 {
        let error = "A single channel view (view_type 1) has one channel";
        return Err(Refusal::rule("not_single", "value", error, found(), "let end be start + 1"));
    }
    if count < streams {
        let error = format!("This job has {streams} streams, and each needs a channel");
        let advice = "widen the range, or configure another job";
        return Err(Refusal::rule("too_few_channels", "value", error, found(), advice));
    }
    match facts.light {
        Light::Acquiring(prr) if prr == plan.prr => {}
        Light::Acquiring(prr) => {
            let (then, prr) = (plan.prr.to_f64(), prr.to_f64());
            let why = format!("its PRR is {prr} Hz and was {then} Hz when the job was configured");
            return Err(Refusal::DoesNotFit(why));
        }
        Light::Waiting => return Err(Refusal::Waiting),
        Light::Starting => return Err(Refusal::NoMetadata),
        Light::Draining => return Err(Refusal::Draining),
    }
    let changed = JobPlan { channels: wanted.start + 1..=wanted.end, ..plan.clone() };
    line_fits_message(&changed)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ViewConfig;
    use crate::units::Rational;
    use proptest::prelude::*;

    fn facts(channels: usize, light: Light) -> Facts {
        Facts { light, channels, waterfall: ViewConfig::waterfall(), lines: false }
    }

    fn prr() -> Rational {
        Rational::new(2000, 1).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_granted_covers_what_was_asked_for_by_as_many_streams(
            first in 1usize..200, count in 1usize..50, start in 0usize..300, len in 1usize..300, single: bool,
        ) {
            let pattern = if single { ViewConfig::single("one", 1) } else { ViewConfig::waterfall() };
            let channels = first..=first + if single { 0 } else { count - 1 };
            let plan = JobPlan::new(pattern, channels, prr(), 1);
            let before = plan.streams().len();
            let facts = facts(250, Light::Acquiring(prr()));
            match change(&plan, start..start + len, &facts) {
                Ok(changed) => {
                    let streams = changed.streams();
                    prop_assert_eq!(streams.len(), before);
                    let all: Vec<_> = streams.into_iter().flatten().collect();
                    prop_assert_eq!(all, (start + 1..=start + len).collect::<Vec<_>>());
                    prop_assert!(start + len <= 250);
                }
                Err(_) => prop_assert!(start + len > 250 || len < before || (single && len != 1)),
            }
        }
    }

    #[test]
    fn nothing_changes_while_nobody_knows_the_fiber() {
        let plan = JobPlan::new(ViewConfig::waterfall(), 1..=9, prr(), 1);
        let ask = |light| change(&plan, 0..9, &facts(20, light)).unwrap_err();
        assert_eq!(ask(Light::Waiting), Refusal::Waiting);
        assert_eq!(ask(Light::Starting), Refusal::NoMetadata);
        assert_eq!(ask(Light::Draining), Refusal::Draining);
        let other = Rational::new(1000, 1).unwrap();
        assert!(matches!(ask(Light::Acquiring(other)), Refusal::DoesNotFit(why) if why.contains("2000")));
    }
}
