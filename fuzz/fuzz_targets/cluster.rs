//! Cluster specs; what is accepted can be planned.
#![no_main]

use ewulf_core::{plan, spec, world::World};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(loaded) = spec::load_cluster("fuzz.yaml", text) {
        let _ = plan::plan(&loaded.spec, &World::empty(loaded.spec.cluster.clone()));
    }
});
