//! What a plain word means: the core schema of YAML 1.2, section 10.3.

use super::Value;

/// Returns the value of a plain scalar, or the number's text as an error if it is whole and does not fit 64 bits.
///
/// Digits with a leading zero stay text, as in `zip: 01234`: YAML 1.1 read them as octal, and guessing helps nobody.
/// Infinities stay text too, since no quantity of a spec is one.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix).filter(|digits| is_digits(digits, radix)) {
            return i64::from_str_radix(digits, radix).map(Value::Integer).map_err(|_| text.to_owned());
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_digits(unsigned, 10) {
        return match unsigned.len() > 1 && unsigned.starts_with('0') {
            true => Ok(Value::Text(text.to_owned())),
            false => text.parse().map(Value::Integer).map_err(|_| text.to_owned()),
        };
    }
    if is_float(unsigned)
        && let Ok(number) = text.parse::<f64>()
        && number.is_finite()
    {
        return Ok(Value::Number(number));
    }
    Ok(Value::Text(text.to_owned()))
}

fn is_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_digit(radix))
}

/// Tells whether a text without sign is `1.`, `1.5`, `.5`, `1e3` or `1.5e-3`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let part = |digits: &str| digits.is_empty() || is_digits(digits, 10);
    part(whole)
        && part(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| is_digits(digits, 10))
}
