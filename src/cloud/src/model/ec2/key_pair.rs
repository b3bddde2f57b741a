//! Key pairs: public keys by name, and what EC2 calls their fingerprints.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Tags;

/// The public half of a key pair; the private one is told once and kept by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// `key-…`
    pub id: String,
    /// Unique in the region.
    pub name: String,
    pub kind: KeyKind,
    pub fingerprint: String,
    /// One line of an `authorized_keys` file.
    pub public_key: String,
    pub created: Timestamp,
    pub tags: Tags,
}

/// What kind of key EC2 makes and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    Rsa,
    Ed25519,
}

impl KeyKind {
    /// The word for it in the API.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The word for it in SSH.
    pub fn ssh(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::Ed25519 => "ssh-ed25519",
        }
    }
}

/// A public key in SSH's own encoding, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub kind: KeyKind,
    /// The whole key as SSH sends it.
    pub blob: Vec<u8>,
    /// Exponent and modulus of an RSA key, as SSH writes integers; empty for others.
    numbers: Vec<Vec<u8>>,
}

impl PublicKey {
    /// Reads a line of `authorized_keys`, or an RFC 4716 block; None if it is neither, or of a kind EC2 does not take.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let encoded: String = if text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----") {
            // Headers have a colon, which base64 has not.
            text.lines().filter(|line| !line.starts_with("----") && !line.contains(':')).map(str::trim).collect()
        } else {
            let mut words = text.lines().next()?.split_whitespace();
            let kind = words.next()?;
            if ![KeyKind::Rsa.ssh(), KeyKind::Ed25519.ssh()].contains(&kind) {
                return None;
            }
            words.next()?.to_owned()
        };
        Self::from_blob(STANDARD.decode(encoded).ok()?)
    }

    fn from_blob(blob: Vec<u8>) -> Option<Self> {
        let mut rest = blob.as_slice();
        let name = take(&mut rest)?;
        let (kind, numbers) = if name == KeyKind::Rsa.ssh().as_bytes() {
            let numbers = vec![take(&mut rest)?.to_vec(), take(&mut rest)?.to_vec()];
            // EC2 takes 1024, 2048 and 4096 bits; the modulus has a leading zero byte.
            let bits = numbers[1].iter().skip_while(|byte| **byte == 0).count() * 8;
            if ![1024, 2048, 4096].contains(&bits) {
                return None;
            }
            (KeyKind::Rsa, numbers)
        } else if name == KeyKind::Ed25519.ssh().as_bytes() {
            if take(&mut rest)?.len() != 32 {
                return None;
            }
            (KeyKind::Ed25519, Vec::new())
        } else {
            return None;
        };
        rest.is_empty().then_some(Self { kind, blob, numbers })
    }

    /// The line for `authorized_keys`.
    pub fn line(&self, comment: &str) -> String {
        format!("{} {} {comment}", self.kind.ssh(), STANDARD.encode(&self.blob))
    }

    /// What EC2 shows for a key that a user brought: MD5 of the DER form for RSA, SHA-256 for ED25519 (ec2.md 6.8).
    pub fn imported_fingerprint(&self) -> String {
        match self.kind {
            KeyKind::Ed25519 => STANDARD.encode(Sha256::digest(&self.blob)),
            KeyKind::Rsa => colons(&Md5::digest(self.subject_public_key_info())),
        }
    }

    /// `SubjectPublicKeyInfo` of RFC 5280, DER.
    fn subject_public_key_info(&self) -> Vec<u8> {
        // SSH has the exponent first, PKCS#1 the modulus.
        let numbers: Vec<u8> = self.numbers.iter().rev().flat_map(|number| der(0x02, number)).collect();
        let mut bits = vec![0];
        bits.extend(der(0x30, &numbers));
        der(0x30, &[RSA_ALGORITHM.to_vec(), der(0x03, &bits)].concat())
    }
}

/// What EC2 shows for an RSA key of its own making: SHA-1 of the private key's PKCS#8 DER form (ec2.md 6.8).
///
/// `pem` is the private key as PKCS#1 PEM; None if it is not.
pub fn created_rsa_fingerprint(pem: &str) -> Option<String> {
    let encoded: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let inner = STANDARD.decode(encoded).ok()?;
    let outer = der(0x30, &[der(0x02, &[0]), RSA_ALGORITHM.to_vec(), der(0x04, &inner)].concat());
    Some(colons(&Sha1::digest(outer)))
}

