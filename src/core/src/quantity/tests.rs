use std::fmt::{Debug, Display};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn told<T: TextForm + Debug>(text: &str) -> String {
    let invalid = text.parse::<T>().unwrap_err();
    match invalid.hint {
        Some(hint) => format!("{}: {hint}", invalid.message),
        None => invalid.message,
    }
}

fn survives<T: TextForm + Display + PartialEq + Debug>(value: T) {
    assert_eq!(value.to_string().parse::<T>().as_ref(), Ok(&value), "{value}");
}

#[test]
fn durations_are_sums_of_units() {
    let seconds = |text: &str| text.parse::<Duration>().unwrap().as_seconds();
    assert_eq!([seconds("90s"), seconds("8h"), seconds("1h30m"), seconds("2d1s")], [90, 28_800, 5400, 172_801]);
    assert_eq!(Duration::from_seconds(5400).to_string(), "1h30m");
}

#[test]
fn durations_without_unit_out_of_order_or_of_nothing_are_refused() {
    for text in ["90", "", "h", "30m1h", "1h1h", "-1s", "1.5h", "1 h", "1H", "99999999999999999999s", "4000d", "1ä"] {
        assert!(text.parse::<Duration>().is_err(), "{text}");
    }
    assert_eq!(told::<Duration>("0s"), "duration `0s` is zero: the shortest duration is `1s`");
}

