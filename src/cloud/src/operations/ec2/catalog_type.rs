//! One instance type, as DescribeInstanceTypes tells it.

use crate::model::ec2::instance_types::InstanceType;
use crate::wire::xml::Xml;

pub(super) fn usage_classes(kind: &InstanceType) -> &'static [&'static str] {
    if kind.spot { &["on-demand", "spot"] } else { &["on-demand"] }
}

pub(super) fn put_type(xml: &mut Xml, kind: &InstanceType) {
    xml.put("instanceType", kind.name)
        .put("currentGeneration", kind.can("current"))
        .put("freeTierEligible", kind.can("free-tier"))
        .texts("supportedUsageClasses", usage_classes(kind))
        .texts("supportedRootDeviceTypes", ["ebs"])
        .texts("supportedVirtualizationTypes", ["hvm"])
        .put("bareMetal", false)
        .put("hypervisor", "nitro")
        .element("processorInfo", |xml| {
            xml.texts("supportedArchitectures", ["x86_64"])
                .put("sustainedClockSpeedInGhz", kind.clock_ghz)
                .put("manufacturer", kind.manufacturer);
        })
        .element("vCpuInfo", |xml| put_processors(xml, kind))
        .element("memoryInfo", |xml| {
            xml.put("sizeInMiB", kind.memory_mib);
        })
        .put("instanceStorageSupported", kind.instance_store_gb > 0);
    if kind.instance_store_gb > 0 {
        xml.element("instanceStorageInfo", |xml| {
            xml.put("totalSizeInGB", kind.instance_store_gb).put("nvmeSupport", "required");
        });
    }
    xml.element("ebsInfo", |xml| put_volumes(xml, kind))
        .element("networkInfo", |xml| put_network(xml, kind))
        .element("placementGroupInfo", |xml| {
            xml.texts("supportedStrategies", &kind.strategies);
        })
        .put("hibernationSupported", kind.can("hibernation"))
        .put("burstablePerformanceSupported", kind.burstable())
        .put("dedicatedHostsSupported", kind.can("hosts"))
        .put("autoRecoverySupported", true)
        .texts("supportedBootModes", ["legacy-bios", "uefi"])
        .put("nitroEnclavesSupport", supported(kind.can("enclaves")))
        .put("nitroTpmSupport", supported(kind.can("tpm")));
    if kind.can("tpm") {
        xml.element("nitroTpmInfo", |xml| {
            xml.texts("supportedVersions", ["2.0"]);
        });
    }
    xml.put("phcSupport", supported(kind.can("clock")))
        .put("rebootMigrationSupport", supported(kind.can("migration")))
        .put("supportedInRegion", true);
}

fn supported(is: bool) -> &'static str {
    if is { "supported" } else { "unsupported" }
}

fn put_processors(xml: &mut Xml, kind: &InstanceType) {
    xml.put("defaultVCpus", kind.vcpus)
        .put("defaultCores", kind.cores)
        .put("defaultThreadsPerCore", kind.threads_per_core)
        .texts("validCores", &kind.valid_cores)
        .texts("validThreadsPerCore", &kind.valid_threads_per_core);
}

fn put_volumes(xml: &mut Xml, kind: &InstanceType) {
    let megabytes = |megabits: u32| f64::from(megabits) / 8.0;
    xml.put("ebsOptimizedSupport", "default")
        .put("encryptionSupport", "supported")
        .element("ebsOptimizedInfo", |xml| {
            xml.put("baselineBandwidthInMbps", kind.ebs_baseline_mbps)
                .put("baselineThroughputInMBps", megabytes(kind.ebs_baseline_mbps))
                .put("baselineIops", kind.ebs_baseline_iops)
                .put("maximumBandwidthInMbps", kind.ebs_maximum_mbps)
                .put("maximumThroughputInMBps", megabytes(kind.ebs_maximum_mbps))
                .put("maximumIops", kind.ebs_maximum_iops);
        })
        .put("nvmeSupport", "required")
        .put("maximumEbsAttachments", kind.ebs_attachments)
        .put("attachmentLimitType", if kind.can("own-attachments") { "dedicated" } else { "shared" });
}

fn put_network(xml: &mut Xml, kind: &InstanceType) {
    xml.put("networkPerformance", kind.network_performance)
        .put("maximumNetworkInterfaces", kind.interfaces)
        .put("maximumNetworkCards", kind.network_cards)
        .put("defaultNetworkCardIndex", 0)
        .list("networkCards", 0..kind.network_cards, |xml, index| put_card(xml, kind, index))
        .put("ipv4AddressesPerInterface", kind.addresses_per_interface)
        .put("ipv6AddressesPerInterface", kind.addresses_per_interface)
        .put("ipv6Supported", true)
        .put("enaSupport", "required")
        .put("enaSrdSupported", kind.can("srd"))
        .put("efaSupported", kind.efa_interfaces > 0)
        .put("encryptionInTransitSupported", kind.can("encryption"))
        .put("flexibleEnaQueuesSupport", supported(kind.ena_queues.flexible.is_some()))
        .put("secondaryNetworkSupported", false)
        .element("connectionTrackingConfiguration", |xml| {
            // In seconds; the same for every type.
            xml.put("defaultTcpEstablishedTimeout", 432_000).put("defaultUdpTimeout", 30).put("defaultUdpStreamTimeout", 180);
        });
    if kind.efa_interfaces > 0 {
        xml.element("efaInfo", |xml| {
            xml.put("maximumEfaInterfaces", kind.efa_interfaces);
        });
    }
}

fn put_card(xml: &mut Xml, kind: &InstanceType, index: u32) {
    xml.put("networkCardIndex", index)
        .put("networkPerformance", kind.card_performance)
        .put("maximumNetworkInterfaces", kind.interfaces / kind.network_cards.max(1))
        .put("baselineBandwidthInGbps", kind.baseline_gbps)
        .put("peakBandwidthInGbps", kind.card_peak_gbps)
        .put("defaultEnaQueueCountPerInterface", kind.ena_queues.default);
    if let Some(queues) = kind.ena_queues.flexible {
        xml.put("additionalFlexibleNetworkInterfaces", queues.additional_interfaces)
            .put("maximumEnaQueueCount", queues.most_a_card)
            .put("maximumEnaQueueCountPerInterface", queues.most_an_interface);
    }
    let kinds: &[&str] = if kind.efa_interfaces > 0 { &["interface", "efa", "efa-only"] } else { &["interface"] };
    xml.texts("interfaceTypeSet", kinds);
}
