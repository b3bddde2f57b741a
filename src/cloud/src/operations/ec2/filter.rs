//! What to show of what there is: filters and pages of Describe actions.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::uniform::{self, Uniform};
use crate::model::ec2::Tags;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::xml::Xml;

/// The filters of one call: a resource must match each, by any of its values.
pub(super) struct Filters<'a> {
    telling: Vec<(&'a str, Vec<&'a str>)>,
    /// Whether a filter that all resources answer alike admits none of them.
    admit_nothing: bool,
}

impl<'a> Filters<'a> {
    /// Reads `Filter.N`; a name that is neither known nor about tags is refused, unless all resources answer it alike.
    pub fn read(query: &'a Query, known: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Self { telling: Vec::new(), admit_nothing: false };
        let action = query.text("Action").unwrap_or_default();
        let mut count = 0;
        for filter in query.structures("Filter") {
            let name = filter.required("Name")?;
            let about_tags = name.starts_with("tag:") || name == "tag-key";
            // `tag` among the known names stands for filters about tags; it is none by itself.
            let admitted = if about_tags { known.contains(&"tag") } else { name != "tag" && known.contains(&name) };
            let alike = if admitted { None } else { uniform::meaning(action, name) };
            if !admitted && alike.is_none() {
                return Err(ApiError::invalid_value(format!("The filter '{name}' is invalid")));
            }
            let values = filter.list("Value");
            if values.is_empty() {
                return Err(ApiError::invalid_value(format!("The filter '{name}' has no values")));
            }
            count += values.len();
            match alike {
                None => filters.telling.push((name, values)),
                Some(Uniform::All(value)) => filters.admit_nothing |= !values.iter().any(|pattern| wildcard(pattern, value)),
                Some(Uniform::Nothing) => filters.admit_nothing = true,
                Some(Uniform::Unsaid) => {
                    let message = format!("The filter '{name}' is not supported by this cloud.");
                    return Err(ApiError::new("UnsupportedOperation", message));
                }
            }
        }
        // EC2's limit for one call.
        if count > 200 {
            return Err(ApiError::new(
                "FilterLimitExceeded",
                "The maximum number of filter values specified on a single call is 200",
            ));
        }
        Ok(filters)
    }

    /// Whether a resource with these tags, and with what `values` says of each other filter's name, is admitted.
    pub fn admit(&self, tags: &Tags, values: impl Fn(&str) -> Vec<String>) -> bool {
        !self.admit_nothing
            && self.telling.iter().all(|(name, patterns)| {
                let matches_any = |value: &str| patterns.iter().any(|pattern| wildcard(pattern, value));
                if let Some(key) = name.strip_prefix("tag:") {
                    tags.get(key).is_some_and(|value| matches_any(value))
                } else if *name == "tag-key" {
                    tags.keys().any(|key| matches_any(key))
                } else {
                    values(name).iter().any(|value| matches_any(value))
                }
            })
    }
}

/// Matches `*` (any text) and `?` (one character); a backslash takes the next character literally.
fn wildcard(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '\\']) {
        return pattern == text;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Greedy with one point of return: the last star and where it began.
    let (mut at, mut read, mut back) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                back = Some((at, read));
                continue;
            }
            Some('?') => {
                at += 1;
                read += 1;
                continue;
            }
            Some('\\') if pattern.get(at + 1) == Some(&text[read]) => {
                at += 2;
                read += 1;
                continue;
            }
            Some(character) if *character != '\\' && *character == text[read] => {
                at += 1;
                read += 1;
                continue;
            }
            _ => {}
        }
        let Some((star, began)) = back else { return false };
        at = star;
        read = began + 1;
        back = Some((star, read));
    }
    pattern[at..].iter().all(|character| *character == '*')
}

/// One page of a listing.
pub(super) struct Page {
    limit: usize,
    after: Option<String>,
}

impl Page {
    /// Reads `MaxResults`, 5 to 1000 as most actions have it, and `NextToken`; everything when no size is asked.
    pub fn read(query: &Query) -> Result<Self, ApiError> {
        Self::within(query, 5..=1000, usize::MAX)
    }