/// `AlgorithmIdentifier` of rsaEncryption (1.2.840.113549.1.1.1) without parameters, DER.
const RSA_ALGORITHM: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    match digits.as_slice() {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        long => {
            // At most eight digits.
            element.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            element.extend(long);
        }
    }
    element.extend(content);
    element
}

/// The next string of SSH's encoding: four bytes of length, then the bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (taken, left) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = left;
    Some(taken)
}

/// `1f:51:ae:…`
fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 8032's first test, in SSH's encoding.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea someone@somewhere";

    #[test]
    fn a_line_is_read_whatever_its_comment() {
        let key = PublicKey::parse(ED25519).unwrap();
        assert_eq!(key.kind, KeyKind::Ed25519);
        assert_eq!(key.line("mine"), ED25519.replace("someone@somewhere", "mine"));
        let block = format!(
            "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"x\"\n{}\n---- END SSH2 PUBLIC KEY ----\n",
            ED25519.split(' ').nth(1).unwrap()
        );
        assert_eq!(PublicKey::parse(&block), Some(key));
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3M=", "-----BEGIN RSA PRIVATE KEY-----"] {
            assert_eq!(PublicKey::parse(text), None, "{text}");
        }
        let truncated = ED25519.replace("B1Ea ", "B1== ");
        assert_eq!(PublicKey::parse(&truncated), None);
    }

    #[test]
    fn fingerprints_are_those_of_openssl_and_ssh_keygen() {
        // openssl rsa -pubin -outform DER | md5sum
        let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDB0Ni237S1gVOboY6ECQb8n7lpV2aanpLEK86oEElPED//wORxc/2JZvgB9eLZJSrY\
                   8jw895vyC8stZgs9DWxGbChtK2kEsU4lWP72pJxerERIJTIatCrpv63N4ikYTnkvBk//ZWuY2FOCpbRDHOfQHgg9aKLzDhVNSbOc7hwY4w==";
        let fingerprint = PublicKey::parse(rsa).unwrap().imported_fingerprint();
        assert_eq!(fingerprint, "ed:10:61:16:91:4c:a4:b8:44:96:bc:80:d7:df:8a:c9");
        // ssh-keygen -l
        let ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGbEFK0vHMGlkM41C/Zax9DDlHFRt52VvCsnMGUngzo5";
        let fingerprint = PublicKey::parse(ed25519).unwrap().imported_fingerprint();
        assert_eq!(fingerprint, "cV47TXjaiMxUSq0ZFC2jg06TBBT29EVWzuPxna0UlI4=");
        // openssl pkcs8 -topk8 -nocrypt -outform DER | sha1sum, of a key too short to be of use.
        let body = "MIIBOwIBAAJBALJgnBdjBmYd01j9IuSUG+ZQK+HOOHnD2hAFJD82to3UbVv1aWch5L2/bVVZn1X/r91l5NO5T0drZRUF2G9fbK8CAwEAAQJA\
                    Y9L1B5F/Tz55vF9NW6YXRviu1htWN66HJlf6RPYVi6DaZcSCe0zLaVKaJ9tjqC+uGKbfL+99+O3b7xQjF6I4YQIhAODWNUu+zNGp+1DQwRPN\
                    m0KY961zM4kzt48ssyK6ao59AiEAyxnnCOoIlQ8Ik0Xup3vcWx3r/27wRp5TyMAlPZiNc5sCIQDaeexSDTaz6awHDMMBfkKHhWLvTclfYjzV\
                    SIdNkL2odQIgPkjJQ0CSNTQRCykNESu43fCFKSZaZS20wAG86fDYoDUCIQCci7WQ5Aqb4q+uGSiIA4TNmoCcfdmh5vMs/S2GIw6LVQ==";
        let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n");
        let fingerprint = created_rsa_fingerprint(&pem).unwrap();
        assert_eq!(fingerprint, "e9:c3:bc:fd:5a:a5:b3:4b:ff:19:22:ca:5d:7d:17:d5:c5:7c:69:41");
    }

    #[test]
    fn lengths_are_written_as_der_has_them() {
        assert_eq!(der(4, &[]), [4, 0]);
        assert_eq!(der(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(der(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(der(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
    }
}
