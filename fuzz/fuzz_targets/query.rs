//! Forms of EC2's query protocol: as trees, and as calls.
#![no_main]

use ewulf_cloud::operations::ec2;
use ewulf_cloud::wire::query::Query;
use ewulf_fuzz::{GROUND, judge};

libfuzzer_sys::fuzz_target!(|form: &str| {
    let Ok(query) = Query::parse(form) else { return };
    let _ = query.only(&["Action", "Filter.Name"]);
    for (path, value) in query.leaves() {
        assert_eq!(query.text(&path), Some(value));
    }
    if let Some(action) = query.text("Action") {
        judge(GROUND.runtime.block_on(ec2::call(&GROUND.cloud, action, &query)));
    }
});