#[test]
fn sizes_have_binary_units_and_decimal_ones_are_told_what_to_write() {
    let size: Size = "50GiB".parse().unwrap();
    assert_eq!((size.as_bytes(), size.to_string().as_str()), (50 << 30, "50GiB"));
    assert_eq!("1024 MiB".parse::<Size>().unwrap().to_string(), "1GiB");
    assert_eq!(told::<Size>("200GB"), "`200GB` is not a size: units are powers of two: write `186GiB`");
    assert_eq!(told::<Size>("2TB"), "`2TB` is not a size: units are powers of two: write `1863GiB`");
    assert_eq!(told::<Size>("50gib"), "`50gib` is not a size: write `50GiB`");
    assert_eq!(told::<Size>("8G"), "`8G` is not a size: units are powers of two: write `8GiB`");
    for text in ["", "GiB", "-1GiB", "1.5GiB", "1PiB", "0GiB", "99999999999TiB", "99999999999TB"] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn volumes_are_whole_gibibytes_up_to_64_tebibytes() {
    assert_eq!("1TiB".parse::<VolumeSize>().unwrap().as_gibibytes(), 1024);
    assert_eq!(told::<VolumeSize>("1500MiB"), "volume size `1500MiB` is not a whole number of GiB: write `2GiB`");
    assert_eq!("64TiB".parse::<VolumeSize>().unwrap().as_gibibytes(), 65_536);
    assert!("65537GiB".parse::<VolumeSize>().is_err());
}

#[test]
fn money_is_exact() {
    let money = |text: &str| text.parse::<Money>().unwrap();
    assert_eq!(money("$40").to_string(), "$40.00");
    assert_eq!(money("$0.1") + money("$0.2"), money("$0.3"));
    assert_eq!((money("$1.428") * 16).to_string(), "$22.848");
    assert_eq!(money("$3.60").for_seconds(90).to_string(), "$0.09");
    assert_eq!([money("$1"), money("$2.5")].into_iter().sum::<Money>(), money("$3.50"));
    for text in ["40", "$", "$-1", "$1.", "$.5", "$1.0000001", "$1e3", "$99999999999999999999"] {
        assert!(text.parse::<Money>().is_err(), "{text}");
    }
}

#[test]
fn networks_name_their_first_address() {
    let network: Ipv4Network = "10.42.0.0/16".parse().unwrap();
    assert_eq!((network.address(), network.prefix()), (Ipv4Addr::new(10, 42, 0, 0), 16));
    assert_eq!((network.size(), network.usable(), network.netmask()), (65_536, 65_531, Ipv4Addr::new(255, 255, 0, 0)));
    assert_eq!(told::<Ipv4Network>("10.42.7.1/16"), "network `10.42.7.1/16` has bits set after its prefix: write `10.42.0.0/16`");
    for text in ["", "/", "10.0.0.0/", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/008", "::/0"] {
        assert!(text.parse::<Ipv4Network>().is_err(), "{text}");
    }
}

#[test]
fn a_subnet_gives_all_but_the_first_four_addresses_and_the_last() {
    let network: Ipv4Network = "10.0.0.16/28".parse().unwrap();
    let hosts: Vec<Ipv4Addr> = network.hosts().collect();
    assert_eq!(hosts.len(), 11);
    assert_eq!((hosts[0], hosts[10]), (Ipv4Addr::new(10, 0, 0, 20), Ipv4Addr::new(10, 0, 0, 30)));
    assert_eq!("10.0.0.0/31".parse::<Ipv4Network>().unwrap().hosts().count(), 0);
    assert_eq!("255.255.255.0/24".parse::<Ipv4Network>().unwrap().hosts().count(), 251);
}

proptest! {
    #[test]
    fn quantities_survive_being_written(number in 1u64..200_000_000, gibibytes in 1u32..=65_536, micro in any::<u64>(), address in any::<u32>(), prefix in 0u8..=32) {
        survives(Duration::from_seconds(number));
        survives(Size::from_bytes(number).unwrap());
        survives(VolumeSize::from_gibibytes(gibibytes).unwrap());
        survives(Money::from_microdollars(micro));
        survives(Ipv4Network::containing(Ipv4Addr::from(address), prefix).unwrap());
    }

    #[test]
    fn no_text_makes_a_quantity_panic(text in "[0-9]{0,22}[ .$/dhmsGiTMKB\\-+中]{0,4}[0-9]{0,8}[dhmsGB/]?") {
        let _ = (text.parse::<Duration>(), text.parse::<Size>(), text.parse::<VolumeSize>());
        let _ = (text.parse::<Money>(), text.parse::<Ipv4Network>());
    }

    #[test]
    fn networks_overlap_just_when_one_holds_the_others_first_address(a in any::<u32>(), b in any::<u32>(), p in 0u8..=32, q in 0u8..=32, near in any::<bool>()) {
        let b = if near { a ^ (b & 0xff) } else { b };
        let first = Ipv4Network::containing(Ipv4Addr::from(a), p).unwrap();
        let second = Ipv4Network::containing(Ipv4Addr::from(b), q).unwrap();
        let expected = first.contains(second.address()) || second.contains(first.address());
        prop_assert_eq!(first.overlaps(second), expected);
        prop_assert_eq!(second.overlaps(first), expected);
    }
}

#[test]
fn ranges_are_written_by_their_ends_or_as_networks() {
    let range: AddressRange = "10.42.0.32/30".parse().unwrap();
    assert_eq!((range.to_string().as_str(), range.size()), ("10.42.0.32-10.42.0.35", 4));
    assert_eq!([range.at(0), range.at(3), range.at(4)], [Some([10, 42, 0, 32].into()), Some([10, 42, 0, 35].into()), None]);
    assert_eq!(
        told::<AddressRange>("10.0.0.9-10.0.0.4"),
        "range `10.0.0.9-10.0.0.4` ends before it begins: write `10.0.0.4-10.0.0.9`"
    );
    let one = "`10.0.0.9` is not a range of addresses: write `10.0.0.9-10.0.0.9` for this one address";
    assert_eq!(told::<AddressRange>("10.0.0.9"), one);
    for text in ["", "-", "10.0.0.4-", "10.0.0.4-10.0.0", "10.0.0.1/30", "10.0.0.4-10.0.0.9-10.0.0.12"] {
        assert!(text.parse::<AddressRange>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn ranges_hold_what_lies_between_their_ends(first in any::<u32>(), more in 0_u32..5000, other in any::<u32>()) {
        let last = first.saturating_add(more);
        let range = AddressRange::between(first.into(), last.into()).unwrap();
        survives(range);
        prop_assert_eq!(range.contains(other.into()), (first..=last).contains(&other));
        prop_assert_eq!(range.at(last - first), Some(last.into()));
        prop_assert_eq!(range.at(last - first + 1), None);
        let next = AddressRange::between(other.into(), other.saturating_add(more).into()).unwrap();
        prop_assert_eq!(range.overlaps(next), (first..=last).any(|address| next.contains(address.into())));
    }
}
