use proptest::prelude::*;

use super::*;

fn hint<T: TextForm + std::fmt::Debug>(text: &str) -> String {
    text.parse::<T>().unwrap_err().hint.unwrap_or_default()
}

#[test]
fn names_are_short_lower_case_and_start_with_a_letter() {
    for text in ["a", "demo", "knn-2", &"a".repeat(32)] {
        assert_eq!(text.parse::<ClusterName>().unwrap(), text);
    }
    for text in ["", "Demo", "2nd", "-a", "a_b", "a.b", "ä", &"a".repeat(33), "a b", "a\n"] {
        assert!(text.parse::<ClusterName>().is_err(), "{text}");
    }
    assert_eq!(hint::<ClusterName>("My Cluster!"), "write `my-cluster`");
    assert!("master".parse::<GroupName>().is_err());
}

#[test]
fn paths_on_nodes_stay_out_of_system_folders() {
    for text in ["/shared", "/mnt/data-1", "/opt/data", "/home/shared"] {
        assert_eq!(text.parse::<NodePath>().unwrap(), text);
    }
    assert_eq!("/shared/".parse::<NodePath>().unwrap(), "/shared");
    for text in
        ["", "/", "//", "shared", "/a//b", "/a/../b", "/a b", "/etc", "/usr/x", "/opt", "/opt/ewulf/x", "/home", "/a'b", "/$x"]
    {
        assert!(text.parse::<NodePath>().is_err(), "{text}");
    }
}

#[test]
fn relative_paths_stay_in_their_folder() {
    let path = |text: &str| text.parse::<RelativePath>().map(|path| path.to_string());
    assert_eq!(path("./a//b/./c/"), Ok("a/b/c".to_owned()));
    assert_eq!(path("./"), Ok(".".to_owned()));
    assert_eq!(path("..a"), Ok("..a".to_owned()));
    for text in ["", "/a", "..", "a/../b", "a/..", "a\nb", "a\0"] {
        assert!(path(text).is_err(), "{text:?}");
    }
}

#[test]
fn options_lose_underscores_and_never_start_with_a_dash() {
    assert_eq!("min_support".parse::<OptionName>().unwrap(), "min-support");
    for text in ["", "-a", "--a", "A", "a b", "a=b", "_a"] {
        assert!(text.parse::<OptionName>().is_err(), "{text}");
    }
}

#[test]
fn packages_units_and_ids_have_no_room_for_a_shell() {
    for text in ["a", "a;b", "A1", "gcc/", "/x", "gcc/-t", "$(x)", "gcc=1", "gcc -y"] {
        assert!(text.parse::<PackageName>().is_err(), "{text}");
    }
    assert!("libstdc++6/trixie-backports".parse::<PackageName>().is_ok());
    for text in ["chrony", "--now", ".service", "a b.service", "x.foo"] {
        assert!(text.parse::<UnitName>().is_err(), "{text}");
    }
    for text in ["vpc-1", "vpc-0A1b2c3d", "vpc0a1b2c3d", "subnet-0a1b2c3d"] {
        assert!(text.parse::<VpcId>().is_err(), "{text}");
    }
}

#[test]
fn a_zone_in_a_regions_place_is_told_what_it_is() {
    assert!(hint::<Region>("us-east-1a").contains("`region: us-east-1`"));
    for text in ["us-east-1", "eu-central-2", "us-gov-west-1", "ap-southeast-4"] {
        assert!(text.parse::<Region>().is_ok(), "{text}");
        assert!(format!("{text}a").parse::<Zone>().is_ok(), "{text}");
    }
    for text in ["", "-", "us", "us-east", "1", "us--1", "US-EAST-1"] {
        assert!(text.parse::<Region>().is_err(), "{text}");
    }
}

#[test]
fn an_arn_in_an_instance_profiles_place_is_told_its_name() {
    assert_eq!(
        hint::<InstanceProfileName>("arn:aws:iam::123456789012:instance-profile/ewulf-node"),
        "write its name: `ewulf-node`"
    );
}

#[test]
fn every_form_of_the_schemas_is_known_and_accepts_its_own_example() {
    fn visit(schema: &serde_json::Value, found: &mut usize) {
        if let Some(kind) = schema.get("x-ewulf-form").and_then(serde_json::Value::as_str) {
            let form = form(kind).unwrap_or_else(|| panic!("form {kind} is not registered"));
            assert_eq!((form.check)(form.example), Ok(()), "{kind}");
            *found += 1;
        }
        for pattern in
            schema.get("patternProperties").and_then(serde_json::Value::as_object).into_iter().flat_map(|map| map.keys())
        {
            assert!(form_of_keys(pattern).is_some(), "{pattern}");
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|value| visit(value, found)),
            serde_json::Value::Array(items) => items.iter().for_each(|value| visit(value, found)),
            _ => {}
        }
    }
    let mut found = 0;
    for schema in [crate::schema::cluster(), crate::schema::image(), crate::schema::job()] {
        visit(&schema, &mut found);
    }
    assert!(found > 30, "{found}");
}

proptest! {
    #[test]
    fn what_a_form_accepts_it_accepts_again_as_written(text in "[ -~äé\n]{0,24}") {
        macro_rules! check {
            ($($name:ident)*) => {$(
                if let Ok(value) = text.parse::<$name>() {
                    prop_assert_eq!(value.to_string().parse::<$name>(), Ok(value));
                }
            )*};
        }
        check!(ClusterName GroupName Region Zone VpcId PackageName UnitName EnvironmentName OptionName NodePath RelativePath
            OutputPattern InputUrl Word ShellLine ParameterName InstanceProfileName TemplateName);
    }
}
