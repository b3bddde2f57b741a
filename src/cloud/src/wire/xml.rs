//! XML answers of the EC2 API: escaping, `<item>` lists, request ids, the error document.

use std::fmt::Write as _;

use super::error::ApiError;

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// A piece of XML under construction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Xml {
    text: String,
}

impl Xml {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an element with text, escaped.
    pub fn put(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.open(name);
        // Writing into a String cannot fail.
        let _ = write!(Escape(&mut self.text), "{value}");
        self.close(name)
    }

    /// Adds an element with text, if there is one.
    pub fn maybe(&mut self, name: &str, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    /// Adds an element that holds whatever `fill` adds.
    pub fn element(&mut self, name: &str, fill: impl FnOnce(&mut Xml)) -> &mut Self {
        self.open(name);
        fill(self);
        self.close(name)
    }

    /// Adds a list: an element with an `<item>` for each value.
    pub fn list<T>(&mut self, name: &str, values: impl IntoIterator<Item = T>, mut fill: impl FnMut(&mut Xml, T)) -> &mut Self {
        self.open(name);
        for value in values {
            self.open("item");
            fill(self, value);
            self.close("item");
        }
        self.close(name)
    }

    /// Adds a list of plain texts.
    pub fn texts<T: std::fmt::Display>(&mut self, name: &str, values: impl IntoIterator<Item = T>) -> &mut Self {
        self.open(name);
        for value in values {
            self.put("item", value);
        }
        self.close(name)
    }

    /// Adds text to the element that is open, escaped.
    pub fn text(&mut self, text: &str) {
        // Writing into a String cannot fail.
        let _ = Escape(&mut self.text).write_str(text);
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) -> &mut Self {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
        self
    }
}

/// Writes text with XML's special characters escaped; characters that XML 1.0 cannot hold become U+FFFD.
struct Escape<'a>(&'a mut String);

impl std::fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\r' => self.0.push_str("&#13;"),
                '\t' | '\n' => self.0.push(character),
                '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

/// Makes a version 4 UUID, unlike any other: the id of a request, a command or a fleet.
pub fn uuid() -> String {
    let bits: u128 = rand::random();
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The whole answer to a call that succeeded.
pub fn response(action: &str, body: &Xml, request_id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"{NAMESPACE}\"><requestId>{request_id}</requestId>{}</{action}Response>",
        body.text
    )
}

/// The whole answer to a call that failed.
pub fn error(error: &ApiError, request_id: &str) -> String {
    let mut body = Xml::new();
    body.element("Errors", |xml| {
        xml.element("Error", |xml| {
            xml.put("Code", &error.code).put("Message", &error.message);
        });
    })
    .put("RequestID", request_id);
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response>{}</Response>", body.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_goes() {
        let mut xml = Xml::new();
        xml.put("a", "<&>\u{1}\r").texts("set", ["x", "y&z"]);
        assert_eq!(xml.as_str(), "<a>&lt;&amp;&gt;\u{fffd}&#13;</a><set><item>x</item><item>y&amp;z</item></set>");
    }

    #[test]
    fn uuids_are_of_version_4_and_differ() {
        let (one, other) = (uuid(), uuid());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!("89ab".contains(&one[19..20]));
    }
}
