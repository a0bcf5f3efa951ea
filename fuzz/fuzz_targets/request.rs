//! Bodies of `POST /configure`, from bytes to a plan. In the gate: `src/api/body.rs`.
#![no_main]

use fiberd::api::body::parse;
use fiberd::config::ViewConfig;
use fiberd::jobs::requests::facts::{Facts, Light};
use fiberd::jobs::requests::request::ConfigureRequest;
use fiberd::jobs::requests::rules::plan;
use fiberd::units::Rational;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let light = Rational::new(2000, 1).map_or(Light::Waiting, Light::Acquiring);
    let facts = Facts { light, channels: 2337, waterfall: ViewConfig::waterfall() };
    if let Ok(request) = parse::<ConfigureRequest>(body) {
        let _ = plan(&request, &facts, 1_790_000_000);
    }
});
