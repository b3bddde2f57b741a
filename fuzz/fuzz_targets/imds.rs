//! Requests for instance metadata: method and path in the first line, then headers.
#![no_main]

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use ewulf_cloud::imds;
use ewulf_cloud::model::ec2::PUBLIC_IMAGES;
use ewulf_cloud::operations::ec2;
use ewulf_cloud::wire::query::Query;
use ewulf_fuzz::GROUND;

/// VPC and address of a node.
static NODE: LazyLock<(String, Ipv4Addr)> = LazyLock::new(|| {
    let form = format!(
        "ImageId={}&InstanceType=t3.micro&MinCount=1&MaxCount=1&MetadataOptions.InstanceMetadataTags=enabled",
        PUBLIC_IMAGES[0].id
    );
    let query = Query::parse(&form).expect("a form");
    GROUND.runtime.block_on(ec2::call(&GROUND.cloud, "RunInstances", &query)).expect("an instance");
    let state = GROUND.cloud.state();
    let instance = state.ec2.instances().next().expect("an instance");
    (instance.vpc_id.clone(), instance.private_address)
});

libfuzzer_sys::fuzz_target!(|input: &str| {
    let mut lines = input.lines();
    let Some((method, path)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let mut request = hyper::Request::builder().method(method).uri(path);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    let status = imds::answer(&GROUND.cloud, &NODE.0, NODE.1, &head).status().as_u16();
    assert!(status < 500, "{status}");
});
