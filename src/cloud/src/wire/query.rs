//! The EC2 query protocol's form bodies, as trees: `Filter.1.Value.2=x` is the member `2` of `Value` of `1` of `Filter`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// One node of a request's parameter tree, or the whole request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    members: BTreeMap<String, Query>,
}

impl Query {
    /// Reads an `application/x-www-form-urlencoded` body; of equal names the last wins.
    pub fn parse(body: &str) -> Result<Self, ApiError> {
        let mut root = Self::default();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            root.set(&decode(name)?, decode(value)?)?;
        }
        Ok(root)
    }

    /// Makes a node that is a scalar.
    pub fn scalar(text: &str) -> Self {
        Self { value: Some(text.to_owned()), members: BTreeMap::new() }
    }

    /// Puts a value at a dotted path.
    pub fn set(&mut self, path: &str, value: String) -> Result<(), ApiError> {
        // Deeper than any parameter of EC2 (LaunchTemplateData…Tag.N.Key has 6); a bound for the recursion below.
        const DEPTH: usize = 16;
        if path.split('.').count() > DEPTH {
            return Err(ApiError::unknown_parameter(path));
        }
        let mut node = self;
        for name in path.split('.') {
            node = node.members.entry(name.to_owned()).or_default();
        }
        node.value = Some(value);
        Ok(())
    }

    /// The scalar of this name, if given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.structure(name)?.value.as_deref()
    }

    /// The scalar of this name, which must be given and not empty.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| ApiError::missing_parameter(name))
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.text(name)
            .map(|text| match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(ApiError::invalid_value(format!("Invalid value '{text}' for {name}. It must be true or false"))),
            })
            .transpose()
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| ApiError::invalid_value(format!("Invalid value '{text}' for {name}. It must be an integer")))
            })
            .transpose()
    }

    /// The scalars `NAME.1`, `NAME.2` … in order of their numbers.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.structures(name).into_iter().filter_map(Query::own_text).collect()
    }

    /// The structures `NAME.1.…`, `NAME.2.…` in order of their numbers.
    pub fn structures(&self, name: &str) -> Vec<&Query> {
        let Some(node) = self.structure(name) else { return Vec::new() };
        let mut numbered: Vec<(u64, &Query)> =
            node.members.iter().filter_map(|(key, member)| Some((key.parse().ok()?, member))).collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, member)| member).collect()
    }

    /// The structure of this name; a dotted path descends.
    pub fn structure(&self, name: &str) -> Option<&Query> {
        name.split('.').try_fold(self, |node, part| node.members.get(part))
    }

    /// This node's own scalar.
    pub fn own_text(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The member names directly below.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Takes away a member with all below it.
    pub fn remove(&mut self, name: &str) -> Option<Query> {
        self.members.remove(name)
    }

    /// Puts a whole structure under this name.
    pub fn insert(&mut self, name: &str, member: Query) {
        self.members.insert(name.to_owned(), member);
    }

    /// Every given scalar with its full dotted path, in a fixed order: equal trees give equal lists.
    pub fn leaves(&self) -> Vec<(String, &str)> {
        let mut leaves = Vec::new();
        self.collect(None, &mut leaves);
        leaves
    }

    /// The way down is None at the root alone: a name may begin with a dot, and is then another one.
    fn collect<'a>(&'a self, way: Option<&str>, leaves: &mut Vec<(String, &'a str)>) {
        for (name, member) in &self.members {
            let path = way.map_or_else(|| name.clone(), |way| format!("{way}.{name}"));
            if let Some(value) = &member.value {
                leaves.push((path.clone(), value));
            }
            member.collect(Some(&path), leaves);
        }
    }

    /// Refuses every given parameter that is not among these; list numbers are left out of names, as in
    /// `BlockDeviceMapping.Ebs.VolumeSize`.
    pub fn only(&self, names: &[&str]) -> Result<(), ApiError> {
        match self.leaves().iter().find(|(path, _)| !names.contains(&plain(path).as_str())) {
            Some((path, _)) => Err(ApiError::unknown_parameter(path)),
            None => Ok(()),
        }
    }
}

/// A path without its list numbers: `Filter.Value` of `Filter.1.Value.2`.
pub fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').filter(|part| part.parse::<u64>().is_err()).collect();
    parts.join(".")
}

/// Whether a plain path is this name or lies below it.
pub fn is_below(plain: &str, name: &str) -> bool {
    plain.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Undoes form encoding.
fn decode(text: &str) -> Result<String, ApiError> {
    let malformed = || ApiError::new("MalformedQueryString", "The query string contains a syntax error");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(malformed()) };
                bytes.push(u8::try_from(high * 16 + low).map_err(|_| malformed())?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_keep_the_order_of_their_numbers() {
        let query = Query::parse("Id.10=j&Id.2=b&Id.1=a+b%2Fc&Filter.1.Name=x&Filter.1.Value.1=y").unwrap();
        assert_eq!(query.list("Id"), ["a b/c", "b", "j"]);
        assert_eq!(query.structures("Filter")[0].list("Value"), ["y"]);
    }

    #[test]
    fn a_parameter_that_is_not_admitted_is_named() {
        let query = Query::parse("A.1.B=1&A.1.C=2&D=3").unwrap();
        assert!(query.only(&["A.B", "A.C", "D"]).is_ok());
        assert!(query.only(&["A", "D"]).is_err());
        let refused = query.only(&["A.B", "D"]).unwrap_err();
        assert_eq!((refused.code.as_ref(), refused.message.contains("A.1.C")), ("UnknownParameter", true));
    }

    #[test]
    fn a_name_with_a_dot_too_many_is_another_name() {
        for name in [".A", "..A", ".", "A."] {
            let query = Query::parse(&format!("{name}=1")).unwrap();
            assert_eq!(query.leaves(), [(name.to_owned(), "1")]);
            assert!(name == "A." || query.only(&["A"]).is_err(), "{name}");
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert!(Query::parse("A=%4").is_err());
        assert!(Query::parse("A=%ff").is_err());
    }

    /// A form with these names and values, each byte escaped.
    fn form(pairs: &[(String, String)]) -> String {
        let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        pairs.join("&")
    }

    proptest! {
        #[test]
        fn any_text_is_a_form_or_refused(text in any::<String>(), names in vec(any::<String>(), 0..4)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Ok(query) = Query::parse(&text) {
                let _ = query.only(&names);
                query.leaves().iter().for_each(|(path, value)| assert_eq!(query.text(path), Some(*value)));
            }
        }

        #[test]
        fn every_value_comes_back_under_its_name(pairs in vec(("[A-Za-z0-9]{1,5}([.][A-Za-z0-9]{1,3}){0,3}", any::<String>()), 0..8)) {
            let query = Query::parse(&form(&pairs)).unwrap();
            let last: BTreeMap<&String, &String> = pairs.iter().map(|(name, value)| (name, value)).collect();
            for (name, value) in &last {
                prop_assert_eq!(query.text(name), Some(value.as_str()));
            }
            prop_assert_eq!(query.leaves().len(), last.len());
        }

        #[test]
        fn only_admits_what_is_named_and_nothing_else(name in "[A-Z][a-z]{0,5}", other in "[A-Z][a-z]{0,5}", number in 1..99u32) {
            let query = Query::parse(&format!("{name}.{number}.Value=1")).unwrap();
            let [named, other_named] = [&name, &other].map(|name| format!("{name}.Value"));
            prop_assert!(query.only(&[&named]).is_ok());
            prop_assert_eq!(query.only(&[&other_named]).is_ok(), name == other);
        }
    }
}