    /// Reads `MaxResults` within an action's own bounds, and `NextToken`; `unasked` is the size when none is asked.
    pub fn within(query: &Query, bounds: RangeInclusive<usize>, unasked: usize) -> Result<Self, ApiError> {
        let limit = match query.integer("MaxResults")? {
            None => unasked,
            Some(number) => usize::try_from(number).ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
                ApiError::invalid_value(format!(
                    "Value ( {number} ) for parameter maxResults is invalid. Expecting a value between {} and {}.",
                    bounds.start(),
                    bounds.end()
                ))
            })?,
        };
        let after = match query.text("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(
                URL_SAFE_NO_PAD
                    .decode(token)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .and_then(|text| text.strip_prefix("after ").map(str::to_owned))
                    .ok_or_else(|| ApiError::invalid_value("Unable to parse pagination token"))?,
            ),
        };
        Ok(Self { limit, after })
    }

    /// As [`Page::read`]; naming ids as well as a page size is refused, as EC2 does for this action.
    pub fn read_without_ids(query: &Query, ids: &str) -> Result<Self, ApiError> {
        if query.text("MaxResults").is_some() && !query.structures(ids).is_empty() {
            return Err(ApiError::invalid_combination(format!(
                "The parameter {ids} cannot be used with the parameter maxResults"
            )));
        }
        Self::read(query)
    }

    /// Cuts this page out of values that are in order of their keys; answers with the token of the next page.
    pub fn cut<T>(&self, values: impl IntoIterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let mut page: Vec<T> = Vec::new();
        for value in values {
            if self.after.as_ref().is_some_and(|after| key(&value) <= *after) {
                continue;
            }
            if page.len() == self.limit {
                let token = page.last().map(|last| URL_SAFE_NO_PAD.encode(format!("after {}", key(last))));
                return (page, token);
            }
            page.push(value);
        }
        (page, None)
    }
}

/// Writes the token of the next page, if there is one.
pub(super) fn put_next_token(xml: &mut Xml, token: Option<String>) {
    xml.maybe("nextToken", token);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by trying every split: slow and plain.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], _) => (0..=text.len()).any(|skipped| matches(rest, &text[skipped..])),
            (['?', rest @ ..], [_, text @ ..]) => matches(rest, text),
            (['\\', literal, rest @ ..], [first, text @ ..]) => literal == first && matches(rest, text),
            (['\\', _, ..], []) => false,
            ([literal, rest @ ..], [first, text @ ..]) => literal == first && matches(rest, text),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn wildcards_match_what_a_plain_reading_does(pattern in r"[ab*?\\]{0,7}", text in r"[ab*\\]{0,7}") {
            // A backslash at the end escapes nothing; EC2 does not say what it means.
            prop_assume!(!pattern.ends_with('\\'));
            let (plain_pattern, plain_text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(wildcard(&pattern, &text), matches(&plain_pattern, &plain_text));
        }

        #[test]
        fn any_pattern_is_read_in_no_time(pattern in r"(\*|\?|a|é|\\){0,60}", text in "(a|é){0,200}") {
            let _ = wildcard(&pattern, &text);
        }

        #[test]
        fn any_page_is_cut_or_refused(size in any::<i64>(), token in ".{0,40}", count in 0..40usize) {
            let mut query = Query::default();
            query.set("MaxResults", size.to_string()).unwrap();
            if !token.is_empty() {
                query.set("NextToken", token).unwrap();
            }
            if let Ok(page) = Page::read(&query) {
                let (part, _) = page.cut((0..count).map(|number| format!("{number:02}")), Clone::clone);
                prop_assert!(part.len() <= count);
            }
        }
    }

    #[test]
    fn a_filter_that_all_resources_answer_alike_admits_all_or_none() {
        let outcome = |name: &str, value: &str| {
            let form = format!("Action=DescribeSubnets&Filter.1.Name={name}&Filter.1.Value.1={value}");
            let query = Query::parse(&form).unwrap();
            Filters::read(&query, &["vpc-id"]).map(|filters| filters.admit(&Tags::new(), |_| Vec::new()))
        };
        for (name, value, expected) in [
            ("ipv6-native", "false", Ok(true)),
            ("ipv6-native", "f*", Ok(true)),
            ("ipv6-native", "true", Ok(false)),
            ("outpost-arn", "*", Ok(false)),
            ("colour", "red", Err("InvalidParameterValue")),
        ] {
            let found = outcome(name, value);
            assert_eq!(found.as_ref().map_err(|error| error.code.as_ref()).copied(), expected, "{name}={value}");
        }
        let query = Query::parse("Action=DescribeImages&Filter.1.Name=image-allowed&Filter.1.Value.1=true").unwrap();
        assert!(Filters::read(&query, &["name"]).is_err_and(|error| error.code == "UnsupportedOperation"));
    }

    #[test]
    fn wildcards_match_as_documented() {
        assert!(wildcard("debian-13-*", "debian-13-amd64"));
        assert!(wildcard("*a?c*", "xxabcyy"));
        assert!(wildcard("\\*x", "*x"));
        assert!(!wildcard("\\*x", "ax"));
        assert!(!wildcard("a*b", "ac"));
        assert!(wildcard("*", ""));
    }

    #[test]
    fn pages_cover_everything_once() {
        let names: Vec<String> = (0..12).map(|number| format!("{number:02}")).collect();
        let mut seen = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = Query::parse("MaxResults=5").unwrap();
            if let Some(token) = &token {
                query.set("NextToken", token.clone()).unwrap();
            }
            let page = Page::read(&query).unwrap();
            let (part, next) = page.cut(names.iter().cloned(), Clone::clone);
            seen.extend(part);
            token = next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, names);
    }
}
